"""The course's small networks, from shared blocks. What a lesson varies is an argument, not a copy.

Every network takes float32 images in [0, 1], N×C×H×W, and normalises them itself (:class:`Normalise`). Its training
statistics therefore travel with its weights, and an attack or a shift in [0, 1] means the same for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import nn

from ..core.choices import check_known
from ..data.split import Split
from .activations import Swish

Norm = str | Callable[[int], nn.Module]  # a name, or a function of the number of channels that makes the layer

NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "instance": partial(nn.InstanceNorm2d, affine=True),
    "layer": lambda channels: nn.GroupNorm(1, channels),  # over all maps of one image, as in Ba et al. 2016
    "group": lambda channels: nn.GroupNorm(math.gcd(8, channels), channels),  # 8 groups where they divide the channels
    "none": lambda channels: nn.Identity(),
}
# A dense unit gives one number for an image: an instance norm would have nothing to average over.
DENSE_NORMS = {name: NORMS[name] for name in ("layer", "group", "none")} | {"batch": nn.BatchNorm1d}
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "leaky_relu": lambda: nn.LeakyReLU(inplace=True),  # slope 0.01 for negative inputs
    "silu": lambda: nn.SiLU(inplace=True),  # Swish with β fixed at 1
    "swish": Swish,  # with a trainable β in each layer, 1 at the start
    "mish": lambda: nn.Mish(inplace=True),
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
DROPOUT_AFTER = ("dense", "convolution")


def _standard(before: int, channels: int, kernel: int = 3, stride: int = 1, bias: bool = True) -> nn.Module:
    return nn.Conv2d(before, channels, kernel, stride, padding=kernel // 2, bias=bias)


def _spatial(before: int, channels: int, kernel: int = 3, stride: int = 1, bias: bool = True) -> nn.Module:
    side = kernel // 2
    return nn.Sequential(
        nn.Conv2d(before, channels, (kernel, 1), (stride, 1), padding=(side, 0), bias=False),
        nn.Conv2d(channels, channels, (1, kernel), (1, stride), padding=(0, side), bias=bias),
    )


def _depthwise(before: int, channels: int, kernel: int = 3, stride: int = 1, bias: bool = True) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(before, before, kernel, stride, padding=kernel // 2, groups=before, bias=False),
        nn.Conv2d(before, channels, 1, bias=bias),
    )


def _bottleneck(before: int, channels: int, kernel: int = 3, stride: int = 1, bias: bool = True) -> nn.Module:
    few = max(1, channels // 4)
    return nn.Sequential(
        nn.Conv2d(before, few, 1, bias=False),
        nn.Conv2d(few, few, kernel, stride, padding=kernel // 2, bias=False),
        nn.Conv2d(few, channels, 1, bias=bias),
    )


# Functions of (channels before, channels, kernel, stride, bias) for odd kernels; each layer is one linear map.
# "spatial": k×1, then 1×k. "depthwise": one k×k kernel for each channel, then 1×1 (MobileNet, arXiv 1704.04861).
# "bottleneck": 1×1 to a quarter of the channels, k×k, and 1×1 back (ResNet, arXiv 1512.03385).
CONVOLUTIONS: dict[str, Callable[..., nn.Module]] = {
    "standard": _standard,
    "spatial": _spatial,
    "depthwise": _depthwise,
    "bottleneck": _bottleneck,
}
# Functions that make a layer which halves the sides of the maps, rounded up.
POOLS: dict[str, Callable[[], nn.Module]] = {
    "max": lambda: nn.MaxPool2d(2, ceil_mode=True),
    "average": lambda: nn.AvgPool2d(2, ceil_mode=True),  # at an odd edge over the places that exist
    "stride": nn.Identity,  # the convolution before it takes steps of two instead
    # The maximum at every place, a blur with (1, 2, 1) / 4 in both directions, every second place (Zhang, ICML 2019).
    # Two averages of neighbouring places make that blur; the second one takes every second place.
    "blur": lambda: nn.Sequential(
        nn.ReplicationPad2d((0, 1, 0, 1)),
        nn.MaxPool2d(2, stride=1),
        nn.ReplicationPad2d(1),
        nn.AvgPool2d(2, stride=1),
        nn.AvgPool2d(2),
    ),
}
# The maximum and an increasing activation may change places. An average may not: before the activation it would only be
# one more linear step behind the convolution.
POOLS_AFTER_ACTIVATION = ("average", "blur")


class Normalise(nn.Module):
    """(x − mean) / std per channel. ``mean`` and ``std`` are buffers: saved with the weights, never trained."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float32).view(-1, 1, 1))
        self.register_buffer("std", torch.as_tensor(std, dtype=torch.float32).view(-1, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images - self.mean) / self.std


class Shortcut(nn.Sequential):
    """x + layers(x): the layers learn what to change in maps of the same shape (He et al., arXiv 1512.03385)."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return maps + super().forward(maps)


def channel_statistics(split: Split) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel on the [0, 1] scale, exact over all pixels. Give it training data."""
    values = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    for channel in split.images.unbind(1):
        share = torch.bincount(channel.flatten(), minlength=256).double() / channel.numel()
        mean = (share * values).sum()
        means.append(float(mean))
        stds.append(float((share * (values - mean) ** 2).sum().sqrt()))
    return means, stds


def normalise(train: Split) -> Normalise:
    """The z-score layer of this training split: (x − mean) / std, with a std of at least 1/255."""
    means, stds = channel_statistics(train)
    return Normalise(means, [max(std, 1 / 255) for std in stds])


def small_cnn(
    train: Split,
    *,
    width: int = 16,
    depth: int = 1,
    convolution: str = "standard",
    pool: str = "max",
    shortcuts: bool = False,
    norm: Norm = "batch",
    activation: str = "relu",
    hidden: Sequence[int] = (),
    dropout: float = 0.0,
    dropout_after: str = "dense",
    outputs: int | None = None,
    inputs: nn.Module | None = None,
) -> nn.Sequential:
    """A small convolutional network: three times (3×3 convolution → 2×2 max pool → norm → activation), then the mean
    over all places, dense layers of the sizes ``hidden`` (none by default) and one linear layer. Max pooling comes
    before the norm and the activation, which gives the same order of events a quarter of the places to work on; for
    ReLU without a norm the result is identical. Average and blur pooling come after the activation.

    Args:
        train: gives the number of channels and classes and the statistics of the input.
        width: channels of the first stage; the second has twice, the third four times as many.
        depth: convolutions in each of the three stages, each with its norm and activation; only the first one pools.
        convolution, pool: names in ``CONVOLUTIONS`` and ``POOLS``. Each pool halves the sides of the maps, rounded up;
            with "stride" the first convolution of a stage takes steps of two and nothing else pools. With "depthwise"
            the very first convolution, which reads the pixels, stays standard, as in MobileNet (arXiv 1704.04861).
        shortcuts: add the input of each convolution after the first of a stage to its output, before the activation.
        norm, activation: names in ``NORMS`` and ``ACTIVATIONS``; ``norm`` may also be a function of the number of
            channels that makes a layer.
        hidden: units of the dense layers between the pooled features and the output layer.
        dropout: the share of units set to 0 in training, from 0 to below 1; the others are scaled by 1 / (1 − dropout),
            so that the expected value stays (Srivastava et al., JMLR 2014).
        dropout_after: a name in ``DROPOUT_AFTER``. "dense": after every hidden dense layer or, if there is none, on the
            features that the output layer reads. "convolution": after every convolutional block, where whole maps are
            set to 0, because neighbouring places of one map say nearly the same (Tompson et al., CVPR 2015).
        outputs: number of outputs; default one per class, or one per column of the values in regression.
        inputs: the layer that prepares images in [0, 1]; default :func:`normalise` of ``train``.
    """
    make_norm = _norm(norm, NORMS)
    if depth < 1:
        raise ValueError(f"a stage needs at least 1 convolution, not {depth}.")
    check_known(dropout_after, DROPOUT_AFTER, "place of dropout_after")
    check_known(convolution, CONVOLUTIONS, "convolution")
    check_known(pool, POOLS, "pool")
    _check(activation, dropout)
    of_maps, of_units = (dropout if dropout_after == place else 0.0 for place in ("convolution", "dense"))
    layers: list[nn.Module] = [normalise(train) if inputs is None else inputs]
    before = train.images.shape[1]
    for channels in (width, 2 * width, 4 * width):
        for place in range(depth):
            stride = 2 if place == 0 and pool == "stride" else 1
            # A depthwise layer has one kernel for each input channel: on grey pixels a single one, copied to all maps.
            kind = "standard" if convolution == "depthwise" and len(layers) == 1 else convolution
            block = [CONVOLUTIONS[kind](before, channels, stride=stride, bias=norm == "none")]
            if place == 0 and pool not in POOLS_AFTER_ACTIVATION:
                block.append(POOLS[pool]())
            block.append(make_norm(channels))
            layers += [Shortcut(*block)] if shortcuts and place > 0 else block
            layers.append(ACTIVATIONS[activation]())
            if place == 0 and pool in POOLS_AFTER_ACTIVATION:
                layers.append(POOLS[pool]())
            if of_maps:
                layers.append(nn.Dropout2d(of_maps))
            before = channels
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    if of_units and not hidden:
        layers.append(nn.Dropout(of_units))
    layers += _dense(before, hidden, "none", activation, of_units)
    layers.append(nn.Linear(hidden[-1] if hidden else before, outputs or outputs_for(train)))
    # Channels last suits the CPU's convolutions: half as fast again (`make bench`), and the same arithmetic.
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def mlp(
    train: Split,
    *,
    hidden: Sequence[int] = (128,),
    norm: Norm = "none",
    activation: str = "relu",
    dropout: float = 0.0,
    outputs: int | None = None,
    inputs: nn.Module | None = None,
) -> nn.Sequential:
    """A multi-layer perceptron on the flattened pixels; ``hidden=()`` is a linear model. ``norm`` comes between a dense
    layer and its activation ("instance" needs maps and does not exist here), ``dropout`` after it; the other arguments
    are those of :func:`small_cnn`. ValueError for dropout without a hidden layer."""
    _check(activation, dropout)
    if dropout and not hidden:
        raise ValueError("dropout acts after hidden layers, but hidden=() has none.")
    layers: list[nn.Module] = [normalise(train) if inputs is None else inputs, nn.Flatten()]
    before = train.images[0].numel()
    layers += _dense(before, hidden, norm, activation, dropout)
    return nn.Sequential(*layers, nn.Linear(hidden[-1] if hidden else before, outputs or outputs_for(train)))


def _dense(before: int, hidden: Sequence[int], norm: Norm, activation: str, dropout: float) -> list[nn.Module]:
    """Dense layers of these sizes, each with its norm, its activation and its dropout."""
    layers: list[nn.Module] = []
    for units in hidden:
        layers.append(nn.Linear(before, units, bias=norm == "none"))
        if norm != "none":
            layers.append(_norm(norm, DENSE_NORMS)(units))
        layers.append(ACTIVATIONS[activation]())
        if dropout:
            layers.append(nn.Dropout(dropout))
        before = units
    return layers


def outputs_for(train: Split) -> int:
    """One per class, or one per column of the targets."""
    return len(train.classes) or train.targets[:1].numel()


def _check(activation: str, dropout: float) -> None:
    check_known(activation, ACTIVATIONS, "activation")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is the share of units set to 0, from 0 to below 1, not {dropout}.")


def _norm(norm: Norm, known: Mapping[str, Callable[[int], nn.Module]]) -> Callable[[int], nn.Module]:
    if callable(norm):
        return norm
    check_known(norm, known, "norm")
    return known[norm]


def count_parameters(model: nn.Module) -> int:
    """The number of trainable numbers in ``model``."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
