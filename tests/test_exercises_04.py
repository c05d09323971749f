"""Lesson 4's checks: other right answers are accepted, typical wrong ones get a sentence that helps."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, f1_score, precision_score

from tdnn_helpers.exercises import check, exercises
from tdnn_helpers.exercises.checks_04 import POINTS
from tdnn_helpers.exercises.lesson_04 import balanced_accuracy, images_needed, oversample, plan, weighted_loss


def by_bisection(floor, scale, rate, error):
    low, high = 0.0, 200.0  # of log n
    if floor + scale * math.exp(-rate * high) >= error:
        return math.inf
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if floor + scale * math.exp(-rate * middle) > error else (low, middle)
    return math.exp(high)


def rounded_up(floor, scale, rate, error):
    return math.inf if error <= floor else math.ceil(images_needed(floor, scale, rate, error))


def by_loop(targets, predictions):
    shares = []
    for c in set(targets.tolist()):
        found = [p == c for t, p in zip(targets, predictions, strict=True) if t == c]
        shares.append(sum(found) / len(found))
    return torch.tensor(shares).mean()


def repeated_then_drawn(targets, seed):
    rng, most, rows = np.random.default_rng(seed), np.bincount(targets).max(), []
    for c in np.unique(targets):
        members = rng.permutation(np.flatnonzero(targets == c))
        rows += np.resize(members, most).tolist()
    return torch.tensor(rows)


def loss_by_loop(losses, targets, weights):
    return sum(loss * weights[t] for loss, t in zip(losses, targets, strict=True)) / len(losses)


@pytest.mark.parametrize(
    ("id", "answer"),
    [
        ("4.1", (0.99, 0.5, 50)),
        ("4.1", {"accuracy": 0.99, "balanced": 0.5, "weight": 50.0}),
        ("4.2", by_bisection),
        ("4.2", rounded_up),
        ("4.3", by_loop),
        ("4.4", repeated_then_drawn),
        ("4.5", loss_by_loop),
        ("4.5", lambda losses, targets, weights: (losses * weights.gather(0, targets)).sum() / losses.numel()),
        ("4.6", dict.fromkeys(POINTS, "not done")),
    ],
)
def test_other_right_answers(id, answer):
    feedback = check(id, answer)
    assert feedback.status == "right", feedback.sentence


@pytest.mark.parametrize("id", [id for id in exercises() if id.startswith("4.")])
def test_solutions_pass(id):
    exercise = exercises()[id]
    answer = exercise.solution() if exercise.value else exercise.solution
    assert check(id, answer).status == "right", check(id, answer).sentence


def without_floor(floor, scale, rate, error):
    return math.inf if error <= floor else (scale / error) ** (1 / rate)


def upside_down(floor, scale, rate, error):
    return math.inf if error <= floor else ((error - floor) / scale) ** (1 / rate)


def no_limit(floor, scale, rate, error):
    return (scale / (error - floor)) ** (1 / rate)


def all_classes(targets, predictions):
    most = max(targets.max(), predictions.max()) + 1
    return np.mean([np.mean(predictions[targets == c] == c) for c in range(most)])


def zero_if_absent(targets, predictions):
    labels = np.union1d(targets, predictions)
    return np.mean([(predictions[targets == c] == c).sum() / max(1, (targets == c).sum()) for c in labels])


def drawn_afresh(targets, seed):
    rng, most = np.random.default_rng(seed), np.bincount(targets).max()
    return np.concatenate([rng.choice(np.flatnonzero(targets == c), most) for c in np.unique(targets)])


def undersample(targets, seed):
    rng, least = np.random.default_rng(seed), np.bincount(targets).min()
    members = [np.flatnonzero(targets == c) for c in np.unique(targets)]
    rows = np.concatenate([rng.choice(rows, least, replace=False) for rows in members])
    return np.concatenate([rows] * 5)


def one_image_again_and_again(targets, seed):
    most, start = np.bincount(targets).max(), np.random.default_rng(seed).integers(0, 4)
    rows = [np.arange(len(targets))]
    for c in np.unique(targets):
        members = np.flatnonzero(targets == c)
        rows.append(np.full(most - len(members), members[start]))
    return np.concatenate(rows)


def of_the_batch(losses, targets, weights):
    return (weights[targets] * losses).sum() / weights[targets].sum()


@pytest.mark.parametrize(
    ("id", "answer", "help"),
    [
        ("4.1", (0.99, 0.99, 50), "accuracy again"),
        ("4.1", (0.99, 0.0, 50), "recall of the ill alone"),
        ("4.1", (0.5, 0.5, 50), "counts images and not classes"),
        ("4.1", (99, 0.5, 50), "fraction from 0 to 1"),
        ("4.1", (0.9, 0.5, 50), "how many of 1,000"),
        ("4.1", (0.99, 0.6, 50), "average the recall"),
        ("4.1", (0.99, 0.5, 100), "forgets the number of classes"),
        ("4.1", (0.99, 0.5, 99), "ratio of the two counts"),
        ("4.1", (0.99, 0.5, 0.505), "weight of the healthy"),
        ("4.1", (0.99, 0.5, 7), "The weight is not 7"),
        ("4.1", (0.99, 0.5), "three numbers"),
        ("4.2", without_floor, "take the floor off"),
        ("4.2", upside_down, "upside down"),
        ("4.2", no_limit, "return math.inf"),
        ("4.2", lambda f, s, r, e: max(1.0, no_limit(f, s, r, e)) if e > f else 0, "return math.inf"),
        ("4.2", lambda f, s, r, e: 17.0, "solve error"),
        ("4.2", lambda f, s, r, e: (s / (e - f)) ** r, "1 / rate"),
        ("4.3", lambda t, p: np.mean(t == p), "that is the accuracy"),
        ("4.3", all_classes, "0 / 0"),
        ("4.3", zero_if_absent, "only over the classes that occur"),
        ("4.3", lambda t, p: 100 * balanced_accuracy(t, p), "not per cent"),
        ("4.3", lambda t, p: balanced_accuracy(t, p) * len(set(t)), "sum of the recalls"),
        ("4.3", lambda t, p: precision_score(t, p, average="macro", labels=np.unique(p)), "mean precision"),
        ("4.3", lambda t, p: f1_score(t, p, average="macro", zero_division=0), "average the share found"),
        ("4.4", lambda t, s: np.arange(len(t)), "all should have 40"),
        ("4.4", drawn_afresh, "original rows are gone"),
        ("4.4", undersample, "most frequent one has 40"),
        ("4.4", one_image_again_and_again, "the same image"),
        ("4.4", lambda t, s: oversample(t, None), "same seed"),
        ("4.4", lambda t, s: oversample(t, 0), "Every seed"),
        ("4.4", lambda t, s: t[oversample(t, s)], "those are classes"),
        ("4.4", lambda t, s: oversample(t, s) + 1, "Rows go from 0"),
        ("4.5", of_the_batch, "weights of the batch"),
        ("4.5", lambda x, t, w: (w[t] * x).sum(), "that is the sum"),
        ("4.5", lambda x, t, w: x.mean(), "no effect"),
        ("4.5", lambda x, t, w: (x / w[t]).mean(), "do not divide"),
        ("4.5", lambda x, t, w: (w.mean() * x).mean(), "weight of its class"),
        ("4.5", lambda x, t, w: weighted_loss(x, t, w).item(), "cut off"),
        ("4.6", plan() | {"curve": "", "goal": None}, "Still empty, 2 of 6"),
        ("4.6", plan() | {"gaol": "0.1"}, 'Did you mean "goal"'),
        ("4.6", ["collect more"], "dictionary"),
    ],
)
def test_wrong_answers_get_help(id, answer, help):
    feedback = check(id, answer)
    assert feedback.status == "not yet"
    assert help in feedback.sentence


@pytest.mark.parametrize("id", [id for id in exercises() if id.startswith("4.")])
def test_a_blank_answer_is_not_accepted(id):
    blank = None if exercises()[id].value else (lambda *args: ...)
    assert check(id, blank).status == "not answered yet"


def test_solutions_agree_with_scikit_learn_and_definitions():
    random = np.random.default_rng(0)
    targets, predictions = random.integers(0, 4, 200), random.integers(0, 4, 200)
    assert balanced_accuracy(targets, predictions) == pytest.approx(balanced_accuracy_score(targets, predictions))
    assert images_needed(0, 1, 0.5, 0.1) == pytest.approx(100) and images_needed(0.2, 1, 0.5, 0.2) == math.inf
    assert np.bincount(targets[oversample(targets, 0)]).tolist() == [np.bincount(targets).max()] * 4
    assert weighted_loss(torch.ones(4), torch.tensor([0, 0, 0, 1]), torch.tensor([1.0, 5.0])) == 2
