"""Exercises of lesson 4: small and unequal data."""

from __future__ import annotations

import math
from contextlib import suppress

import numpy as np
import torch

from .answers import NotYet, array, expect, number
from .blocks import exercise


@exercise(
    "4.1 predict three numbers of a screening",
    value="(None, None, None)  # accuracy, balanced accuracy (both 0 to 1), class weight of the ill",
    hint="Balanced accuracy is the mean of the recalls of the classes: which share of each class is found?",
    hint2="A class weight is N / (C · images of the class): all images, divided by the number of classes and by the "
    "images of this class.",
    within=0.005,
    right="99 % accuracy and 50 % balanced accuracy describe the same useless model; an ill person counts 50 in the "
    "loss, a healthy one 0.505, and 1 on average.",
)
def screening_scores():
    """990 healthy and 10 ill people; the model answers "healthy" for everyone."""
    accuracy = 990 / 1000
    balanced_accuracy = (990 / 990 + 0 / 10) / 2  # the mean of the two recalls
    weight_of_ill = 1000 / (2 * 10)  # images / (classes · images of the class)
    return accuracy, balanced_accuracy, weight_of_ill


screening_scores.part(
    "accuracy",
    "how many of 1,000 are right?",
    (0.5, "it counts images and not classes: 990 of the 1,000 answers are right."),
    (99, "give a fraction from 0 to 1."),
)
screening_scores.part(
    "balanced accuracy",
    "average the recall of the healthy and the recall of the ill.",
    (0.99, "that is the accuracy again; here the ill have half of the weight, and none of them is found."),
    (0.0, "that is the recall of the ill alone; take the mean of both recalls."),
    (50, "give a fraction from 0 to 1."),
)
screening_scores.part(
    "class weight of the ill",
    "it is N / (C · images of the ill).",
    (100, "1,000 / 10 forgets the number of classes: then the weights would not be 1 on average."),
    (99, "that is the ratio of the two counts: how much more the ill weigh than the healthy, but not their weight."),
    (1000 / (2 * 990), "that is the weight of the healthy."),
    (0.01, "that is the share of the ill; a rare class needs a large weight."),
)


def check_at_the_floor(answer):
    for error in (0.05, 0.01):
        got = None
        with suppress(ArithmeticError, ValueError, NotYet):  # divided by 0, or a root of a negative number
            got = number(answer(0.05, 0.8, 0.4, error))
        there = f"for error {error} with floor 0.05 no number of images is enough, so return math.inf."
        expect(got == math.inf, f"Right above the floor, but {there}")


@exercise(
    "4.2 images needed",
    hint="Solve error = floor + scale · n ** −rate for n. First bring the floor to the other side.",
    hint2="What if the error asked for is the floor, or below it? Then no n is large enough.",
    cases=((0.05, 0.8, 0.4, 0.1), (0.0, 1.0, 0.5, 0.02), (0.02, 2.0, 0.7, 0.03), (0.1, 0.5, 0.2, 0.2)),
    within=1e-3,  # rounded up is fine
    otherwise="solve error = floor + scale · n ** −rate for n.",
    check=check_at_the_floor,
    right="Halving what is above the floor at rate 0.4 takes 2 ** 2.5, about 5.7 times the images.",
)
def images_needed(floor, scale, rate, error):
    """How many images bring the error down to ``error``, if error(n) = floor + scale · n ** −rate.

    Four floats. Returns a float, and ``math.inf`` where no number of images is enough.
    """
    if error <= floor:
        return math.inf
    return (scale / (error - floor)) ** (1 / rate)


images_needed.mistakes(
    (lambda f, s, r, e: (s / e) ** (1 / r), "take the floor off the error first."),
    (lambda f, s, r, e: ((e - f) / s) ** (1 / r), "it is upside down: a smaller error needs more images."),
    (lambda f, s, r, e: (s / (e - f)) ** r, "the exponent is 1 / rate."),
    (lambda f, s, r, e: f + s * e**-r, "that is the error at n images; solve for n."),
)


def answers_and_targets():
    random, skewed = np.random.default_rng(0), np.repeat([0, 1, 2], [80, 15, 5])
    yield skewed, np.where(random.random(100) < 0.7, skewed, random.integers(0, 3, 100))
    yield skewed, np.zeros(100, dtype=int)
    yield np.array([0, 0, 0, 2]), np.array([0, 1, 0, 2])  # class 1 is predicted but does not occur
    yield np.array([3, 3, 3, 1, 1, 0]), np.array([3, 3, 1, 1, 3, 3])


@exercise(
    "4.3 balanced accuracy",
    hint="For each class: among the images that *are* of this class, which share was predicted as it?",
    hint2="`predictions[targets == c] == c` says which images of class c were found. Average over images, then over "
    "classes.",
    cases=answers_and_targets,
    otherwise="average the share found over the classes.",
    write_it=("balanced_accuracy_score", "recall_score", "classification_report"),
    right="Every class counts the same, however rare; a constant answer gets 1 / number of classes.",
)
def balanced_accuracy(targets, predictions):
    """The mean over the classes of the share of their images that is found.

    Two int arrays (N,). Only classes that occur in ``targets`` count.
    """
    recalls = [np.mean(predictions[targets == c] == c) for c in np.unique(targets)]
    return float(np.mean(recalls))


ABSENT = "average only over the classes that occur in targets."
balanced_accuracy.mistakes(
    (lambda t, p: np.mean(t == p), "that is the accuracy, in which frequent classes count more."),
    (lambda t, p: math.nan, f"0 / 0, a class without images; {ABSENT}"),
    (lambda t, p: 100 * balanced_accuracy(t, p), "give a fraction from 0 to 1, not per cent."),
    (lambda t, p: len(set(t)) * balanced_accuracy(t, p), "that is the sum of the recalls; take their mean."),
    (lambda t, p: len(set(t)) / (t.max() + 1) * balanced_accuracy(t, p), ABSENT),
    (lambda t, p: balanced_accuracy(p, t), "that is the mean precision: divide by the images *of* each class."),
)


TARGETS = np.random.default_rng(1).permutation(np.repeat([0, 1, 2], [40, 4, 13]))


def counts(result):
    """How often each class occurs in these rows of TARGETS."""
    rows, last = array(result), len(TARGETS) - 1
    expect(rows.ndim == 1 and rows.size > 0, f"The shape must be (N,), one row number each; yours is {rows.shape}.")
    expect(rows.max() > TARGETS.max(), "Your numbers are those of classes; return the numbers of their rows.")
    inside = rows.min() >= 0 and rows.max() <= last and (rows == rows.round()).all()
    expect(inside, f"Rows go from 0 to {last}, in whole numbers; yours from {rows.min():g} to {rows.max():g}.")
    return np.bincount(TARGETS[rows.astype(int)], minlength=3)


def check_copies(answer):
    first, again, other = (sorted(array(answer(TARGETS.copy(), seed)).astype(int)) for seed in (0, 0, 1))
    missing = len(TARGETS) - len(set(first))
    expect(missing == 0, f"{missing} of the {len(TARGETS)} original rows are gone: keep each one, and add copies.")
    most = max(first.count(row) for row in np.flatnonzero(TARGETS == 1))
    expect(most < 33, "All copies of the rare class are the same image: draw among all images of the class.")
    expect(first == again, "The same seed gave other copies: use the seed for every random choice.")
    expect(first != other, "Every seed gives the same copies: draw them with the seed.")


@exercise(
    "4.4 oversample the rare classes",
    hint="Keep all rows, and add for each class as many copies as it lacks.",
    hint2="`np.flatnonzero(targets == c)` gives the rows of class c; "
    "`np.random.default_rng(seed).choice(rows, k)` draws k of them, with repeats.",
    cases=[(TARGETS, 0)],
    read=counts,
    otherwise="every class should have as many rows as the most frequent one, which is left as it is.",
    check=check_copies,
    right="All classes are equally frequent and no image was lost. Do this after the split, on the training part.",
)
def oversample(targets, seed):
    """Row numbers in which every class occurs as often as the most frequent one.

    targets: int array (N,). Every original row is there at least once; the rest are
    copies, drawn at random by ``seed``. Returns an int array.
    """
    rng = np.random.default_rng(seed)
    most = np.bincount(targets).max()
    rows = [np.arange(len(targets))]
    for c in np.unique(targets):
        members = np.flatnonzero(targets == c)
        rows.append(rng.choice(members, most - len(members)))
    return np.concatenate(rows)


oversample.mistakes((lambda t, s: np.arange(len(t)), "those are the original rows; add copies of the rare classes."))


LOSSES, WEIGHTS = torch.tensor([0.2, 1.5, 0.7, 2.0, 0.1]), torch.tensor([0.6, 3.0])


@exercise(
    "4.5 a weighted loss that keeps its weights",
    hint="`weights[targets]` gives each image the weight of its class.",
    hint2="Divide by the number of images and not by the sum of their weights: look at a batch without rare images.",
    cases=((LOSSES, torch.tensor([0, 1, 0, 0, 1]), WEIGHTS), (LOSSES, torch.zeros(5, dtype=torch.long), WEIGHTS)),
    otherwise="weigh each loss by weights[targets], then take the mean.",
    gradient="losses",
    right="An image of the rare class pulls five times as hard as a common one, in whatever batch it comes.",
)
def weighted_loss(losses, targets, weights):
    """The class-weighted mean of the losses of a batch.

    losses: float (N,), the loss of each image. targets: int (N,). weights: float (C,),
    one per class. A batch without rare images must have a smaller loss than one with.
    """
    return (weights[targets] * losses).mean()


CANCEL = (
    "you divide by the weights of the batch, as PyTorch's weighted mean does. In a batch of one class they cancel, so "
    "the weights do nothing there. Divide by the number of images."
)
weighted_loss.mistakes(
    (lambda x, t, w: (w[t] * x).sum() / w[t].sum(), CANCEL),
    (lambda x, t, w: (w[t] * x).sum(), "that is the sum; divide by the number of images."),
    (lambda x, t, w: x.mean(), "the weights have no effect."),
    (lambda x, t, w: x.mean() * w.mean(), "each image has the weight of its class: weights[targets]."),
    (lambda x, t, w: (w[t] * x).sum() / len(w), "divide by the number of images, not of classes."),
    (lambda x, t, w: (x / w[t]).mean(), "multiply by the weight, do not divide."),
)


@exercise(
    "4.6 plan your own data",
    hint="Begin with `today` and `metric`. The curve needs three sizes and three seeds: an hour of computing, "
    "most of it unattended.",
    hint2="An honest `not done` is an answer too. It shows you what to do next.",
    points={
        "today": "how many images of each class and source? Images of one source stay on one side of a split.",
        "metric": "name it, and give its value for a constant answer and for a humble model on pixels.",
        "curve": "measure_curve on your data, at three sizes or more: the errors, and the forecast for twice the data.",
        "goal": "the error you need, why, and the number of images with its interval (`curve.needed`).",
        "missing": "which kinds of image will come in use that your data do not have? Test on a few of each.",
        "decision": "collect (what?), transfer, augment or stop; one sentence, with the price.",
    },
)
def plan():
    """An example: telling two kinds of moth apart in a light trap."""
    return {
        "today": "1,900 photographs of 14 nights, 61 of the rare kind; nights never straddle a split",
        "metric": "recall of each kind and balanced accuracy; constant answer 0.50, nearest neighbours on pixels 0.58",
        "curve": "balanced error 0.31, 0.24, 0.19 at 240, 480, 950 photographs; twice the data: 0.15 [0.12, 0.19]",
        "goal": "0.10, because a person makes 0.08; the law says 5,800 photographs [3,100, more than 95,000]",
        "missing": "no rainy night, no second camera; 30 photographs of each are cheap and come first",
        "decision": "collect 60 more of the rare kind (one week) before anything else; then draw the curve again",
    }
