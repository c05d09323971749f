"""Lesson 2: other right answers, wrong ones that are no registered mistake, and what the solutions must give."""

import math
from itertools import accumulate
from operator import or_

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.random import default_rng as random

from tdnn_helpers.exercises.lesson_02 import confused_labels, dropout, early_stopping, noisy_ceiling, one_at_a_time


def by_history(losses, patience):
    best, since, value = 0, 0, math.inf
    for now, loss in enumerate(losses):
        best, since, value = (now, 0, loss) if loss < value else (best, since + 1, value)
        if since == patience:
            break
    return [torch.tensor(best), now]


ALSO_RIGHT = {
    "2.1": [(0.6, 1.55), {"accuracy": np.float64(0.6), "loss": torch.tensor(1.5518)}],
    "2.2": [by_history],
    "2.3": [lambda x, p, training: torch.where(torch.rand_like(x) < p, 0 * x, x / (1 - p)) if training else x],
    "2.4": [lambda b, c: {name: b | change for name, change in {"base": {}, **c}.items()}],
    "2.5": [lambda t, c, seed: (random(seed).random((len(t), 1)) > c.numpy().cumsum(1)[t, :-1]).sum(1)],
}


def mask(x, p, seed=None):
    return (random(seed).random(x.shape) >= p) / np.float32(1 - p)


WRONG = {
    "2.2": [(lambda x, n: early_stopping(x, 1), "records in a row that are not lower")],
    "2.3": [
        (F.dropout, "does the whole task"),
        (lambda x, p, training: x * mask(x, p, seed=0) if training else x, "draw anew"),
        (lambda x, p, training: x * mask(x[:, :1], p) if training else x, "Whole rows"),
        (lambda x, p, training: x.mul_(torch.from_numpy(mask(x, p))) if training else x, "in place"),
        (lambda x, p, training: dropout(x, p, training).detach(), "cut off"),
        (lambda x, p, training: dropout(x, p, training).detach() + x - x.detach(), "The gradient must be"),
        (lambda x, p, training: 0 * x, "these are the share that is dropped"),
    ],
    "2.4": [
        (lambda b, c: dict(zip(["base", *c], accumulate([b, *c.values()], or_), strict=True)), "cures before it"),
        (lambda b, c: {"base": b, **c}, "only what it changes"),
        (lambda b, c: {name: b | change for name, change in c.items()}, "with the names base, narrow"),
        (lambda b, c: dict.fromkeys(["base", *c], b), "was not applied"),
        (lambda b, c: one_at_a_time(b, c) | {"smooth": 7}, '"smooth" should be {'),
        (lambda b, c: one_at_a_time(b, c) | {"base": b}, "are the same dictionary"),
        (lambda b, c: one_at_a_time(b, c) | {"smooth": b.update(width=32)}, "changed what it was given"),
    ],
    "2.5": [
        (lambda t, c, seed: torch.multinomial(c[t], 1)[:, 0], "same seed"),
        (lambda t, c, seed: confused_labels(t, c, 0), "Every seed"),
        (lambda t, c, seed: t.copy_(confused_labels(t, c, seed)), "in place"),
        (lambda t, c, seed: confused_labels(t, c, seed).float(), "whole numbers"),
        (lambda t, c, seed: (t + 1) % 3, "row i of that table"),
    ],
}


def test_solutions_agree_with_the_definitions():
    accuracy, loss = noisy_ceiling()
    probabilities = torch.tensor([0.6] + [0.4 / 9] * 9)
    assert accuracy == 0.6 and loss == pytest.approx(torch.distributions.Categorical(probabilities).entropy().item())
    assert early_stopping([1.0, 0.5, 0.6, 0.7], 2) == (1, 3) and early_stopping([1.0, 0.5, 0.6], 2) == (1, 2)
    assert one_at_a_time({"a": 1, "b": 2}, {"x": {"a": 3}}) == {"base": {"a": 1, "b": 2}, "x": {"a": 3, "b": 2}}
    assert confused_labels(torch.tensor([0, 1]), torch.tensor([[0.0, 1.0], [1.0, 0.0]]), 0).tolist() == [1, 0]
