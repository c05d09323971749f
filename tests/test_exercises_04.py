"""Lesson 4: other right answers, wrong ones that are no registered mistake, and what the solutions must give."""

import math

import numpy as np
import pytest
import torch
from numpy.random import default_rng as random
from sklearn.metrics import balanced_accuracy_score, f1_score

from tdnn_helpers.exercises.lesson_04 import balanced_accuracy, images_needed, oversample, weighted_loss


def by_bisection(floor, scale, rate, error):
    low, high = 0.0, 200.0  # of log n
    if floor + scale * math.exp(-rate * high) >= error:
        return math.inf
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if floor + scale * math.exp(-rate * middle) > error else (low, middle)
    return math.exp(high)


def per_class(targets, drawn):
    return np.concatenate([drawn(np.flatnonzero(targets == c)) for c in np.unique(targets)])


ALSO_RIGHT = {
    "4.1": [(0.99, 0.5, 50), {"accuracy": 0.99, "balanced": 0.5, "weight": 50.0}],
    "4.2": [by_bisection, lambda f, s, r, e: math.inf if e <= f else math.ceil(images_needed(f, s, r, e))],
    "4.3": [lambda t, p: torch.tensor([list(t[t == c] == p[t == c]).count(True) / sum(t == c) for c in set(t)]).mean()],
    "4.4": [lambda t, seed: per_class(t, lambda rows: np.resize(random(seed).permutation(rows), 40)).tolist()],
    "4.5": [
        lambda losses, t, weights: sum(x * weights[c] for x, c in zip(losses, t, strict=True)) / len(losses),
        lambda losses, t, weights: (losses * weights.gather(0, t)).sum() / losses.numel(),
    ],
}


def no_limit(floor, scale, rate, error):
    return (scale / (error - floor)) ** (1 / rate)


WRONG = {
    "4.2": [
        (no_limit, "return math.inf"),
        (lambda f, s, r, e: math.inf if e == f else no_limit(f, s, r, e), "return math.inf"),
        (lambda f, s, r, e: no_limit(f, s, r, e) if e > f else 0, "return math.inf"),
        (lambda f, s, r, e: 17.0, "solve error"),
    ],
    "4.3": [
        (lambda t, p: balanced_accuracy_score(t, p), "whole task"),
        (lambda t, p: balanced_accuracy(t, p) * len(set(t)) / len({*t, *p}), "only over the classes that occur"),
        (lambda t, p: f1_score(t, p, average="macro", zero_division=0), "average the share found"),
    ],
    "4.4": [
        (lambda t, seed: per_class(t, lambda rows: random(seed).choice(rows, 40)), "original rows are gone"),
        (lambda t, seed: per_class(t, lambda rows: np.tile(rows[:4], 5)), "[40, 40, 40]; yours is [20, 20, 20]"),
        (lambda t, seed: per_class(t, lambda rows: [*rows, *[rows[seed]] * (40 - len(rows))]), "the same image"),
        (lambda t, seed: oversample(t, None), "same seed"),
        (lambda t, seed: oversample(t, 0), "Every seed"),
        (lambda t, seed: t[oversample(t, seed)], "those of classes"),
        (lambda t, seed: oversample(t, seed) + 1, "Rows go from 0"),
    ],
    "4.5": [(lambda x, t, w: weighted_loss(x, t, w).item(), "cut off"), (lambda x, t, w: 7, "then take the mean")],
}


def test_solutions_agree_with_scikit_learn_and_definitions():
    targets, predictions = random(0).integers(0, 4, (2, 200))
    assert balanced_accuracy(targets, predictions) == pytest.approx(balanced_accuracy_score(targets, predictions))
    assert images_needed(0, 1, 0.5, 0.1) == pytest.approx(100) and images_needed(0.2, 1, 0.5, 0.2) == math.inf
    assert np.bincount(targets[oversample(targets, 0)]).tolist() == [np.bincount(targets).max()] * 4
    assert weighted_loss(torch.ones(4), torch.tensor([0, 0, 0, 1]), torch.tensor([1.0, 5.0])) == 2
