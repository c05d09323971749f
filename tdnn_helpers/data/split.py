"""Images in memory: one :class:`Split` type for every data set, and edits that return a new one.

A split holds all its images as one uint8 tensor. Every data set of the course fits in memory that way, and a batch is
then a slice: no worker processes, no image file opened twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
import torch
import torch.nn.functional as F

from ..core.randomness import random_stream


@dataclass(frozen=True, eq=False)
class Split:
    """A frozen set of labelled images.

    Attributes:
        images: uint8, N×C×H×W, 0 to 255.
        targets: int64, N, class indices; or float32, N or N×K, for regression (``classes`` is then empty).
        classes: the class names; class i is named ``classes[i]``.
        extra: further columns, each a tensor of length N. Images with the same value in ``extra["group"]`` (the
            versions of one emoji, the slides of one patient) are never parted by :meth:`split` and :meth:`folds`.
        name: what to call it in figures and messages.

    Raises:
        TypeError: a column that is no tensor, images that are not uint8, targets that are neither int64 nor float32.
        ValueError: other shapes, lengths that differ, labels out of range, or classes for float32 targets.
    """

    images: torch.Tensor
    targets: torch.Tensor
    classes: tuple[str, ...] = ()
    extra: Mapping[str, torch.Tensor] = field(default_factory=dict)
    name: str = ""

    def __post_init__(self):
        object.__setattr__(self, "classes", tuple(self.classes))
        object.__setattr__(self, "extra", MappingProxyType(dict(self.extra)))
        images, targets = self.images, self.targets
        for what, column in {"images": images, "targets": targets, **self.extra}.items():
            if not isinstance(column, torch.Tensor):
                raise TypeError(f"{what} must be a torch tensor, not a {type(column).__name__}: torch.from_numpy(…).")
        if images.dtype != torch.uint8:
            raise TypeError(
                f"images must be uint8 from 0 to 255, but these are {images.dtype}"
                + (f" from {images.min():.3g} to {images.max():.3g}" if images.numel() else "")
                + ": convert them with (images * 255).round().to(torch.uint8) if they lie in [0, 1]."
            )
        if images.ndim != 4:
            raise ValueError(f"images must be N×C×H×W, but their shape is {tuple(images.shape)}.")
        for what, column in {"targets": targets, **self.extra}.items():
            if len(column) != len(images):
                raise ValueError(f"there are {len(images)} images but {len(column)} {what}.")
        if targets.dtype == torch.int64 and targets.ndim != 1:
            raise ValueError(f"class indices must have one dimension, but their shape is {tuple(targets.shape)}.")
        if targets.dtype == torch.float32 and self.classes:
            raise ValueError("float32 targets are values, and values have no classes: leave classes out.")
        if targets.dtype == torch.int64 and len(targets):
            low, high = int(targets.min()), int(targets.max())
            if low < 0 or high >= len(self.classes):
                raise ValueError(
                    f"labels must lie between 0 and {len(self.classes) - 1} ({len(self.classes)} classes), "
                    f"but they go from {low} to {high}."
                )
        elif targets.dtype not in (torch.int64, torch.float32):
            raise TypeError(f"targets must be int64 class indices or float32 values, but they are {targets.dtype}.")

    def __reduce__(self):  # a mapping proxy cannot be pickled, and runs travel to other processes
        columns = {key: _alone(column) for key, column in self.extra.items()}
        return Split, (_alone(self.images), _alone(self.targets), self.classes, columns, self.name)

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        n, c, h, w = self.images.shape
        what = f"{len(self.classes)} classes" if self.classes else "regression"
        return f"Split({self.name or 'unnamed'}: {n:,} images, {c}×{h}×{w}, {what})"

    def __getitem__(self, indices) -> Split:
        """The images at these indices (a slice, a list, an index tensor or a boolean mask), as a new split."""
        if not isinstance(indices, slice):
            indices = torch.as_tensor(indices)
            if not indices.numel():  # torch makes an empty list a float tensor
                indices = indices.long()
        extra = {key: column[indices] for key, column in self.extra.items()}
        return replace(self, images=self.images[indices], targets=self.targets[indices], extra=extra)

    def counts(self) -> dict[str, int]:
        """How many images each class has, in the order of ``classes``. ValueError if the targets are not classes."""
        if not self.classes:
            raise ValueError("this split has no classes: its targets are values.")
        counts = torch.bincount(self.targets, minlength=len(self.classes)).tolist()
        return dict(zip(self.classes, counts, strict=True))

    # ---- choosing images ---------------------------------------------------------------------------------------

    def take(self, n: int, *, seed: int) -> Split:
        """``n`` images drawn at random, with the class proportions of the whole (to the nearest image)."""
        if not 0 < n <= len(self):
            raise ValueError(f"cannot take {n} images from {len(self)}.")
        stream = random_stream(seed, "take")
        if self.classes:  # an order in which every prefix has the class proportions of the whole
            order = torch.from_numpy(np.argsort(replace(self, extra={})._places(stream), kind="stable"))
        else:
            order = torch.randperm(len(self), generator=stream)
        return self[order[:n].sort().values]

    def per_class(self, n: int, *, seed: int) -> Split:
        """``n`` images of every class, drawn at random. ValueError names the class that has fewer."""
        for name, count in self.counts().items():
            if count < n:
                raise ValueError(f'class "{name}" has only {count} images, but {n} of each class were asked for.')
        shuffled = torch.randperm(len(self), generator=random_stream(seed, "per class"))
        chosen = [shuffled[self.targets[shuffled] == c][:n] for c in range(len(self.classes))]
        return self[torch.cat(chosen).sort().values]

    def split(self, *fractions: float, seed: int) -> tuple[Split, ...]:
        """Disjoint random parts with these fractions; what they leave of 1 becomes a last part.

        Stratified by class. Where ``extra["group"]`` exists, whole groups are dealt out, so that no group straddles
        two parts (the fractions then hold as nearly as the groups allow).

        Raises:
            ValueError: fractions outside (0, 1] or with a sum above 1; a class too small to be in every part.
        """
        total = sum(fractions)
        if not fractions or min(fractions) <= 0 or not total <= 1 + 1e-9:  # NaN too
            raise ValueError(f"fractions must be above 0 and add up to at most 1, but they are {fractions}.")
        shares = [*fractions, 1 - total] if total < 1 - 1e-9 else list(fractions)
        stream = random_stream(seed, "split")
        for _ in range(20):  # a large group can leave a part without a class: then the groups are dealt anew
            part = np.searchsorted(np.cumsum(shares[:-1]), self._places(stream), side="right")
            if self._lacking(part, len(shares)) is None:
                break
        return tuple(self[torch.from_numpy(part == i)] for i in self._checked(part, len(shares)))

    def folds(self, k: int, *, seed: int) -> list[tuple[Split, Split]]:
        """``k`` pairs (training, validation) of k-fold cross-validation; stratified, and groups stay together."""
        if k < 2:
            raise ValueError(f"cross-validation needs at least 2 folds, not {k}.")
        stream = random_stream(seed, "folds")
        fold = self._dealt(k, stream) if "group" in self.extra else (self._places(stream) * k).astype(int)
        return [(self[torch.from_numpy(fold != i)], self[torch.from_numpy(fold == i)]) for i in self._checked(fold, k)]

    def _unit(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What is dealt out as a whole: (unit of each image, size of each unit, class of each unit)."""
        groups = self.extra.get("group", torch.arange(len(self)))
        _, first, unit, size = np.unique(groups.numpy(), return_index=True, return_inverse=True, return_counts=True)
        stratum = self.targets.numpy()[first] if self.classes else np.zeros(len(first), dtype=int)
        return unit, size, stratum

    def _places(self, stream: torch.Generator) -> np.ndarray:
        """A place in [0, 1) for each image: random within its class, the same for all images of a group."""
        unit, size, stratum = self._unit()
        place = np.empty(len(size))
        shuffled = torch.randperm(len(size), generator=stream).numpy()
        for c in np.unique(stratum):
            members = shuffled[stratum[shuffled] == c]
            end = np.cumsum(size[members])
            place[members] = (end - size[members] / 2) / end[-1]
        return place[unit]

    def _dealt(self, k: int, stream: torch.Generator) -> np.ndarray:
        """A fold from 0 to k − 1 for each image: of each class the largest group first, to the fold with the fewest
        images of the class so far (of equals, to that with the fewest images)."""
        unit, size, stratum = self._unit()
        shuffled = torch.randperm(len(size), generator=stream).numpy()
        fold, held = np.empty(len(size), dtype=int), np.zeros((k, stratum.max() + 1))
        for one in shuffled[np.argsort(-size[shuffled], kind="stable")]:
            fold[one] = np.lexsort((held.sum(1), held[:, stratum[one]]))[0]
            held[fold[one], stratum[one]] += size[one]
        return fold[unit]

    def _lacking(self, part: np.ndarray, parts: int) -> int | None:
        """The first class that is not in every part (0 if there are no classes), or None."""
        for c in range(max(len(self.classes), 1)):
            members = self.targets.numpy() == c if self.classes else np.ones(len(self), dtype=bool)
            if len(np.unique(part[members])) < parts:
                return c
        return None

    def _checked(self, part: np.ndarray, parts: int) -> range:
        """``range(parts)``, if every class is in every part; ``part`` says which part each image is in."""
        c = self._lacking(part, parts)
        if c is not None:
            unit, _, _ = self._unit()
            members = self.targets.numpy() == c if self.classes else np.ones(len(self), dtype=bool)
            name = f'class "{self.classes[c]}"' if self.classes else "the split"
            kind = "groups" if "group" in self.extra else "images"
            count = len(np.unique(unit[members]))
            raise ValueError(f"{name} has {count} {kind}, too few for {parts} such parts: each part needs one.")
        return range(parts)

    # ---- edits -------------------------------------------------------------------------------------------------

    def with_targets(self, targets: torch.Tensor, classes: Sequence[str] = ()) -> Split:
        """The same images with other targets: class indices with ``classes``, or float32 values without."""
        return replace(self, targets=targets, classes=tuple(classes))

    def with_extra(self, **columns: torch.Tensor) -> Split:
        """The same images with further per-image columns, each a tensor of length N."""
        return replace(self, extra={**self.extra, **columns})

    def with_label_noise(self, rate: float, *, seed: int) -> Split:
        """Exactly ``round(rate · N)`` labels changed, each to another class drawn uniformly (symmetric noise).

        ``extra["flipped"]`` (bool) says which. ValueError if ``rate`` is outside [0, 1] or there is one class only.
        """
        if not 0 <= rate <= 1:
            raise ValueError(f"rate is a fraction from 0 to 1, not {rate}.")
        classes = len(self.classes)
        if classes < 2:
            raise ValueError("label noise needs at least two classes.")
        stream = random_stream(seed, "label noise")
        chosen = torch.randperm(len(self), generator=stream)[: round(rate * len(self))]
        step = torch.randint(1, classes, (len(chosen),), generator=stream)
        targets = self.targets.clone()
        targets[chosen] = (targets[chosen] + step) % classes
        flipped = torch.zeros(len(self), dtype=torch.bool)
        flipped[chosen] = True
        return replace(self, targets=targets, extra={**self.extra, "flipped": flipped})

    def resize(self, pixels: int) -> Split:
        """Every image as ``pixels``×``pixels``: :func:`area_average` when it shrinks, bilinear when it grows."""
        if pixels < 1:
            raise ValueError(f"an image needs at least 1 pixel a side, not {pixels}.")
        parts = []
        for part in self.images.split(1024):
            if pixels < self.images.shape[-1]:
                part = area_average(part.float(), pixels)
            else:
                part = F.interpolate(part.float(), size=(pixels, pixels), mode="bilinear", align_corners=False)
            parts.append(part.round().clamp(0, 255).to(torch.uint8))
        return replace(self, images=torch.cat(parts))


def _alone(column: torch.Tensor) -> torch.Tensor:
    """The same values without what else lies in their memory: a slice would travel with all that it was cut from."""
    return column if column.untyped_storage().nbytes() == column.nbytes else column.clone()


def area_average(images: torch.Tensor, pixels: int) -> torch.Tensor:
    """Float images N×C×H×W as N×C×``pixels``×``pixels``: each new pixel is the mean of the area that it covers.

    Where the ratio is whole, torch's mode "area" is that. Elsewhere it is not: it takes the mean of all pixels that are
    touched, and two new pixels share some. Here a pixel that lies half inside counts half.
    """
    if all(side % pixels == 0 for side in images.shape[-2:]):
        return F.interpolate(images, size=(pixels, pixels), mode="area")
    rows, columns = (_shares(side, pixels).to(images) for side in images.shape[-2:])
    return rows @ images @ columns.T


def _shares(old: int, new: int) -> torch.Tensor:
    """What share of each of ``new`` pixels lies in each of ``old`` ones along the same line: float64 new×old."""
    edges, pixel = torch.arange(new + 1, dtype=torch.float64) * old / new, torch.arange(old)
    inside = torch.minimum(edges[1:, None], pixel + 1) - torch.maximum(edges[:-1, None], pixel)
    return inside.clamp_min(0) * new / old
