"""Does something that is not the object give the label away: a mark at the border, the colour, the file itself?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from scipy.stats import binomtest

from ...data.split import Split
from ...evidence.effects import wilson
from ...train.batches import to_unit
from ..findings import FINE, LOOK, WRONG, Finding, percent
from .images import Fact, Folder
from .probe import assign_folds, out_of_fold

GRID = 8  # cells a side; the outermost ring is the border, the rest is the middle
MOST = 5000  # images that are looked at
STEPS = 12  # grey levels of a cell are compared in so many steps
STAMPED = (
    "Look at the borders of this class: a date, a logo, a frame, a ruler, another camera. Crop it away or cover it in "
    "all images, then measure again."
)


class Power(NamedTuple):
    """How well each of B views tells each of K classes from all others: ``gain`` B×K, the share of the class that is
    recognised less the share of the others that is taken for it (Youden, 1950: 0 guesses, 1 is perfect); ``low`` is its
    lower limit, for all views and classes at once; ``hit`` bool B×N, whether the view names the right class."""

    gain: torch.Tensor
    low: torch.Tensor
    hit: torch.Tensor


def power(views: torch.Tensor, split: Split, fold: torch.Tensor) -> Power:
    """``views``: float B×N×D."""
    return power_of_answers(out_of_fold(views, split, fold).argmax(-1), split)


def power_of_answers(named: torch.Tensor, split: Split) -> Power:
    """``named``: int64 B×N, the class that each view names."""
    own, said = (F.one_hot(classes, len(split.classes)) for classes in (split.targets, named))
    images = own.sum(0).double()
    others, right = len(split) - images, (said * own).sum(1)
    found, false = right / images.clamp_min(1), (said.sum(1) - right) / others.clamp_min(1)
    level = 1 - 0.05 / found.numel()  # Bonferroni: the largest of all is looked at
    low = wilson(found, images, level)[0] - wilson(false, others, level)[1]
    return Power((found - false).float(), low.float(), named == split.targets)


def cells(images: torch.Tensor) -> torch.Tensor:
    """Mean, deviation, maximum and minimum of each channel in each cell of the grid: float 64×N×4C."""
    values = to_unit(images)
    mean = F.adaptive_avg_pool2d(values, GRID)
    deviation = (F.adaptive_avg_pool2d(values**2, GRID) - mean**2).clamp_min(0).sqrt()
    high, low = F.adaptive_max_pool2d(values, GRID), -F.adaptive_max_pool2d(-values, GRID)
    return torch.cat([mean, deviation, high, low], 1).flatten(2).permute(2, 0, 1)


def border() -> torch.Tensor:
    """bool 64: the cells of the outermost ring."""
    ring = torch.ones(GRID, GRID, dtype=torch.bool)
    ring[1:-1, 1:-1] = False
    return ring.flatten()


def find_shortcuts(folder: Folder, whole: torch.Tensor, *, seed: int) -> tuple[list[Finding], torch.Tensor, str]:
    """What was found, the gain of every cell (8×8) for the class that a border cell betrays most, and that class.

    ``whole``: the out-of-fold answers of the judge who sees the whole picture, N×K.
    """
    split, facts = folder.pool, folder.facts
    if len(split) > MOST:
        chosen = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed))[:MOST]
        split, facts, whole = split[chosen], [facts[i] for i in chosen.tolist()], whole[chosen]
    fold = assign_folds(split, seed=seed)
    found = power(cells(split.images), split, fold)
    flat = to_unit(split.images.flatten(2))
    colour = power(torch.cat([flat.mean(2), flat.std(2)], 1)[None], split, fold)
    file = power(_file_facts(facts)[None], split, fold)
    first, betrayed = _check_border(found, split)
    findings, stamp = [first], _check_stamp(split)
    if stamp is not None:
        second, betrayed = stamp
        findings = [second] if first.status == FINE else [first, second]
    judge = power_of_answers(whole.argmax(1)[None], split)
    findings += [*_check_colour(colour, judge, split), *_check_file(file, split)]
    return findings, found.gain[:, betrayed].view(GRID, GRID), split.classes[betrayed]


def _check_border(found: Power, split: Split) -> tuple[Finding, int]:
    """What the border cells betray, and the class that they betray most.

    What tells classes apart in honest pictures lies on the object, in the middle, and changes slowly from cell to cell.
    So a border cell is suspicious if it beats every cell of the middle, or is nearly perfect and far above the cells of
    the middle beside it.
    """
    ring = border().nonzero()[:, 0]
    middle = (~border()).nonzero()[:, 0]
    gain, low = found.gain[ring], found.low[ring]  # R×K
    place = torch.stack([torch.arange(GRID**2) // GRID, torch.arange(GRID**2) % GRID], 1)
    beside = (place[ring][:, None] - place[middle]).abs().amax(2) <= 1  # R×M
    inner = found.gain[middle]
    near = torch.where(beside[..., None], inner, -1).amax(1)  # R×K
    ahead, step = gain - inner.amax(0), gain - near
    strong = (low >= 0.65) & ((ahead >= 0.2) | ((gain >= 0.9) & (step >= 0.3))) | (low >= 0.5) & (ahead >= 0.4)
    weak = (low >= 0.5) & ((ahead >= 0.1) | ((gain >= 0.75) & (step >= 0.3)))
    for chosen, status, largest_p in ((strong, WRONG, 1e-3), (weak, LOOK, 1e-2)):
        if not chosen.any():
            continue
        cell, c = divmod(int(torch.where(chosen, step, -1).argmax()), gain.shape[1])
        beats_all = bool(ahead[cell, c] >= (0.2 if status == WRONG else 0.1))
        rivals = torch.ones(len(middle), dtype=torch.bool) if beats_all else beside[cell]
        rival = int(torch.where(rivals, inner[:, c], -1).argmax())
        own = split.targets == c
        mine, theirs = found.hit[ring[cell], own], found.hit[middle[rival], own]
        only_mine, only_theirs = int((mine & ~theirs).sum()), int((theirs & ~mine).sum())
        p = binomtest(only_mine, max(only_mine + only_theirs, 1), alternative="greater").pvalue
        if p < largest_p:
            said = f"= {p:.2g}" if p >= 1e-4 else "below 0.0001"
            row, column = (place[ring[cell]] + 1).tolist()
            control = "best cell of the middle" if beats_all else "best cell of the middle beside it"
            return Finding(
                status,
                f'One border cell (row {row}, column {column} of {GRID}) alone tells "{split.classes[c]}" from '
                f"the rest with a gain of {float(gain[cell, c]):.2f} (0 guesses, 1 is perfect); the {control} has "
                f"{float(inner[rival, c]):.2f}.",
                STAMPED,
                f"gain at least {max(float(low[cell, c]), 0):.2f} at 95 % over all cells and classes; control: the "
                f"{control} (McNemar, p {said})",
            ), c
    evidence = (
        f"No cell of the border betrays a class more than the middle does (largest gain {float(gain.max()):.2f})."
    )
    sure = f"control: the best of {len(middle)} cells of the middle, and those beside the border cell"
    return Finding(FINE, evidence, sure=sure), int(ahead.amax(0).argmax())


def _check_stamp(split: Split) -> tuple[Finding, int] | None:
    """A border cell that looks the same in a good part of one class, and in almost no image of the others; the class.

    This finds a mark that only some images of a class carry, and one on a class that is easy to recognise anyway.
    """
    counts = torch.bincount(split.targets, minlength=len(split.classes)).float()
    ring, channels = border(), split.images.shape[1]
    looks = cells(split.images)[:, :, : 2 * channels]  # mean and deviation of each channel
    shares = torch.zeros(GRID**2, len(counts))
    for cell, values in enumerate(looks):
        for shift in (0.0, 0.5):  # what lies on the edge of a step of one grid lies inside a step of the other
            codes, code = (values * STEPS + shift).floor().unique(dim=0, return_inverse=True)
            table = torch.zeros(len(codes), len(counts))
            table.index_put_((code, split.targets), torch.ones(len(code)), accumulate=True)
            total = table.sum(1, keepdim=True)
            elsewhere = (total - table) / (len(split) - counts).clamp_min(1)
            own = torch.where(
                (table >= 8) & (table >= 0.9 * total) & (elsewhere <= 0.02), table / counts.clamp_min(1), 0
            )
            shares[cell] = torch.maximum(shares[cell], own.amax(0))
    outer, inner = shares[ring].amax(0), shares[~ring].amax(0)
    c = int((outer - inner).argmax())
    share, control = float(outer[c]), float(inner[c])
    if share < 0.3 or share - control < 0.15:
        return None
    low, high = wilson(share, float(counts[c]))
    row, column = divmod(int(ring.nonzero()[int(shares[ring][:, c].argmax()), 0]), GRID)
    found = Finding(
        WRONG if share >= 0.4 else LOOK,
        f"A border cell (row {row + 1}, column {column + 1} of {GRID}) looks the same in {percent(share)} of "
        f'"{split.classes[c]}" and in at most 2 % of the others.',
        STAMPED,
        f"{percent(low)}–{percent(high)} of the class at 95 %; control: in the middle, no cell is shared by more than "
        f"{percent(control)} of it alone",
    )
    return found, c


def _check_colour(found: Power, judge: Power, split: Split) -> Iterator[Finding]:
    gain, low, whole = found.gain[0], found.low[0], judge.gain[0]
    suspicious = (low >= 0.5) & (gain >= 0.9 * whole)
    if suspicious.any():
        c = int(torch.where(suspicious, gain, -1).argmax())
        yield Finding(
            LOOK,
            f'Mean and spread of the colours alone tell "{split.classes[c]}" from the rest with a gain of '
            f"{float(gain[c]):.2f}; the whole picture has {float(whole[c]):.2f}.",
            "Is colour what the class means (ripe and unripe)? If not, it is the lamp, the stain or the camera: "
            "compare the sources, and train with changes of colour.",
            f"gain at least {float(low[c]):.2f} at 95 % over all classes; control: the judge of labels on the whole",
        )


def _check_file(found: Power, split: Split) -> Iterator[Finding]:
    c = int(found.low[0].argmax())
    low, gain = float(found.low[0, c]), float(found.gain[0, c])
    if low >= 0.5:
        name = split.classes[c]
        yield Finding(
            LOOK,
            f'Size, shape and format of the file alone tell "{name}" from the rest with a gain of {gain:.2f}.',
            "The classes come from different sources, and a network sees the traces (blur, compression, crop): mix the "
            "sources, or bring all to one size and format before anything else.",
            f"gain at least {low:.2f} at 95 % over all classes; control: guessing has 0",
        )


def _file_facts(facts: list[Fact]) -> torch.Tensor:
    """Width, height and shape on a logarithmic scale, endings and modes as 0 and 1: float N×D."""
    endings, modes = (sorted({getattr(fact, name) for fact in facts}) for name in ("ending", "mode"))
    return torch.tensor(
        [
            [math.log(fact.width), math.log(fact.height), math.log(fact.width / fact.height)]
            + [float(fact.ending == ending) for ending in endings]
            + [float(fact.mode == mode) for mode in modes]
            for fact in facts
        ]
    )
