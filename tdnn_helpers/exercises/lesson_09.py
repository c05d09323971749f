"""Exercises of lesson 9: contrastive learning. The solutions are what a reader unfolds."""

from __future__ import annotations

import math

import torch

from . import checks_09
from . import old_exercise as Exercise


def losses_of_one_point():
    """Every embedding is the same point, so every distance is 0 and every similarity is equal."""
    contrastive = 0**2 + max(0, 1 - 0) ** 2  # the pairs of one label, and the other pairs
    triplet = max(0, 0 - 0 + 0.2)  # the margin
    nt_xent = math.log(2 * 64 - 1)  # each row guesses among the 127 others
    return contrastive, triplet, nt_xent


def recall_without_self(embeddings, labels, k):
    """The share of images with at least one image of the same label among their k nearest.

    embeddings: float (N, D). labels: int (N,). Every image asks all *others*; it is
    never an answer to itself. Euclidean distance.
    """
    distance = torch.cdist(embeddings, embeddings)
    distance.fill_diagonal_(math.inf)
    answers = distance.topk(k, largest=False).indices
    hits = labels[answers] == labels[:, None]
    return hits.any(1).float().mean()


def semi_hard_negative(distance, labels, anchor, positive):
    """The row of the semi-hard negative of one anchor and its positive.

    distance: float (N,), of the anchor to every row. labels: int (N,). anchor, positive:
    two row numbers. Returns the nearest row of another label that is farther than the
    positive; if there is none, the farthest row of another label.
    """
    other = labels != labels[anchor]
    farther = other & (distance > distance[positive])
    if farther.any():
        return distance.masked_fill(~farther, math.inf).argmin()
    return distance.masked_fill(~other, -math.inf).argmax()


def batch_rows(labels, p, k, seed):
    """Row numbers of a batch with p different labels and k different images of each.

    labels: int (N,). Only labels with at least k images can be drawn. The draw follows
    from seed. Returns p · k row numbers.
    """
    draws = torch.Generator().manual_seed(seed)
    values, counts = labels.unique(return_counts=True)
    values = values[counts >= k]
    chosen = values[torch.randperm(len(values), generator=draws)[:p]]
    rows = []
    for label in chosen:
        members = (labels == label).nonzero().flatten()
        rows.append(members[torch.randperm(len(members), generator=draws)[:k]])
    return torch.cat(rows)


def plan():
    """An example: finding the same wooden chair in the catalogues of other shops."""
    return {
        "same": "two photographs of one model of chair; another colour of it is not the same",
        "pairs": "4,100 models with 2 to 9 photographs each, from 11 shops; batches of 32 models × 4 photographs",
        "split": "by model and its variants: 600 models validate, 600 test; one shop is in the test part only",
        "baselines": "recall@1 on the test part: pixels 0.04, ImageNet features 0.41, the same network untrained 0.07",
        "measure": "recall@1 and recall@5 from shop to shop, never within one; the query is not in the gallery",
        "alarm": "spread of the embeddings below 0.1, or a triplet loss that stays at its margin for 50 steps",
    }


EXERCISES = (
    Exercise(
        "9.1",
        "predict three losses of a network that has collapsed",
        checks_09.check_losses_of_one_point,
        (
            "Put d = 0 into each formula. In NT-Xent all similarities are equal: what is the probability of the "
            "right one among the others?",
            "64 pairs are 128 rows, and a row is never compared with itself. Cross-entropy of a guess among n is ln n.",
        ),
        losses_of_one_point,
        value="(None, None, None)  # contrastive (margin 1), triplet (margin 0.2), NT-Xent (64 pairs)",
    ),
    Exercise(
        "9.2",
        "recall at k without the query itself",
        checks_09.check_recall_without_self,
        (
            "`torch.cdist(embeddings, embeddings)` gives all distances. Which places of it must never be an answer?",
            "Set the diagonal to infinity, then `topk(k, largest=False)`. A query counts once, however many of its "
            "answers are right: `any`.",
        ),
        recall_without_self,
    ),
    Exercise(
        "9.3",
        "the semi-hard negative",
        checks_09.check_semi_hard_negative,
        (
            "Two conditions: another label, and farther than the positive. Which of the rows that are left is nearest?",
            "`distance.masked_fill(~allowed, math.inf).argmin()` finds the nearest allowed row. If no row is allowed, "
            "take the farthest of another label.",
        ),
        semi_hard_negative,
    ),
    Exercise(
        "9.4",
        "a batch with several images of each label",
        checks_09.check_batch_rows,
        (
            "First draw p labels among those that occur at least k times, then k rows of each.",
            "`labels.unique(return_counts=True)` counts; `torch.randperm(n, generator=…)[:k]` draws k of n without "
            "repeats.",
        ),
        batch_rows,
    ),
    Exercise(
        "9.5",
        "plan a search of your own",
        checks_09.check_plan,
        (
            "Begin with `same`: two people should agree on it for ten pairs of images.",
            "An honest `not done` is an answer too. It shows you what to do next.",
        ),
        plan,
        value="{\n" + "".join(f'    "{point}": "",\n' for point in checks_09.POINTS) + "}",
    ),
)
