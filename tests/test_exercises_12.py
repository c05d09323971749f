"""Lesson 12: other right answers, wrong ones that are no registered mistake, and what the solutions must give."""

import numpy as np
import pytest
import torch

from tdnn_helpers.exercises.lesson_12 import calibration_error, four_rules, mirror_average
from tdnn_helpers.measures import reliability


def by_loop(confidence, right, bins):
    error = 0.0
    for b in range(bins):
        rows = [i for i, c in enumerate(confidence) if b / bins < c <= (b + 1) / bins]
        error += abs(sum(right[i] - confidence[i] for i in rows)) / len(right)
    return torch.tensor(error)


def both_at_once(model, images):
    first, second = model(torch.cat([images, images.flip(3)])).split(len(images))
    return torch.stack([first, torch.flip(second, [3])]).mean(0).numpy()


def with_the_library(confidence, right, bins):
    rest = (1 - confidence) / 2
    probabilities = torch.tensor(np.stack([confidence, rest, rest], axis=1))
    table = reliability(probabilities, torch.tensor(np.where(right, 0, 1)), bins=bins)
    return float((table["count"] * (table["accuracy"] - table["confidence"]).abs()).sum() / len(right))


ALSO_RIGHT = {
    "12.1": [{rule: f" {right.lower()}" for rule, right in four_rules().items()}],
    "12.2": [by_loop],
    "12.3": [both_at_once],
}
WRONG = {
    "12.1": [
        (four_rules() | {"mean": "C"}, "add each column"),
        (four_rules() | {"vote": "A"}, "each view names its largest class"),
        (four_rules() | {"product": "A"}, "multiply each column"),
        (four_rules() | {"max": 0.9}, "name the class with the largest of the nine"),
    ],
    "12.2": [(lambda c, r, b: 0.5, "add up the distances"), (with_the_library, "whole task")],
    "12.3": [(lambda model, images: 0 * model(images), "Ask the model twice")],
}


def test_solutions_agree_with_the_definitions():
    views = np.array([[0.90, 0.09, 0.01], [0.02, 0.38, 0.60], [0.20, 0.35, 0.45]])
    votes = np.bincount(views.argmax(1))
    scores = {"mean": views.mean(0), "vote": votes, "product": views.prod(0), "max": views.max(0)}
    assert four_rules() == {rule: "ABC"[score.argmax()] for rule, score in scores.items()}
    case = np.array([0.55, 0.95, 0.97]), np.array([True, False, True]), 10
    assert calibration_error(*case) == pytest.approx(with_the_library(*case)) == pytest.approx((0.45 + 0.92) / 3)
    assert mirror_average(lambda x: x * torch.tensor([1.0, 3.0]), torch.ones(1, 1, 1, 2)).tolist() == [[[[2.0, 2.0]]]]
