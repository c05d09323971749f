"""Points 1 and 2: does the input still carry the information, and in what range does it reach the first layer?"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from ..measures.embedding import knn_accuracy
from .case import Case, interval, percent
from .report import FINE, LOOK, NOT_CHECKED, WRONG, Note

NORM_LAYERS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.modules.instancenorm._InstanceNorm)


def representation(case: Case) -> Iterator[Note]:
    """Point 1: shapes, empty images, duplicates, a probe on the pixels, the network's own resolution."""
    n, channels, height, width = case.train.images.shape
    yield Note(FINE, f"{n:,} images of {channels}×{height}×{width}, {case.classes} classes.")

    flat = case.train.images.flatten(1)
    constant = float((flat.amax(1) == flat.amin(1)).float().mean())
    if constant:
        yield Note(
            WRONG if constant >= 0.05 else LOOK,
            f"{percent(constant, 2)} of the training images have one single value in all pixels.",
            "Look at the constant images: a failed crop, a missing file, or a mask saved in place of the picture.",
        )
    per_channel = case.train.images.transpose(0, 1).flatten(1)
    empty = [c for c, values in enumerate(per_channel) if values.amax() == values.amin()]
    if empty and constant < 1:
        yield Note(
            LOOK,
            f"Channel {', '.join(map(str, empty))} has the same value everywhere.",
            "Remove channels that carry nothing, or find out where they were lost.",
        )

    repeated = n - len(set(case.train_digests))
    if repeated > 0.01 * n:
        yield Note(
            LOOK,
            f"{repeated:,} training images ({percent(repeated / n, 1)}) are exact copies of others.",
            "Remove copies before you split, or they end up on both sides.",
        )

    side = case.side
    sides = [side, max(1, side // 2), max(1, side // 4)]
    spaces = [case.pixels, *(case.pixel_space(s) for s in sides[1:])]
    targets = case.sample.targets, case.val_sample.targets
    found = [knn_accuracy(train, targets[0], val, targets[1]) for train, val in spaces]
    prior = float(case.prior.max())
    evidence = "5 nearest neighbours on raw pixels: " + ", ".join(
        f"{percent(rate)} at {s} px" for rate, s in zip(found, sides, strict=True)
    )
    if interval(max(found), len(targets[1]))[0] > prior:
        yield Note(FINE, f"{evidence}; the most frequent class alone gives {percent(prior)}.")
    else:
        yield Note(
            LOOK,
            f"{evidence}: no better than naming the most frequent class ({percent(prior)}).",
            "Look at twenty images at the size the network gets: can you tell the classes apart? "
            "If so, pixels are merely a poor measure here; if not, use a higher resolution or another crop.",
        )

    try:
        blind = _blind_convolutions(case)
    except Exception:
        return  # a model that cannot be run is reported under point 4
    if blind:
        yield Note(
            LOOK,
            f"{len(blind)} convolution(s) see a map of 1×1 and thus mostly padding (the first is {blind[0]}).",
            "Use larger images or fewer strides: the network shrinks them away before it has looked at them.",
        )


@torch.no_grad()
def _blind_convolutions(case: Case) -> list[str]:
    """The names of convolutions wider than one pixel whose whole input is one pixel."""
    blind: list[str] = []
    handles = []
    for name, module in case.model.named_modules():
        if isinstance(module, nn.Conv2d) and max(module.kernel_size) > 1:

            def look(module, inputs, name=name):
                if inputs[0].shape[-2:] == (1, 1):
                    blind.append(name)

            handles.append(module.register_forward_pre_hook(look))
    try:
        case.model.eval()(case.batch(2).images)
    finally:
        for handle in handles:
            handle.remove()
    return blind


def normalisation(case: Case) -> Iterator[Note]:
    """Point 2: mean, standard deviation and range of what reaches the first layer with weights."""
    name, layer, values = _first_input(case)
    if values is None:
        yield Note(NOT_CHECKED, "No standard layer (convolution, linear) was reached.")
        return
    if not torch.isfinite(values).all():
        yield Note(WRONG, f"What reaches the first layer ({name}) is not all finite.", "Look for a division by 0.")
        return
    per_channel = values.transpose(0, 1).flatten(1) if values.ndim == 4 else values.reshape(1, -1)
    mean, std = per_channel.mean(1), per_channel.std(1)
    size = float(values.square().mean().sqrt())
    spread = float(std.max())
    evidence = (
        f"What reaches the first layer ({name}, {layer}) has mean {_numbers(mean)} and standard deviation "
        f"{_numbers(std)}, from {values.min():.3g} to {values.max():.3g}."
    )
    channels = case.train.images.shape[1]
    levels, given = (len(part[:64].unique()) for part in (values, case.batch(64).images))
    if levels <= 2 * channels < given / 4:
        yield Note(
            WRONG,
            f"{evidence} Of {given} grey levels only {levels} are left.",
            "The input was cast to an integer or cut off: convert to float first, and divide by 255 only once.",
        )
    elif spread < 0.01:
        yield Note(
            WRONG,
            evidence,
            "The input hardly varies: it was scaled twice, or divided by a far too large number.",
        )
    elif size > 20:
        normed = any(isinstance(module, NORM_LAYERS) for module in case.model.modules())
        hidden = " Its normalisation layers may hide this while it trains." if normed else ""
        yield Note(
            LOOK if normed else WRONG,
            evidence + hidden,
            "Scale the input to [0, 1], or to mean 0 and standard deviation 1 by the statistics of the training split.",
        )
    elif size > 5 or size < 0.05 or float(mean.abs().max()) > 5 * spread or float(std.min()) < 0.02 * spread:
        yield Note(
            LOOK,
            evidence,
            "Bring every channel to mean 0 and standard deviation 1 by the statistics of the training split.",
        )
    else:
        yield Note(FINE, evidence)


def _numbers(values: torch.Tensor) -> str:
    return ", ".join(f"{float(v) + 0.0:.2g}" for v in values[:3]) + (", …" if len(values) > 3 else "")


class _Reached(Exception):
    """The first layer was reached: there is no need to run the rest."""


@torch.no_grad()
def _first_input(case: Case) -> tuple[str, str, torch.Tensor | None]:
    """Name, type and input of the first layer with a weight matrix that a batch of training images reaches."""
    seen: list[tuple[str, str, torch.Tensor]] = []
    handles = []
    for name, module in case.model.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, torch.Tensor) and weight.ndim >= 2:

            def look(module, inputs, name=name):
                if torch.is_tensor(inputs[0]):
                    seen.append((name or "the model", type(module).__name__, inputs[0].float()))
                    raise _Reached

            handles.append(module.register_forward_pre_hook(look))
    try:
        case.model.eval()(case.batch(case.batch_size).images)
    except Exception:
        pass  # _Reached; any other failure is reported under point 4
    finally:
        for handle in handles:
            handle.remove()
    return seen[0] if seen else ("", "", None)
