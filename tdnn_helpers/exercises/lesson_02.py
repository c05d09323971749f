"""Exercises of lesson 2: overfitting, label noise and dropout."""

from __future__ import annotations

import copy
import math

import numpy as np
import torch

from .answers import array, expect, nearest_known, parts
from .blocks import exercise


@exercise(
    "2.1 predict the ceiling that wrong labels set",
    value="(None, None)  # accuracy measured on the noisy labels (0 to 1); lowest cross-entropy in nats",
    hint="The network answers with the true class. How often is that also the label that was given?",
    hint2="The best probabilities are 0.6 for the true class and 0.4/9 for each other; the loss is the mean of "
    "minus the logarithm of the probability that the given label got.",
    within=0.01,
    right="On these labels a perfect network scores 60 % with a loss of 1.552 nats. More on the training labels "
    "means that it has learned flips by heart.",
)
def noisy_ceiling():
    """An accuracy in [0, 1], and a cross-entropy in nats."""
    accuracy = 0.6  # the flipped labels are never the true class
    loss = -(0.6 * math.log(0.6) + 0.4 * math.log(0.4 / 9))  # each of the nine others gets 0.4/9
    return accuracy, loss


ENTROPY = noisy_ceiling()[1]
noisy_ceiling.part(
    "accuracy",
    "count the labels that agree.",
    (1.0, "a perfect answer is the true class, but it is compared with the labels as given."),
    (0.64, "here a flipped label never is the true class again, so nothing is right by luck."),
    (60.0, "give a fraction from 0 to 1."),
    (0.4, "that is the share of flipped labels: on those the perfect answer counts as wrong."),
)
noisy_ceiling.part(
    "cross-entropy in nats",
    "average minus the logarithm of the probability of the given label.",
    (0.0, "a loss of 0 needs the flips to be known."),
    (-ENTROPY, "the sign is wrong: the loss is minus the logarithm."),
    (ENTROPY / math.log(2), "that is in bits; PyTorch's cross-entropy uses the natural logarithm (nats)."),
    (-(0.6 * math.log(0.6) + 0.4 * math.log(0.4)), "the 0.4 is spread over nine classes: each gets 0.4/9."),
    (-math.log(0.6), "that is the loss of the right labels only; average over all, each kind with its share."),
    (math.log(10), "that is the loss of a network that knows nothing; this one knows the true class."),
)


@exercise(
    "2.2 early stopping",
    hint="Go through the losses once and remember the position of the lowest one so far.",
    hint2="Stop when `now - best >= patience`. The weights to keep are those of `best`, not those of `now`.",
    cases=(
        ([1.0, 0.7, 0.6, 0.65, 0.7, 0.8, 0.5], 3),  # a lower loss comes, but too late
        ([1.0, 0.9, 0.95, 0.8, 0.85, 0.82, 0.7, 0.75], 3),  # never three in a row
        ([1.0, 0.8, 0.8, 0.8, 0.4], 2),  # a tie is not lower
        ([0.5, 0.6, 0.7, 0.2], 2),
        ([3.0, 2.0, 1.0], 1),
        ([0.9, 1.2, 1.1, 1.0, 0.95, 0.1], 4),  # falling, but never below the lowest
    ),
    returns="best, last",
    otherwise="it stops after `patience` records in a row that are not lower than the lowest loss before them.",
    right="It waits, it never looks ahead, and it keeps the best weights instead of the last ones.",
)
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


FUTURE = "you looked into the future: training had stopped before that record."
early_stopping.mistakes(
    (lambda x, n: early_stopping(x, n)[::-1], "you exchanged the record to keep and the one where training stops."),
    (lambda x, n: (early_stopping(x, n)[1],) * 2, "keep the weights of the lowest loss, not the last ones."),
    (lambda x, n: (early_stopping(x, n)[0],) * 2, "nobody knows yet that it is the lowest: training goes on."),
    (lambda x, n: (int(np.argmin(x)), early_stopping(x, n)[1]), FUTURE),
    (lambda x, n: (int(np.argmin(x)), len(x) - 1), FUTURE),
    (lambda x, n: early_stopping(x, n - 1), "it stops one record too early: wait for `patience` records."),
)


X = torch.rand(200, 500, generator=torch.Generator().manual_seed(0)) + 1


def share_mean_factor(result):
    """The share of X that was dropped, the mean of the factors of all numbers, and the largest one."""
    factors = parts(result, X)[0] / X.numpy()
    together = max((factors == 0).mean(axis).std() for axis in (0, 1)) > 0.1
    expect(not together, "Whole rows or columns are dropped together; draw one random number for each number of x.")
    return (factors == 0).mean().round(2), factors.mean().round(2), factors.max()


def check_draws(answer):
    x = X.clone()
    first, second = (array(answer(x, 0.5, True)) == 0 for _ in range(2))
    expect(torch.equal(x, X), "Your function changed x in place; make a new tensor.")
    expect((first != second).any(), "Two calls dropped the same numbers: draw anew each time.")
    out = answer(x.requires_grad_(), 0.5, True)
    expect(getattr(out, "requires_grad", False), "The result is cut off from x: no gradient reaches it.")
    right = torch.allclose(torch.autograd.grad(out.sum(), x)[0], (out / x).to(x.dtype))
    expect(right, "The gradient must be 1 / (1 − p) where a number stays and 0 where it is dropped.")


@exercise(
    "2.3 dropout",
    hint="`torch.rand_like(x) >= p` is true for a share 1 − p of the numbers, another one at every call.",
    hint2="If a share p is set to 0, by what must the others be divided so that the mean stays?",
    cases=((X, 0.2, True), (X, 0.7, True), (X, 0.5, False), (X, 0.0, True)),
    read=share_mean_factor,
    within=0.01,
    otherwise="these are the share that is dropped, the mean factor of all numbers, and the largest factor.",
    check=check_draws,
    write_it=("dropout", "Dropout"),
    right="The share of zeros is p, the mean stays, and outside training it does nothing.",
)
def dropout(x, p, training):
    """Set each number to 0 with probability p; the mean of the result stays that of x.

    x: float tensor of any shape. p: from 0 to below 1. Outside training: x as it is.
    """
    if not training:
        return x
    keep = (torch.rand_like(x) >= p).to(x.dtype)
    return x * keep / (1 - p)


dropout.mistakes(
    (lambda x, p, t: dropout(x, p, True), "Outside training the result must be x: nothing is dropped or scaled."),
    (lambda x, p, t: dropout(x, 1 - p, t), "p is the share that is dropped; you drop the share 1 − p."),
    (lambda x, p, t: dropout(x, p, t) * (1 - p), "What stays is not scaled, so the mean falls: divide it by 1 − p."),
    (lambda x, p, t: dropout(x, p, t) * (1 - p) ** 2, "You multiplied by 1 − p; what stays must be divided by it."),
    (lambda x, p, t: dropout(x, p, t) * (1 / p - 1), "Divide by 1 − p, the share that stays, not by p."),
)


def check_arms(answer):
    base = {"width": 512, "dropout": 0.0, "images": 1_000}
    changes = {"narrow": {"width": 32}, "dropout": {"dropout": 0.5}, "smooth": {"label smoothing": 0.1}}
    given = copy.deepcopy((base, changes))
    arms, names, piled = answer(*given), ["base", *changes], base
    named = isinstance(arms, dict) and list(arms) == names
    expect(named, f"Return a dictionary with the names {', '.join(names)}, in this order, each with its settings.")
    expect(given == (base, changes), "Your function changed what it was given: work on a copy (`dict(base)`).")
    for name, change in {"base": {}, **changes}.items():
        right, piled = base | change, piled | change
        mistakes = (
            (change, "holds only what it changes; the other settings are missing."),
            (base, "is the base: its change was not applied."),
            (piled, "also holds the cures before it: if it helps, nobody knows which one did."),
        )
        wrong = nearest_known(arms[name], right, mistakes, 0)
        expect(wrong == "", f'"{name}" {wrong or f"should be {right}, but it is {arms[name]}."}')
    alone = len({id(given[0]), *map(id, arms.values())}) == 1 + len(names)
    expect(alone, "Two entries are the same dictionary: a change in one changes the other.")


@exercise(
    "2.4 one change at a time",
    hint="Begin every cure from a fresh copy of the base, not from the cure before it.",
    hint2="`{**base, **change}` is a new dictionary: the base with this change.",
    check=check_arms,
    right="Each cure differs from the base in its own settings only, so what it buys can be named.",
)
def one_at_a_time(base, changes):
    """The settings of a fair comparison: name → settings, with "base" first.

    base: the settings of the untreated network, a dict. changes: name → dict of the
    settings that this cure changes. Every cure is applied alone; base stays as it is.
    """
    return {"base": dict(base)} | {name: {**base, **change} for name, change in changes.items()}


TARGETS = torch.randperm(12_000, generator=torch.Generator().manual_seed(1)) % 3
CONFUSION = torch.tensor([[0.7, 0.3, 0.0], [0.0, 1.0, 0.0], [0.5, 0.1, 0.4]])


def shares(labels):
    """Row i: the shares of the labels that the images of class i got."""
    (values,) = parts(labels, TARGETS)
    whole = not isinstance(labels, torch.Tensor) or labels.dtype == torch.int64
    expect(whole and np.isin(values, (0, 1, 2)).all(), "The labels must be the whole numbers 0, 1, 2 (int64).")
    return [[round((values[TARGETS == i] == j).mean(), 2) for j in range(3)] for i in range(3)]


def check_seeds(answer):
    targets = TARGETS.clone()
    first, same, other = (array(answer(targets, CONFUSION.clone(), seed)) for seed in (0, 0, 1))
    expect(torch.equal(targets, TARGETS), "Your function changed the true labels in place; return a new tensor.")
    expect((first == same).all(), "The same seed gave other labels: use the seed for every random choice.")
    expect((first != other).any(), "Every seed gives the same labels.")


@exercise(
    "2.5 mistakes between similar classes",
    hint="`confusion[targets]` has one row for each image: the probabilities of its label.",
    hint2="`torch.multinomial(rows, 1, generator=generator)` draws one column of each row.",
    cases=[(TARGETS, CONFUSION, 2)],  # with this seed the shares are near those of CONFUSION
    read=shares,
    within=0.05,
    otherwise="row i of that table holds the shares of the labels that your function gives to class i.",
    check=check_seeds,
    right="The mistakes follow the classes, as those of real annotators do: class 1 is never wrong, class 2 often is.",
)
def confused_labels(targets, confusion, seed):
    """Labels with mistakes between similar classes, int64 (N,).

    targets: int64 (N,), the true classes. confusion: float (C, C); row i holds the
    probabilities of the labels that an image of class i gets, and adds up to 1.
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.multinomial(confusion[targets], 1, generator=generator)[:, 0]


DEPEND = "The labels do not depend on the true class: take the row of each image, `confusion[targets]`."
confused_labels.mistakes(
    (lambda t, c, seed: c[t].argmax(1), "Every image got the most probable label; draw it by the probabilities."),
    (lambda t, c, seed: confused_labels(t, c.mean(0).expand(3, 3), seed), DEPEND),
    (lambda t, c, seed: confused_labels(t, c.T, seed), "You took columns; row i belongs to the images of class i."),
    (lambda t, c, seed: t, "No label was changed."),
)


@exercise(
    "2.6 treat your own network",
    hint="Write what you measured, with a number. An honest `not done` is an answer too.",
    hint2="Begin with `symptom`: two curves and two accuracies are enough.",
    points={
        "symptom": "two accuracies, training and validation, and what the validation loss does.",
        "labels": "how many of the images with the highest loss are wrongly labelled?",
        "baseline": "what does a linear model reach on the same split?",
        "cures": "which ones, each alone, with the same number of updates?",
        "effect": "paired differences with an interval, from several seeds.",
        "test": "opened once, after every choice was made.",
    },
)
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
