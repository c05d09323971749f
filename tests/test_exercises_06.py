"""Lesson 6's checks: other right answers are accepted, typical wrong ones get a sentence that helps."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tdnn_helpers.exercises import check
from tdnn_helpers.exercises.checks_06 import KEEPS
from tdnn_helpers.exercises.lesson_06 import adam_step, group_norm, keeps_the_label, tuned, warm_up_cosine


def in_numpy(weight, gradient, mean, square, step, rate):
    weight, gradient, mean, square = (x.numpy() for x in (weight, gradient, mean, square))
    mean, square = mean + 0.1 * (gradient - mean), square + 0.001 * (gradient * gradient - square)
    length = rate * math.sqrt(1 - 0.999**step) / (1 - 0.9**step)  # the order of Kingma and Ba's section 2
    return [weight - length * mean / (np.sqrt(square) + 1e-12), mean, square]


def from_0_to_0(step, steps, first):
    if step < first:
        return torch.tensor(step / first)
    return torch.tensor((1 + math.cos(math.pi * (step - first) / (steps - 1 - first))) / 2)


def by_loops(maps, groups):
    out, size = maps.clone(), maps.shape[1] // groups
    for image in out:
        for g in range(groups):
            part = image[g * size : (g + 1) * size]
            part.copy_((part - part.mean()) / part.std())
    return out


@pytest.mark.parametrize(
    ("id", "answer"),
    [
        ("6.1", [0.0125, 0.0025, 0.0038, 0.01464]),
        ("6.1", {"step": 0.0125, "exp": 0.0025, "cos": 0.003806, "restarts": 0.0146}),
        ("6.2", in_numpy),
        ("6.3", from_0_to_0),
        ("6.4", by_loops),
        ("6.4", lambda maps, groups: F.group_norm(maps, groups).numpy()),
        ("6.5", {change: np.bool_(keeps) for change, keeps in KEEPS.items()}),
        ("6.6", {"rates": (0.1, 0.01, 1.0), "validation": (-0.5, -0.9, -2.3), "chosen": 0.1, "test": -0.6}),
    ],
)
def test_other_right_answers(id, answer):
    feedback = check(id, answer)
    assert feedback.status == "right", feedback.sentence


def no_correction(w, g, m, s, step, rate):
    m, s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * g**2
    return w - rate * m / (s.sqrt() + 1e-8), m, s


def no_root(w, g, m, s, step, rate):
    m, s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * g**2
    return w - rate * (m / (1 - 0.9**step)) / (s / (1 - 0.999**step) + 1e-8), m, s


def mean_only(w, g, m, s, step, rate):
    m, s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * g**2
    return w - rate * (m / (1 - 0.9**step)) / s.sqrt(), m, s


def corrected_returned(w, g, m, s, step, rate):
    w, m, s = adam_step(w, g, m, s, step, rate)
    return w, m / (1 - 0.9**step), s


def uphill(w, g, m, s, step, rate):
    m, s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * g**2
    return w + rate * m / s.sqrt(), m, s


def other_constants(w, g, m, s, step, rate):
    m, s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * g**2
    return w - 2 * rate * (m / (1 - 0.9**step)) / ((s / (1 - 0.999**step)).sqrt() + 1e-8), m, s


def cosine_from_the_start(step, steps, first):
    return (step + 1) / first if step < first else (1 + math.cos(math.pi * step / steps)) / 2


def only_cosine(step, steps, first):
    return (1 + math.cos(math.pi * step / steps)) / 2


def linear(step, steps, first):
    return (step + 1) / first if step < first else 1 - (step - first) / (steps - first)


def quarter_wave(step, steps, first):
    return (step + 1) / first if step < first else math.cos(math.pi / 2 * (step - first) / (steps - first))


def over(*dims):
    return lambda maps, groups: (maps - maps.mean(dims, keepdim=True)) / maps.std(dims, keepdim=True)


good = (0.0125, 0.0025032, 0.0038060, 0.0146447)


@pytest.mark.parametrize(
    ("id", "answer", "help"),
    [
        ("6.1", (0.00625, *good[1:]), "three times"),
        ("6.1", (0.1 * 0.5**3.5, *good[1:]), "whole numbers"),
        ("6.1", (good[0], 0.0729, *good[2:]), "exponential: it is multiplied"),
        ("6.1", (*good[:2], 0.0195, good[3]), "cosine: use half a wave"),
        ("6.1", (*good[:3], good[2]), "restarts in epoch 20"),
        ("6.1", (0.5, *good[1:]), "step: 0.5 is not it"),
        ("6.1", (0.0125, 0.0025), "four numbers: step, exponential"),
        ("6.1", 0.0125, "four numbers: step, exponential"),
        ("6.2", no_correction, "correct both"),
        ("6.2", no_root, "root of the mean square"),
        ("6.2", mean_only, "Only the mean is corrected"),
        ("6.2", corrected_returned, "without the correction"),
        ("6.2", uphill, "subtract it"),
        ("6.2", other_constants, "the weight is"),
        ("6.2", lambda w, g, m, s, step, rate: (w - rate * g, m, s), "plain SGD"),
        ("6.2", lambda w, g, m, s, step, rate: w, "three tensors"),
        ("6.3", cosine_from_the_start, "should be 1, the peak"),
        ("6.3", only_cosine, "should be 1, the peak"),
        ("6.3", linear, "straight line; it should follow half a cosine"),
        ("6.3", quarter_wave, "quarter of a wave"),
        ("6.3", lambda s, n, f: min(1.0, (s + 1) / max(f, 1)), "near 0"),
        ("6.3", lambda s, n, f: 0.1 * warm_up_cosine(s, n, f), "should be 1, the peak"),
        ("6.3", lambda s, n, f: warm_up_cosine(s, n, 0) * 100, "between 0 and 1"),
        ("6.3", lambda s, n, f: s / f if s < f or not f else warm_up_cosine(s, n, f), "ZeroDivisionError"),
        ("6.4", over(0, 2, 3), "batch norm"),
        ("6.4", over(2, 3), "use groups of channels"),
        ("6.4", over(1, 2, 3), "use groups of channels"),
        ("6.4", lambda x, g: x - x.mean((1, 2, 3), keepdim=True), "Divide by the standard deviation"),
        ("6.4", lambda x, g: group_norm(x, g).flatten(1), "shape must stay"),
        ("6.4", lambda x, g: x, "mean 0 and deviation 1"),
        ("6.5", keeps_the_label() | {"turn by 180 degrees: digit 6 or 9?": True}, "1 of 7"),
        ("6.5", dict.fromkeys(KEEPS, True), "4 of 7"),
        ("6.5", keeps_the_label() | {"mirror left-right: boot or bag?": None}, "Still empty: mirror"),
        ("6.5", [True] * 7, "dictionary"),
        ("6.6", tuned() | {"chosen": 0.01}, "0.03 has the best"),
        ("6.6", tuned() | {"validation": [80, 79, 78, 77], "chosen": 0.003}, "edge of your list"),
        ("6.6", tuned() | {"rates": [0.1]}, "1 rates need as many"),
        ("6.6", {"rates": [0.1, 0.2], "validation": [1, 2], "chosen": 0.2, "test": 1}, "at least three"),
        ("6.6", tuned() | {"test": None}, "Still empty: test"),
        ("6.6", tuned() | {"tset": 1}, 'Did you mean "test"'),
    ],
)
def test_wrong_answers_get_help(id, answer, help):
    feedback = check(id, answer)
    assert feedback.status == "not yet"
    assert help in feedback.sentence


def test_solutions_agree_with_torch():
    weight = torch.nn.Parameter(torch.tensor([1.0]))
    optimizer = torch.optim.Adam([weight], lr=0.1)
    weight.grad = torch.tensor([5.0])
    optimizer.step()
    mine, _, _ = adam_step(torch.ones(1), torch.tensor([5.0]), torch.zeros(1), torch.zeros(1), 1, 0.1)
    assert torch.allclose(mine, weight.detach())
    maps = torch.randn(2, 6, 3, 3, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(group_norm(maps, 3), F.group_norm(maps, 3), atol=1e-5)
    assert torch.allclose(group_norm(maps, 6), F.instance_norm(maps), atol=1e-5)
    assert [warm_up_cosine(step, 8, 4) for step in (0, 3, 4, 6)] == pytest.approx([0.25, 1, 1, 0.5])
