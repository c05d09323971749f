"""The checks of lesson 9's exercises: properties and naive references, and a sentence for each typical mistake."""

from __future__ import annotations

import math
from typing import Any

import torch

from .answers import NotYet, all_answered, array, expect, number, numbers


def check_losses_of_one_point(answer: Any) -> str:
    contrastive, triplet, nt_xent = numbers(answer, "contrastive", "triplet", "NT-Xent")
    expect(
        not math.isclose(contrastive, 0, abs_tol=0.005),
        "The contrastive loss is not 0: the pairs of one label are perfect, but the other pairs should be a margin "
        "apart, and are not.",
    )
    expect(
        not math.isclose(contrastive, 0.5, abs_tol=0.005),
        "0.5 would be the mean of both kinds of pairs; this loss adds the mean of each kind.",
    )
    expect(
        math.isclose(contrastive, 1, abs_tol=0.005),
        f"The contrastive loss is not {contrastive:g}: with d = 0 it is d² = 0 for one kind of pairs, and "
        "(margin − d)² for the other.",
    )
    expect(
        not math.isclose(triplet, 0, abs_tol=0.005),
        "The triplet loss is not 0: the negative should be a margin farther away than the positive.",
    )
    expect(
        math.isclose(triplet, 0.2, abs_tol=0.005),
        f"The triplet loss is not {triplet:g}: both distances are 0, so what is left of d(a, p) − d(a, n) + margin?",
    )
    mistakes = (
        (math.log(128), "ln 128 lets a row find itself, but it is compared with the 127 others"),
        (math.log(64), "ln 64 counts pairs; every row looks for its partner among 127 others"),
        (math.log(63), "ln 63 counts pairs; every row looks for its partner among 127 others"),
        (math.log2(127), "that is in bits; take the natural logarithm"),
        (math.log10(127), "that is a decimal logarithm; take the natural one"),
        (127, "take the logarithm"),
        (0, "a guess among 127 rows is not right by itself"),
    )
    for value, sentence in mistakes:
        expect(not math.isclose(nt_xent, value, abs_tol=0.004), f"Not {nt_xent:g} for NT-Xent: {sentence}.")
    expect(
        math.isclose(nt_xent, math.log(127), abs_tol=0.01),
        f"NT-Xent is not {nt_xent:g}: all similarities are equal, so the right row has the probability 1 / 127.",
    )
    return "1, the margin 0.2, and ln 127 = 4.84: if a loss stands still at such a number, the network learns nothing."


def check_recall_without_self(answer: Any) -> str:
    draws = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 8, (40,), generator=draws)
    embeddings = torch.randn(40, 3, generator=draws) + 0.2 * labels[:, None]
    for k in (1, 3):
        got = number(answer(embeddings.clone(), labels.clone(), k))
        hits = [_nearest_first(embeddings, i) for i in range(40)]
        right = sum(any(labels[j] == labels[i] for j in hits[i][1 : k + 1]) for i in range(40)) / 40
        if math.isclose(got, right, abs_tol=1e-4):
            continue
        shares = [[bool(labels[j] == labels[i]) for j in hits[i][1 : k + 1]] for i in range(40)]
        with_self = sum(any(labels[j] == labels[i] for j in hits[i][1:k]) or k >= 1 for i in range(40)) / 40
        mistakes = (
            (with_self, "every image finds itself, at distance 0: set the diagonal to infinity"),
            (100 * right, "give a fraction from 0 to 1, not per cent"),
            (right * 40, "that is the number of queries; divide by it"),
            (sum(map(sum, shares)) / (40 * k), "that is the precision: a query counts once, however many are right"),
            (sum(map(sum, shares)) / 40, "count a query once, however many of its answers are right"),
            (sum(map(all, shares)) / 40, "one right answer is enough: `any`, not `all`"),
            (_farthest(embeddings, labels, k), "those are the farthest images: smallest distance first"),
            (
                sum(any(labels[j] == labels[i] for j in hits[i][1:k]) for i in range(40)) / 40,
                "you look at one answer too few: leave the query out first, then take k",
            ),
        )
        case = f"For 40 images and k = {k} it is {right:.3f}, not {got:.3f}"
        for value, sentence in mistakes:
            expect(not math.isclose(got, value, abs_tol=1e-4), f"{case}: {sentence}.")
        raise NotYet(f"{case}: for each image, is there a right one among the k nearest others?")
    twice = torch.cat([embeddings[:6], embeddings[:6]])
    got = number(answer(twice, torch.arange(6).repeat(2), 1))
    expect(
        math.isclose(got, 1, abs_tol=1e-4),
        "Each image has an exact copy with its label, at distance 0, and yet not every copy is found: leave out the "
        "query by its row number, not by its distance.",
    )
    return "Forget the diagonal, and every network, trained or not, finds everything."


def _nearest_first(embeddings: torch.Tensor, row: int) -> list[int]:
    """All rows, the row itself first."""
    distance = (embeddings - embeddings[row]).norm(dim=1)
    return sorted(range(len(embeddings)), key=lambda j: float(distance[j]))


def _farthest(embeddings: torch.Tensor, labels: torch.Tensor, k: int) -> float:
    found = [any(labels[j] == labels[i] for j in _nearest_first(embeddings, i)[-k:]) for i in range(len(labels))]
    return sum(found) / len(found)


def check_semi_hard_negative(answer: Any) -> str:
    labels = torch.tensor([0, 0, 1, 2, 1, 0, 3])
    cases = (
        # distances of the anchor, row 0, and what the case shows
        torch.tensor([0.0, 0.5, 0.3, 0.9, 0.7, 0.6, 1.4]),
        torch.tensor([0.0, 0.5, 0.8, 0.55, 0.1, 2.0, 0.2]),
        torch.tensor([0.0, 0.5, 0.5, 0.6, 0.4, 0.55, 0.7]),  # row 2 is as far as the positive, not farther
        torch.tensor([0.0, 0.9, 0.3, 0.5, 0.2, 1.0, 0.8]),  # no negative is farther
    )
    for distance in cases:
        got = number(answer(distance.clone(), labels.clone(), 0, 1))
        negatives = [j for j in range(7) if labels[j] != labels[0]]
        farther = [j for j in negatives if distance[j] > distance[1]]
        far = {j: float(distance[j]) for j in range(7)}
        right = min(farther, key=far.get) if farther else max(negatives, key=far.get)
        if got == right:
            continue
        shown = ", ".join(f"{value:g}" for value in far.values())
        case = f"Distances [{shown}], labels {labels.tolist()}, anchor 0, positive 1: it is row {right}, not {got:g}"
        expect(got in far, f"{case}: return a row number.")
        expect(
            bool(farther),
            f"{case}: no negative is farther than the positive here, so take the farthest of them.",
        )
        expect(got in negatives, f"{case}: row {got:g} has the label of the anchor.")
        expect(got != min(negatives, key=far.get), f"{case}: that is the hardest negative, nearer than the positive.")
        expect(got != max(negatives, key=far.get), f"{case}: that is the easiest negative; take the nearest.")
        expect(far[int(got)] > far[1], f"{case}: row {got:g} is not farther than the positive.")
        raise NotYet(f"{case}: the nearest of those that are farther than the positive.")
    moved = torch.tensor([0.4, 0.0, 0.2, 0.6, 0.3])  # the anchor is row 1
    got = number(answer(moved, torch.tensor([5, 5, 9, 9, 5]), 1, 4))
    expect(got == 3, f"With the anchor in row 1 and the positive in row 4 it is row 3, not {got:g}: use both numbers.")
    return "Hard enough to teach something, and still on the right side, so that single wrong labels pull less."


def check_batch_rows(answer: Any) -> str:
    draws = torch.Generator().manual_seed(3)
    labels = torch.cat([torch.full((n,), 10 * i) for i, n in enumerate((6, 1, 5, 2, 7, 4, 5))])
    labels = labels[torch.randperm(len(labels), generator=draws)]
    p, k = 4, 3
    rows = array(answer(labels.clone(), p, k, 0))
    expect(rows.ndim == 1, f"Return a list of row numbers; yours has the shape {rows.shape}: flatten it.")
    expect(len(rows) == p * k, f"p = {p} labels with k = {k} images each are {p * k} rows; yours are {len(rows)}.")
    expect(
        (rows == rows.round()).all() and rows.min() >= 0 and rows.max() < len(labels),
        f"Rows are whole numbers from 0 to {len(labels) - 1}; yours go from {rows.min():g} to {rows.max():g}. "
        "Are those labels?",
    )
    expect(len(set(rows.tolist())) == len(rows), "A row occurs twice: a pair of an image with itself teaches nothing.")
    values, counts = labels[torch.as_tensor(rows).long()].unique(return_counts=True)
    expect(len(values) == p, f"The batch holds {len(values)} labels and should hold {p}.")
    expect(
        (counts == k).all(),
        f"The {p} labels have {counts.tolist()} images, and should have {k} each: draw only among labels with at least "
        f"{k} images.",
    )
    again, other = (array(answer(labels.clone(), p, k, seed)).tolist() for seed in (0, 1))
    expect(sorted(again) == sorted(rows.tolist()), "The same seed gave another batch: use the seed for every draw.")
    expect(sorted(other) != sorted(rows.tolist()), "Every seed gives the same batch: draw with the seed.")
    drawn, images = set(), set()
    for seed in range(60):
        batch = torch.as_tensor(array(answer(labels.clone(), p, k, seed))).long()
        drawn |= set(labels[batch].tolist())
        images |= set(batch.tolist())
    possible = {value for value in labels.unique().tolist() if (labels == value).sum() >= k}
    expect(drawn == possible, f"In 60 batches only the labels {sorted(drawn)} came; each of {sorted(possible)} should.")
    expect(
        images == {i for i, label in enumerate(labels.tolist()) if label in possible},
        "Some images never come, in 60 batches: draw the k rows of a label at random, not the first ones.",
    )
    return f"Each image of such a batch has {k - 1} partners; a random batch may have none."


POINTS = {
    "same": "which two images are the same thing, and which near misses are not?",
    "pairs": "how many things with two images or more, and what does a batch hold?",
    "split": "whole things, with their variants, on one side; the test part is new in the way that use will be new.",
    "baselines": "recall@1 of raw pixels, of frozen pretrained features, and of your network before training.",
    "measure": "which queries, which gallery, and what must not be an answer?",
    "alarm": "which number tells you, in the first minutes, that the network does not learn?",
}


def check_plan(answer: Any) -> str:
    return all_answered(answer, POINTS)
