"""Lesson 9: other right answers, wrong ones that are no registered mistake, and what the solutions must give."""

import numpy as np
import pytest
import torch

from tdnn_helpers.exercises.lesson_09 import batch_rows, losses_of_one_point, recall_without_self, semi_hard_negative
from tdnn_helpers.measures import distances, rank, recall_at
from tdnn_helpers.methods.contrastive import contrastive_loss, find_triplets, nt_xent, triplet_loss


def recall_by_loop(e, y, k):
    rows = range(len(y))
    near = [sorted({*rows} - {i}, key=lambda j, i=i: float((e[i] - e[j]).norm()))[:k] for i in rows]
    return sum(any(y[j] == y[i] for j in near[i]) for i in rows) / len(y)


def negative_by_loop(distance, labels, anchor, positive):
    negatives = [j for j in range(len(labels)) if labels[j] != labels[anchor]]
    farther = [j for j in negatives if distance[j] > distance[positive]]
    return min(farther, key=lambda j: distance[j]) if farther else max(negatives, key=lambda j: distance[j])


def rows_with_numpy(labels, p, k, seed):
    rng, labels = np.random.default_rng(seed), labels.numpy()
    chosen = rng.choice([label for label in np.unique(labels) if (labels == label).sum() >= k], p, replace=False)
    return [row for label in chosen for row in rng.choice(np.flatnonzero(labels == label), k, replace=False)]


def first_rows(labels, p, k, seed):
    chosen = labels[batch_rows(labels, p, k, seed)].unique()
    return torch.cat([(labels == label).nonzero()[:k, 0] for label in chosen])


ALSO_RIGHT = {
    "9.1": [(1, 0.2, 4.844), {"contrastive": 1.0, "triplet": 0.2, "nt_xent": np.log(127)}],
    "9.2": [recall_by_loop],
    "9.3": [negative_by_loop],
    "9.4": [rows_with_numpy],
}
WRONG = {
    "9.1": [((2, 0.2, 4.844), "(margin − d)²"), ((1, 0.4, 4.844), "both distances are 0"), ((1, 0.2, 3), "1 / 127")],
    "9.2": [(lambda e, y, k: 0.123, "among the k nearest others")],
    "9.3": [(lambda d, y, a, p: 99, "should be 4; yours is 99: of the rows of another label")],
    "9.4": [
        (lambda y, p, k, s: batch_rows(y, p, k, 0), "Every seed"),
        (lambda y, p, k, s: batch_rows(y, p, k, torch.seed() % 2**31), "use the seed"),
        (first_rows, "not the first"),
        (lambda y, p, k, s: batch_rows(torch.where(y == 0, 99 + torch.arange(30), y), p, k, s), "only the labels"),
        (lambda y, p, k, s: batch_rows(y, p, k, s)[[0, *range(11)]], "A row occurs twice"),
        (lambda y, p, k, s: torch.arange(p * k), "4 labels with 3 each"),
        (lambda y, p, k, s: batch_rows(y, p, k, s).view(p, k), "list of 12 row numbers"),
        (lambda y, p, k, s: batch_rows(y, p, k, s)[1:], "(11,)"),
        (lambda y, p, k, s: y[batch_rows(y, p, k, s)], "Are those labels"),
    ],
}


def test_solutions_agree_with_the_package():
    one, labels = torch.ones(128, 5), torch.arange(64).repeat(2)
    losses = contrastive_loss(one, labels), triplet_loss(one, labels), nt_xent(one[:64], one[64:])
    assert losses_of_one_point() == pytest.approx([float(loss) for loss in losses], abs=1e-5)

    draws = torch.Generator().manual_seed(0)
    z, labels = torch.randn(30, 4, generator=draws), torch.randint(0, 5, (30,), generator=draws)
    order = rank(distances(z), torch.eye(30, dtype=torch.bool))
    for k in (1, 4):
        assert float(recall_without_self(z, labels, k)) == pytest.approx(recall_at(labels[order] == labels[:, None], k))
    for a, p, n in zip(*find_triplets(distances(z), labels, "semi-hard"), strict=True):
        assert semi_hard_negative(distances(z)[a], labels, a, p) == n
