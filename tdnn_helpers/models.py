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

from .session import nearest
from .split import Split

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
    "silu": lambda: nn.SiLU(inplace=True),
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


class Normalise(nn.Module):
    """(x − mean) / std per channel. ``mean`` and ``std`` are buffers: saved with the weights, never trained."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float32).view(-1, 1, 1))
        self.register_buffer("std", torch.as_tensor(std, dtype=torch.float32).view(-1, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images - self.mean) / self.std


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
    norm: Norm = "batch",
    activation: str = "relu",
    outputs: int | None = None,
    inputs: nn.Module | None = None,
) -> nn.Sequential:
    """A small convolutional network: three times (3×3 convolution → 2×2 max pool → norm → activation), then the mean
    over all places and one linear layer. Pooling comes before the norm and the activation, which gives the same order
    of events a quarter of the places to work on; for ReLU without a norm the result is identical.

    Args:
        train: gives the number of channels and classes and the statistics of the input.
        width: channels of the first stage; the second has twice, the third four times as many.
        depth: convolutions in each of the three stages, each with its norm and activation; only the first one pools.
        norm, activation: names in ``NORMS`` and ``ACTIVATIONS``; ``norm`` may also be a function of the number of
            channels that makes a layer.
        outputs: number of outputs; default one per class.
        inputs: the layer that prepares images in [0, 1]; default :func:`normalise` of ``train``.
    """
    make_norm = _norm(norm, NORMS)
    if depth < 1:
        raise ValueError(f"a stage needs at least 1 convolution, not {depth}.")
    if activation not in ACTIVATIONS:
        raise ValueError(f'unknown activation "{activation}".{nearest(activation, ACTIVATIONS)}')
    layers: list[nn.Module] = [normalise(train) if inputs is None else inputs]
    before = train.images.shape[1]
    for channels in (width, 2 * width, 4 * width):
        for place in range(depth):
            layers.append(nn.Conv2d(before, channels, 3, padding=1, bias=norm == "none"))
            if place == 0:
                layers.append(nn.MaxPool2d(2, ceil_mode=True))
            layers += [make_norm(channels), ACTIVATIONS[activation]()]
            before = channels
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, outputs or len(train.classes))]
    # Channels last suits the CPU's convolutions: half as fast again (`make bench`), and the same arithmetic.
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def mlp(
    train: Split,
    *,
    hidden: Sequence[int] = (128,),
    norm: Norm = "none",
    activation: str = "relu",
    outputs: int | None = None,
    inputs: nn.Module | None = None,
) -> nn.Sequential:
    """A multi-layer perceptron on the flattened pixels; ``hidden=()`` is a linear model. Arguments as small_cnn;
    ``norm`` comes between a dense layer and its activation ("instance" needs maps and does not exist here)."""
    make_norm = _norm(norm, DENSE_NORMS)
    if activation not in ACTIVATIONS:
        raise ValueError(f'unknown activation "{activation}".{nearest(activation, ACTIVATIONS)}')
    layers: list[nn.Module] = [normalise(train) if inputs is None else inputs, nn.Flatten()]
    before = train.images[0].numel()
    for units in hidden:
        layers.append(nn.Linear(before, units, bias=norm == "none"))
        if norm != "none":
            layers.append(make_norm(units))
        layers.append(ACTIVATIONS[activation]())
        before = units
    return nn.Sequential(*layers, nn.Linear(before, outputs or len(train.classes)))


def _norm(norm: Norm, known: Mapping[str, Callable[[int], nn.Module]]) -> Callable[[int], nn.Module]:
    if callable(norm):
        return norm
    if norm not in known:
        raise ValueError(f'unknown norm "{norm}".{nearest(norm, known)} Known: {", ".join(known)}.')
    return known[norm]


def count_parameters(model: nn.Module) -> int:
    """The number of trainable numbers in ``model``."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
