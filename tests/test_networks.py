"""The networks: input statistics against torch, sizes against formulas, and the claim about the order of pooling."""

from functools import partial
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers import network
from tdnn_helpers.data.split import Split
from tdnn_helpers.models import networks
from tdnn_helpers.models.networks import CONVOLUTIONS, POOLS, Normalise, count_parameters, mlp, normalise, small_cnn

PIXELS = torch.randint(0, 256, (30, 3, 12, 10), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
PIXELS[:, 1] //= 4
PIXELS[:, 2] = 77
COLOUR, IMAGES = Split(PIXELS, torch.arange(30) % 5, tuple("abcde")), PIXELS.float() / 255
both = pytest.mark.parametrize("build", [small_cnn, mlp])


def learns_all_its_weights(model):
    model(IMAGES).square().sum().backward()
    return all(p.grad is not None and p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in model.parameters())


def test_statistics_are_those_of_all_pixels_and_normalise_them():
    values = PIXELS.double() / 255
    means, stds = networks.channel_statistics(COLOUR)
    assert means == pytest.approx(values.mean(dim=(0, 2, 3)).tolist(), abs=1e-12)
    assert stds == pytest.approx(values.std(dim=(0, 2, 3), correction=0).tolist(), abs=1e-12)
    out = normalise(COLOUR)(IMAGES)
    assert torch.allclose(out.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-4)
    assert torch.allclose(out[:, :2].std(dim=(0, 2, 3), correction=0), torch.ones(2), atol=1e-4)
    assert out.isfinite().all(), "the constant channel"


def test_statistics_travel_with_the_weights_and_are_not_trained():
    layer, other = Normalise([0.1, 0.2, 0.3], [1.0, 2.0, 3.0]), Normalise([0.0] * 3, [1.0] * 3)
    assert not list(layer.parameters()) and set(layer.state_dict()) == {"mean", "std"}
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(IMAGES), layer(IMAGES))
    expected = [(IMAGES[:, c] - mean) / std for c, (mean, std) in enumerate([(0.1, 1.0), (0.2, 2.0), (0.3, 3.0)])]
    assert torch.allclose(layer(IMAGES), torch.stack(expected, 1))


@pytest.mark.parametrize(("norm", "own"), [("batch", 2), ("none", 1)])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_parameters_and_layers_of_the_cnn(norm, own, depth):
    """Depth adds convolutions and no pooling; each channel has a scale and a shift, or the bias of the convolution."""
    model = small_cnn(COLOUR, width=4, depth=depth, norm=norm)
    channels = [3] + [c for c in (4, 8, 16) for _ in range(depth)]
    assert count_parameters(model) == sum(9 * a * b + own * b for a, b in pairwise(channels)) + 16 * 5 + 5
    assert sum(isinstance(layer, nn.MaxPool2d) for layer in model) == 3
    assert sum(isinstance(layer, nn.ReLU) for layer in model) == 3 * depth
    assert model(IMAGES).shape == (30, 5)


@pytest.mark.parametrize("norm", networks.DENSE_NORMS)
def test_parameters_of_the_mlp(norm):
    model = mlp(COLOUR, hidden=(8, 6), norm=norm)
    own = 1 if norm == "none" else 2  # the bias, or a scale and a shift
    before_the_last = (360 * 8 + own * 8) + (8 * 6 + own * 6)
    assert count_parameters(model) == before_the_last + (6 * 5 + 5) and learns_all_its_weights(model)
    model[-1].requires_grad_(False)
    assert count_parameters(model) == before_the_last


@both
@pytest.mark.parametrize("activation", networks.ACTIVATIONS)
def test_outputs_and_gradients_with_every_activation(build, activation):
    model = build(COLOUR, activation=activation)
    assert model(IMAGES).shape == (30, 5) and learns_all_its_weights(model)
    assert build(COLOUR, activation=activation, outputs=2)(IMAGES).shape == (30, 2)


@both
def test_values_to_predict_give_one_output_per_column_and_an_own_input_layer_is_taken(build):
    for shape, outputs in ((30,), 1), ((30, 1), 1), ((30, 3), 3):
        values = COLOUR.with_targets(torch.rand(shape))
        assert build(values)(IMAGES).shape == (30, outputs) and build(values, outputs=4)[-1].out_features == 4
    for inputs in (nn.Identity(), nn.Sequential()):  # an empty Sequential counts as false in Python
        assert build(COLOUR, inputs=inputs)[0] is inputs
    assert isinstance(build(COLOUR)[0], Normalise)


def test_pool_before_relu_is_the_same_as_after():
    model = small_cnn(COLOUR, norm="none", width=3)
    x = model[0](IMAGES)
    for block in range(3):
        convolution, pool = model[1 + 4 * block], model[2 + 4 * block]
        assert isinstance(convolution, nn.Conv2d) and isinstance(pool, nn.MaxPool2d)
        x = pool(torch.relu(convolution(x)))
    assert torch.equal(model[-1](x.mean(dim=(2, 3))), model(IMAGES))


def test_hidden_layers_of_the_cnn_and_a_linear_model_without_any():
    model = small_cnn(COLOUR, width=4, hidden=(7, 6))
    assert [tuple(layer.weight.shape) for layer in model if isinstance(layer, nn.Linear)] == [(7, 16), (6, 7), (5, 6)]
    assert isinstance(model[-2], nn.ReLU) and isinstance(model[-4], nn.ReLU) and model(IMAGES).shape == (30, 5)
    model = mlp(COLOUR, hidden=())
    x = model[0](IMAGES).flatten(1)
    assert torch.allclose(model(IMAGES), x @ model[-1].weight.T + model[-1].bias, atol=1e-5)


# ---- dropout ---------------------------------------------------------------------------------------------------------
MAPS = dict(dropout_after="convolution")


@pytest.mark.parametrize(
    ("build", "options", "expected"),
    [
        (mlp, dict(hidden=(8, 7), dropout=0.5), "Linear Dropout Linear Dropout Linear"),
        (small_cnn, dict(dropout=0.5), "Conv2d Conv2d Conv2d Dropout Linear"),
        (small_cnn, dict(dropout=0.5, hidden=(8,)), "Conv2d Conv2d Conv2d Linear Dropout Linear"),
        (small_cnn, MAPS | dict(dropout=0.5, hidden=(8,)), "Conv2d Dropout2d " * 3 + "Linear Linear"),
        (mlp, {}, "Linear Linear"),
        (small_cnn, MAPS, "Conv2d Conv2d Conv2d Linear"),
    ],
)
def test_where_dropout_stands(build, options, expected):
    wanted = (nn.Conv2d, nn.Linear, nn.Dropout, nn.Dropout2d)
    assert [type(layer).__name__ for layer in build(COLOUR, **options) if isinstance(layer, wanted)] == expected.split()


@pytest.mark.parametrize("place", networks.DROPOUT_AFTER)
def test_dropout_keeps_the_first_weights_and_the_answers_in_eval_mode(place):
    kinds = (partial(small_cnn, dropout=share, dropout_after=place) for share in (0, 0.5))
    plain, model = (network(COLOUR, kind=kind, hidden=(8,)).eval() for kind in kinds)
    assert torch.equal(plain(IMAGES), model(IMAGES))
    model.train()
    assert not torch.equal(model(IMAGES), model(IMAGES)), "each pass drops other units"


def test_dropout_drops_this_share_and_whole_maps():
    hidden = mlp(COLOUR, hidden=(4000,), activation="sigmoid", dropout=0.25)[:-1].train()(IMAGES[:1])
    assert (hidden == 0).float().mean().item() == pytest.approx(0.25, abs=0.03)
    maps = small_cnn(COLOUR, width=64, activation="sigmoid", dropout=0.25, dropout_after="convolution")[:6]
    zeros = (maps.train()(IMAGES) == 0).float().mean(dim=(2, 3))
    assert set(zeros.unique().tolist()) == {0.0, 1.0}, "a map is dropped as a whole or not at all"
    assert zeros.mean().item() == pytest.approx(0.25, abs=0.05)


IMPOSSIBLE = (-0.1, 1.0, float("nan"))


@pytest.mark.parametrize(
    ("build", "options", "words"),
    [
        *((build, dict(dropout=rate), "from 0 to below 1, not") for build in (small_cnn, mlp) for rate in IMPOSSIBLE),
        *((build, dict(activation="rellu"), 'activation "rellu".*mean "relu"') for build in (small_cnn, mlp)),
        (mlp, dict(hidden=(), dropout=0.5), "hidden=.. has none"),
        (mlp, dict(norm="instance"), 'no norm "instance".*Use one of layer, group, none, batch'),
        (small_cnn, dict(dropout_after="convolutions"), 'dropout_after "convolutions".*mean "convolution"'),
        (small_cnn, dict(norm="bach"), 'no norm "bach".*Did you mean "batch".*none'),
        (small_cnn, dict(depth=0), "at least 1 convolution, not 0"),
        (small_cnn, dict(pool="avrage"), 'no pool "avrage".*mean "average".*Use one of max, average'),
        (small_cnn, dict(convolution="depthwize"), 'no convolution "depthwize".*mean "depthwise"'),
    ],
)
def test_a_network_that_cannot_be_built_is_named_with_the_nearest(build, options, words):
    with pytest.raises(ValueError, match=words):
        build(COLOUR, **options)


# ---- the parts -------------------------------------------------------------------------------------------------------
def standardised(x, dims):
    return (x - x.mean(dims, keepdim=True)) / (x.var(dims, correction=0, keepdim=True) + 1e-5).sqrt()


@pytest.mark.parametrize(
    ("norm", "reference"),
    [
        ("batch", lambda x: standardised(x, (0, 2, 3))),
        ("instance", lambda x: standardised(x, (2, 3))),
        ("layer", lambda x: standardised(x, (1, 2, 3))),
        ("group", lambda x: standardised(x.view(5, 4, 3, 6, 7), (2, 3, 4)).view(5, 12, 6, 7)),  # gcd(8, 12) = 4 groups
        ("none", lambda x: x),
    ],
)
def test_norms_against_their_definitions(norm, reference):
    x = 3 + 2 * torch.randn(5, 12, 6, 7, generator=torch.Generator().manual_seed(0))
    layer = networks.NORMS[norm](12)
    assert torch.allclose(layer(x), reference(x), atol=1e-5)
    assert count_parameters(layer) == (0 if norm == "none" else 24), "a scale and a shift for each channel"


def test_own_function_makes_the_norm():
    model = small_cnn(COLOUR, width=4, norm=lambda channels: nn.BatchNorm2d(channels, momentum=channels / 100))
    assert [layer.momentum for layer in model if isinstance(layer, nn.BatchNorm2d)] == [0.04, 0.08, 0.16]


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_the_default_network_starts_from_the_same_numbers_as_ever(norm):
    """What earlier lessons committed: the same layers in the same order, from the same draws."""
    torch.manual_seed(7)
    layers, before = [normalise(COLOUR)], 3
    for channels in (4, 8, 16):
        for place in range(2):
            layers.append(nn.Conv2d(before, channels, 3, padding=1, bias=norm == "none"))
            layers += [nn.MaxPool2d(2, ceil_mode=True)] * (place == 0)
            layers += [nn.BatchNorm2d(channels) if norm == "batch" else nn.Identity(), nn.ReLU()]
            before = channels
    frozen = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5))
    torch.manual_seed(7)
    model = small_cnn(COLOUR, width=4, depth=2, norm=norm)
    assert list(model.state_dict()) == list(frozen.state_dict())
    assert all(torch.equal(value, frozen.state_dict()[name]) for name, value in model.state_dict().items())
    images = IMAGES.to(memory_format=torch.channels_last)
    assert torch.equal(model(images), frozen.to(memory_format=torch.channels_last)(images))


@pytest.mark.parametrize("pool", POOLS)
def test_every_pool_halves_the_sides_rounded_up_and_tiny_images_pass(pool):
    model, images, sides = small_cnn(COLOUR, width=4, pool=pool).eval(), IMAGES, []
    assert all(model(IMAGES[..., :size, :size]).shape == (30, 5) for size in (1, 2, 7, 8))
    for layer in model:
        sides.append(tuple(images.shape[2:]))
        images = layer(images)
    assert list(dict.fromkeys(sides)) == [(12, 10), (6, 5), (3, 3), (2, 2), (1, 1), ()] and images.shape == (30, 5)
    after = isinstance(model[3], nn.ReLU)  # else the activation follows the pool
    assert after == (pool in ("average", "blur")) and isinstance(model[4], type(POOLS[pool]()) if after else nn.ReLU)
    strides = [layer.stride for layer in model if isinstance(layer, nn.Conv2d)]
    assert strides == 3 * [(2, 2) if pool == "stride" else (1, 1)]


def test_pools_against_their_definitions():
    """Place by place, on maps that go on beyond their edge with the value at the edge."""
    maps, kernel = torch.randn(2, 3, 7, 6, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 2, 1]) / 4
    average, blur = POOLS["average"]()(maps), POOLS["blur"]()(maps)
    assert average.shape == blur.shape == (2, 3, 4, 3)
    framed = F.pad(maps, (0, 1, 0, 1), mode="replicate")
    highest = torch.stack([framed[:, :, i : 7 + i, j : 6 + j] for i in (0, 1) for j in (0, 1)]).amax(0)
    highest = F.pad(highest, (1, 1, 1, 1), mode="replicate")
    for row, column in torch.cartesian_prod(torch.arange(4), torch.arange(3)):
        window = maps[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        torch.testing.assert_close(average[:, :, row, column], window.mean((2, 3)), atol=1e-6, rtol=0)
        around = highest[:, :, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
        torch.testing.assert_close(blur[:, :, row, column], kernel @ around @ kernel, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize(("before", "channels", "kernel", "stride"), [(3, 8, 3, 1), (8, 8, 5, 2), (1, 4, 3, 2)])
def test_kinds_of_convolution(name, before, channels, kernel, stride):
    maps = torch.randn(2, before, 7, 8, generator=torch.Generator().manual_seed(0))
    make, few, side = CONVOLUTIONS[name], channels // 4, kernel // 2
    weights = {
        "standard": kernel**2 * before * channels,
        "spatial": kernel * before * channels + kernel * channels**2,
        "depthwise": kernel**2 * before + before * channels,
        "bottleneck": before * few + kernel**2 * few**2 + few * channels,
    }
    assert set(weights) == set(CONVOLUTIONS)
    for bias in (True, False):
        layer = make(before, channels, kernel, stride, bias)
        assert count_parameters(layer) == weights[name] + bias * channels
        assert layer(maps).shape == (2, channels, -(-7 // stride), -(-8 // stride))
    assert torch.allclose(layer(2 * maps), 2 * layer(maps), atol=1e-5), "one linear map"
    one = torch.zeros(1, before, 15, 15)
    one[..., 7, 7] = 1
    reached = make(before, channels, kernel, bias=False)(one)[0].abs().sum(0).nonzero()
    assert reached.min() == 7 - side and reached.max() == 7 + side, "it sees k×k places"


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_networks_of_every_kind_learn_and_only_a_depthwise_one_keeps_its_first_layer_standard(name):
    def weights(before, channels):
        return count_parameters(CONVOLUTIONS[name](before, channels, bias=False))

    assert learns_all_its_weights(small_cnn(COLOUR, width=4, depth=2, convolution=name, pool="stride"))
    model, standard = small_cnn(COLOUR, width=4, depth=2, convolution=name), name in ("standard", "depthwise")
    expected = (9 * 3 * 4 if standard else weights(3, 4)) + weights(4, 4)
    expected += weights(4, 8) + weights(8, 8) + weights(8, 16) + weights(16, 16)
    assert count_parameters(model) == expected + sum(2 * 2 * channels for channels in (4, 8, 16)) + 16 * 5 + 5
    assert isinstance(model[1], nn.Conv2d) == standard
    grey = small_cnn(Split(PIXELS[:, :1], COLOUR.targets, COLOUR.classes), width=4, convolution=name)
    maps = grey[1](IMAGES[:, :1])
    assert torch.linalg.matrix_rank(maps.transpose(0, 1).flatten(1), rtol=1e-4) > 1 or name == "bottleneck"


def test_shortcuts_add_the_input_of_a_block_and_no_parameters():
    model, plain = (small_cnn(COLOUR, width=4, depth=3, shortcuts=shortcuts) for shortcuts in (True, False))
    blocks = [layer for layer in model if isinstance(layer, networks.Shortcut)]
    assert len(blocks) == 6 and count_parameters(model) == count_parameters(plain)
    maps = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    conv, norm = blocks[0].eval()
    assert torch.allclose(blocks[0](maps), maps + norm(conv(maps)))
    for block in blocks:
        block[1].weight.data.zero_()  # a block that changes nothing
    shallow = nn.Sequential(*[layer for layer in model if layer not in blocks])
    assert torch.allclose(model.eval()(IMAGES), shallow.eval()(IMAGES), atol=1e-6)
