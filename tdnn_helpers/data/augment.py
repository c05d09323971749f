"""Random changes of a whole batch at once, on the device that trains. Each image gets its own draw.

An augmentation is a function ``(images, generator) -> images`` on float32 images N×C×H×W in [0, 1]; ``generator`` is a
:class:`torch.Generator` on the device of the images. Chain several with :func:`chain`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

Augment = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


def chain(*steps: Augment) -> Augment:
    """One augmentation that applies these in order."""

    def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        for step in steps:
            images = step(images, generator)
        return images

    return augment


def flip(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirror each image left to right with probability one half."""
    chosen = torch.rand(len(images), generator=generator, device=images.device) < 0.5
    return torch.where(chosen[:, None, None, None], images.flip(-1), images)


def shift(pixels: int, fill: float = 0.0) -> Augment:
    """Move each image by up to ``pixels`` pixels in each direction; what comes in at the edge is ``fill``."""

    def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        n, c, h, w = images.shape
        padded = F.pad(images, (pixels,) * 4, value=fill)
        offset = torch.randint(0, 2 * pixels + 1, (2, n), generator=generator, device=images.device)
        rows = offset[0, :, None] + torch.arange(h, device=images.device)
        columns = offset[1, :, None] + torch.arange(w, device=images.device)
        # Row numbers and column numbers of one flat gather: quicker than one slice per image by far.
        places = (rows[:, :, None] * (w + 2 * pixels) + columns[:, None, :]).view(n, 1, h * w)
        return padded.flatten(2).gather(2, places.expand(n, c, h * w)).view(n, c, h, w)

    return augment


def brightness_contrast(strength: float) -> Augment:
    """Scale contrast and add brightness, each by up to ±``strength`` (a fraction), clamped to [0, 1]."""

    def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        draws = torch.rand(2, len(images), 1, 1, 1, generator=generator, device=images.device) * 2 - 1
        contrast, brightness = 1 + strength * draws[0], strength * draws[1]
        middle = images.mean(dim=(1, 2, 3), keepdim=True)
        return ((images - middle) * contrast + middle + brightness).clamp(0, 1)

    return augment


def crop(smallest: float) -> Augment:
    """Cut a square of a random size out at a random place, and enlarge it to the whole image (bilinear).

    The area is drawn uniformly between ``smallest`` (a fraction, above 0) and 1. The random resized crop, without its
    change of shape.
    """

    def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        draws = torch.rand(3, len(images), generator=generator, device=images.device)
        side = (smallest + (1 - smallest) * draws[0]).sqrt()
        middle = (1 - side) * (2 * draws[1:] - 1)  # of the square, where the image reaches from −1 to 1
        zero = torch.zeros_like(side)
        places = torch.stack([side, zero, middle[0], zero, side, middle[1]], dim=1).view(-1, 2, 3)
        grid = F.affine_grid(places, list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, padding_mode="border", align_corners=False).clamp(0, 1)

    return augment


def colour(strength: float) -> Augment:
    """Scale each channel of each image by its own factor from 1 − ``strength`` to 1 + ``strength``; clamped to [0, 1].
    A change of lamp or stain. On grey images it is a change of exposure."""

    def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        draws = torch.rand(*images.shape[:2], 1, 1, generator=generator, device=images.device) * 2 - 1
        return (images * (1 + strength * draws)).clamp(0, 1)

    return augment


def noise(std: float) -> Augment:
    """Add Gaussian noise to every pixel, with a deviation drawn for each image between 0 and ``std``; clamped to
    [0, 1]."""

    def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        level = std * torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device)
        grain = torch.randn(images.shape, generator=generator, device=images.device)
        return (images + level * grain).clamp(0, 1)

    return augment
