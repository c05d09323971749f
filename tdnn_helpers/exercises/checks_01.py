"""The checks of lesson 1's exercises: properties and naive references, and a sentence for each typical mistake."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from .judge import NotYet, all_answered, array, expect, number, numbers, pair


def check_initial_losses(answer: Any) -> str:
    fresh, prior = numbers(answer, "loss for 100 classes", "loss for the 95:5 problem")
    uniform, entropy = math.log(100), -0.95 * math.log(0.95) - 0.05 * math.log(0.05)
    sign = "the sign is wrong: the logarithm of a probability is negative, and the loss is minus it."
    bits = "that is in bits; PyTorch's cross-entropy uses the natural logarithm (nats)."
    _recognise(
        "100 classes",
        fresh,
        uniform,
        (-uniform, sign),
        (math.log2(100), bits),
        (math.log10(100), "that is to base 10; PyTorch's cross-entropy uses the natural logarithm (nats)."),
        (1 / 100, "that is a probability; the loss is minus its logarithm."),
    )
    _recognise(
        "95:5",
        prior,
        entropy,
        (-entropy, sign),
        (entropy / math.log(2), bits),
        (math.log(2), "that is the loss of (0.5, 0.5), a fresh network; this predictor knows the prior (0.95, 0.05)."),
        (-math.log(0.95), "that is the loss of the frequent class only; average over both, each with its share."),
        (-math.log(0.95 * 0.05) / 2, "the two classes do not count equally: weight each by its share, 0.95 and 0.05."),
    )
    return (
        f"A uniform guess costs ln 100 = {uniform:.3f}, and the prior costs its own entropy, {entropy:.4f}: "
        "a model without information about the images cannot, on average, have a smaller loss."
    )


def _recognise(what: str, answer: float, right: float, *mistakes: tuple[float, str]) -> None:
    """Nothing if ``answer`` is right within 2 %; else NotYet with the sentence of the mistake that gives it."""
    if math.isclose(answer, right, rel_tol=0.02):
        return
    for value, sentence in mistakes:
        expect(not math.isclose(answer, value, rel_tol=0.02), f"{what}: {sentence}")
    raise NotYet(f"{what}: {answer:g} is not it; take the mean of minus the logarithm of the true class's probability.")


def check_standardise(answer: Any) -> str:
    random = np.random.default_rng(0)
    scale, offset = np.array([0.1, 0.2, 0.3]).reshape(1, 3, 1, 1), np.array([0.6, 0.3, 0.0]).reshape(1, 3, 1, 1)
    slope = np.linspace(0, 1, 5).reshape(1, 1, 5, 1)  # the mean changes from row to row of the image
    train = (offset + scale * (random.random((40, 3, 5, 4)) + slope) / 2).astype(np.float32)
    test = (offset + scale * (random.random((24, 3, 5, 4)) + slope) / 2 + 0.1).astype(np.float32)  # brighter

    result = answer(torch.from_numpy(train.copy()), torch.from_numpy(test.copy()))
    new_train, new_test = map(array, pair(result, "tensors"))
    expect(
        new_train.shape == train.shape and new_test.shape == test.shape,
        f"The shapes must stay {train.shape} and {test.shape}; yours are {new_train.shape} and {new_test.shape}.",
    )

    def using(source: np.ndarray, axes: Any, images: np.ndarray) -> np.ndarray:
        return (images - source.mean(axes, keepdims=True)) / source.std(axes, keepdims=True)

    def same(a: np.ndarray, b: np.ndarray) -> bool:
        return np.allclose(a, b, rtol=0.02, atol=0.02)  # n or n − 1, a small number in the denominator: all fine

    channel = (0, 2, 3)
    both = np.concatenate([train, test])
    wrong = [
        (using(both, channel, train), "Statistics of training and test images together leak; use the training images."),
        (using(train, None, train), "That is one mean for all channels; use one for each (`dim=(0, 2, 3)`)."),
        (using(train, 0, train), "That is one mean for each pixel (`dim=0`); use one for each channel."),
        (using(train, (2, 3), train), "That is one mean for each image; use one per channel over all the images."),
    ]
    for trap, sentence in wrong:
        expect(not same(new_train, trap), sentence)
    mean, std = new_train.mean(channel), new_train.std(channel)
    expect(
        same(new_train, using(train, channel, train)),
        f"The training channels should have mean 0 and standard deviation 1; yours have "
        f"{_round(mean)} and {_round(std)}.",
    )
    expect(
        not same(new_test, using(test, channel, test)),
        "The test images got their own statistics: that hides how they differ from the training images.",
    )
    expect(
        same(new_test, using(train, channel, test)),
        "The training images are right; apply the same mean and standard deviation to the test images.",
    )
    shift = ", ".join(f"{number:.1f}" for number in new_test.mean(channel))
    return f"The brighter test images keep their shift (channel means {shift}), as they would in use."


def _round(numbers: np.ndarray) -> list[float]:
    return [round(float(number), 2) for number in numbers]


def check_mean_accuracy(answer: Any) -> str:
    for correct, sizes in (([8, 1], [10, 10]), ([90, 80, 1], [100, 100, 4]), ([128, 0], [128, 1]), ([3], [7])):
        hits = [i < c for c, n in zip(correct, sizes, strict=True) for i in range(n)]  # one entry per image
        right = np.mean(hits)
        batches = [c / n for c, n in zip(correct, sizes, strict=True)]
        got = number(answer(list(correct), list(sizes)))
        if np.isclose(got, right, rtol=1e-4):
            continue
        case = f"For {correct} right of {sizes} the accuracy is {right:.4f}, not {got:.4g}"
        mistakes = (
            (np.mean(batches), "the mean of the batches' accuracies counts an image of a small batch more"),
            (sum(batches), "a sum of accuracies is no accuracy"),
            (100 * right, "give a fraction in [0, 1], not per cent"),
            (sum(correct) // sum(sizes), "`//` cuts off the decimals; use `/`"),
            (sum(correct) / (len(sizes) * sizes[0]), "the last batch is smaller than the first; add up the real sizes"),
            (np.mean(correct), "divide by the number of images, not of batches"),
        )
        for value, sentence in mistakes:
            expect(not np.isclose(got, value), f"{case}: {sentence}.")
        raise NotYet(f"{case}: add up the right predictions, add up the images, and divide once.")
    return "Every image counts the same, whatever the size of its batch."


def check_class_loss(answer: Any) -> str:
    logits, targets = torch.tensor([[0.5], [-1.2], [2.0], [0.1], [-3.0]]), torch.tensor([1, 0, 0, 1, 1])
    got = number(answer(logits.clone(), targets.clone()))

    def naive(logit: float, target: int) -> float:
        probability = 1 / (1 + math.exp(-logit))
        return -math.log(probability if target else 1 - probability)

    column, labels = logits[:, 0].tolist(), targets.tolist()
    each = [naive(logit, target) for logit, target in zip(column, labels, strict=True)]
    right = sum(each) / len(each)
    expect(
        abs(got) > 1e-6, "The loss is 0 for every input: a softmax over one class is always 1. Use one sigmoid instead."
    )
    every_pair = np.mean([naive(logit, target) for logit in column for target in labels])
    expect(
        not math.isclose(got, every_pair, rel_tol=1e-4),
        "Shapes (N, 1) and (N,) were broadcast to (N, N), each logit against each target; use `logits[:, 0]`.",
    )
    expect(not math.isclose(got, sum(each), rel_tol=1e-4), "That is the sum over the images; return the mean.")
    expect(not math.isclose(got, -right, rel_tol=1e-4), "The sign is wrong: a good prediction must have a small loss.")
    expect(
        math.isclose(got, right, rel_tol=1e-3),
        f"For five images the loss should be {right:.4f}; yours is {got:.4f}. It is the mean of -log(probability "
        "of the true class), and that probability is sigmoid(logit) for class 1 and 1 - sigmoid(logit) for class 0.",
    )
    big, targets = torch.tensor([[1000.0], [-1000.0], [1000.0], [-1000.0]]), torch.tensor([1, 0, 0, 1])
    result = answer(big.clone(), targets.clone())
    got = number(result)
    expect(
        math.isfinite(got),
        f"Right for small logits, but {got} for logits of ±1000: the sigmoid is exactly 0 or 1 there and log(0) is "
        "infinite. Use a loss that takes logits.",
    )
    expect(
        math.isclose(got, 500, rel_tol=1e-3),
        f"For logits of ±1000, half of them wrong, the loss is 500; yours is {got:.1f}: clamping cuts the loss off, "
        "and its gradient is then 0. Use a loss that takes logits.",
    )
    if isinstance(result, torch.Tensor):
        big.requires_grad_()
        result = answer(big, targets)
        expect(result.requires_grad, "The value is right, but it is cut off from the logits: no gradient reaches them.")
        (slope,) = torch.autograd.grad(result, big)
        expect(
            torch.allclose(slope, torch.tensor([[0.0], [0.0], [0.25], [-0.25]]), atol=1e-3),
            "The value is right, but its gradient for logits of ±1000 is "
            f"{slope[:, 0].tolist()} and should be [0, 0, 0.25, -0.25].",
        )
    return "It agrees with the definition, and a confident error of 1000 still has a finite loss."


def check_family_split(answer: Any) -> str:
    random = np.random.default_rng(0)
    groups = random.permutation(np.repeat(1000 + np.arange(60), random.integers(1, 8, size=60)))
    names = np.unique(groups)
    for fraction, seed in ((0.25, 0), (0.5, 3)):
        train, test = _rows(answer(groups.copy(), fraction, seed), groups)
        both = np.intersect1d(groups[train], groups[test])
        expect(
            len(both) == 0,
            f"{len(both)} of {len(names)} families are on both sides: choose families at random, then take their rows.",
        )
        rows, families = len(test) / len(groups), len(np.unique(groups[test])) / len(names)

        def near(share: float, *found: float) -> bool:
            return any(abs(share - one) < 0.15 for one in found)

        expect(
            near(fraction, rows, families) or not near(1 - fraction, rows, families),
            f"The test side has {rows:.0%} of the rows; it should have about {fraction:.0%}: the sides are exchanged.",
        )
        expect(
            near(fraction, rows, families),
            f"The test side has {families:.0%} of the families; it should have about {fraction:.0%}.",
        )
        again = _rows(answer(groups.copy(), fraction, seed), groups)
        expect(set(again[1]) == set(test), "The same seed gave another split: use the seed for every random choice.")
    other = [frozenset(_rows(answer(groups.copy(), 0.5, seed), groups)[1]) for seed in range(4)]
    expect(len(set(other)) > 1, "Every seed gives the same split: shuffle the families with the seed.")
    return "Every row is on one side, and so is every family: the test images have no relatives in training."


def _rows(result: Any, groups: np.ndarray) -> list[np.ndarray]:
    """Train and test as integer rows. Every row of ``groups`` must be there once; boolean masks are fine."""
    sides = []
    for side in pair(result, "index arrays"):
        rows = np.asarray(side)
        if rows.dtype == bool and rows.shape == groups.shape:
            rows = np.flatnonzero(rows)
        expect(rows.ndim == 1 and rows.size > 0, f"Each side must be a non-empty list of rows; yours is {side!r}.")
        sides.append(array(rows).astype(int))
    rows = np.concatenate(sides)
    expect(
        not set(rows) <= set(groups),
        "Those are names of families; return the numbers of their rows (`np.flatnonzero`, `np.isin`).",
    )
    expect(
        rows.min() >= 0 and rows.max() < len(groups),
        f"Rows go from 0 to {len(groups) - 1}; yours from {rows.min()} to {rows.max()}.",
    )
    missing, repeated = len(groups) - len(set(rows)), len(rows) - len(set(rows))
    expect(missing == 0, f"{missing} of {len(groups)} rows are on neither side.")
    expect(repeated == 0, f"{repeated} rows appear twice.")
    return sides


POINTS = {
    "input": "look at ten images exactly as the network gets them: can you still do the task?",
    "scaling": "print the mean and standard deviation of one batch; the statistics must come from training images.",
    "labels": "rank the training images by out-of-fold loss and look at the worst fifty.",
    "loss": "compare the first loss with that of the class prior, and name the metric that you report.",
    "features": "fit a nearest-neighbour classifier to the features, beside one on an untrained network's features.",
    "tuning": "count how often a choice was made with the test set; that number must be zero.",
    "external": "test on data from another source, and report the drop.",
}


def check_audit(answer: Any) -> str:
    return all_answered(answer, POINTS)
