"""Points 1 and 2: does the input still carry the information, and in what range does it reach the first layer?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

import torch
from torch import nn

from ..evidence.effects import wilson
from ..measures.embedding import knn_accuracy
from .case import Case
from .findings import FINE, LOOK, NOT_CHECKED, WRONG, Finding, percent

NORM_LAYERS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.modules.instancenorm._InstanceNorm)


def check_representation(case: Case) -> Iterator[Finding]:
    """Point 1: shapes, empty images, duplicates, a probe on the pixels, the network's own resolution."""
    n, channels, height, width = case.train.images.shape
    yield Finding(FINE, f"{n:,} images of {channels}×{height}×{width}, {case.classes} classes.")
    flat = case.train.images.flatten(1)
    constant = float((flat.amax(1) == flat.amin(1)).float().mean())
    if constant:
        yield Finding(
            WRONG if constant >= 0.05 else LOOK,
            f"{percent(constant, 2)} of the training images have one single value in all pixels.",
            "Look at the constant images: a failed crop, a missing file, or a mask saved in place of the picture.",
        )
    per_channel = case.train.images.transpose(0, 1).flatten(1)
    empty = [c for c, values in enumerate(per_channel) if values.amax() == values.amin()]
    if empty and constant < 1:
        evidence = f"Channel {', '.join(map(str, empty))} has the same value everywhere."
        yield Finding(LOOK, evidence, "Remove channels that carry nothing, or find out where they were lost.")
    repeated = n - len(set(case.train_digests))
    if repeated > 0.01 * n:
        evidence = f"{repeated:,} training images ({percent(repeated / n, 1)}) are exact copies of others."
        yield Finding(LOOK, evidence, "Remove copies before you split, or they end up on both sides.")
    yield _probe_pixels(case)
    blind = _blind_convolutions(case)
    if blind:
        yield Finding(
            LOOK,
            f"{len(blind)} convolution(s) see a map of 1×1 and thus mostly padding (the first is {blind[0]}).",
            "Use larger images or fewer strides: the network shrinks them away before it has looked at them.",
        )


def _probe_pixels(case: Case) -> Finding:
    """Are neighbours in pixels of the same class, at three sizes?"""
    sides = [case.side, max(1, case.side // 2), max(1, case.side // 4)]
    spaces = [case.pixels, *(case.pixel_space(side) for side in sides[1:])]
    known, asked = case.sample.targets, case.val_sample.targets
    found = [knn_accuracy(train, known, val, asked) for train, val in spaces]
    prior = float(case.prior.max())
    rates = ", ".join(f"{percent(rate)} at {side} px" for rate, side in zip(found, sides, strict=True))
    evidence = f"5 nearest neighbours on raw pixels: {rates}"
    if wilson(max(found), len(asked))[0] > prior:
        return Finding(FINE, f"{evidence}; the most frequent class alone gives {percent(prior)}.")
    return Finding(
        LOOK,
        f"{evidence}: no better than naming the most frequent class ({percent(prior)}).",
        "Look at twenty images at the size the network gets: can you tell the classes apart? "
        "If so, pixels are merely a poor measure here; if not, use a higher resolution or another crop.",
    )


def _blind_convolutions(case: Case) -> list[str]:
    """The names of convolutions wider than one pixel whose whole input is one pixel."""
    blind: list[str] = []

    def note(name: str, module: nn.Module, inputs: tuple) -> None:
        if isinstance(module, nn.Conv2d) and max(module.kernel_size) > 1 and inputs[0].shape[-2:] == (1, 1):
            blind.append(name)

    try:
        _run_watched(case, 2, note)
    except Exception:  # a model that cannot be run is reported under point 4
        return []
    return blind


def check_normalisation(case: Case) -> Iterator[Finding]:
    """Point 2: mean, standard deviation and range of what reaches the first layer with weights."""
    name, layer, values = _first_input(case)
    if values is None:
        yield Finding(NOT_CHECKED, "No standard layer (convolution, linear) was reached.")
        return
    if not torch.isfinite(values).all():
        yield Finding(WRONG, f"What reaches the first layer ({name}) is not all finite.", "Look for a division by 0.")
        return
    per_channel = values.transpose(0, 1).flatten(1) if values.ndim == 4 else values.reshape(1, -1)
    mean, std = per_channel.mean(1), per_channel.std(1)
    size, spread = float(values.square().mean().sqrt()), float(std.max())
    evidence = (
        f"What reaches the first layer ({name}, {layer}) has mean {_numbers(mean)} and standard deviation "
        f"{_numbers(std)}, from {values.min():.3g} to {values.max():.3g}."
    )
    levels, given = (len(part[:64].unique()) for part in (values, case.batch(64).images))
    statistics = "mean 0 and standard deviation 1 by the statistics of the training split."
    if levels <= 2 * case.train.images.shape[1] < given / 4:
        yield Finding(
            WRONG,
            f"{evidence} Of {given} grey levels only {levels} are left.",
            "The input was cast to an integer or cut off: convert to float first, and divide by 255 only once.",
        )
    elif spread < 0.01:
        advice = "The input hardly varies: it was scaled twice, or divided by a far too large number."
        yield Finding(WRONG, evidence, advice)
    elif size > 20:
        normed = any(isinstance(module, NORM_LAYERS) for module in case.model.modules())
        hidden = " Its normalisation layers may hide this while it trains." if normed else ""
        yield Finding(LOOK if normed else WRONG, evidence + hidden, f"Scale the input to [0, 1], or to {statistics}")
    elif size > 5 or size < 0.05 or float(mean.abs().max()) > 5 * spread or float(std.min()) < 0.02 * spread:
        yield Finding(LOOK, evidence, f"Bring every channel to {statistics}")
    else:
        yield Finding(FINE, evidence)


def _numbers(values: torch.Tensor) -> str:
    return ", ".join(f"{float(v) + 0.0:.2g}" for v in values[:3]) + (", …" if len(values) > 3 else "")


def _first_input(case: Case) -> tuple[str, str, torch.Tensor | None]:
    """Name, type and input of the first layer with a weight matrix that a batch of training images reaches."""
    seen: list[tuple[str, str, torch.Tensor]] = []

    def note(name: str, module: nn.Module, inputs: tuple) -> None:
        weight = getattr(module, "weight", None)
        if not seen and isinstance(weight, torch.Tensor) and weight.ndim >= 2 and torch.is_tensor(inputs[0]):
            seen.append((name or "the model", type(module).__name__, inputs[0].float()))

    with suppress(Exception):  # what happens behind that layer is reported under point 4
        _run_watched(case, case.batch_size, note)
    return seen[0] if seen else ("", "", None)


@torch.no_grad()
def _run_watched(case: Case, images: int, note: Callable[[str, nn.Module, tuple], None]) -> None:
    """Run the model on a batch, and call ``note(name, module, inputs)`` before each of its modules."""
    modules = case.model.named_modules()
    handles = [module.register_forward_pre_hook(partial(note, name)) for name, module in modules]
    try:
        case.model.eval()(case.batch(images).images)
    finally:
        for handle in handles:
            handle.remove()
