"""Costs: MACs against formulas for every kind of layer, and times that belong to the models they are given for."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tdnn_helpers.models.costs import count_macs, step_seconds


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        (nn.Conv2d(3, 8, 3, padding=1), (3, 6, 5), 30 * 9 * 3 * 8),
        (nn.Conv2d(4, 8, 3, stride=2, padding=1), (4, 7, 7), 16 * 9 * 4 * 8),
        (nn.Conv2d(4, 8, 3, groups=4), (4, 5, 5), 9 * 9 * 8),
        (nn.ConvTranspose2d(3, 2, 4, stride=2), (3, 5, 5), 25 * 16 * 3 * 2),  # each input place meets each weight
        (nn.Sequential(nn.Flatten(), nn.Linear(12, 7)), (3, 2, 2), 84),
        (nn.MaxPool2d(2), (3, 4, 4), 0),
    ],
)
def test_macs_of_one_image(layer, shape, macs):
    for images in (1, 5):
        assert count_macs(layer, torch.zeros(images, *shape)) == macs


def test_counting_leaves_the_model_as_it_was_and_takes_maps_that_carry_gradients():
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    maps = nn.Conv2d(1, 2, 3)(torch.rand(4, 1, 6, 6))
    assert maps.requires_grad and count_macs(model, maps) == 4 * 9 * 2 * 3
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class Counting(nn.Module):
    def __init__(self, repeats):
        super().__init__()
        self.weight, self.repeats, self.calls = nn.Parameter(torch.ones(1)), repeats, 0

    def forward(self, images):
        self.calls += 1
        for _ in range(self.repeats):
            images = F.avg_pool2d(images * self.weight, 3, stride=1, padding=1)
        return images


def test_seconds_of_a_step():
    models = {"short": Counting(1), "long": Counting(60)}
    seconds = step_seconds(models, torch.rand(4, 3, 32, 32), rounds=3)
    assert list(seconds) == ["short", "long"] and all(len(found) == 3 for found in seconds.values())
    assert 0 < min(seconds["short"]) < min(seconds["long"])
    assert all(model.calls == 0 and model.weight.grad is None for model in models.values())  # copies were timed
    with pytest.raises(ValueError, match="at least 1 round, not 0"):
        step_seconds({"one": nn.Identity()}, torch.rand(1, 1, 2, 2), rounds=0)
