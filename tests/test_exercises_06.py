"""Lesson 6: other right answers, wrong ones that are no registered mistake, and what the solutions must give."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tdnn_helpers.exercises.lesson_06 import adam_step, group_norm, keeps_the_label, moving, tuned, warm_up_cosine


def in_numpy(weight, gradient, mean, square, step, rate):
    weight, gradient, mean, square = (x.numpy() for x in (weight, gradient, mean, square))
    mean, square = mean + 0.1 * (gradient - mean), square + 0.001 * (gradient * gradient - square)
    length = rate * math.sqrt(1 - 0.999**step) / (1 - 0.9**step)  # the order of Kingma and Ba's section 2
    return [weight - length * mean / (np.sqrt(square) + 1e-12), mean, square]


def by_torch(weight, gradient, mean, square, step, rate):
    weight.grad = gradient
    optimizer = torch.optim.Adam([weight], lr=rate)
    optimizer.state[weight] = {"step": torch.tensor(step - 1.0), "exp_avg": mean, "exp_avg_sq": square}
    optimizer.step()
    return weight, mean, square


def from_0_to_0(t, n, k):
    return torch.tensor(t / k if t < k else (1 + math.cos(math.pi * (t - k) / (n - 1 - k))) / 2)


def by_loops(maps, groups):
    out, size = maps.clone(), maps.shape[1] // groups
    for image in out:
        for g in range(groups):
            part = image[g * size : (g + 1) * size]
            part.copy_((part - part.mean()) / part.std())
    return out


ALSO_RIGHT = {
    "6.1": [[0.0125, 0.0025, 0.0038, 0.01464], dict(step=0.0125, exp=0.0025, cos=0.003806, restarts=0.0146)],
    "6.2": [in_numpy],
    "6.3": [from_0_to_0],
    "6.4": [by_loops],
    "6.5": [{change: np.bool_(keeps) for change, keeps in keeps_the_label().items()}],
    "6.6": [{"rates": (0.1, 0.01, 1.0), "validation": (-0.5, -0.9, -2.3), "chosen": 0.1, "test": -0.6}],
}
WRONG = {
    "6.2": [
        (by_torch, "does the whole task"),
        (moving(lambda m, s, cm, cs: 2 * cm / cs.sqrt()), "`weight` should be [1.03, -1.97, 0.53]"),
        (lambda *args: (adam_step(*args)[0], args[2], args[3]), "`mean` should be"),
    ],
    "6.3": [
        (lambda t, n, k: 0.1 * warm_up_cosine(t, n, k), "With steps = 200, first = 40 the number at [39] should be 1"),
        (lambda t, n, k: t / k if t < k or not k else warm_up_cosine(t, n, k), "ZeroDivisionError"),
    ],
    "6.4": [
        (lambda x, g: F.group_norm(x, g).numpy(), "does the whole task"),
        (lambda x, g: x, "mean 0 and variance 1"),
    ],
    "6.5": [
        (keeps_the_label() | {"turn by 180 degrees: digit 6 or 9?": True}, "1 of 7"),
        (dict.fromkeys(keeps_the_label(), True), "4 of 7"),
    ],
    "6.6": [
        (tuned() | {"chosen": 0.01}, "0.03 has the best"),
        (tuned() | {"validation": [80, 79, 78, 77], "chosen": 0.003}, "edge of your list"),
        (tuned() | {"rates": [0.1]}, "1 rates need as many"),
        ({"rates": [0.1, 0.2], "validation": [1, 2], "chosen": 0.2, "test": 1}, "at least three"),
    ],
}


def test_solutions_agree_with_the_definitions():
    maps = torch.randn(2, 6, 3, 3, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(group_norm(maps, 6), F.instance_norm(maps), atol=1e-5)
    assert [warm_up_cosine(step, 8, 4) for step in (0, 3, 4, 6)] == pytest.approx([0.25, 1, 1, 0.5])
