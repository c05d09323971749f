"""Unequal classes (paper, section II-C): make them, weigh them, and draw the rare ones more often."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from ..core.choices import check_known
from ..core.randomness import random_stream
from .augment import Augment
from .split import Split


def imbalanced(split: Split, counts: Mapping[str, int], *, seed: int) -> Split:
    """Only these classes, each with this many images drawn at random, numbered in the order given.

    The same seed draws the same images first: with fewer of a class you get a part of those you get with more.

    Raises:
        ValueError: a class that does not exist or has fewer images, fewer than one image asked for, or no classes.
    """
    available = split.counts()
    if not counts:
        raise ValueError("name at least one class with its number of images.")
    for name, n in counts.items():
        check_known(name, available, "class")
        if not 1 <= n <= available[name]:
            raise ValueError(f'class "{name}" has {available[name]} images; ask for 1 to {available[name]}, not {n}.')
    shuffled = torch.randperm(len(split), generator=random_stream(seed, "imbalanced"))
    rows, targets = [], []
    for index, (name, n) in enumerate(counts.items()):
        rows.append(shuffled[split.targets[shuffled] == split.classes.index(name)][:n])
        targets.append(torch.full((n,), index))
    return split[torch.cat(rows)].with_targets(torch.cat(targets), tuple(counts))


def class_weights(split: Split) -> torch.Tensor:
    """One weight per class, float32 of length C: N / (C · images of the class).

    So every class has the same total weight and an image has 1 on average (King and Zeng, 2001; scikit-learn's
    "balanced"). Raises ValueError if a class has no image.
    """
    for name, count in split.counts().items():
        if not count:
            raise ValueError(f'class "{name}" has no image, and nothing divided by nothing is a weight: collect some.')
    counts = torch.bincount(split.targets, minlength=len(split.classes))
    return (len(split) / (len(counts) * counts.double())).float()


def resampled(split: Split, *, seed: int, augment: Augment | None = None) -> Split:
    """Every class as often as the largest: all originals, then further copies of the rare images, drawn at random.

    Each image of a class is copied equally often, give or take one. ``augment`` changes the copies and leaves the
    originals alone. Resample the *training* part only, after the split: a copy in the test part is a leak.

    Raises:
        ValueError: a class without images, or a split without classes.
    """
    counts = split.counts()
    for name, count in counts.items():
        if not count:
            raise ValueError(f'class "{name}" has no image, so there is nothing to copy.')
    largest, stream = max(counts.values()), random_stream(seed, "resampled")
    rows = []
    for index in range(len(split.classes)):
        members = (split.targets == index).nonzero()[:, 0]
        missing = largest - len(members)
        rounds = [torch.randperm(len(members), generator=stream) for _ in range(-(-missing // len(members)))]
        rows.append(members[torch.cat(rounds)[:missing]] if rounds else members[:0])
    copies = split[torch.cat(rows)]
    if augment is not None and len(copies):
        changed = augment(copies.images.float() / 255, stream)
        copies = replace(copies, images=(changed * 255).round().clamp(0, 255).to(torch.uint8))
    joined = {key: torch.cat([split.extra[key], copies.extra[key]]) for key in split.extra}
    images, targets = torch.cat([split.images, copies.images]), torch.cat([split.targets, copies.targets])
    return replace(split, images=images, targets=targets, extra=joined)
