"""Exercises of lesson 2: overfitting, label noise and dropout. The solutions are what a reader unfolds."""

from __future__ import annotations

import math

import torch

from . import checks_02
from . import old_exercise as Exercise


def noisy_ceiling():
    """An accuracy in [0, 1], and a cross-entropy in nats."""
    accuracy = 0.6  # the flipped labels are never the true class
    loss = -(0.6 * math.log(0.6) + 0.4 * math.log(0.4 / 9))  # each of the nine others gets 0.4/9
    return accuracy, loss


def early_stopping(val_losses, patience):
    """The record whose weights to keep, and the record at which training stops.

    val_losses: validation loss of each record, in order. Training stops as soon as
    `patience` records in a row are not lower than the lowest loss before them; else
    it goes on to the last record. Returns two positions, counted from 0.
    """
    best = 0
    for now, loss in enumerate(val_losses):
        if loss < val_losses[best]:
            best = now
        elif now - best >= patience:
            return best, now
    return best, len(val_losses) - 1


def dropout(x, p, training):
    """Set each number to 0 with probability p; the mean of the result stays that of x.

    x: float tensor of any shape. p: from 0 to below 1. Outside training: x as it is.
    """
    if not training:
        return x
    keep = (torch.rand_like(x) >= p).to(x.dtype)
    return x * keep / (1 - p)


def one_at_a_time(base, changes):
    """The settings of a fair comparison: name → settings, with "base" first.

    base: the settings of the untreated network, a dict. changes: name → dict of the
    settings that this cure changes. Every cure is applied alone; base stays as it is.
    """
    return {"base": dict(base)} | {name: {**base, **change} for name, change in changes.items()}


def confused_labels(targets, confusion, seed):
    """Labels with mistakes between similar classes, int64 (N,).

    targets: int64 (N,), the true classes. confusion: float (C, C); row i holds the
    probabilities of the labels that an image of class i gets, and adds up to 1.
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.multinomial(confusion[targets], 1, generator=generator)[:, 0]


def diagnosis():
    """An example: a classifier of leaf diseases."""
    return {
        "symptom": "training accuracy 99.8 %, validation accuracy 86 %, validation loss rises from epoch 7",
        "labels": "read the 50 images with the highest loss: 6 wrong labels, corrected",
        "baseline": "logistic regression on the pixels: 61 %",
        "cures": "early stopping, dropout 0.5, weight decay 0.01, each alone, the same number of updates",
        "effect": "weight decay +1.9 pp [0.8, 3.0], dropout +0.4 [−0.7, 1.5], 5 paired seeds",
        "test": "opened once, with the cure chosen on validation images: 87.5 %",
    }


EXERCISES = (
    Exercise(
        "2.1",
        "predict the ceiling that wrong labels set",
        checks_02.check_noisy_ceiling,
        (
            "The network answers with the true class. How often is that also the label that was given?",
            "The best probabilities are 0.6 for the true class and 0.4/9 for each other; the loss is the mean of "
            "minus the logarithm of the probability that the given label got.",
        ),
        noisy_ceiling,
        value="(None, None)  # accuracy measured on the noisy labels (0 to 1); lowest cross-entropy in nats",
    ),
    Exercise(
        "2.2",
        "early stopping",
        checks_02.check_early_stopping,
        (
            "Go through the losses once and remember the position of the lowest one so far.",
            "Stop when `now - best >= patience`. The weights to keep are those of `best`, not those of `now`.",
        ),
        early_stopping,
    ),
    Exercise(
        "2.3",
        "dropout",
        checks_02.check_dropout,
        (
            "`torch.rand_like(x) >= p` is true for a share 1 − p of the numbers, another one at every call.",
            "If a share p is set to 0, by what must the others be divided so that the mean stays?",
        ),
        dropout,
    ),
    Exercise(
        "2.4",
        "one change at a time",
        checks_02.check_one_at_a_time,
        (
            "Begin every cure from a fresh copy of the base, not from the cure before it.",
            "`{**base, **change}` is a new dictionary: the base with this change.",
        ),
        one_at_a_time,
    ),
    Exercise(
        "2.5",
        "mistakes between similar classes",
        checks_02.check_confused_labels,
        (
            "`confusion[targets]` has one row for each image: the probabilities of its label.",
            "`torch.multinomial(rows, 1, generator=generator)` draws one column of each row.",
        ),
        confused_labels,
    ),
    Exercise(
        "2.6",
        "treat your own network",
        checks_02.check_diagnosis,
        (
            "Write what you measured, with a number. An honest `not done` is an answer too.",
            "Begin with `symptom`: two curves and two accuracies are enough.",
        ),
        diagnosis,
        value="{\n" + "".join(f'    "{point}": "",\n' for point in checks_02.POINTS) + "}",
    ),
)
