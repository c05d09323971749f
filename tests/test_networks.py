"""The networks: input statistics against torch, sizes against formulas, and the claim about the order of pooling."""

import pytest
import torch
from torch import nn

from tdnn_helpers.data.sets import load
from tdnn_helpers.data.split import Split
from tdnn_helpers.models.networks import (
    ACTIVATIONS,
    CONVOLUTIONS,
    DENSE_NORMS,
    DROPOUT_AFTER,
    NORMS,
    POOLS,
    Normalise,
    Shortcut,
    channel_statistics,
    count_parameters,
    mlp,
    normalise,
    small_cnn,
)


@pytest.fixture(scope="module")
def colour():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (30, 3, 12, 10), generator=generator, dtype=torch.uint8)
    images[:, 1] //= 4
    images[:, 2] = 77
    return Split(images, torch.arange(30) % 5, tuple("abcde"))


def test_channel_statistics_are_those_of_all_pixels(colour):
    values = colour.images.double() / 255
    means, stds = channel_statistics(colour)
    assert means == pytest.approx(values.mean(dim=(0, 2, 3)).tolist(), abs=1e-12)
    assert stds == pytest.approx(values.std(dim=(0, 2, 3), correction=0).tolist(), abs=1e-12)


def test_normalised_images_have_mean_0_and_std_1(colour):
    out = normalise(colour)(colour.images.float() / 255)
    assert torch.allclose(out.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-4)
    assert torch.allclose(out[:, :2].std(dim=(0, 2, 3), correction=0), torch.ones(2), atol=1e-4)
    assert out.isfinite().all(), "the constant channel"


def test_statistics_travel_with_the_weights_and_are_not_trained(colour):
    layer = Normalise([0.1, 0.2, 0.3], [1.0, 2.0, 3.0])
    assert not list(layer.parameters()) and set(layer.state_dict()) == {"mean", "std"}
    other = Normalise([0.0] * 3, [1.0] * 3)
    other.load_state_dict(layer.state_dict())
    images = colour.images.float() / 255
    assert torch.equal(other(images), layer(images))
    expected = [(images[:, c] - mean) / std for c, (mean, std) in enumerate([(0.1, 1.0), (0.2, 2.0), (0.3, 3.0)])]
    assert torch.allclose(layer(images), torch.stack(expected, 1))


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_number_of_parameters(colour, norm):
    width = 4
    channels = [3, width, 2 * width, 4 * width]
    per_channel = 2 if norm == "batch" else 1  # scale and shift, or the bias of the convolution
    expected = sum(9 * a * b + per_channel * b for a, b in zip(channels, channels[1:])) + channels[-1] * 5 + 5  # noqa: B905
    assert count_parameters(small_cnn(colour, width=width, norm=norm)) == expected
    model = mlp(colour, hidden=(7, 6))
    assert count_parameters(model) == (360 * 7 + 7) + (7 * 6 + 6) + (6 * 5 + 5)
    model[-1].requires_grad_(False)
    assert count_parameters(model) == (360 * 7 + 7) + (7 * 6 + 6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("build", [small_cnn, mlp])
def test_outputs_and_gradients_with_every_activation(colour, build, activation):
    model = build(colour, activation=activation)
    out = model(colour.images.float() / 255)
    assert out.shape == (30, 5)
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert build(colour, activation=activation, outputs=2)(colour.images.float() / 255).shape == (30, 2)


def test_odd_and_tiny_images_pass():
    for size in (1, 2, 7, 28):
        split = Split(torch.zeros(2, 1, size, size, dtype=torch.uint8), torch.tensor([0, 1]), ("a", "b"))
        assert small_cnn(split).eval()(split.images.float()).shape == (2, 2)


def test_pool_before_relu_is_the_same_as_after(colour):
    model = small_cnn(colour, norm="none", width=3)
    images = colour.images.float() / 255
    x = model[0](images)
    for block in range(3):
        convolution, pool = model[1 + 4 * block], model[2 + 4 * block]
        assert isinstance(convolution, nn.Conv2d) and isinstance(pool, nn.MaxPool2d)
        x = pool(torch.relu(convolution(x)))
    assert torch.equal(model[-1](x.mean(dim=(2, 3))), model(images))


def test_no_hidden_layer_is_a_linear_model(colour):
    model = mlp(colour, hidden=())
    x = model[0](colour.images.float() / 255).flatten(1)
    assert torch.allclose(model(colour.images.float() / 255), x @ model[-1].weight.T + model[-1].bias, atol=1e-5)


@pytest.mark.parametrize("build", [small_cnn, mlp])
def test_own_input_layer_replaces_the_normalisation(colour, build):
    for inputs in (nn.Identity(), nn.Sequential()):  # an empty Sequential counts as false in Python
        assert build(colour, inputs=inputs)[0] is inputs
    assert isinstance(build(colour)[0], Normalise)


def kinds(model, *which):
    """The names of the layers, in order, of the kinds given."""
    return [type(layer).__name__ for layer in model if isinstance(layer, which)]


def test_hidden_layers_of_the_cnn(colour):
    model = small_cnn(colour, width=4, hidden=(7, 6))
    dense = [layer for layer in model if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in dense] == [(16, 7), (7, 6), (6, 5)]
    assert isinstance(model[-2], nn.ReLU) and isinstance(model[-4], nn.ReLU)
    assert model(colour.images.float() / 255).shape == (30, 5)


def test_where_dropout_stands(colour):
    wanted = (nn.Conv2d, nn.Linear, nn.Dropout, nn.Dropout2d)
    block = ["Conv2d"]
    assert kinds(mlp(colour, hidden=(8, 7), dropout=0.5), *wanted) == ["Linear", "Dropout"] * 2 + ["Linear"]
    assert kinds(small_cnn(colour, dropout=0.5), *wanted) == 3 * block + ["Dropout", "Linear"]
    behind_dense = small_cnn(colour, dropout=0.5, hidden=(8,))
    assert kinds(behind_dense, *wanted) == 3 * block + ["Linear", "Dropout", "Linear"]
    behind_convolution = small_cnn(colour, dropout=0.5, dropout_after="convolution", hidden=(8,))
    assert kinds(behind_convolution, *wanted) == ["Conv2d", "Dropout2d"] * 3 + ["Linear"] * 2
    for model in (mlp(colour), small_cnn(colour, dropout_after="convolution")):
        assert not kinds(model, nn.Dropout, nn.Dropout2d)


@pytest.mark.parametrize("place", DROPOUT_AFTER)
def test_dropout_keeps_the_first_weights_and_the_answers_in_eval_mode(colour, place):
    models = []
    for dropout in (0.0, 0.5):
        torch.manual_seed(3)
        models.append(small_cnn(colour, hidden=(8,), dropout=dropout, dropout_after=place).eval())
    images = colour.images.float() / 255
    assert torch.equal(models[0](images), models[1](images))
    models[1].train()
    assert not torch.equal(models[1](images), models[1](images)), "each pass drops other units"


def test_dropout_drops_this_share_and_whole_maps(colour):
    rate, images = 0.25, colour.images.float() / 255
    hidden = mlp(colour, hidden=(4000,), activation="sigmoid", dropout=rate)[:-1].train()(images[:1])
    assert (hidden == 0).float().mean().item() == pytest.approx(rate, abs=0.03)
    maps = small_cnn(colour, width=64, activation="sigmoid", dropout=rate, dropout_after="convolution")[:6]
    zeros = (maps.train()(images) == 0).float().mean(dim=(2, 3))
    assert set(zeros.unique().tolist()) == {0.0, 1.0}, "a map is dropped as a whole or not at all"
    assert zeros.mean().item() == pytest.approx(rate, abs=0.05)


@pytest.mark.parametrize("build", [small_cnn, mlp])
@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_impossible_dropout_is_refused(colour, build, rate):
    with pytest.raises(ValueError, match="from 0 to below 1, not"):
        build(colour, dropout=rate)


def test_dropout_needs_its_place(colour):
    with pytest.raises(ValueError, match="hidden=.. has none"):
        mlp(colour, hidden=(), dropout=0.5)
    with pytest.raises(ValueError, match='not "convolutions".*Did you mean "convolution"'):
        small_cnn(colour, dropout=0.5, dropout_after="convolutions")


def test_unknown_names_are_named_with_the_nearest(colour):
    with pytest.raises(ValueError, match='unknown norm "bach".*Did you mean "batch".*none'):
        small_cnn(colour, norm="bach")
    for build in (small_cnn, mlp):
        with pytest.raises(ValueError, match='unknown activation "rellu".*Did you mean "relu"'):
            build(colour, activation="rellu")


def test_digits_fit_the_defaults():
    digits = load("digits").take(20, seed=0)
    assert small_cnn(digits)(digits.images.float() / 255).shape == (20, 10)


@pytest.mark.parametrize("build", [small_cnn, mlp])
def test_values_to_predict_give_one_output_per_column(colour, build):
    for targets, outputs in (torch.rand(30), 1), (torch.rand(30, 1), 1), (torch.rand(30, 3), 3):
        model = build(colour.with_targets(targets))
        assert model(colour.images.float() / 255).shape == (30, outputs)
    assert build(colour.with_targets(torch.rand(30)), outputs=4)[-1].out_features == 4


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
    layer = NORMS[norm](12)
    assert torch.allclose(layer(x), reference(x), atol=1e-5)
    assert count_parameters(layer) == (0 if norm == "none" else 24), "a scale and a shift for each channel"


@pytest.mark.parametrize("norm", DENSE_NORMS)
def test_norms_of_dense_layers(colour, norm):
    model = mlp(colour, hidden=(8, 6), norm=norm)
    own = 1 if norm == "none" else 2  # the bias, or a scale and a shift
    assert count_parameters(model) == (360 * 8 + own * 8) + (8 * 6 + own * 6) + (6 * 5 + 5)
    model(colour.images.float() / 255).square().sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in model.parameters())


def test_own_function_makes_the_norm(colour):
    made = []

    def norm(channels):
        made.append(channels)
        return nn.BatchNorm2d(channels, momentum=0.5)

    model = small_cnn(colour, width=4, norm=norm)
    assert made == [4, 8, 16] and model[3].momentum == 0.5


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_depth_adds_convolutions_and_no_pooling(colour, depth):
    width, norm = 4, "none"
    model = small_cnn(colour, width=width, depth=depth, norm=norm)
    before = [3, width, 2 * width]
    expected = sum(9 * a * width * 2**s + width * 2**s for s, a in enumerate(before))
    expected += (depth - 1) * sum(9 * c * c + c for c in (width, 2 * width, 4 * width)) + 4 * width * 5 + 5
    assert count_parameters(model) == expected
    assert sum(isinstance(layer, nn.MaxPool2d) for layer in model) == 3
    assert sum(isinstance(layer, nn.ReLU) for layer in model) == 3 * depth
    assert model(colour.images.float() / 255).shape == (30, 5)


def test_depth_below_1_and_instance_norm_of_a_unit_are_refused(colour):
    with pytest.raises(ValueError, match="at least 1 convolution, not 0"):
        small_cnn(colour, depth=0)
    with pytest.raises(ValueError, match='unknown norm "instance".*Known: layer, group, none, batch'):
        mlp(colour, norm="instance")


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_the_default_network_starts_from_the_same_numbers_as_ever(colour, norm):
    """What earlier lessons committed: the same layers in the same order, from the same draws."""
    torch.manual_seed(7)
    layers, before = [normalise(colour)], 3
    for channels in (4, 8, 16):
        for place in range(2):
            layers.append(nn.Conv2d(before, channels, 3, padding=1, bias=norm == "none"))
            layers += [nn.MaxPool2d(2, ceil_mode=True)] * (place == 0)
            layers += [nn.BatchNorm2d(channels) if norm == "batch" else nn.Identity(), nn.ReLU()]
            before = channels
    frozen = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5))
    torch.manual_seed(7)
    model = small_cnn(colour, width=4, depth=2, norm=norm)
    assert list(model.state_dict()) == list(frozen.state_dict())
    assert all(torch.equal(value, frozen.state_dict()[name]) for name, value in model.state_dict().items())
    images = (colour.images.float() / 255).to(memory_format=torch.channels_last)
    assert torch.equal(model(images), frozen.to(memory_format=torch.channels_last)(images))


@pytest.mark.parametrize("pool", POOLS)
def test_every_pool_halves_the_sides_rounded_up(colour, pool):
    model = small_cnn(colour, width=4, pool=pool)
    images, sides = colour.images.float() / 255, []
    for layer in model:
        sides.append(tuple(images.shape[2:]))
        images = layer(images)
    assert list(dict.fromkeys(sides)) == [(12, 10), (6, 5), (3, 3), (2, 2), (1, 1), ()] and images.shape == (30, 5)
    after = isinstance(model[3], nn.ReLU)  # else the activation follows the pool
    assert after == (pool in ("average", "blur")) and isinstance(model[4], type(POOLS[pool]()) if after else nn.ReLU)
    strides = [layer.stride for layer in model if isinstance(layer, nn.Conv2d)]
    assert strides == 3 * [(2, 2) if pool == "stride" else (1, 1)]


def test_pools_against_their_definitions():
    maps = torch.randn(2, 3, 7, 6, generator=torch.Generator().manual_seed(0))
    average, blur = POOLS["average"]()(maps), POOLS["blur"]()(maps)

    def at(row, side):  # beyond the edge stands the value at the edge
        return min(max(row, 0), side - 1)

    def dense(n, c, row, column):
        row, column = at(row, 7), at(column, 6)
        return max(maps[n, c, at(row + i, 7), at(column + j, 6)] for i in (0, 1) for j in (0, 1))

    for n, c, row, column in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(4), torch.arange(3)):
        window = maps[n, c, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        assert average[n, c, row, column] == pytest.approx(window.mean().item(), abs=1e-6)
        taps = {-1: 1, 0: 2, 1: 1}
        blurred = sum(
            taps[i] * taps[j] / 16 * dense(n, c, 2 * row + i, 2 * column + j).item() for i in taps for j in taps
        )
        assert blur[n, c, row, column] == pytest.approx(blurred, abs=1e-5)
    assert average.shape == blur.shape == (2, 3, 4, 3)


@pytest.mark.parametrize(("before", "channels", "kernel", "stride"), [(3, 8, 3, 1), (8, 8, 5, 2), (1, 4, 3, 2)])
def test_kinds_of_convolution(before, channels, kernel, stride):
    maps = torch.randn(2, before, 7, 8, generator=torch.Generator().manual_seed(0))
    few = channels // 4
    weights = {
        "standard": kernel**2 * before * channels,
        "spatial": kernel * before * channels + kernel * channels**2,
        "depthwise": kernel**2 * before + before * channels,
        "bottleneck": before * few + kernel**2 * few**2 + few * channels,
    }
    assert set(weights) == set(CONVOLUTIONS)
    for name, make in CONVOLUTIONS.items():
        for bias in (True, False):
            layer = make(before, channels, kernel, stride, bias)
            assert count_parameters(layer) == weights[name] + bias * channels, name
            assert layer(maps).shape == (2, channels, -(-7 // stride), -(-8 // stride)), name
        assert torch.allclose(layer(2 * maps), 2 * layer(maps), atol=1e-5), "one linear map"
        one = torch.zeros(1, before, 15, 15)
        one[..., 7, 7] = 1
        reached = make(before, channels, kernel, bias=False)(one)[0].abs().sum(0).nonzero()
        side = kernel // 2
        assert reached.min() == 7 - side and reached.max() == 7 + side, f"{name} sees k×k places"


def test_shortcuts_add_the_input_of_a_block_and_no_parameters(colour):
    model, plain = (small_cnn(colour, width=4, depth=3, shortcuts=shortcuts) for shortcuts in (True, False))
    blocks = [layer for layer in model if isinstance(layer, Shortcut)]
    assert len(blocks) == 6 and count_parameters(model) == count_parameters(plain)
    maps = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    conv, norm = blocks[0].eval()
    assert torch.allclose(blocks[0](maps), maps + norm(conv(maps)))
    images = colour.images.float() / 255
    with torch.no_grad():
        for block in blocks:
            block[1].weight.zero_()  # a block that changes nothing
    shallow = nn.Sequential(*[layer for layer in model if not isinstance(layer, Shortcut)])
    assert torch.allclose(model.eval()(images), shallow.eval()(images), atol=1e-6)


@pytest.mark.parametrize("convolution", CONVOLUTIONS)
def test_networks_of_every_kind_learn_all_their_weights(colour, convolution):
    model = small_cnn(colour, width=4, depth=2, convolution=convolution, pool="stride")
    model(colour.images.float() / 255).square().sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize("convolution", CONVOLUTIONS)
def test_only_a_depthwise_network_keeps_its_first_layer_standard(colour, convolution):
    width, pixels = 4, colour.images.float() / 255
    model = small_cnn(colour, width=width, depth=2, convolution=convolution)
    first, standard = model[1], convolution in ("standard", "depthwise")
    kinds = [CONVOLUTIONS[convolution](a, b, bias=False) for a, b in ((4, 4), (4, 8), (8, 8), (8, 16), (16, 16))]
    start = 9 * 3 * width if standard else count_parameters(CONVOLUTIONS[convolution](3, width, bias=False))
    norms = sum(2 * 2 * channels for channels in (4, 8, 16))
    assert count_parameters(model) == start + sum(map(count_parameters, kinds)) + norms + 16 * 5 + 5
    assert isinstance(first, nn.Conv2d) == standard
    grey = small_cnn(Split(colour.images[:, :1], colour.targets, colour.classes), width=width, convolution=convolution)
    maps = grey[1](pixels[:, :1])
    assert torch.linalg.matrix_rank(maps.transpose(0, 1).flatten(1), rtol=1e-4) > 1 or convolution == "bottleneck"


def test_unknown_pools_and_convolutions_are_named_with_the_nearest(colour):
    with pytest.raises(ValueError, match='unknown pool "avrage".*Did you mean "average".*Known: max, average'):
        small_cnn(colour, pool="avrage")
    with pytest.raises(ValueError, match='unknown convolution "depthwize".*Did you mean "depthwise"'):
        small_cnn(colour, convolution="depthwize")
