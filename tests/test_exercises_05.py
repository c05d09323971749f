"""Lesson 5: other right answers, and wrong ones that are no registered mistake."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from tdnn_helpers.exercises.lesson_05 import PAST, attend, blur_and_drop, causal_attention, measured, only, uniform_maps


def blur_in_numpy(maps):
    padded = np.pad(maps.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    rows = (padded[..., :-2, :] + 2 * padded[..., 1:-1, :] + padded[..., 2:, :]) / 4
    return ((rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 4)[..., ::2, ::2]


def causal_by_loops(queries, keys, values):
    weights = torch.zeros(len(queries), len(keys))
    for t in range(len(queries)):
        weights[t, : t + 1] = (keys[: t + 1] @ queries[t] / math.sqrt(queries.shape[1])).softmax(0)
    return [weights @ values, weights.numpy()]


def by_torch(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True), causal_by_loops(q, k, v)[1]


ALSO_RIGHT = {
    "5.1": [torch.tensor([18432, 3612672, 2336, 457856]), dict(a=18432.0, b=3612672.0, c=2336.0, d=457856.0)],
    "5.2": [{case: np.bool_(uniform) for case, uniform in uniform_maps().items()}],
    "5.3": [blur_in_numpy, lambda x: F.avg_pool2d(F.avg_pool2d(F.pad(x, [1] * 4, mode="replicate"), 2, stride=1), 2)],
    "5.4": [causal_by_loops],
    "5.5": [
        measured() | {"chosen": "width 8"},
        {"networks": "abc", "seconds": (3, 2, 1), "validation": np.array([0.9, 0.8, 0.7]), "chosen": "a"},
    ],
}
WRONG = {
    "5.1": [((18_433, 0, 0, 0), "standard weights: 18433 is not it")],
    "5.2": [(uniform_maps() | {"kernel 5, stride 5": False}, "1 of 4")],
    "5.3": [(lambda maps: 2 * blur_and_drop(maps), "a quarter of itself")],
    "5.4": [
        (by_torch, "does the whole task"),
        (attend(lambda s: only(PAST, 2 * s)), "of `output` should be"),
        (lambda q, k, v: (causal_attention(q, k, v)[0], torch.eye(5)), "of `weights` should be"),
    ],
    "5.5": [
        (measured() | {"chosen": "width 4"}, 'none of your networks. Did you mean "width 8"'),
        (measured() | {"seconds": [0.009, 0.016, 0.007]}, '"width 32" is at least as fast'),
        (measured() | {"validation": [1, 2]}, "as many seconds and accuracies"),
        ({"networks": ["a", "b"], "seconds": [1, 2], "validation": [1, 2], "chosen": "a"}, "at least three"),
        (measured() | {"seconds": [0, 1, 2]}, "above 0"),
    ],
}
