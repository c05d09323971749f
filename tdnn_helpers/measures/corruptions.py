"""Robustness: how much does a network's accuracy fall when the test images change a little?

The paper (section VI-B) compares the score on a test set Z_A with that on an augmented copy Z_B. A *corruption* is a
function of a strength that gives an augmentation (:mod:`tdnn_helpers.data.augment`). A series of strengths says more
than one changed set: it shows where the network breaks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..core.device import pick_device
from ..data.augment import Augment, check_images, shift
from ..data.split import Split
from ..train.batches import ordered_batches

if TYPE_CHECKING:
    import pandas as pd

Corruption = tuple[Callable[[float], Augment], Sequence[float]]


def noise(std: float) -> Augment:
    """Independent Gaussian noise of this standard deviation on each pixel ([0, 1] scale), clamped to [0, 1].

    The clamp cuts off half of the noise on a black background, which becomes lighter: by 0.4 ``std`` on average.
    """

    def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        drawn = torch.randn(images.shape, generator=generator, device=images.device)
        return (images + std * drawn).clamp(0, 1)

    return augment


def blur(pixels: float) -> Augment:
    """A Gaussian blur with a standard deviation of this many pixels."""
    from torchvision.transforms.v2.functional import gaussian_blur

    reach = 2 * round(3 * pixels) + 1  # three standard deviations to each side

    def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return gaussian_blur(images, [max(3, reach)] * 2, [pixels] * 2)

    return augment


def brighten(amount: float) -> Augment:
    """Every pixel brighter by ``amount`` ([0, 1] scale; below 0: darker), clamped to [0, 1]."""

    def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return (images + amount).clamp(0, 1)

    return augment


CORRUPTIONS: dict[str, Corruption] = {
    "shift up to (px)": (shift, (1, 2, 3, 4)),
    "noise (std)": (noise, (0.05, 0.1, 0.2, 0.3)),
    "blur (px)": (blur, (0.5, 1.0, 1.5, 2.0)),
    "brighter by": (brighten, (0.05, 0.1, 0.2, 0.3)),
}


@torch.no_grad()
def robustness(model: nn.Module, split: Split, corruptions: Mapping[str, Corruption] = CORRUPTIONS) -> pd.DataFrame:
    """The accuracy of ``model`` on ``split`` as it is (Z_A) and under each corruption at each strength (Z_B).

    Args:
        model: takes float32 images in [0, 1], N×C×H×W, and gives logits N×K; it stays in eval mode and on the device.
        split: labelled images that the model was not trained on.
        corruptions: name → (function of a strength that gives an augmentation, strengths). The name is the label of an
            axis, so put the unit into it.

    Returns:
        One row for each strength, and one of strength 0 for each corruption: corruption, strength, accuracy (0 to 1),
        drop (accuracy on Z_A minus accuracy on Z_B) and changed (the share of the images with another answer than on
        Z_A, right or wrong).

    Raises:
        ValueError: an empty split, one without classes, no corruptions, a corruption without strengths, or one whose
            images leave [0, 1] or have another shape.
    """
    import pandas as pd

    if not len(split) or not split.classes:
        raise ValueError("robustness needs a split with images and classes: there is no accuracy without labels.")
    if not corruptions:
        raise ValueError('there are no corruptions: give, for example, {"noise (std)": (noise, (0.1, 0.2))}.')
    device = pick_device()
    model.to(device).eval()

    def answers(name: str, augment: Augment | None) -> torch.Tensor:
        given, generator = [], torch.Generator(device).manual_seed(0)  # the same for each strength
        for images, *_ in ordered_batches(split, 512, device):
            changed = images if augment is None else augment(images, generator)
            if not given:  # the first images tell; on a GPU each look waits for the device
                check_images(f'the corruption "{name}"', images, changed)
            given.append(model(changed).argmax(1).cpu())
        return torch.cat(given)

    def accuracy(given: torch.Tensor) -> float:
        return float((given == split.targets).double().mean())

    clean, rows = answers("as it is", None), []
    for name, (make, strengths) in corruptions.items():
        if not len(strengths):
            raise ValueError(f'the corruption "{name}" has no strengths: give at least one.')
        rows.append((name, 0.0, accuracy(clean), 0.0, 0.0))
        for strength in strengths:
            given = answers(name, make(strength))
            drop, changed = accuracy(clean) - accuracy(given), float((given != clean).double().mean())
            rows.append((name, float(strength), accuracy(given), drop, changed))
    return pd.DataFrame(rows, columns=["corruption", "strength", "accuracy", "drop", "changed"])
