"""Lesson 10's checks: other right answers are accepted, typical wrong ones get a sentence that helps."""

import math

import pytest
import torch
import torch.nn.functional as F

from tdnn_helpers.exercises import check, exercises
from tdnn_helpers.exercises.checks_10 import LOSSES, POINTS
from tdnn_helpers.exercises.lesson_10 import barlow_twins_loss, losses_that_know_nothing, plan, simsiam_loss
from tdnn_helpers.methods.contrastive import nt_xent
from tdnn_helpers.methods.self_supervised import barlow_loss, distance

RIGHT = losses_that_know_nothing()
ROTATION, SIMCLR, BYOL, BARLOW = RIGHT


def by_lerp(target, online, momentum):
    with torch.no_grad():
        return target.lerp(online, 1 - momentum)


def normalised_by_hand(p_a, p_b, z_a, z_b):
    total = 0
    for p, z in ((p_a, z_b), (p_b, z_a)):
        p, z = p / p.norm(dim=1, keepdim=True), (z / z.norm(dim=1, keepdim=True)).detach()
        total = total - (p * z).sum() / len(p)
    return total / 2


def by_loop(a, b, weight):
    total = 0
    for i in range(a.shape[1]):
        for j in range(b.shape[1]):
            x, y = a[:, i] - a[:, i].mean(), b[:, j] - b[:, j].mean()
            c = (x * y).mean() / (x.square().mean() * y.square().mean()).sqrt()
            total = total + ((1 - c) ** 2 if i == j else weight * c**2)
    return total


@pytest.mark.parametrize(
    ("id", "answer"),
    [
        ("10.1", {ROTATION: 1.386, SIMCLR: torch.tensor(5.541), BYOL: 2, BARLOW: 64}),
        ("10.2", by_lerp),
        ("10.2", lambda target, online, momentum: (target + (1 - momentum) * (online - target)).detach()),
        ("10.3", normalised_by_hand),
        ("10.3", lambda p, q, y, z: 2 + 2 * simsiam_loss(p, q, y, z)),
        ("10.4", by_loop),
        ("10.4", lambda a, b, weight: barlow_loss(a, b, weight)),
        ("10.4", lambda a, b, w: barlow_loss(a, b, w) * 1.0),
        ("10.5", dict.fromkeys(POINTS, "not done")),
    ],
)
def test_other_right_answers(id, answer):
    feedback = check(id, answer)
    assert feedback.status == "right", feedback.sentence


@pytest.mark.parametrize("id", [id for id in exercises() if id.startswith("10.")])
def test_solutions_pass(id):
    exercise = exercises()[id]
    answer = exercise.solution() if exercise.value else exercise.solution
    assert check(id, answer).status == "right", check(id, answer).sentence


def by_population(x):
    return (x - x.mean(0)) / x.std(0, correction=0)


def whole_matrix_population(a, b, weight):
    c = by_population(a).T @ by_population(b) / len(a)
    return ((1 - c.diag()) ** 2).sum() + weight * (c**2).sum()


def sums_not_means(a, b, weight):
    c = by_population(a).T @ by_population(b)
    return ((1 - c.diag()) ** 2).sum() + weight * ((c**2).sum() - (c.diag() ** 2).sum())


def raw(a, b, weight):
    c = a.T @ b / len(a)
    return ((1 - c.diag()) ** 2).sum() + weight * ((c**2).sum() - (c.diag() ** 2).sum())


def cosine(x, y):
    return F.cosine_similarity(x, y).mean()


@pytest.mark.parametrize(
    ("id", "answer", "help"),
    [
        ("10.1", RIGHT | {ROTATION: 0.25}, "accuracy of guessing"),
        ("10.1", RIGHT | {ROTATION: 2}, "in bits"),
        ("10.1", RIGHT | {SIMCLR: math.log(128)}, "there are 255"),
        ("10.1", RIGHT | {SIMCLR: math.log(256)}, "never compared with itself"),
        ("10.1", RIGHT | {SIMCLR: 0}, "the loss is not 0"),
        ("10.1", RIGHT | {BYOL: 0}, "0 means that they agree"),
        ("10.1", RIGHT | {BARLOW: 0}, "no C_ii is 1"),
        ("10.1", RIGHT | {BARLOW: 40.32}, "copies of one"),
        ("10.1", RIGHT | {BARLOW: 7}, "Put numbers into"),
        ("10.1", {ROTATION: math.log(4)}, "Still empty: "),
        ("10.1", [1, 2, 3, 4], "dictionary"),
        ("10.2", lambda t, o, m: (1 - m) * t + m * o.detach(), "exchanged"),
        ("10.2", lambda t, o, m: m * t + (1 - m) * o, "would flow into the target"),
        ("10.2", lambda t, o, m: m * t + o.detach(), "add up to 1"),
        ("10.2", lambda t, o, m: m * o.detach(), "old target is missing"),
        ("10.2", lambda t, o, m: o.detach(), "mix the old target"),
        ("10.2", lambda t, o, m: 0.5, "Return a tensor"),
        ("10.3", lambda p, q, y, z: -(cosine(p, z) + cosine(q, y)) / 2, "a gradient flows into the embeddings"),
        ("10.3", lambda p, q, y, z: (cosine(p, z) + cosine(q, y)) / 2, "the sign"),
        ("10.3", lambda p, q, y, z: 2 * simsiam_loss(p, q, y, z), "average the two directions"),
        ("10.3", lambda p, q, y, z: 2 - cosine(p, z) - cosine(q, y), "a gradient flows into the embeddings"),
        ("10.3", lambda p, q, y, z: -cosine(p, z), "take both"),
        ("10.3", lambda p, q, y, z: -(cosine(p, y) + cosine(q, z)) / 2, "its own view"),
        ("10.3", lambda p, q, y, z: -cosine(y, z), "predictions are missing"),
        ("10.3", lambda p, q, y, z: -((p * z).sum(1) + (q * y).sum(1)).mean() / 2, "divide by the lengths"),
        ("10.3", lambda p, q, y, z: simsiam_loss(p.detach(), q.detach(), y, z), "no gradient reaches the predictions"),
        ("10.3", lambda p, q, y, z: simsiam_loss(p, q.detach(), y, z), "one of the predictions"),
        ("10.3", lambda p, q, y, z: cosine(p, q) * 0 + 0.123, "minus the mean cosine"),
        ("10.4", whole_matrix_population, "leave it out"),
        ("10.4", lambda a, b, w: barlow_loss(a, b, 1.0), "weight of the second sum"),
        ("10.4", lambda a, b, w: barlow_loss(a, b, 0.0), "second sum, over i ≠ j"),
        ("10.4", sums_not_means, "number of images"),
        ("10.4", raw, "standardise each coordinate"),
        ("10.4", lambda a, b, w: raw(a - a.mean(0), b - b.mean(0), w), "its deviation"),
        ("10.4", lambda a, b, w: barlow_loss(a.T, b.T, w), "standardise, correlate"),
        ("10.4", lambda a, b, w: barlow_twins_loss(a, b, w) / 5, "not the mean over the coordinates"),
        ("10.4", lambda a, b, w: barlow_twins_loss(a, b, w).item(), "cut off"),
        ("10.5", plan() | {"views": "", "method": None}, "Still empty, 2 of 6"),
        ("10.5", plan() | {"veiws": "flip"}, 'Did you mean "views"'),
        ("10.5", ["more data"], "dictionary"),
    ],
)
def test_wrong_answers_get_help(id, answer, help):
    feedback = check(id, answer)
    assert feedback.status == "not yet", feedback.sentence
    assert help in feedback.sentence


@pytest.mark.parametrize("id", [id for id in exercises() if id.startswith("10.")])
def test_a_blank_answer_is_not_accepted(id):
    blank = None if exercises()[id].value else (lambda *args: ...)
    assert check(id, blank).status == "not answered yet"


def test_solutions_agree_with_the_package():
    one = torch.ones(128, 8)
    assert nt_xent(one, one).item() == pytest.approx(RIGHT[SIMCLR])
    assert distance(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])).item() == pytest.approx(RIGHT[BYOL])
    constant = torch.full((128, 64), 0.3)
    assert barlow_loss(constant, constant, 0.01).item() == pytest.approx(RIGHT[BARLOW])
    a, b = torch.randn(2, 30, 6, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(barlow_twins_loss(a, b, 0.02), barlow_loss(a, b, 0.02), rtol=1e-5)
    assert simsiam_loss(a, b, a, b).item() * 2 + 2 == pytest.approx(distance(a, b).item(), abs=1e-5)
    assert set(LOSSES) == set(RIGHT)
