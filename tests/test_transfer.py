"""Fine-tuning on stored maps: the parts are the network's own, and what is fixed stays fixed."""

import copy

import pytest
import torch
from torch import nn

from tdnn_helpers.data.sets import load
from tdnn_helpers.measures.frozen import pretrained_maps
from tdnn_helpers.methods.transfer import FixedNorms, on_stored, upper_part
from tdnn_helpers.models.backbone import Backbone, pretrained, stage_maps
from tdnn_helpers.models.networks import mlp
from tdnn_helpers.train.loop import evaluate, fit
from tdnn_helpers.train.objectives import Batch, classification


@pytest.fixture(scope="module")
def backbone():
    return pretrained()


@pytest.fixture(scope="module")
def digits():
    return load("digits").take(120, seed=0)


# --- the cut ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("below", "first"), [("stage2", "stage3"), ("stage6", "stage7"), ("stage7", "top")])
def test_the_upper_part_on_the_maps_below_gives_the_features(backbone, below, first):
    images = torch.rand(2, 3, 48, 64)
    with torch.no_grad():
        features = upper_part(backbone, first)(stage_maps(backbone, images, [below])[below])
        torch.testing.assert_close(features, backbone(images), rtol=1e-3, atol=1e-4)


def test_from_the_first_stage_on_it_is_the_whole_network(backbone):
    images = torch.rand(2, 3, 40, 40)
    with torch.no_grad():
        torch.testing.assert_close(upper_part(backbone, "stem")(images), backbone(images), rtol=1e-3, atol=1e-4)


def test_the_upper_part_is_a_copy_that_can_be_trained(backbone):
    frozen = copy.deepcopy(backbone).requires_grad_(False)
    upper = upper_part(frozen, "top")
    assert all(parameter.requires_grad for parameter in upper.parameters())
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    with torch.no_grad():
        upper[0][0].weight.zero_()
    assert frozen.stages["top"][0].weight.abs().sum() > 0


def test_a_cut_that_does_not_exist_is_named(backbone):
    with pytest.raises(ValueError, match='no stage "stage8". Did you mean "stage'):
        upper_part(backbone, "stage8")
    other = Backbone(nn.ModuleDict({"a": nn.Linear(2, 2)}), nn.Linear(2, 2), nn.Identity(), [])
    with pytest.raises(ValueError, match="cannot be cut"):
        upper_part(other, "a")


# --- batch norms that stay --------------------------------------------------------------------------------------------


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


# --- stored inputs ----------------------------------------------------------------------------------------------------


def test_training_on_stored_pixels_is_training_on_the_images(digits):
    torch.manual_seed(0)
    model = mlp(digits, hidden=(8,))
    twin = copy.deepcopy(model)
    one = fit(model, digits, steps=12, batch_size=32)
    other = fit(twin, digits, steps=12, batch_size=32, objective=on_stored(digits.images / 255))
    assert one.step_losses == pytest.approx(other.step_losses, rel=1e-5)
    assert evaluate(twin, digits, objective=on_stored(digits.images / 255)) == pytest.approx(evaluate(model, digits))


def test_each_split_has_its_own_stored_inputs(digits):
    train, val = digits.split(0.5, seed=0)
    models = [mlp(train, hidden=()) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    stored = on_stored(train.images / 255, val.images / 255)
    plain = fit(models[0], train, val=val, steps=6)
    kept = fit(models[1], train, val=val, steps=6, objective=stored)
    for (*names, value, _), (*same, other, _) in zip(plain.rows, kept.rows, strict=True):
        assert names == same and value == pytest.approx(other, rel=1e-4)


def test_another_objective_sees_the_stored_inputs():
    seen = []

    def objective(model, batch):
        seen.append(batch.images)
        return classification(model, batch)

    batch = Batch(torch.zeros(2, 1, 4, 4), torch.tensor([0, 1]), torch.tensor([3, 1]), 2)
    stored = torch.arange(20.0).view(5, 4)
    on_stored(stored, objective=objective)(nn.Linear(4, 2), batch)
    assert torch.equal(seen[0], stored[[3, 1]])


# --- maps -------------------------------------------------------------------------------------------------------------


def test_kept_maps_are_those_of_the_stages(backbone):
    emoji = load("emoji").take(6, seed=0)
    maps = pretrained_maps(emoji, ["top", "stage4"])
    with torch.no_grad():
        expected = stage_maps(backbone, emoji.images / 255, ["stage4", "top"])
    assert list(maps) == ["top", "stage4"] and maps["stage4"].shape == (6, 80, 4, 4)
    for layer, found in maps.items():
        torch.testing.assert_close(found, expected[layer], rtol=1e-3, atol=1e-3)
    again = pretrained_maps(emoji, ["top", "stage4"])
    assert all(torch.equal(maps[layer], again[layer]) for layer in maps)
    with pytest.raises(ValueError, match='no layer "stage44"'):
        pretrained_maps(emoji, ["stage44"])


def test_stage_maps_leave_no_hook_behind(backbone):
    stage_maps(backbone, torch.rand(1, 3, 32, 32), ["stem"])
    assert not any(module._forward_hooks for module in backbone.modules())
