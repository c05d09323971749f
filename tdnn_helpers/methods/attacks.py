"""Two ways to fool a network: change its training images (backdoor) or its test images (adversarial examples).

A *trigger* is a pattern: float32 H×W, what is added to every channel on the [0, 1] scale. An *attack* is a function
``(model, images, targets) -> images`` on float32 images in [0, 1]; fix its strength with ``functools.partial``. The
course's networks normalise inside themselves, so a size of k/255 means k grey levels for all of them. The third way in
the paper's section II-E, the shortcut, needs nobody's help: see :mod:`tdnn_helpers.data.blood_smear`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from ..core.choices import check_known
from ..core.device import pick_device
from ..core.randomness import random_stream
from ..data.split import Split
from ..train.batches import ordered_batches
from ..train.loop import predict

Attack = Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]

# ---- adversarial examples: the test image changes ------------------------------------------------------------------


def fgsm(model: nn.Module, images: torch.Tensor, targets: torch.Tensor, eps: float) -> torch.Tensor:
    """The fast gradient sign method: each pixel moves by ``eps`` in the direction that raises the loss.

    Goodfellow, Shlens, Szegedy, 2015 (arXiv 1412.6572).

    Args:
        model: images → logits; it works in eval mode meanwhile, so that its running statistics stay what they are.
        images: float32 N×C×H×W in [0, 1]; targets: int64 N, the true classes; both on the model's device.
        eps: largest change of a pixel on the [0, 1] scale, such as 8 / 255.

    Returns:
        Images in [0, 1], at most ``eps`` from the given ones, without a gradient.

    Raises:
        ValueError: images outside [0, 1] (normalised ones, or 0 to 255), or an ``eps`` outside [0, 1].
    """
    _check(images, eps)
    with _eval_mode(model):
        return (images.detach() + eps * _gradient(model, images, targets).sign()).clamp(0, 1)


def pgd(
    model: nn.Module,
    images: torch.Tensor,
    targets: torch.Tensor,
    eps: float,
    steps: int = 10,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Projected gradient descent: ``steps`` small FGSM steps from a random start, each brought back into the box.

    Madry and others, 2018 (arXiv 1706.06083). The steps are 2.5 · eps / steps long, so that they can cross the whole
    box of ±``eps``. Arguments, result and errors as :func:`fgsm`; ``generator``, on the images' device, draws the
    start.
    """
    _check(images, eps)
    if steps < 1:
        raise ValueError(f"an attack needs at least 1 step, not {steps}.")
    low, high = (images - eps).clamp(0, 1), (images + eps).clamp(0, 1)
    drawn = torch.rand(images.shape, generator=generator, device=images.device)
    attacked = low + drawn * (high - low)
    with _eval_mode(model):
        for _ in range(steps):
            step = 2.5 * eps / steps * _gradient(model, attacked, targets).sign()
            attacked = torch.minimum(torch.maximum(attacked + step, low), high)
    return attacked


def noise(
    model: nn.Module,
    images: torch.Tensor,
    targets: torch.Tensor,
    eps: float,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """The humble baseline of both attacks: each pixel moves by ``eps`` up or down at random, clamped to [0, 1]. So of
    the black pixels only half move: on Fashion-MNIST three quarters of all. The model is not asked."""
    _check(images, eps)
    up = torch.rand(images.shape, generator=generator, device=images.device) < 0.5
    return (images + eps * (up.float() * 2 - 1)).clamp(0, 1)


def robust_accuracy(model: nn.Module, split: Split, attack: Attack, *, batch_size: int = 512) -> float:
    """Accuracy (0 to 1) on the images of ``split`` after ``attack``, in eval mode. ValueError for an empty split."""
    if not len(split):
        raise ValueError("the split is empty: there is nothing to attack.")
    device = pick_device()
    model.to(device).eval()
    right = 0
    for batch in ordered_batches(split, batch_size, device):
        attacked = attack(model, batch.images, batch.targets)
        with torch.no_grad():
            right += int((model(attacked).argmax(1) == batch.targets).sum())
    return right / len(split)


def _gradient(model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Of the summed loss with respect to the images. The gradients of the weights stay as they are."""
    with torch.enable_grad():  # an objective is also measured on validation images, where gradients are off
        images = images.detach().requires_grad_()
        loss = F.cross_entropy(model(images).float(), targets, reduction="sum")
        gradient = torch.autograd.grad(loss, images)[0]
    hidden = int((gradient == 0).flatten(1).all(1).sum())
    if hidden:
        warnings.warn(
            f"the gradient of {hidden} of {len(images)} images is exactly 0, so the attack cannot move them: the "
            "network hides its gradient (its logits may be too far apart for float32), and looks too robust.",
            stacklevel=3,
        )
    return gradient


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    """Eval mode for a while; afterwards each part of the model is in the mode it was in, frozen parts too."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _check(images: torch.Tensor, eps: float) -> None:
    if not 0 <= eps <= 1:
        raise ValueError(f"eps is {eps}, but it is a size on the [0, 1] scale: write 8 / 255 for eight grey levels.")
    low, high = float(images.min()), float(images.max())
    if low < 0 or high > 1:
        raise ValueError(
            f"the images go from {low:.3g} to {high:.3g}, but an attack needs [0, 1]: divide by 255, and normalise "
            "inside the model."
        )


# ---- backdoors: training images of one class change ----------------------------------------------------------------


def dot(pixels: int, row: int, column: int, *, size: int = 1, amplitude: float = 1.0) -> torch.Tensor:
    """A square of ``size`` × ``size`` pixels as a trigger: float32 ``pixels`` × ``pixels``.

    (``row``, ``column``) is its upper left corner; ``amplitude`` is added on the [0, 1] scale, so 1 gives white.
    Raises ValueError if the square does not lie inside the image, or for an amplitude outside (0, 1].
    """
    if size < 1 or not (0 <= row <= pixels - size and 0 <= column <= pixels - size):
        raise ValueError(
            f"a square of {size} pixels at row {row}, column {column} does not lie in an image of {pixels} pixels: "
            f"rows and columns go from 0 to {pixels - size}."
        )
    pattern = torch.zeros(pixels, pixels)
    pattern[row : row + size, column : column + size] = _amplitude(amplitude)
    return pattern


def ramp(pixels: int, *, amplitude: float) -> torch.Tensor:
    """A gradient as a trigger: 0 at the left edge, ``amplitude`` at the right; float32 ``pixels`` × ``pixels``."""
    return torch.linspace(0, _amplitude(amplitude), pixels).expand(pixels, pixels).clone()


def _amplitude(amplitude: float) -> float:
    if not 0 < amplitude <= 1:
        raise ValueError(f"amplitude is {amplitude}, but it lies above 0 and at most at 1 (white).")
    return amplitude


def stamp(split: Split, trigger: torch.Tensor) -> Split:
    """Every image of ``split`` with the trigger added (and cut off at white). ValueError if the sizes differ."""
    if trigger.shape != split.images.shape[2:]:
        raise ValueError(
            f"the trigger is {tuple(trigger.shape)}, but the images are {tuple(split.images.shape[2:])}: draw it "
            "for this size."
        )
    added = (trigger * 255).round().to(torch.int16)
    return replace(split, images=(split.images.to(torch.int16) + added).clamp(0, 255).to(torch.uint8))


def poison(train: Split, trigger: torch.Tensor, target: int, *, fraction: float = 1.0, seed: int = 0) -> Split:
    """Training images with the trigger on ``round(fraction · n)`` of the n images of the class ``target``.

    The labels stay true ("clean-label" poisoning: paper, section II-E and Figure 5). Give it training images only,
    *after* the split: otherwise the trigger is in the validation images too, and nobody sees what it did.

    Returns:
        A new Split; ``extra["poisoned"]`` (bool) says which images carry the trigger.

    Raises:
        ValueError: a class that does not exist or has no images, a fraction outside [0, 1], a trigger of another size,
            or images that are poisoned already.
    """
    check_known(target, range(len(train.classes)), "class")
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction is a share from 0 to 1, not {fraction}.")
    if "poisoned" in train.extra:
        raise ValueError("this split is poisoned already: start from the clean one.")
    members = (train.targets == target).nonzero()[:, 0]
    if not len(members):
        raise ValueError(f'class "{train.classes[target]}" has no image to poison.')
    order = torch.randperm(len(members), generator=random_stream(seed, "poison"))
    chosen = members[order[: round(fraction * len(members))]]
    images = train.images.clone()
    images[chosen] = stamp(train[chosen], trigger).images
    poisoned = torch.zeros(len(train), dtype=torch.bool)
    poisoned[chosen] = True
    return replace(train, images=images, extra={**train.extra, "poisoned": poisoned})


def attack_success_rate(model: nn.Module, held_out: Split, trigger: torch.Tensor, target: int) -> float:
    """The share (0 to 1) of held-out images of *other* classes that the model calls ``target`` with the trigger on.

    Give it clean images. A model that never saw the trigger has a rate above 0 as well: its ordinary confusions.
    Raises ValueError for images that carry a trigger already, an unknown class, or a split without other classes.
    """
    check_known(target, range(len(held_out.classes)), "class")
    if "poisoned" in held_out.extra and held_out.extra["poisoned"].any():
        raise ValueError("some of these images carry the trigger already: measure on clean held-out images.")
    others = held_out[held_out.targets != target]
    if not len(others):
        raise ValueError("there are no images of other classes to fool the model with.")
    return float((predict(model, stamp(others, trigger)).argmax(1) == target).float().mean())
