"""Fine-tuning on stored maps: the parts are the network's own, and what is fixed stays fixed."""

import copy

import pytest
import torch
from torch import nn

from refusals import refused
from tdnn_helpers.methods.transfer import FixedNorms, on_stored, upper_part
from tdnn_helpers.models.backbone import Backbone, stage_maps
from tdnn_helpers.models.networks import mlp
from tdnn_helpers.train.loop import evaluate, fit


@pytest.mark.parametrize(
    ("below", "first"), [("stage2", "stage3"), ("stage6", "stage7"), ("stage7", "top"), (None, "stem")]
)
def test_the_upper_part_on_the_maps_below_gives_the_features(backbone, below, first):
    """From the first stage on it is the whole network, which takes images."""
    images = torch.rand(2, 3, 48, 64)
    with torch.no_grad():
        maps = stage_maps(backbone, images, [below])[below] if below else images
        torch.testing.assert_close(upper_part(backbone, first)(maps), backbone(images), rtol=1e-3, atol=1e-4)


def test_the_upper_part_is_a_copy_that_can_be_trained(backbone):
    frozen = copy.deepcopy(backbone).requires_grad_(False)
    upper = upper_part(frozen, "top")
    assert all(parameter.requires_grad for parameter in upper.parameters())
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    upper[0][0].weight.data.zero_()
    assert frozen.stages["top"][0].weight.abs().sum() > 0


UNCUT = Backbone(nn.ModuleDict({"a": nn.Linear(2, 2)}), nn.Linear(2, 2), nn.Identity(), [])
test_a_cut_that_does_not_exist_is_named = refused(
    (lambda backbone: upper_part(backbone, "stage8"), 'no stage "stage8". Did you mean "stage'),
    (lambda: upper_part(UNCUT, "a"), "cannot be cut"),
)


def test_fixed_norms_do_not_move_and_the_weights_do():
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.BatchNorm1d(4 * 36))
    fixed, free = FixedNorms(*copy.deepcopy(layers)).train(), layers.train()
    start = copy.deepcopy(fixed.state_dict())
    images = 3 + torch.rand(5, 3, 8, 8)
    fixed(images).square().sum().backward()
    free(images)
    assert all(torch.equal(value, fixed.state_dict()[name]) for name, value in start.items())
    assert not torch.equal(free[1].running_mean, start["1.running_mean"])
    assert all(parameter.grad is not None for parameter in fixed.parameters())
    with torch.no_grad():
        torch.testing.assert_close(fixed(images), fixed.eval()(images))
    model = nn.Sequential(FixedNorms(nn.BatchNorm1d(2), nn.Dropout(0.5)), nn.BatchNorm1d(2)).train()
    assert not model[0][0].training and model[0][1].training and model[1].training


def test_training_on_stored_pixels_is_training_on_the_images(few):
    train, val = few.split(0.5, seed=0)
    torch.manual_seed(0)
    model = mlp(train, hidden=(8,))
    twin, stored = copy.deepcopy(model), on_stored(train.images / 255, val.images / 255)  # each split has its own
    plain = fit(model, train, val=val, steps=12, batch_size=32)
    kept = fit(twin, train, val=val, steps=12, batch_size=32, objective=stored)
    assert plain.step_losses == pytest.approx(kept.step_losses, rel=1e-5)
    for (*names, value, _), (*same, other, _) in zip(plain.rows, kept.rows, strict=True):
        assert names == same and value == pytest.approx(other, rel=1e-4)
    assert evaluate(twin, few, objective=on_stored(few.images / 255)) == pytest.approx(evaluate(model, few))
