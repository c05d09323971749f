"""Batches of a split, on the device that trains: which images come next, and their pixels as floats in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from ..data.augment import Augment
from ..data.split import Split
from .objectives import Batch
from .run import Run

# (steps done, generator) → int64 positions of the images to visit next
Order = Callable[[int, torch.Generator], torch.Tensor]


def training_positions(
    split: Split, batch_size: int, order: Order | None, seed: int, run: Run
) -> Iterator[torch.Tensor]:
    """The positions of each batch's images, without end, from the place in the order that the run has reached: int64 B,
    on the device."""
    done, step, generator = run.step, 0, torch.Generator().manual_seed(seed)
    while True:
        # A run that goes on draws the orders of its first steps again, to reach the same random state.
        positions = _positions(order, step, generator, len(split)).to(run.losses.device, non_blocking=True)
        for chosen in positions.split(batch_size):
            step += 1
            if step > done:
                yield chosen


def batch_maker(split: Split, augment: Augment | None, generator: torch.Generator) -> Callable[[torch.Tensor], Batch]:
    """Positions → their batch, scaled and augmented on the generator's device, where the split is kept from now on."""
    images, targets = split.images.to(generator.device), split.targets.to(generator.device)

    def batch_at(positions: torch.Tensor) -> Batch:
        batch = Batch(to_unit(images[positions]), targets[positions], positions, len(split.classes))
        return batch if augment is None else batch._replace(images=augment(batch.images, generator))

    return batch_at


def ordered_batches(split: Split, batch_size: int, device: torch.device) -> Iterator[Batch]:
    """Each image once, in the order of the split, unchanged."""
    for start in range(0, len(split), batch_size):
        place = slice(start, start + batch_size)
        images, targets = split.images[place].to(device), split.targets[place].to(device)
        indices = torch.arange(start, start + len(images), device=device)
        yield Batch(to_unit(images), targets, indices, len(split.classes))


def _positions(order: Order | None, step: int, generator: torch.Generator, images: int) -> torch.Tensor:
    """What ``order`` says after this many steps, or all positions in random order. ValueError if it is no order."""
    if order is None:
        return torch.randperm(images, generator=generator)
    chosen = order(step, generator)
    listed = isinstance(chosen, torch.Tensor) and chosen.dtype == torch.int64 and chosen.ndim == 1
    if not listed or not len(chosen) or chosen.min() < 0 or chosen.max() >= images:
        raise ValueError(
            f"order must return a 1-D int64 tensor of at least one position from 0 to {images - 1}; after {step} steps "
            "it did not."
        )
    return chosen


def to_unit(images: torch.Tensor) -> torch.Tensor:
    """uint8 0 to 255 → float32 0 to 1."""
    return images.to(torch.float32).div_(255)
