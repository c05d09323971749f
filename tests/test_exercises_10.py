"""Lesson 10: other right answers, wrong ones that are no registered mistake, and what the solutions must give."""

import pytest
import torch
import torch.nn.functional as F

from tdnn_helpers.exercises.lesson_10 import barlow_twins_loss, losses_that_know_nothing, simsiam_loss
from tdnn_helpers.methods import barlow_loss, distance, nt_xent

RIGHT = losses_that_know_nothing()
ROTATION, SIMCLR, BYOL, BARLOW = RIGHT


def by_lerp(target, online, momentum):
    with torch.no_grad():
        return target.lerp(online, 1 - momentum)


def by_hand(p_a, p_b, z_a, z_b):
    pairs = (p_a, z_b.detach()), (p_b, z_a.detach())
    return -sum((p * z).sum(1) / (p.norm(dim=1) * z.norm(dim=1)) for p, z in pairs).mean() / 2


def by_loop(a, b, weight):
    a, b = a - a.mean(0), b - b.mean(0)
    c = [[(x * y).mean() / (x.square().mean() * y.square().mean()).sqrt() for y in b.T] for x in a.T]
    return sum((1 - c[i][j]) ** 2 if i == j else weight * c[i][j] ** 2 for i in range(5) for j in range(5))


def with_n_minus_1(a, b, weight):
    c = ((a - a.mean(0)) / a.std(0)).T @ ((b - b.mean(0)) / b.std(0)) / len(a)
    return (1 - c.diag()).square().sum() + weight * (c.square().sum() - c.diag().square().sum())


def cosines(p, q, y, z):
    return F.cosine_similarity(p, z).mean() + F.cosine_similarity(q, y).mean()


ALSO_RIGHT = {
    "10.1": [{ROTATION: 1.386, SIMCLR: torch.tensor(5.541), BYOL: 2, BARLOW: 64}],
    "10.2": [by_lerp, lambda target, online, momentum: (target + (1 - momentum) * (online - target)).detach()],
    "10.3": [by_hand, lambda p, q, y, z: 2 + 2 * simsiam_loss(p, q, y, z)],
    "10.4": [by_loop, with_n_minus_1],
}
WRONG = {
    "10.1": [(RIGHT | {BARLOW: 7}, "7 is not it; put numbers into")],
    "10.2": [
        (lambda t, o, m: m * t + (1 - m) * o, "would flow into the target"),
        (lambda t, o, m: o.detach(), "mix the old target"),
        (lambda t, o, m: (m * t + (1 - m) * o).detach().numpy(), "Return a tensor"),
        (lambda t, o, m: 0.5, "The shape must be (3,)"),
    ],
    "10.3": [
        (lambda p, q, y, z: -cosines(p, q, y, z) / 2, "a gradient flows into the embeddings"),
        (lambda p, q, y, z: 2 - cosines(p, q, y, z), "a gradient flows into the embeddings"),
        (lambda p, q, y, z: simsiam_loss(p.detach(), q.detach(), y, z), "no gradient reaches the predictions"),
        (lambda p, q, y, z: simsiam_loss(p, q.detach(), y, z), "one of the predictions"),
        (lambda p, q, y, z: simsiam_loss(p, q, y, z).item(), "no gradient reaches the predictions"),
        (lambda p, q, y, z: 0.123, "minus the mean cosine"),
    ],
    "10.4": [
        (lambda a, b, w: barlow_loss(a.T, b.T, w), "standardise, correlate"),
        (lambda a, b, w: barlow_twins_loss(a, b, w).item(), "cut off"),
        (lambda a, b, w: barlow_twins_loss(a, b, w).numpy(), "Return a tensor"),
        (lambda a, b, w: barlow_loss(a, b, w) * 1.0, "does the whole task"),
    ],
}


def test_solutions_agree_with_the_package():
    one, constant = torch.ones(128, 8), torch.full((128, 64), 0.3)
    assert nt_xent(one, one).item() == pytest.approx(RIGHT[SIMCLR])
    assert distance(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])).item() == pytest.approx(RIGHT[BYOL])
    assert barlow_loss(constant, constant, 0.01).item() == pytest.approx(RIGHT[BARLOW])
    a, b = torch.randn(2, 30, 6, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(barlow_twins_loss(a, b, 0.02), barlow_loss(a, b, 0.02), rtol=1e-5)
    assert simsiam_loss(a, b, a, b).item() * 2 + 2 == pytest.approx(distance(a, b).item(), abs=1e-5)
