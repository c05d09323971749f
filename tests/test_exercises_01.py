"""Lesson 1's checks: other right answers are accepted, typical wrong ones get a sentence that helps."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tdnn_helpers.exercises import check
from tdnn_helpers.exercises.checks_01 import POINTS
from tdnn_helpers.exercises.lesson_01 import audit, class_loss, family_split, initial_losses, mean_accuracy, standardise


def using(source, dim, images):
    return (images - source.mean(dim, keepdim=True)) / source.std(dim, keepdim=True)


CHANNEL = (0, 2, 3)


def as_numpy(train, test):
    train, test = train.numpy(), test.numpy()
    mean, std = train.mean((0, 2, 3)), train.std((0, 2, 3)) + 1e-6
    return tuple((images - mean[:, None, None]) / std[:, None, None] for images in (train, test))


def in_place(train, test):
    mean, std = train.mean(CHANNEL, keepdim=True), train.std(CHANNEL, keepdim=True, correction=0)
    return [train.sub_(mean).div_(std), test.sub_(mean).div_(std)]


def counted_by_hand(correct, sizes):
    right = total = 0
    for c, n in zip(correct, sizes, strict=True):
        right, total = right + c, total + n
    return torch.tensor(right / total)


def softplus_loss(logits, targets):
    signed = logits.squeeze(1) * (1 - 2 * targets)
    return F.softplus(signed).mean()


def two_logits(logits, targets):
    return F.cross_entropy(torch.cat([torch.zeros_like(logits), logits], dim=1), targets)


def numpy_loss(logits, targets):
    return np.logaddexp(0, logits[:, 0].numpy() * (1 - 2 * targets.numpy())).mean()


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
    from sklearn.model_selection import GroupShuffleSplit

    return next(GroupShuffleSplit(1, test_size=fraction, random_state=seed).split(groups, groups=groups))


@pytest.mark.parametrize(
    ("id", "answer"),
    [
        ("1.1", (4.6, 0.2)),
        ("1.1", {"100 classes": math.log(100), "95:5": 0.1985}),
        ("1.1", np.array([4.605, 0.1985])),
        ("1.2", as_numpy),
        ("1.2", in_place),
        ("1.3", counted_by_hand),
        ("1.3", lambda correct, sizes: np.average(np.divide(correct, sizes), weights=sizes)),
        ("1.4", softplus_loss),
        ("1.4", two_logits),
        ("1.4", numpy_loss),
        ("1.5", as_masks),
        ("1.5", as_lists),
        ("1.5", with_scikit_learn),
        ("1.6", dict.fromkeys(POINTS, "not done")),
    ],
)
def test_other_right_answers(id, answer):
    feedback = check(id, answer)
    assert feedback.status == "right", feedback.sentence


def swapped(answer):
    return lambda *args: tuple(answer(*args))[::-1]


def random_rows(groups, fraction, seed):
    rows = np.random.default_rng(seed).permutation(len(groups))
    return np.split(rows, [round((1 - fraction) * len(groups))])


def first_families(groups, fraction, seed):
    names = np.unique(groups)
    test = np.isin(groups, names[: round(fraction * len(names))])
    return np.flatnonzero(~test), np.flatnonzero(test)


def names_not_rows(groups, fraction, seed):
    names = np.random.default_rng(seed).permutation(np.unique(groups))
    return np.split(names, [round((1 - fraction) * len(names))])


def clamped(logits, targets):
    probability = torch.sigmoid(logits[:, 0])
    return F.binary_cross_entropy(probability, targets.float())


def log_of_sigmoid(logits, targets):
    probability = torch.sigmoid(logits[:, 0])
    return -(targets * probability.log() + (1 - targets) * (1 - probability).log()).mean()


def broadcast(logits, targets):
    return (F.softplus(logits) - logits * targets).mean()


def one_class_softmax(logits, targets):
    return F.cross_entropy(logits, torch.zeros_like(targets))


def branch_with_bad_gradient(logits, targets):
    signed = logits[:, 0] * (1 - 2 * targets)
    return torch.where(signed > 50, signed, (1 + signed.exp()).log()).mean()


ln = math.log(100)


@pytest.mark.parametrize(
    ("id", "answer", "help"),
    [
        ("1.1", (-4.605, 0.1985), "100 classes: the sign"),
        ("1.1", (6.644, 0.1985), "100 classes: that is in bits"),
        ("1.1", (2.0, 0.1985), "base 10"),
        ("1.1", (0.01, 0.1985), "is a probability"),
        ("1.1", (ln, -0.1985), "95:5: the sign"),
        ("1.1", (ln, 0.6931), "knows the prior"),
        ("1.1", (ln, 0.0513), "frequent class only"),
        ("1.1", (ln, 1.5235), "weight each by its share"),
        ("1.1", (ln, 0.2864), "95:5: that is in bits"),
        ("1.1", (7, 7), "7 is not it"),
        ("1.1", (ln, None), "two numbers"),
        ("1.1", ln, "two numbers"),
        ("1.2", lambda a, b: (using(a, CHANNEL, a), using(b, CHANNEL, b)), "own statistics"),
        ("1.2", lambda a, b: (using(a, CHANNEL, a), b), "to the test images"),
        ("1.2", lambda a, b: (using(a, (0, 1, 2, 3), a), using(a, (0, 1, 2, 3), b)), "one mean for all channels"),
        ("1.2", lambda a, b: (using(a, 0, a), using(a, 0, b)), "one mean for each pixel"),
        ("1.2", lambda a, b: (using(a, (2, 3), a), using(b, (2, 3), b)), "one mean for each image"),
        ("1.2", lambda a, b: [using(torch.cat([a, b]), CHANNEL, x) for x in (a, b)], "leak"),
        ("1.2", lambda a, b: [x - a.mean(CHANNEL, keepdim=True) for x in (a, b)], "standard deviation 1; yours have"),
        ("1.2", swapped(standardise), "shapes must stay"),
        ("1.2", lambda a, b: using(a, CHANNEL, a), "Return two tensors"),
        ("1.2", lambda a, b: ("x", "y"), "Return numbers"),
        ("1.3", lambda c, n: sum(a / b for a, b in zip(c, n, strict=True)) / len(n), "image of a small batch more"),
        ("1.3", lambda c, n: sum(a / b for a, b in zip(c, n, strict=True)), "a sum of accuracies"),
        ("1.3", lambda c, n: 100 * sum(c) / sum(n), "not per cent"),
        ("1.3", lambda c, n: sum(c) // sum(n), "cuts off"),
        ("1.3", lambda c, n: sum(c) / (n[0] * len(n)), "real sizes"),
        ("1.3", lambda c, n: sum(c) / len(c), "not of batches"),
        ("1.3", lambda c, n: 0.77, "divide once"),
        ("1.3", lambda c, n: [0.1, 0.2], "Return one number"),
        ("1.4", one_class_softmax, "softmax over one class"),
        ("1.4", broadcast, "broadcast"),
        ("1.4", log_of_sigmoid, "log(0)"),
        ("1.4", clamped, "clamping"),
        ("1.4", branch_with_bad_gradient, "gradient"),
        ("1.4", lambda x, y: class_loss(x, y).detach(), "cut off"),
        ("1.4", lambda x, y: class_loss(x, y) * len(y), "sum over the images"),
        ("1.4", lambda x, y: -class_loss(x, y), "sign is wrong"),
        ("1.4", lambda x, y: class_loss(x, 1 - y), "sigmoid(logit) for class 1"),
        ("1.4", lambda x, y: class_loss(x, y).expand(5), "Return one number"),
        ("1.5", random_rows, "on both sides"),
        ("1.5", first_families, "Every seed"),
        ("1.5", names_not_rows, "names of families"),
        ("1.5", lambda g, f, s: with_scikit_learn(g, f, None), "same seed"),
        ("1.5", swapped(family_split), "exchanged"),
        ("1.5", lambda g, f, s: family_split(g, f + 0.3, s), "it should have about 25%"),
        ("1.5", lambda g, f, s: (family_split(g, f, s)[0][1:], family_split(g, f, s)[1]), "on neither side"),
        ("1.5", lambda g, f, s: (np.arange(len(g)), family_split(g, f, s)[1]), "appear twice"),
        ("1.5", lambda g, f, s: [side + 1 for side in family_split(g, f, s)], "Rows go from 0"),
        ("1.5", lambda g, f, s: (np.arange(len(g)), []), "non-empty"),
        ("1.6", audit() | {"loss": "", "input": None}, "Still empty, 2 of 7"),
        ("1.6", {"input": "seen"}, "Still empty, 6 of 7"),
        ("1.6", audit() | {"extrenal": "84 %"}, 'Did you mean "external"'),
        ("1.6", ["all fine"], "dictionary"),
    ],
)
def test_wrong_answers_get_help(id, answer, help):
    feedback = check(id, answer)
    assert feedback.status == "not yet"
    assert help in feedback.sentence


def test_audit_reminds_how_to_verify_exactly_what_is_empty():
    sentence = check("1.6", audit() | {"labels": " "}).sentence
    assert POINTS["labels"] in sentence
    assert not any(text in sentence for point, text in POINTS.items() if point != "labels")


def test_solutions_agree_with_the_definitions():
    fresh, prior = initial_losses()
    assert fresh == pytest.approx(4.60517, abs=1e-5) and prior == pytest.approx(0.19852, abs=1e-5)
    assert mean_accuracy([2, 1], [4, 1]) == 0.6
    assert class_loss(torch.zeros(3, 1), torch.tensor([0, 1, 1])).item() == pytest.approx(math.log(2))
    train, test = standardise(torch.tensor([0.0, 2.0]).view(2, 1, 1, 1), torch.ones(1, 1, 1, 1))
    assert test.item() == 0 and train.flatten().tolist() == pytest.approx([-math.sqrt(0.5), math.sqrt(0.5)])
    train, test = family_split(np.array([7, 7, 8, 9, 9, 6]), 0.5, 0)
    assert sorted([*train, *test]) == list(range(6)) and len(set(np.array([7, 7, 8, 9, 9, 6])[test])) == 2
