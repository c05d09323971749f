"""Lesson 5's checks: other right answers are accepted, typical wrong ones get a sentence that helps."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tdnn_helpers.exercises import check
from tdnn_helpers.exercises.checks_05 import UNIFORM
from tdnn_helpers.exercises.lesson_05 import blur_and_drop, measured, uniform_maps


def blur_by_averages(maps):
    padded = F.pad(maps, (1, 1, 1, 1), mode="replicate")
    return F.avg_pool2d(F.avg_pool2d(padded, 2, stride=1), 2)


def blur_in_numpy(maps):
    padded = np.pad(maps.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    rows = (padded[..., :-2, :] + 2 * padded[..., 1:-1, :] + padded[..., 2:, :]) / 4
    return ((rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 4)[..., ::2, ::2]


def causal_by_loops(queries, keys, values):
    weights = torch.zeros(len(queries), len(keys))
    for t in range(len(queries)):
        weights[t, : t + 1] = (keys[: t + 1] @ queries[t] / math.sqrt(queries.shape[1])).softmax(0)
    return [weights @ values, weights.numpy()]


@pytest.mark.parametrize(
    ("id", "answer"),
    [
        ("5.1", [18_432, 3_612_672, 2_336, 457_856]),
        ("5.1", dict(a=18432.0, b=3612672.0, c=2336.0, d=457856.0)),
        ("5.1", torch.tensor([18432, 3612672, 2336, 457856])),
        ("5.2", {case: np.bool_(uniform) for case, uniform in UNIFORM.items()}),
        ("5.3", blur_by_averages),
        ("5.3", blur_in_numpy),
        ("5.4", causal_by_loops),
        ("5.5", {"networks": "abc", "seconds": (3, 2, 1), "validation": np.array([0.9, 0.8, 0.7]), "chosen": "a"}),
        ("5.5", measured() | {"chosen": "width 8"}),
    ],
)
def test_other_right_answers(id, answer):
    feedback = check(id, answer)
    assert feedback.status == "right", feedback.sentence


def blurred(factor=1.0, mode="replicate", places=slice(None, None, 2)):
    def answer(maps):
        row = torch.tensor([1.0, 2.0, 1.0]) / 4
        padded = F.pad(maps, (1, 1, 1, 1), mode=mode)
        return factor * F.conv2d(padded, (row[:, None] * row).expand(3, 1, 3, 3), groups=3)[..., places, places]

    return answer


def blurred_in_a_row(maps):
    kernel = (torch.tensor([1.0, 2.0, 1.0]) / 4).expand(3, 1, 1, 3)
    return F.conv2d(F.pad(maps, (1, 1, 0, 0), mode="replicate"), kernel, groups=3)[..., ::2, ::2]


def no_padding(maps):
    row = torch.tensor([1.0, 2.0, 1.0]) / 4
    return F.conv2d(maps, (row[:, None] * row).expand(3, 1, 3, 3), stride=2, groups=3)


def attend(change=lambda scores, past: scores.masked_fill(~past, -torch.inf).softmax(-1), root=True, output=True):
    def answer(queries, keys, values):
        scores = queries @ keys.T / (queries.shape[-1] ** 0.5 if root else 1)
        weights = change(scores, torch.ones(scores.shape).tril().bool())
        return (weights @ values if output else values), weights

    return answer


@pytest.mark.parametrize(
    ("id", "answer", "help"),
    [
        ("5.1", (18_432 + 64, 0, 0, 0), "no biases"),
        ("5.1", (9 * 64, 0, 0, 0), "each* of the 32"),
        ("5.1", (18_432, 2 * 3_612_672, 0, 0), "one MAC"),
        ("5.1", (18_432, 18_432 * 144, 0, 0), "14×14 places"),
        ("5.1", (18_432, 3_612_672, 288, 0), "add the 1×1"),
        ("5.1", (18_432, 3_612_672, 9 * 64 + 2048, 0), "*input* maps"),
        ("5.1", (18_432, 3_612_672, 2_336, 5), "separable MACs: 5 is not it"),
        ("5.1", (1, 2, 3), "Give four numbers"),
        ("5.2", {case: int(case[7]) % 2 == 0 for case in UNIFORM}, "the stride decides as well"),
        ("5.2", uniform_maps() | {"kernel 5, stride 5": False}, "1 of 4"),
        ("5.2", uniform_maps() | {"kernel 5, stride 2": None}, "Still empty: kernel 5, stride 2"),
        ("5.2", uniform_maps() | {"kernel 5, stride 3": True}, "none of the keys"),
        ("5.2", [True] * 4, "dictionary"),
        ("5.3", lambda maps: maps[..., ::2, ::2], "only drops"),
        ("5.3", lambda maps: F.avg_pool2d(maps, 2), "average pooling"),
        ("5.3", blurred(16.0), "sum 1"),
        ("5.3", blurred(4.0), "sum 1"),
        ("5.3", blurred(mode="constant"), "not with zeros"),
        ("5.3", blurred(mode="reflect"), "not with reflect"),
        ("5.3", blurred(places=slice(1, None, 2)), "you keep 1, 3, 5"),
        ("5.3", blurred(places=slice(None)), "keep every second"),
        ("5.3", blurred_in_a_row, "both directions"),
        ("5.3", no_padding, "one place too small"),
        ("5.3", lambda maps: 2 * blur_and_drop(maps), "The first place"),
        ("5.4", attend(lambda scores, past: scores.softmax(-1)), "attention to all items"),
        ("5.4", attend(lambda scores, past: scores.softmax(-1) * past), "after the softmax"),
        ("5.4", attend(lambda scores, past: (scores * past).softmax(-1)), "minus infinity"),
        ("5.4", attend(root=False), "Divide the scores"),
        ("5.4", attend(lambda scores, past: scores.masked_fill(~past.T, -torch.inf).softmax(-1)), "other triangle"),
        ("5.4", attend(lambda scores, past: scores.masked_fill(~past, -torch.inf).softmax(0)), "along the rows"),
        ("5.4", attend(lambda scores, past: scores.masked_fill(~past.tril(-1), -torch.inf).softmax(-1)), "NaN"),
        ("5.4", attend(output=False), "weights @ values"),
        ("5.4", lambda queries, keys, values: queries, "return"),
        ("5.5", measured() | {"chosen": "width 4"}, 'none of your networks. Did you mean "width 8"'),
        (
            "5.5",
            measured() | {"seconds": [0.009, 0.016, 0.007], "chosen": "width 16"},
            '"width 32" is at least as fast',
        ),
        ("5.5", measured() | {"validation": [1, 2]}, "as many seconds and accuracies"),
        ("5.5", {"networks": ["a", "b"], "seconds": [1, 2], "validation": [1, 2], "chosen": "a"}, "at least three"),
        ("5.5", measured() | {"seconds": [0, 1, 2]}, "above 0"),
        ("5.5", measured() | {"second": 1}, 'Did you mean "seconds"'),
        ("5.5", measured() | {"chosen": None}, "Still empty: chosen"),
    ],
)
def test_wrong_answers_get_help(id, answer, help):
    feedback = check(id, answer)
    assert feedback.status == "not yet"
    assert help in feedback.sentence, feedback.sentence
