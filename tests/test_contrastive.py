"""Contrastive losses and mining: values and gradients against naive loops."""

import itertools
import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from refusals import refused
from tdnn_helpers.measures.retrieval import distances
from tdnn_helpers.methods import contrastive_loss, nt_xent, spread, supervised_contrastive, triplet_loss
from tdnn_helpers.methods.contrastive import MINING, find_triplets

LABELS = torch.tensor([7, 3, 7, 9, 3, 7, 5, 9])  # 5 has no partner


def points(n=8, seed=0, size=0.5):
    return (torch.randn(n, 5, generator=torch.Generator().manual_seed(seed)) * size).requires_grad_()


A, B, Z = points(6, seed=1), points(6, seed=2), points()


def agree(loss, naive, *inputs):
    """The same value, and the same gradient for every input, which must not vanish."""
    torch.testing.assert_close(loss, naive)
    ours, theirs = torch.autograd.grad(loss, inputs), torch.autograd.grad(naive, inputs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.abs().max() > 1e-4
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def cosine(x, y):
    return (x * y).sum() / (x.norm() * y.norm())


def naive_nt_xent(a, b, temperature):
    return naive_supervised_contrastive([*a, *b], [*range(len(a))] * 2, temperature)


def naive_supervised_contrastive(z, labels, temperature):
    rows, of = [], range(len(z))
    for i in of:
        partners = [j for j in of if j != i and labels[j] == labels[i]]
        others = sum(torch.exp(cosine(z[i], z[j]) / temperature) for j in of if j != i)
        shares = [torch.log(torch.exp(cosine(z[i], z[p]) / temperature) / others) for p in partners]
        if partners:
            rows.append(-sum(shares) / len(shares))
    return sum(rows) / len(rows)


def naive_contrastive(z, labels, margin):
    near, far = [], []
    for i, j in itertools.combinations(range(len(z)), 2):
        d = (z[i] - z[j]).norm()
        if labels[i] == labels[j]:
            near.append(d**2)
        else:
            far.append(max(margin - d, torch.tensor(0.0)) ** 2)
    return sum(near) / len(near) + sum(far) / len(far)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_nt_xent(temperature):
    agree(nt_xent(A, B, temperature), naive_nt_xent(A, B, temperature), A, B)
    torch.testing.assert_close(nt_xent(A, B, temperature), nt_xent(3 * B, A, temperature))  # symmetric, length is free
    one = torch.ones(8, 5)
    assert float(nt_xent(one, one)) == pytest.approx(math.log(15), abs=1e-5)  # points that know nothing
    assert float(nt_xent(torch.eye(8), torch.eye(8), 0.01)) < 1e-3  # partners agree, all else is orthogonal
    a, b = A.detach().bfloat16(), B.detach().bfloat16()
    assert nt_xent(a, b).dtype == torch.float32
    torch.testing.assert_close(nt_xent(a, b), nt_xent(a.float(), b.float()))


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_supervised_contrastive(temperature):
    loss = supervised_contrastive(Z, LABELS, temperature)
    agree(loss, naive_supervised_contrastive(Z, LABELS, temperature), Z)
    both = supervised_contrastive(torch.cat([A, B]), torch.arange(6).repeat(2), temperature)
    agree(both, nt_xent(A, B, temperature), A, B)


@pytest.mark.parametrize("margin", [0.5, 1.5])
def test_contrastive(margin):
    z = points(size=0.3)
    agree(contrastive_loss(z, LABELS, margin), naive_contrastive(z, LABELS, margin), z)
    assert float(contrastive_loss(torch.ones(8, 5), LABELS, margin)) == pytest.approx(margin**2)  # all one point
    _, place = LABELS.unique(return_inverse=True)
    assert float(contrastive_loss(torch.eye(4)[place], LABELS, margin=1.4)) == 0  # others are √2 apart


def naive_negative(row, others, positive, mining):
    """The row numbers that may be chosen."""
    if mining == "random":
        return others
    if mining == "hardest":
        return [min(others, key=lambda n: row[n])]
    farther = [n for n in others if row[n] > row[positive]]
    return [min(farther, key=lambda n: row[n])] if farther else [max(others, key=lambda n: row[n])]


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("seed", range(5))
def test_triplets(mining, seed):
    distance = distances(points(seed=seed)).detach()
    chosen = list(zip(*(part.tolist() for part in find_triplets(distance, LABELS, mining)), strict=True))
    pairs = [(a, p) for a in range(8) for p in range(8) if a != p and LABELS[a] == LABELS[p]]
    assert [(a, p) for a, p, _ in chosen] == pairs
    for a, p, n in chosen:
        others = [j for j in range(8) if LABELS[j] != LABELS[a]]
        assert n in naive_negative(distance[a].tolist(), others, p, mining)


def test_semi_hard_falls_back_to_the_farthest_and_random_ones_cover_all_and_follow_the_seed():
    distance = torch.tensor([[0.0, 3, 1, 2], [3, 0, 1, 1], [1, 1, 0, 1], [2, 1, 1, 0]])
    labels = torch.tensor([0, 0, 1, 2])  # for the anchor 0, both others are nearer than its positive
    assert find_triplets(distance, labels, "semi-hard")[2].tolist()[0] == 3
    distance, seen = distances(Z).detach(), set()
    for seed in [*range(30), *range(30)]:
        torch.manual_seed(seed)
        seen.add((seed, *find_triplets(distance, LABELS, "random")[2].tolist()))
    assert len(seen) == 30 and {first for _, first, *_ in seen} == {1, 3, 4, 6, 7}


@pytest.mark.parametrize("mining", ["semi-hard", "hardest"])
def test_triplet_loss(mining):
    losses = []
    for a, p, n in zip(*find_triplets(distances(Z).detach(), LABELS, mining), strict=True):
        losses.append(max((Z[a] - Z[p]).norm() - (Z[a] - Z[n]).norm() + 0.2, torch.tensor(0.0)))
    agree(triplet_loss(Z, LABELS, 0.2, mining), sum(losses) / len(losses), Z)


@pytest.mark.parametrize("mining", MINING)
def test_triplet_loss_of_one_point_is_the_margin(mining):
    one = torch.ones(8, 5, requires_grad=True)
    loss = triplet_loss(one, LABELS, 0.3, mining)
    assert loss.item() == pytest.approx(0.3)
    assert torch.autograd.grad(loss, one)[0].abs().max() == 0  # and there is no way out


@pytest.mark.parametrize("loss", [triplet_loss, supervised_contrastive, contrastive_loss])
@pytest.mark.parametrize("labels", [torch.zeros(4).long(), torch.arange(4), torch.zeros(1).long()])
def test_a_batch_without_such_pairs_is_finite(loss, labels):
    z = points(len(labels))
    value = loss(z, labels)
    value.backward()
    assert value.isfinite() and z.grad.isfinite().all()


LOSSES = (contrastive_loss, triplet_loss, supervised_contrastive)
test_what_does_not_fit_is_named = refused(
    (lambda: nt_xent(points(4), points(3)), r"one shape, B×D, but they have \(4, 5\) and \(3, 5\)"),
    (lambda: nt_xent(torch.ones(4), torch.ones(4)), "one shape"),
    *((partial(loss, Z, LABELS[:, None]), r"of shape \(8,\), but their shape is \(8, 1\)") for loss in LOSSES),
    *((partial(loss, Z, LABELS[:4]), r"of shape \(8,\), but their shape is \(4,\)") for loss in LOSSES),
    (lambda: triplet_loss(Z, LABELS, 0.2, "hard"), 'Did you mean "hardest"'),
)


def test_distances_and_spread_by_hand_without_a_gradient_or_nan_where_rows_are_equal():
    rows, others = torch.tensor([[0.0, 0.0], [3.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.0, 1.0]])
    assert distances(rows).tolist() == [[0, 3], [3, 0]]
    assert distances(rows[:1], others).tolist() == [[5, 0, 1]]
    z = torch.zeros(40, 5, requires_grad=True)  # more than 25 rows: cdist would change its method
    distances(z).sum().backward()
    assert torch.equal(z.grad, torch.zeros(40, 5))
    assert float(spread(torch.ones(5, 3))) == 0
    assert float(spread(torch.cat([torch.eye(4), -torch.eye(4)]))) == pytest.approx(1)
    unit = F.normalize(points(size=1).detach(), dim=1)
    assert float(spread(unit)) == pytest.approx(math.sqrt(1 - float(unit.mean(0).square().sum())))
