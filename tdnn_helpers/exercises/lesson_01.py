"""Exercises of lesson 1: the checklist of the paper's section II-A. The solutions are what a reader unfolds."""

from __future__ import annotations

import math

import numpy as np
import torch.nn.functional as F

from . import Exercise, checks_01


def initial_losses():
    """Two cross-entropies in nats."""
    fresh = -math.log(1 / 100)  # each of the 100 classes gets the probability 1/100
    prior = -(0.95 * math.log(0.95) + 0.05 * math.log(0.05))  # predict (0.95, 0.05) for every image
    return fresh, prior


def standardise(train, test):
    """Standardise both sets per channel with the training statistics.

    train, test: float N×C×H×W in [0, 1]. Returns both, in the same shapes.
    """
    mean = train.mean(dim=(0, 2, 3), keepdim=True)
    std = train.std(dim=(0, 2, 3), keepdim=True)
    return (train - mean) / std, (test - mean) / std


def mean_accuracy(correct_per_batch, sizes):
    """The accuracy over all images, in [0, 1].

    Two lists of int: right predictions in each batch, and images in each batch.
    """
    return sum(correct_per_batch) / sum(sizes)


def class_loss(logits, targets):
    """The mean binary cross-entropy, in nats.

    logits: float (N, 1), one neuron before its sigmoid. targets: int (N,), 0 or 1.
    """
    return F.binary_cross_entropy_with_logits(logits[:, 0], targets.float())


def family_split(groups, fraction, seed):
    """Row numbers of the training images and of the test images, two int arrays.

    groups: int array (N,), the family of each image. About this fraction of the
    families goes to the test side, at random; no family is on both sides.
    """
    families = np.unique(groups)
    np.random.default_rng(seed).shuffle(families)
    in_test = np.isin(groups, families[: round(fraction * len(families))])
    return np.flatnonzero(~in_test), np.flatnonzero(in_test)


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


EXERCISES = (
    Exercise(
        "1.1",
        "predict the first loss",
        checks_01.check_initial_losses,
        (
            "Cross-entropy is the mean of minus the logarithm of the probability given to the true class.",
            "A fresh network gives each of C classes about 1/C. With the prior, 95 % of the images cost `-ln 0.95` "
            "each, the others `-ln 0.05`.",
        ),
        initial_losses,
        value="(None, None)  # in nats: 100 classes, a fresh network; 95:5, predicted by the prior",
    ),
    Exercise(
        "1.2",
        "standardise without a leak",
        checks_01.check_standardise,
        (
            "One mean and one standard deviation for each channel, from the training images, for both sets.",
            "`train.mean(dim=(0, 2, 3), keepdim=True)` has the shape 1×C×1×1 and broadcasts over both sets.",
        ),
        standardise,
    ),
    Exercise(
        "1.3",
        "accuracy with an uneven last batch",
        checks_01.check_mean_accuracy,
        (
            "Two batches of 100 images and one of 4: how much may an image of the last one count?",
            "Add up the right predictions and the images, and divide once, at the end.",
        ),
        mean_accuracy,
    ),
    Exercise(
        "1.4",
        "the loss of one sigmoid neuron",
        checks_01.check_class_loss,
        (
            "One neuron gives one probability, the sigmoid's; a softmax needs two. Mind the shapes (N, 1) and (N,).",
            "`torch.nn.functional.binary_cross_entropy_with_logits` takes logits and float targets of the same shape.",
        ),
        class_loss,
    ),
    Exercise(
        "1.5",
        "split by family",
        checks_01.check_family_split,
        (
            "Split the families first, then ask for each row on which side its family is.",
            "`np.unique(groups)` lists the families, `np.random.default_rng(seed).shuffle` mixes them, "
            "`np.isin(groups, chosen)` marks the rows.",
        ),
        family_split,
    ),
    Exercise(
        "1.6",
        "audit your own project",
        checks_01.check_audit,
        (
            "Write what you saw, with a number, not what you believe. An honest `not done` is an answer too.",
            "Begin with `input` and `external`: they take ten minutes and change the most.",
        ),
        audit,
        value="{\n" + "".join(f'    "{point}": "",\n' for point in checks_01.POINTS) + "}",
    ),
)
