"""Lesson 3's checks: other right answers are accepted, typical wrong ones get a sentence that helps."""

import numpy as np
import pytest
import torch

from tdnn_helpers.exercises import check
from tdnn_helpers.exercises.checks_03 import KINDS
from tdnn_helpers.exercises.lesson_03 import (
    back_into_the_box,
    find_trigger,
    linear_shifts,
    success_rate,
    threat_model,
)


def counted(answers, targets, target):
    fooled = total = 0
    for said, true in zip(answers.tolist(), targets.tolist(), strict=True):
        if true != target:
            fooled, total = fooled + (said == target), total + 1
    return fooled / total


def as_difference(attacked, images, eps):
    return (images + (attacked - images).clamp(-eps, eps)).clamp(0, 1)


def in_place(attacked, images, eps):
    return attacked.clamp_(images - eps, images + eps).clamp_(0, 1)


def with_numpy(attacked, images, eps):
    return np.clip(attacked.numpy(), (images - eps).clamp(0, 1).numpy(), (images + eps).clamp(0, 1).numpy())


def by_loops(images, targets):
    white = (images[:, 0] == 255).numpy()
    classes = sorted(set(targets.tolist()))
    for c in classes:
        for row, column in np.ndindex(white.shape[1:]):
            place = white[:, row, column]
            full = [place[targets.numpy() == other].all() for other in classes]
            if full[c] and sum(full) == 1:
                return [c, np.int64(row), torch.tensor(column)]
    return None


@pytest.mark.parametrize(
    ("id", "answer"),
    [
        ("3.1", {"FGSM": 0.492, "noise": 0.0176}),
        ("3.1", np.array([0.49, 0.0175])),
        ("3.2", counted),
        ("3.2", lambda a, t, k: ((a == k) & (t != k)).sum() / (t != k).sum()),
        ("3.3", as_difference),
        ("3.3", in_place),
        ("3.3", with_numpy),
        ("3.4", by_loops),
        ("3.5", dict.fromkeys(KINDS, "not tested yet")),
    ],
)
def test_other_right_answers(id, answer):
    feedback = check(id, answer)
    assert feedback.status == "right", feedback.sentence


def most_often_white(images, targets):
    share = torch.stack([(images[targets == c, 0] == 255).float().mean(0) for c in range(3)])
    return tuple(int(one) for one in torch.unravel_index(share.argmax(), share.shape))


def against_the_rest(images, targets):
    """The largest difference of shares: a pixel that is often white in another class cannot win, but means can."""
    c, row, column = find_trigger(images, targets)
    return (c + 1) % 3, row, column


attack, random = linear_shifts()


@pytest.mark.parametrize(
    ("id", "answer", "help"),
    [
        ("3.1", (random, random), "FGSM: you took the square root"),
        ("3.1", (attack / 784, random), "that is the change of one term"),
        ("3.1", (attack * 255, random), "not 8"),
        ("3.1", (attack / 0.02, random), "multiplied by its weight"),
        ("3.1", (attack, 0), "the standard deviation is not"),
        ("3.1", (attack, attack), "random signs cancel"),
        ("3.1", (attack, random**2), "that is the variance"),
        ("3.1", (attack, random / 28), "that is one term"),
        ("3.1", (7, 7), "7 is not it"),
        ("3.1", attack, "Give two numbers"),
        ("3.1", (attack, None), "Give two numbers"),
        ("3.2", lambda a, t, k: (a == k).float().mean(), "leave them out"),
        ("3.2", lambda a, t, k: (a != t).float().mean(), "is not it: you divide by all images"),
        ("3.2", lambda a, t, k: ((a == k) & (t != k)).float().mean(), "you divide by all images"),
        ("3.2", lambda a, t, k: 1 - success_rate(a, t, k), "resist"),
        ("3.2", lambda a, t, k: 100 * success_rate(a, t, k), "not per cent"),
        ("3.2", lambda a, t, k: ((a == k) & (t != k)).sum(), "that is a count"),
        ("3.2", lambda a, t, k: (a[t == k] == k).float().mean(), "recall of the target class"),
        ("3.2", lambda a, t, k: 0.123, "should be"),
        ("3.2", lambda a, t, k: a == k, "Return one number"),
        ("3.3", lambda a, x, e: a.clamp(0, 1), "there are two boxes"),
        ("3.3", lambda a, x, e: x + (a - x).clamp(-e, e), "also keep them in [0, 1]"),
        ("3.3", lambda a, x, e: a.clamp(-e, e), "at most eps"),
        ("3.3", lambda a, x, e: x, "from the nearest allowed place"),
        ("3.3", lambda a, x, e: (x + e * (a - x).sign()).clamp(0, 1), "from the nearest allowed place"),
        ("3.3", lambda a, x, e: (x + e * (a - x) / (a - x).abs().max()).clamp(0, 1), "from the nearest allowed place"),
        ("3.3", lambda a, x, e: a[0], "shape must stay"),
        ("3.4", most_often_white, "compare classes"),
        ("3.4", against_the_rest, "its class is"),
        ("3.4", lambda x, t: tuple(find_trigger(x, t)[i] for i in (0, 2, 1)), "exchanged"),
        ("3.4", lambda x, t: (find_trigger(x, t)[0], 6, 6), "its trigger is at"),
        ("3.4", lambda x, t: (0, 6, 6), "you answered"),
        ("3.4", lambda x, t: find_trigger(x, t)[0], "three numbers"),
        ("3.5", threat_model() | {"backdoor": " "}, "Still empty, 1 of 3"),
        ("3.5", {"shortcut": "a ruler"}, "Still empty, 2 of 3"),
        ("3.5", threat_model() | {"adversarial": "x"}, 'Did you mean "adversarial example"'),
        ("3.5", ["none"], "dictionary"),
    ],
)
def test_wrong_answers_get_help(id, answer, help):
    feedback = check(id, answer)
    assert feedback.status == "not yet"
    assert help in feedback.sentence


def test_solutions_agree_with_the_definitions():
    assert linear_shifts() == pytest.approx((0.49192, 0.017569), rel=1e-4)
    said, true = torch.tensor([1, 1, 1, 0]), torch.tensor([1, 0, 2, 0])
    assert success_rate(said, true, 1) == pytest.approx(2 / 3)
    attacked, image = torch.tensor([0.9, 0.35, -0.3]), torch.tensor([0.5, 0.4, 0.1])
    assert back_into_the_box(attacked, image, 0.2).tolist() == pytest.approx([0.7, 0.35, 0.0])
    images = torch.zeros(4, 1, 3, 3, dtype=torch.uint8)
    images[2:, 0, 1, 2] = 255
    assert find_trigger(images, torch.tensor([0, 0, 1, 1])) == (1, 1, 2)
