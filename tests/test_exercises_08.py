"""Lesson 8: other right answers, wrong ones that are no registered mistake, and what the solutions must give."""

import math

import numpy as np
import torch

from tdnn_helpers.exercises.lesson_08 import balanced_ranking, margin_difficulty, own_curriculum, staircase
from tdnn_helpers.methods import easy_first


def dealt_out(difficulty, targets):
    piles = [[i for i in np.argsort(difficulty) if targets[i] == c] for c in np.unique(targets)]
    return [float(i) for row in zip(*piles, strict=True) for i in row]


RESULTS = own_curriculum()
ALSO_RIGHT = {
    "8.1": [[100, 325, 550, 100], {"step": 100.0, "linear": 325.0, "root": 550.0, "hardest": 100}],
    "8.2": [
        lambda step, first, factor, every, n: min(int(first * math.prod([factor] * (step // every))), n),
        lambda step, first, factor, every, n: np.ceil(min(first * factor ** (step // every), n)),
    ],
    "8.3": [lambda s, t: torch.tensor([max(np.delete(row, c)) - row[c] for row, c in zip(s, t, strict=True)])],
    "8.4": [dealt_out],
    "8.5": [
        RESULTS | {"curriculum": [83.4, 82.3, 83.9], "verdict": "Helps"},
        RESULTS | {"curriculum": np.array([79.4, 78.1, 79.9]), "verdict": "hurts"},
    ],
}
WRONG = {
    "8.1": [((250, 325, 550, 100), "only the first 10 %"), ((100, 325, 550, 200), "200 is not it; it must wait")],
    "8.2": [
        (lambda s, f, x, e, n: min(f * x * (s // e) if s >= e else f, n), "a power"),
        (lambda s, f, x, e, n: min(f * x ** (s // e), n), "no parts"),
    ],
    "8.3": [(lambda s, t: (margin_difficulty(s, t), s.fill(0))[0], "`scores.copy()`")],
    "8.4": [
        (lambda d, t: np.argsort(d), "raw order"),
        (lambda d, t: balanced_ranking(d, t)[::-1], "hardest images come first"),
        (lambda d, t: balanced_ranking(d, t)[:30], "60 positions"),
        (lambda d, t: np.sort(d), "argsort"),
        (lambda d, t: np.argsort(balanced_ranking(d, t)), "one more `argsort`"),
        (lambda d, t: balanced_ranking(np.random.default_rng(0).random(60), t), "a harder image comes before"),
        (lambda d, t: np.random.default_rng(0).permutation(60), "the classes have"),
        (lambda d, t: easy_first(torch.tensor(d), torch.tensor(t)), "does the whole task"),
    ],
    "8.5": [
        (RESULTS | {"verdict": "helps"}, "wholly on one side"),
        (RESULTS | {"verdict": "great"}, "one of: helps"),
        (RESULTS | {"standard": [80.1]}, "at least 3 seeds"),
        (RESULTS | {"standard": [80.1, 80.2, 80.3, 80.4]}, "same seeds"),
        (RESULTS | {"standard": [80.1, 180.2, 80.3]}, "from 0 to 100"),
        (dict.fromkeys(RESULTS, [0.8, 0.81, 0.79]) | {"verdict": "not shown"}, "per cent"),
    ],
}


def test_solutions_agree_with_the_package():
    random = np.random.default_rng(0)
    targets, difficulty = random.permutation(np.repeat(range(5), 8)), random.random(40)
    ranking = easy_first(torch.from_numpy(difficulty), torch.from_numpy(targets)).numpy()
    for n in range(0, 40, 5):  # the same images in each round, if not in the same order
        assert set(balanced_ranking(difficulty, targets)[: n + 5]) == set(ranking[: n + 5])
    assert [staircase(step, 10, 3, 2, 100) for step in range(7)] == [10, 10, 30, 30, 90, 90, 100]
    assert margin_difficulty(np.array([[1.0, 3.0, 2.0]]), np.array([1])).tolist() == [-1.0]
