"""Exercises of lesson 1: the checklist of the paper's section II-A."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

from .answers import array, expect, pair
from .blocks import exercise


@exercise(
    "1.1 predict the first loss",
    value="(None, None)  # in nats: 100 classes, a fresh network; 95:5, predicted by the prior",
    hint="Cross-entropy is the mean of minus the logarithm of the probability given to the true class.",
    hint2="A fresh network gives each of C classes about 1/C. With the prior, 95 % of the images cost `-ln 0.95` "
    "each, the others `-ln 0.05`.",
    within=0.02,
    right="A uniform guess costs ln 100 = 4.605, and the prior costs its own entropy, 0.1985: a model without "
    "information about the images cannot, on average, have a smaller loss.",
)
def initial_losses():
    """Two cross-entropies in nats."""
    fresh = -math.log(1 / 100)  # each of the 100 classes gets the probability 1/100
    prior = -(0.95 * math.log(0.95) + 0.05 * math.log(0.05))  # predict (0.95, 0.05) for every image
    return fresh, prior


FRESH, PRIOR = initial_losses()
MEAN = "take the mean of minus the logarithm of the true class's probability."
SIGN = "the sign is wrong: the logarithm of a probability is negative, and the loss is minus it."
BITS = "that is in bits; PyTorch's cross-entropy uses the natural logarithm (nats)."
initial_losses.part(
    "loss for 100 classes",
    MEAN,
    (-FRESH, SIGN),
    (math.log2(100), BITS),
    (math.log10(100), "that is to base 10; PyTorch's cross-entropy uses the natural logarithm (nats)."),
    (1 / 100, "that is a probability; the loss is minus its logarithm."),
)
initial_losses.part(
    "loss for 95:5",
    MEAN,
    (-PRIOR, SIGN),
    (PRIOR / math.log(2), BITS),
    (math.log(2), "that is the loss of (0.5, 0.5), a fresh network; this predictor knows the prior (0.95, 0.05)."),
    (-math.log(0.95), "that is the loss of the frequent class only; average over both, each with its share."),
    (-math.log(0.95 * 0.05) / 2, "the two classes do not count equally: weight each by its share, 0.95 and 0.05."),
)


def bright_test_images():
    random = np.random.default_rng(0)
    scale, offset = np.array([0.1, 0.2, 0.3]).reshape(1, 3, 1, 1), np.array([0.6, 0.3, 0.0]).reshape(1, 3, 1, 1)
    slope = np.linspace(0, 1, 5).reshape(1, 1, 5, 1)  # the mean changes from row to row of the image
    train, test = (offset + scale * (random.random((n, 3, 5, 4)) + slope) / 2 for n in (40, 24))
    yield torch.from_numpy(train).float(), torch.from_numpy(test + 0.1).float()


@exercise(
    "1.2 standardise without a leak",
    hint="One mean and one standard deviation for each channel, from the training images, for both sets.",
    hint2="`train.mean(dim=(0, 2, 3), keepdim=True)` has the shape 1×C×1×1 and broadcasts over both sets.",
    cases=bright_test_images,
    within=0.01,  # n or n − 1, a small number in the denominator: all fine
    returns="train, test",
    otherwise="each training channel gets mean 0 and standard deviation 1, and the test images the same change.",
    right="The brighter test images keep their shift, as they would in use.",
)
def standardise(train, test):
    """Standardise both sets per channel with the training statistics.

    train, test: float N×C×H×W in [0, 1]. Returns both, in the same shapes.
    """
    mean = train.mean(dim=(0, 2, 3), keepdim=True)
    std = train.std(dim=(0, 2, 3), keepdim=True)
    return (train - mean) / std, (test - mean) / std


def using(source, images, dim=(0, 2, 3)):
    return (images - source.mean(dim, keepdim=True)) / source.std(dim, keepdim=True)


standardise.mistakes(
    (lambda a, b: [using(torch.cat([a, b]), x) for x in (a, b)], "Statistics of both sets leak; use those of train."),
    (lambda a, b: [using(a, x, (0, 1, 2, 3)) for x in (a, b)], "That is one mean for all channels; use one for each."),
    (lambda a, b: [using(a, x, 0) for x in (a, b)], "That is one mean for each pixel; use one for each channel."),
    (lambda a, b: [using(x, x, (2, 3)) for x in (a, b)], "That is one mean for each image; use one for each channel."),
    (lambda a, b: [using(x, x) for x in (a, b)], "The test images got their own statistics, which hide their shift."),
    (lambda a, b: (using(a, a), b), "Apply the same mean and standard deviation to the test images."),
)


@exercise(
    "1.3 accuracy with an uneven last batch",
    hint="Two batches of 100 images and one of 4: how much may an image of the last one count?",
    hint2="Add up the right predictions and the images, and divide once, at the end.",
    cases=(([8, 1], [10, 10]), ([90, 80, 1], [100, 100, 4]), ([128, 0], [128, 1]), ([3], [7])),
    otherwise="add up the right predictions, add up the images, and divide once.",
    right="Every image counts the same, whatever the size of its batch.",
)
def mean_accuracy(correct_per_batch, sizes):
    """The accuracy over all images, in [0, 1].

    Two lists of int: right predictions in each batch, and images in each batch.
    """
    return sum(correct_per_batch) / sum(sizes)


mean_accuracy.mistakes(
    (lambda c, n: np.divide(c, n).mean(), "the mean of the batches' accuracies counts an image of a small batch more."),
    (lambda c, n: np.divide(c, n).sum(), "a sum of accuracies is no accuracy."),
    (lambda c, n: 100 * sum(c) / sum(n), "give a fraction in [0, 1], not per cent."),
    (lambda c, n: sum(c) // sum(n), "`//` cuts off the decimals; use `/`."),
    (lambda c, n: sum(c) / (len(n) * n[0]), "the last batch is smaller than the first; add up the real sizes."),
    (lambda c, n: sum(c) / len(c), "divide by the number of images, not of batches."),
)


@exercise(
    "1.4 the loss of one sigmoid neuron",
    hint="One neuron gives one probability, the sigmoid's; a softmax needs two. Mind the shapes (N, 1) and (N,).",
    hint2="`torch.nn.functional.binary_cross_entropy_with_logits` takes logits and float targets of the same shape.",
    cases=(
        (torch.tensor([[0.5], [-1.2], [2.0], [0.1], [-3.0]]), torch.tensor([1, 0, 0, 1, 1])),
        (torch.tensor([[1000.0], [-1000.0], [1000.0], [-1000.0]]), torch.tensor([1, 0, 0, 1])),
    ),
    within=1e-3,
    otherwise="it is the mean of -log(probability of the true class), and that probability is sigmoid(logit) for "
    "class 1 and 1 - sigmoid(logit) for class 0.",
    gradient="logits",
    right="It agrees with the definition, and a confident error of 1000 still has a finite loss.",
)
def class_loss(logits, targets):
    """The mean binary cross-entropy, in nats.

    logits: float (N, 1), one neuron before its sigmoid. targets: int (N,), 0 or 1.
    """
    return F.binary_cross_entropy_with_logits(logits[:, 0], targets.float())


def log_of_sigmoid(logits, targets):
    probability = torch.sigmoid(logits[:, 0])
    return -(targets * probability.log() + (1 - targets) * (1 - probability).log()).mean()


ONE_CLASS = "The loss is 0 for every input: a softmax over one class is always 1. Use one sigmoid instead."
CLAMPED = "clamping cuts the loss off, and its gradient is then 0. Use a loss that takes logits."
class_loss.mistakes(
    (lambda x, y: F.cross_entropy(x, torch.zeros_like(y)), ONE_CLASS),
    (lambda x, y: (F.softplus(x) - x * y).mean(), "(N, 1) and (N,) were broadcast to (N, N); use `logits[:, 0]`."),
    (lambda x, y: class_loss(x, y) * len(y), "that is the sum over the images; return the mean."),
    (lambda x, y: -class_loss(x, y), "the sign is wrong: a good prediction must have a small loss."),
    (log_of_sigmoid, "the sigmoid is exactly 0 or 1 there and log(0) is infinite. Use a loss that takes logits."),
    (lambda x, y: F.binary_cross_entropy(x[:, 0].sigmoid(), y.float()), CLAMPED),
)


def check_families(answer):
    random = np.random.default_rng(0)
    groups = random.permutation(np.repeat(1000 + np.arange(60), random.integers(1, 8, size=60)))
    names = np.unique(groups)
    for fraction, seed in ((0.25, 0), (0.5, 3)):
        train, test = rows_of_sides(answer(groups.copy(), fraction, seed), groups)
        both = np.intersect1d(groups[train], groups[test])
        expect(
            len(both) == 0,
            f"{len(both)} of {len(names)} families are on both sides: choose families at random, then take their rows.",
        )
        rows, families = len(test) / len(groups), len(np.unique(groups[test])) / len(names)
        near, exchanged = (min(abs(side - rows), abs(side - families)) < 0.15 for side in (fraction, 1 - fraction))
        about = f"it should have about {fraction:.0%}"
        expect(near or not exchanged, f"The test side has {rows:.0%} of the rows; {about}: the sides are exchanged.")
        expect(near, f"The test side has {families:.0%} of the families; {about}.")
        again = rows_of_sides(answer(groups.copy(), fraction, seed), groups)
        expect(set(again[1]) == set(test), "The same seed gave another split: use the seed for every random choice.")
    other = {frozenset(rows_of_sides(answer(groups.copy(), 0.5, seed), groups)[1]) for seed in range(4)}
    expect(len(other) > 1, "Every seed gives the same split: shuffle the families with the seed.")


def rows_of_sides(result, groups):
    """Train and test as integer rows. Every row of ``groups`` must be there once; boolean masks are fine."""
    sides = []
    for side in pair(result, "index arrays"):
        rows = np.asarray(side)
        if rows.dtype == bool and rows.shape == groups.shape:
            rows = np.flatnonzero(rows)
        expect(rows.ndim == 1 and rows.size > 0, f"Each side must be a non-empty list of rows; yours is {side!r}.")
        sides.append(array(rows).astype(int))
    rows, last = np.concatenate(sides), len(groups) - 1
    names = set(rows) <= set(groups)
    expect(not names, "Those are names of families; return the numbers of their rows (`np.flatnonzero`, `np.isin`).")
    inside = rows.min() >= 0 and rows.max() <= last
    expect(inside, f"Rows go from 0 to {last}; yours from {rows.min()} to {rows.max()}.")
    missing, repeated = len(groups) - len(set(rows)), len(rows) - len(set(rows))
    expect(missing == 0, f"{missing} of {len(groups)} rows are on neither side.")
    expect(repeated == 0, f"{repeated} rows appear twice.")
    return sides


@exercise(
    "1.5 split by family",
    hint="Split the families first, then ask for each row on which side its family is.",
    hint2="`np.unique(groups)` lists the families, `np.random.default_rng(seed).shuffle` mixes them, "
    "`np.isin(groups, chosen)` marks the rows.",
    check=check_families,
    right="Every row is on one side, and so is every family: the test images have no relatives in training.",
)
def family_split(groups, fraction, seed):
    """Row numbers of the training images and of the test images, two int arrays.

    groups: int array (N,), the family of each image. About this fraction of the
    families goes to the test side, at random; no family is on both sides.
    """
    families = np.unique(groups)
    np.random.default_rng(seed).shuffle(families)
    in_test = np.isin(groups, families[: round(fraction * len(families))])
    return np.flatnonzero(~in_test), np.flatnonzero(in_test)


@exercise(
    "1.6 audit your own project",
    hint="Write what you saw, with a number, not what you believe. An honest `not done` is an answer too.",
    hint2="Begin with `input` and `external`: they take ten minutes and change the most.",
    points={
        "input": "look at ten images exactly as the network gets them: can you still do the task?",
        "scaling": "print the mean and standard deviation of one batch; the statistics must come from training images.",
        "labels": "rank the training images by out-of-fold loss and look at the worst fifty.",
        "loss": "compare the first loss with that of the class prior, and name the metric that you report.",
        "features": "fit a nearest-neighbour classifier to the features, beside one on an untrained network's "
        "features.",
        "tuning": "count how often a choice was made with the test set; that number must be zero.",
        "external": "test on data from another source, and report the drop.",
    },
)
def audit():
    """An example: a classifier of blood cells."""
    return {
        "input": "32 px; I can count the lobes of the nucleus in nine of ten images",
        "scaling": "per channel, training statistics, stored in the model; batch mean 0.02, deviation 0.99",
        "labels": "worst fifty by out-of-fold loss: four wrong labels, corrected",
        "loss": "cross-entropy on logits; 0.70 at the start, prior 0.69; I report balanced accuracy",
        "features": "nearest neighbours: 91 % trained, 58 % untrained",
        "tuning": "all choices by 5-fold cross-validation; the test set was opened once",
        "external": "second microscope: 84 %, that is 9 points lower",
    }
