"""Point 3: labels that contradict the image, labels that contradict each other, and classes of very different size."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import torch
import torch.nn.functional as F

from ..measures.embedding import standardise
from .case import Case
from .findings import FINE, LOOK, NOT_CHECKED, WRONG, Finding, percent

NEIGHBOURS = 15


def suspect_labels(case: Case) -> tuple[list[int], Finding]:
    """Labels that almost no neighbour shares although most neighbours agree on another class: their positions in the
    training split, the worst first, and what that says.

    Each image is judged by its nearest neighbours, never by itself, so nothing can be memorised. Only classes that the
    neighbours recognise (recall of one half or more) are judged: elsewhere a disagreement says nothing.
    """
    targets, classes = case.sample.targets, case.classes
    space, what = case.pixels[0], "raw pixels"
    votes = _votes(space, targets, classes)
    if _accuracy(votes, targets) < 0.7 and not case.failure:  # pixels are poor neighbours here: try the model's eyes
        try:
            (learned,) = standardise(case.features_of(case.model, case.sample))
        except ValueError:
            learned = space
        by_model = _votes(learned, targets, classes)
        if _accuracy(by_model, targets) > _accuracy(votes, targets):
            votes, what = by_model, "the model's features (which hide labels that it has memorised)"

    accuracy, predicted = _accuracy(votes, targets), votes.argmax(1)
    judged = torch.tensor([bool((predicted[targets == c] == c).float().mean() >= 0.5) for c in range(classes)])
    if accuracy < 0.5 or not judged.any():
        evidence = (
            f"Neighbours by {what} share the label of only {percent(accuracy)} of the images: too few to judge by."
        )
        return [], Finding(NOT_CHECKED, evidence, "Look at the images with the highest loss instead, after training.")
    given = votes.gather(1, targets[:, None])[:, 0]
    suspicious = (votes.amax(1) >= 0.6) & (given <= 0.1) & (predicted != targets) & judged[targets]
    worst_first = (votes.amax(1) - given)[suspicious].argsort(descending=True, stable=True)
    suspects = case.sample.extra["position"][suspicious][worst_first].tolist()
    share = len(suspects) / len(targets)
    evidence = (
        f"{len(suspects)} of {len(targets):,} labels ({percent(share, 1)}) contradict their {NEIGHBOURS} nearest "
        f"neighbours by {what}; up to about 3 % is usual for clean labels of classes that look alike."
    )
    if share >= 0.04:
        advice = "Look at report.suspects, the worst first: correct or remove what is wrong, and ask how it came about."
        return suspects, Finding(WRONG if share >= 0.06 else LOOK, evidence, advice)
    return suspects, Finding(FINE, evidence)


def _votes(space: torch.Tensor, targets: torch.Tensor, classes: int) -> torch.Tensor:
    """N×K: the share of each class among the nearest neighbours of each image, itself left out."""
    k = min(NEIGHBOURS, len(space) - 1)
    shares = []
    for start in range(0, len(space), 1000):
        distances = torch.cdist(space[start : start + 1000], space)
        rows = torch.arange(len(distances))
        distances[rows, rows + start] = torch.inf
        nearest = distances.topk(k, largest=False).indices
        shares.append(F.one_hot(targets[nearest], classes).float().mean(1))
    return torch.cat(shares)


def _accuracy(votes: torch.Tensor, targets: torch.Tensor) -> float:
    return float((votes.argmax(1) == targets).float().mean())


def check_conflicts(case: Case) -> Iterator[Finding]:
    """Point 3: identical images with different labels."""
    seen: dict[bytes, set[int]] = defaultdict(set)
    for digest, target in zip(case.train_digests, case.train.targets.tolist(), strict=True):
        seen[digest].add(target)
    conflicting = sum(len(seen[digest]) > 1 for digest in case.train_digests)
    if conflicting:
        share = conflicting / len(case.train)
        yield Finding(
            WRONG if share > 0.001 else LOOK,
            f"{conflicting} training images ({percent(share, 2)}) have an identical twin with another label.",
            "At least one label of each such set is wrong, or the classes are not exclusive: decide, then relabel.",
        )


def check_balance(case: Case) -> Iterator[Finding]:
    """Point 3: classes of very different size."""
    counts = case.train.counts()
    (smallest, low), (largest, high) = (pick(counts.items(), key=lambda item: item[1]) for pick in (min, max))
    if low == 0:
        yield Finding(WRONG, f'Class "{smallest}" has no training image.', "Collect images of it, or drop the class.")
    elif high > 3 * low:
        yield Finding(
            LOOK,
            f'"{largest}" has {high / low:.1f} times as many images as "{smallest}" ({high:,} and {low:,}): always '
            f'saying "{largest}" already has an accuracy of {percent(case.prior.max())}.',
            "Report balanced accuracy or F1 beside accuracy, which rewards ignoring the small class.",
        )
    else:
        yield Finding(FINE, f"Classes have {low:,} to {high:,} images.")
