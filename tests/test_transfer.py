"""Fine-tuning on stored maps: the parts are the network's own, and what is fixed stays fixed."""

import copy

import pytest
import torch
from torch import nn

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


def test_a_cut_that_does_not_exist_is_named(backbone):
    with pytest.raises(ValueError, match='no stage "stage8". Did you mean "stage'):
        upper_part(backbone, "stage8")
    other = Backbone(nn.ModuleDict({"a": nn.Linear(2, 2)}), nn.Linear(2, 2), nn.Identity(), [])
    with pytest.raises(ValueError, match="cannot be cut"):
        upper_part(other, "a")


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


def test_fixed_norms_stay_fixed_inside_a_model_that_is_trained():
    model = nn.Sequential(FixedNorms(nn.BatchNorm1d(2), nn.Dropout(0.5)), nn.BatchNorm1d(2)).train()
    assert not model[0][0].training and model[0][1].training and model[1].training


def test_training_on_stored_pixels_is_training_on_the_images(few):
    torch.manual_seed(0)
    model = mlp(few, hidden=(8,))
    twin, stored = copy.deepcopy(model), on_stored(few.images / 255)
    one = fit(model, few, steps=12, batch_size=32)
    other = fit(twin, few, steps=12, batch_size=32, objective=stored)
    assert one.step_losses == pytest.approx(other.step_losses, rel=1e-5)
    assert evaluate(twin, few, objective=stored) == pytest.approx(evaluate(model, few))


def test_each_split_has_its_own_stored_inputs(few):
    train, val = few.split(0.5, seed=0)
    model = mlp(train, hidden=())
    twin = copy.deepcopy(model)
    plain = fit(model, train, val=val, steps=6)
    kept = fit(twin, train, val=val, steps=6, objective=on_stored(train.images / 255, val.images / 255))
    for (*names, value, _), (*same, other, _) in zip(plain.rows, kept.rows, strict=True):
        assert names == same and value == pytest.approx(other, rel=1e-4)
