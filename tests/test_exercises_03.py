"""Lesson 3: other right answers, wrong ones that are no registered mistake, and what the solutions must give."""

import numpy as np
import pytest
import torch

from tdnn_helpers.exercises.lesson_03 import back_into_the_box, find_trigger, linear_shifts, success_rate


def counted(answers, targets, target):
    others = [said == target for said, true in zip(answers.tolist(), targets.tolist(), strict=True) if true != target]
    return sum(others) / len(others)


def pixel_by_pixel(attacked, images, eps):
    result = torch.empty_like(images)
    for place in np.ndindex(images.shape):
        result[place] = min(max(attacked[place], images[place] - eps, 0.0), images[place] + eps, 1.0)
    return result


def by_loops(images, targets):
    white = (images[:, 0] == 255).numpy()
    classes = sorted(set(targets.tolist()))
    for c in classes:
        for row, column in np.ndindex(white.shape[1:]):
            full = [white[targets.numpy() == other, row, column].all() for other in classes]
            if full[c] and sum(full) == 1:
                return [c, np.int64(row), torch.tensor(column)]
    return None


ALSO_RIGHT = {
    "3.1": [{"FGSM": 0.492, "noise": 0.0176}, np.array([0.49, 0.0175]), (-0.492, 0.0176)],
    "3.2": [counted, lambda a, t, k: ((a == k) & (t != k)).sum() / (t != k).sum()],
    "3.3": [
        pixel_by_pixel,
        lambda attacked, images, eps: (images + (attacked - images).clamp(-eps, eps)).clamp(0, 1),
        lambda attacked, images, eps: attacked.clamp_(images - eps, images + eps).clamp_(0, 1),
        lambda a, x, e: np.clip(a.numpy(), (x - e).clamp(0, 1).numpy(), (x + e).clamp(0, 1).numpy()),
    ],
    "3.4": [by_loops],
}
WRONG = {
    "3.1": [((7, 7), "7 is not it")],
    "3.2": [(lambda a, t, k: (a != t).float().mean(), "all images"), (lambda a, t, k: 0.123, "should be")],
    "3.3": [
        (lambda a, x, e: (x + e * (a - x).sign()).clamp(0, 1), "the nearest allowed place"),
        (lambda a, x, e: (x + e * (a - x) / (a - x).abs().max()).clamp(0, 1), "the nearest allowed place"),
    ],
    "3.4": [(lambda x, t: (0, 6, 6), "should be [1, 0, 4]; yours is [0, 6, 6]")],
}


def test_solutions_agree_with_the_definitions():
    assert linear_shifts() == pytest.approx((0.49192, 0.017569), rel=1e-4)
    said, true = torch.tensor([1, 1, 1, 0]), torch.tensor([1, 0, 2, 0])
    assert success_rate(said, true, 1) == pytest.approx(2 / 3)
    attacked, image = torch.tensor([0.9, 0.35, -0.3]), torch.tensor([0.5, 0.4, 0.1])
    assert back_into_the_box(attacked, image, 0.2).tolist() == pytest.approx([0.7, 0.35, 0.0])
    images = torch.zeros(4, 1, 3, 3, dtype=torch.uint8)
    images[2:, 0, 1, 2] = 255
    assert find_trigger(images, torch.tensor([0, 0, 1, 1])) == (1, 1, 2)
