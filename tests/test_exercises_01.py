"""Lesson 1: other right answers, wrong ones that are no registered mistake, and what the solutions must give."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.model_selection import GroupShuffleSplit

from tdnn_helpers.exercises.lesson_01 import class_loss, family_split, initial_losses, mean_accuracy, standardise, using


def as_numpy(train, test):
    train, test = train.numpy(), test.numpy()
    mean, std = train.mean((0, 2, 3)), train.std((0, 2, 3)) + 1e-6
    return tuple((images - mean[:, None, None]) / std[:, None, None] for images in (train, test))


def in_place(train, test):
    mean, std = train.mean((0, 2, 3), keepdim=True), train.std((0, 2, 3), keepdim=True, correction=0)
    return [train.sub_(mean).div_(std), test.sub_(mean).div_(std)]


def naive_loss(logits, targets):
    probabilities = 1 / (1 + (-logits[:, 0].double()).exp())
    each = [p if target else 1 - p for p, target in zip(probabilities, targets, strict=True)]
    return -torch.stack(each).log().mean()


def as_masks(groups, fraction, seed):
    chosen = torch.randperm(60, generator=torch.Generator().manual_seed(seed))[: int(60 * fraction)].numpy()
    test = np.isin(groups, np.unique(groups)[chosen])
    return ~test, test


def as_lists(groups, fraction, seed):
    random = np.random.default_rng(seed)
    side = {family: random.random() < fraction for family in sorted(set(groups.tolist()))}
    rows = range(len(groups))
    return [i for i in rows if not side[int(groups[i])]], [i for i in rows if side[int(groups[i])]]


def with_scikit_learn(groups, fraction, seed):
    return next(GroupShuffleSplit(1, test_size=fraction, random_state=seed).split(groups, groups=groups))


ALSO_RIGHT = {
    "1.1": [(4.6, 0.2), {"100 classes": math.log(100), "95:5": 0.1985}, np.array([4.605, 0.1985])],
    "1.2": [as_numpy, in_place],
    "1.3": [
        lambda correct, sizes: torch.tensor(sum(correct) / sum(sizes)),
        lambda correct, sizes: np.average(np.divide(correct, sizes), weights=sizes),
        lambda correct, sizes: np.mean([i < c for c, n in zip(correct, sizes, strict=True) for i in range(n)]),
    ],
    "1.4": [
        lambda logits, targets: F.softplus(logits.squeeze(1) * (1 - 2 * targets)).mean(),
        lambda logits, targets: F.cross_entropy(torch.cat([torch.zeros_like(logits), logits], dim=1), targets),
        lambda logits, targets: np.logaddexp(0, logits[:, 0].numpy() * (1 - 2 * targets.numpy())).mean(),
    ],
    "1.5": [as_masks, as_lists, with_scikit_learn],
}


def split_at(drawn, fraction):
    return np.split(drawn, [round((1 - fraction) * len(drawn))])


def first_families(groups, fraction, seed):
    test = np.isin(groups, split_at(np.unique(groups), 1 - fraction)[0])
    return np.flatnonzero(~test), np.flatnonzero(test)


def branch_with_bad_gradient(logits, targets):
    signed = logits[:, 0] * (1 - 2 * targets)
    return torch.where(signed > 50, signed, (1 + signed.exp()).log()).mean()


WRONG = {
    "1.1": [((7, 7), "7 is not it")],
    "1.2": [
        (lambda a, b: [x - a.mean((0, 2, 3), keepdim=True) for x in (a, b)], "standard deviation 1"),
        (lambda a, b: standardise(a, b)[::-1], "The shape must be"),
        (lambda a, b: using(a, a), "Return two tensors"),
    ],
    "1.3": [(lambda c, n: 0.77, "divide once")],
    "1.4": [
        (branch_with_bad_gradient, "gradient"),
        (lambda x, y: class_loss(x, y).detach(), "cut off"),
        (lambda x, y: class_loss(x, 1 - y), "sigmoid(logit) for class 1"),
    ],
    "1.5": [
        (lambda g, f, s: split_at(np.random.default_rng(s).permutation(len(g)), f), "on both sides"),
        (first_families, "Every seed"),
        (lambda g, f, s: split_at(np.random.default_rng(s).permutation(np.unique(g)), f), "names of families"),
        (lambda g, f, s: with_scikit_learn(g, f, None), "same seed"),
        (lambda g, f, s: family_split(g, f, s)[::-1], "exchanged"),
        (lambda g, f, s: family_split(g, f + 0.3, s), "it should have about 25%"),
        (lambda g, f, s: (family_split(g, f, s)[0][1:], family_split(g, f, s)[1]), "on neither side"),
        (lambda g, f, s: (np.arange(len(g)), family_split(g, f, s)[1]), "appear twice"),
        (lambda g, f, s: [side + 1 for side in family_split(g, f, s)], "Rows go from 0"),
        (lambda g, f, s: (np.arange(len(g)), []), "non-empty"),
    ],
}


def test_solutions_agree_with_the_definitions():
    assert initial_losses() == pytest.approx((4.60517, 0.19852), abs=1e-5)
    assert mean_accuracy([2, 1], [4, 1]) == 0.6
    assert class_loss(torch.zeros(3, 1), torch.tensor([0, 1, 1])).item() == pytest.approx(math.log(2))
    logits, targets = torch.tensor([[0.5], [-1.2], [2.0], [0.1], [-3.0]]), torch.tensor([1, 0, 0, 1, 1])
    assert class_loss(logits, targets).item() == pytest.approx(naive_loss(logits, targets).item())
    train, test = standardise(torch.tensor([0.0, 2.0]).view(2, 1, 1, 1), torch.ones(1, 1, 1, 1))
    assert test.item() == 0 and train.flatten().tolist() == pytest.approx([-math.sqrt(0.5), math.sqrt(0.5)])
    train, test = family_split(np.array([7, 7, 8, 9, 9, 6]), 0.5, 0)
    assert sorted([*train, *test]) == list(range(6)) and len(set(np.array([7, 7, 8, 9, 9, 6])[test])) == 2
