"""Copies of one picture: bit for bit, and those that were saved again, resized, brightened, mirrored or turned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.decomposition import PCA

from ...data.split import Split
from ..case import digests
from ..findings import FINE, LOOK, WRONG, Finding, percent
from .images import Folder

SIDE = 16  # pixels a side at which pictures are compared
SHADOW = 32  # principal components: distances in them are never larger than the true ones, so no pair is lost
TRIED = 3  # neighbours of each picture and each of its eight positions that are measured in full
SHARE, LEAST = 0.25, 0.05  # of the usual distance between neighbours (contrast = 1): below that, two pictures are one


class Copies(NamedTuple):
    """``group``: int64 N, equal for copies of one picture. ``exact`` and ``near``: int64 P×2, pairs of images with the
    later one second; of each image only the most similar earlier one. ``limit``: the distance that made them near."""

    group: torch.Tensor
    exact: torch.Tensor
    near: torch.Tensor
    limit: float


def find_copies(split: Split) -> Copies:
    """All copies in a split, in blocks: no loop over pairs, and memory for a thousand rows at a time.

    Two pictures are compared after their mean brightness and contrast are taken out, so the distance runs from 0 (the
    same) over 1.4 (nothing in common) to 2 (a negative). Constant images are left out: they have no contrast.
    """
    n = len(split)
    first: dict[bytes, int] = {}
    original = torch.tensor([first.setdefault(digest, i) for i, digest in enumerate(digests(split))])
    flat = split.images.flatten(1)
    constant = flat.amax(1) == flat.amin(1)
    again = (original != torch.arange(n)) & ~constant
    exact = torch.stack([original[again], torch.arange(n)[again]], 1)

    single = ((original == torch.arange(n)) & ~constant).nonzero()[:, 0]
    near, limit = _near(split.images[single])
    near = single[near]
    pairs = torch.cat([exact, near]).numpy()
    links = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    group = torch.from_numpy(connected_components(links, directed=False)[1]).long()
    return Copies(group, exact, near, limit)


def _near(images: torch.Tensor) -> tuple[torch.Tensor, float]:
    """(P×2 positions, the distance below which two pictures count as one)."""
    if len(images) < 3:
        return torch.empty(0, 2, dtype=torch.long), LEAST
    small = F.interpolate(images.float(), size=(SIDE, SIDE), mode="area")
    small = small - small.flatten(1).mean(1)[:, None, None, None]
    small = small / small.flatten(1).norm(dim=1).clamp_min(1e-6)[:, None, None, None]
    full = small.flatten(1)
    axes = torch.from_numpy(PCA(min(SHADOW, *full.shape), random_state=0).fit(full.numpy()).components_.T)
    best, partner, usual = torch.full((len(images),), torch.inf), torch.zeros(len(images), dtype=torch.long), []
    shadow = full @ axes
    for position, turned in enumerate(_positions(small)):
        other = turned.flatten(1)
        cast = other @ axes
        for start in range(0, len(images), 1000):
            rows = torch.arange(start, min(start + 1000, len(images)))
            distances = torch.cdist(cast[rows], shadow)
            if position == 0:  # the usual distance between neighbours, earlier and later
                distances[torch.arange(len(rows)), rows] = torch.inf
                closest = distances.argmin(1)
                usual.append((other[rows] - full[closest]).norm(dim=1))
            distances[rows[:, None] <= torch.arange(len(images))] = torch.inf  # each pair once, and none with itself
            tried = distances.topk(min(TRIED, len(images)), largest=False)
            measured = (other[rows][:, None] - full[tried.indices]).norm(dim=2)
            measured[tried.values.isinf()] = torch.inf
            value, place = measured.min(1)
            better = value < best[rows]
            best[rows[better]] = value[better]
            partner[rows[better]] = tried.indices[torch.arange(len(rows)), place][better]
    limit = max(LEAST, SHARE * float(torch.cat(usual).median()))
    later = (best < limit).nonzero()[:, 0]
    later = later[best[later].argsort()]
    return torch.stack([partner[later], later], 1), limit


def _positions(images: torch.Tensor) -> Iterator[torch.Tensor]:
    """The eight positions of a square picture: turned by right angles, and mirrored."""
    for mirrored in (images, images.flip(3)):
        for quarter in range(4):
            yield mirrored.rot90(quarter, (2, 3))


def check_copies(folder: Folder, found: Copies) -> Iterator[Finding]:
    """Copies on both sides of the folder's own splits, copies with another label, copies within a part."""
    parts, n = folder.parts or ("",), len(folder.pool)
    number = torch.tensor([parts.index(fact.part) for fact in folder.facts])
    near = "have a near copy (saved again, resized, brightened, mirrored or turned)"
    how_near = (
        f"distance below {found.limit:.2f} of the contrast at {SIDE} px, a quarter of what is usual between neighbours "
        f"here (or {LEAST}); crops and other views of one object are not found"
    )
    for kind, pairs, what, sure, serious in (
        ("exact", found.exact, "have an exact copy", "exact: equal pixels at the size used here", 0.005),
        ("near", found.near, near, how_near, 0.05),
    ):
        outer = number[pairs[:, 0]] != number[pairs[:, 1]]
        contrary = folder.pool.targets[pairs[:, 0]] != folder.pool.targets[pairs[:, 1]]
        if outer.any():
            later, share = int((number > 0).sum()), int(outer.sum()) / int((number > 0).sum())
            here, before = " and ".join(parts[1:]), " or ".join(parts[:-1])
            yield Finding(
                WRONG if share >= serious else LOOK,
                f"Of {later:,} images of {here}, {int(outer.sum()):,} ({percent(share, 1)}) {what} in {before}.",
                "Remove copies over the whole collection, then split again: accuracy on images that were trained on is "
                "memory.",
                sure,
                _pairs(folder, pairs[outer]),
            )
        if contrary.any():
            yield Finding(
                WRONG if kind == "exact" else LOOK,
                f"{int(contrary.sum()):,} of {len(pairs):,} {kind} copies carry another label than their original.",
                "One of the two labels is wrong, or the classes are not exclusive: decide, then relabel.",
                sure,
                _pairs(folder, pairs[contrary]),
            )
        within = int((~outer).sum())
        if within:
            apart = "" if "val" in parts else " They were kept on one side of the split made here."
            yield Finding(
                LOOK if within >= 0.01 * n else FINE,
                f"Of {n:,} images, {within:,} ({percent(within / n, 1)}) {what} in the same part.{apart}",
                "Keep one of each before you split, or they end up on both sides.",
                sure,
                _pairs(folder, pairs[~outer]),
            )
    if not len(found.exact) and not len(found.near):
        yield Finding(FINE, f"No two of the {n:,} images are copies of one picture.", sure=how_near)


def _pairs(folder: Folder, pairs: torch.Tensor) -> tuple[str, ...]:
    return tuple(f"{folder.facts[b].name} = {folder.facts[a].name}" for a, b in pairs.tolist())
