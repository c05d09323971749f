"""Lesson 9's checks: other right answers are accepted, typical wrong ones get a sentence that helps."""

import math

import numpy as np
import pytest
import torch

from tdnn_helpers.exercises import check, exercises
from tdnn_helpers.exercises.checks_09 import POINTS
from tdnn_helpers.exercises.lesson_09 import (
    batch_rows,
    losses_of_one_point,
    plan,
    recall_without_self,
    semi_hard_negative,
)
from tdnn_helpers.measures.retrieval import distances, rank, recall_at
from tdnn_helpers.methods.contrastive import contrastive_loss, find_triplets, nt_xent, triplet_loss


def recall_by_loop(embeddings, labels, k):
    found = 0
    for i in range(len(labels)):
        others = [j for j in range(len(labels)) if j != i]
        others.sort(key=lambda j: float((embeddings[i] - embeddings[j]).norm()))
        found += any(labels[j] == labels[i] for j in others[:k])
    return found / len(labels)


def negative_by_loop(distance, labels, anchor, positive):
    negatives = [j for j in range(len(labels)) if labels[j] != labels[anchor]]
    farther = [j for j in negatives if distance[j] > distance[positive]]
    return min(farther, key=lambda j: distance[j]) if farther else max(negatives, key=lambda j: distance[j])


def rows_with_numpy(labels, p, k, seed):
    rng, labels = np.random.default_rng(seed), labels.numpy()
    enough = [value for value in np.unique(labels) if (labels == value).sum() >= k]
    return [
        row
        for value in rng.choice(enough, p, replace=False)
        for row in rng.choice(np.flatnonzero(labels == value), k, replace=False)
    ]


@pytest.mark.parametrize(
    ("id", "answer"),
    [
        ("9.1", (1, 0.2, 4.844)),
        ("9.1", {"contrastive": 1.0, "triplet": 0.2, "nt_xent": np.log(127)}),
        ("9.2", recall_by_loop),
        ("9.3", negative_by_loop),
        ("9.4", rows_with_numpy),
        ("9.5", dict.fromkeys(POINTS, "not done")),
    ],
)
def test_other_right_answers(id, answer):
    feedback = check(id, answer)
    assert feedback.status == "right", feedback.sentence


@pytest.mark.parametrize("id", [id for id in exercises() if id.startswith("9.")])
def test_solutions_pass(id):
    exercise = exercises()[id]
    answer = exercise.solution() if exercise.value else exercise.solution
    assert check(id, answer).status == "right", check(id, answer).sentence


def recall_with_self(embeddings, labels, k):
    answers = torch.cdist(embeddings, embeddings).topk(k, largest=False).indices
    return (labels[answers] == labels[:, None]).any(1).float().mean()


def hits(embeddings, labels, k, largest=False):
    distance = torch.cdist(embeddings, embeddings)
    distance.fill_diagonal_(-math.inf if largest else math.inf)
    return (labels[distance.topk(k, largest=largest).indices] == labels[:, None]).float()


def left_out_by_distance(embeddings, labels, k):
    distance = torch.cdist(embeddings, embeddings, compute_mode="donot_use_mm_for_euclid_dist")
    distance[distance == 0] = math.inf
    return (labels[distance.topk(k, largest=False).indices] == labels[:, None]).any(1).float().mean()


def hardest(distance, labels, anchor, positive):
    return distance.masked_fill(labels == labels[anchor], math.inf).argmin()


def easiest(distance, labels, anchor, positive):
    return distance.masked_fill(labels == labels[anchor], -math.inf).argmax()


def without_fallback(distance, labels, anchor, positive):
    farther = (labels != labels[anchor]) & (distance > distance[positive])
    return distance.masked_fill(~farther, math.inf).argmin()


def any_label(distance, labels, anchor, positive):
    return distance.masked_fill(distance <= distance[positive], math.inf).argmin()


def as_far(distance, labels, anchor, positive):
    farther = (labels != labels[anchor]) & (distance >= distance[positive])
    return distance.masked_fill(~farther, math.inf).argmin() if farther.any() else easiest(distance, labels, 0, 1)


def fixed_anchor(distance, labels, anchor, positive):
    return semi_hard_negative(distance, labels, 0, 1)


def first_rows(labels, p, k, seed):
    rows = batch_rows(labels, p, k, seed)
    return torch.cat([(labels == label).nonzero().flatten()[:k] for label in labels[rows].unique()])


def all_labels(labels, p, k, seed):
    draws = torch.Generator().manual_seed(seed)
    chosen = labels.unique()[torch.randperm(7, generator=draws)[:p]]
    members = [(labels == label).nonzero().flatten() for label in chosen]
    return torch.cat([rows[torch.randint(len(rows), (k,), generator=draws)] for rows in members])


@pytest.mark.parametrize(
    ("id", "answer", "help"),
    [
        ("9.1", (0, 0.2, 4.844), "the other pairs should be a margin apart"),
        ("9.1", (0.5, 0.2, 4.844), "adds the mean of each kind"),
        ("9.1", (2, 0.2, 4.844), "(margin − d)²"),
        ("9.1", (1, 0, 4.844), "a margin farther away"),
        ("9.1", (1, 0.4, 4.844), "both distances are 0"),
        ("9.1", (1, 0.2, math.log(128)), "find itself"),
        ("9.1", (1, 0.2, math.log(64)), "counts pairs"),
        ("9.1", (1, 0.2, math.log2(127)), "in bits"),
        ("9.1", (1, 0.2, 127), "take the logarithm"),
        ("9.1", (1, 0.2, 3), "1 / 127"),
        ("9.1", (1, 0.2), "three numbers"),
        ("9.2", recall_with_self, "finds itself"),
        ("9.2", lambda e, y, k: 100 * recall_without_self(e, y, k), "not per cent"),
        ("9.2", lambda e, y, k: recall_without_self(e, y, k) * len(y), "divide by it"),
        ("9.2", lambda e, y, k: hits(e, y, k).mean(), "a query counts once"),
        ("9.2", lambda e, y, k: hits(e, y, k).sum(1).mean(), "count a query once"),
        ("9.2", lambda e, y, k: hits(e, y, k).all(1).float().mean(), "`any`, not `all`"),
        ("9.2", lambda e, y, k: hits(e, y, k, largest=True).any(1).float().mean(), "farthest images"),
        ("9.2", lambda e, y, k: hits(e, y, k - 1).any(1).float().mean() if k > 1 else 0.0, "one answer too few"),
        ("9.2", left_out_by_distance, "not by its distance"),
        ("9.2", lambda e, y, k: 0.123, "among the k nearest others"),
        ("9.3", hardest, "hardest negative"),
        ("9.3", easiest, "easiest negative"),
        ("9.3", without_fallback, "no negative is farther"),
        ("9.3", any_label, "has the label of the anchor"),
        ("9.3", as_far, "not farther than the positive"),
        ("9.3", fixed_anchor, "use both numbers"),
        ("9.3", lambda d, y, a, p: 99, "return a row number"),
        ("9.4", lambda y, p, k, s: batch_rows(y, p, k, 0), "Every seed"),
        ("9.4", lambda y, p, k, s: batch_rows(y, p, k, torch.seed() % 2**31), "use the seed"),
        ("9.4", first_rows, "not the first ones"),
        ("9.4", all_labels, "A row occurs twice"),
        ("9.4", lambda y, p, k, s: torch.arange(p * k), "labels"),
        ("9.4", lambda y, p, k, s: batch_rows(y, p, k, s).view(p, k), "flatten it"),
        ("9.4", lambda y, p, k, s: batch_rows(y, p, k, s)[1:], "yours are 11"),
        ("9.4", lambda y, p, k, s: y[batch_rows(y, p, k, s)], "Are those labels"),
        ("9.5", plan() | {"same": "", "pairs": None}, "Still empty, 2 of 6"),
        ("9.5", plan() | {"base": "0.1"}, 'Did you mean "baselines"'),
        ("9.5", ["a search"], "dictionary"),
    ],
)
def test_wrong_answers_get_help(id, answer, help):
    feedback = check(id, answer)
    assert feedback.status == "not yet"
    assert help in feedback.sentence, feedback.sentence


@pytest.mark.parametrize("id", [id for id in exercises() if id.startswith("9.")])
def test_a_blank_answer_is_not_accepted(id):
    blank = None if exercises()[id].value else (lambda *args: ...)
    assert check(id, blank).status == "not answered yet"


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
