"""Exercises of lesson 4: small and unequal data. The solutions are what a reader unfolds."""

from __future__ import annotations

import math

import numpy as np

from . import checks_04
from . import old_exercise as Exercise


def screening_scores():
    """990 healthy and 10 ill people; the model answers "healthy" for everyone."""
    accuracy = 990 / 1000
    balanced_accuracy = (990 / 990 + 0 / 10) / 2  # the mean of the two recalls
    weight_of_ill = 1000 / (2 * 10)  # images / (classes · images of the class)
    return accuracy, balanced_accuracy, weight_of_ill


def images_needed(floor, scale, rate, error):
    """How many images bring the error down to ``error``, if error(n) = floor + scale · n ** −rate.

    Four floats. Returns a float, and ``math.inf`` where no number of images is enough.
    """
    if error <= floor:
        return math.inf
    return (scale / (error - floor)) ** (1 / rate)


def balanced_accuracy(targets, predictions):
    """The mean over the classes of the share of their images that is found.

    Two int arrays (N,). Only classes that occur in ``targets`` count.
    """
    recalls = [np.mean(predictions[targets == c] == c) for c in np.unique(targets)]
    return float(np.mean(recalls))


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


def weighted_loss(losses, targets, weights):
    """The class-weighted mean of the losses of a batch.

    losses: float (N,), the loss of each image. targets: int (N,). weights: float (C,),
    one per class. A batch without rare images must have a smaller loss than one with.
    """
    return (weights[targets] * losses).mean()


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


EXERCISES = (
    Exercise(
        "4.1",
        "predict three numbers of a screening",
        checks_04.check_screening_scores,
        (
            "Balanced accuracy is the mean of the recalls of the classes: which share of each class is found?",
            "A class weight is N / (C · images of the class): all images, divided by the number of classes and by the "
            "images of this class.",
        ),
        screening_scores,
        value="(None, None, None)  # accuracy, balanced accuracy (both 0 to 1), class weight of the ill",
    ),
    Exercise(
        "4.2",
        "images needed",
        checks_04.check_images_needed,
        (
            "Solve error = floor + scale · n ** −rate for n. First bring the floor to the other side.",
            "What if the error asked for is the floor, or below it? Then no n is large enough.",
        ),
        images_needed,
    ),
    Exercise(
        "4.3",
        "balanced accuracy",
        checks_04.check_balanced_accuracy,
        (
            "For each class: among the images that *are* of this class, which share was predicted as it?",
            "`predictions[targets == c] == c` says which images of class c were found. Average over images, then over "
            "classes.",
        ),
        balanced_accuracy,
    ),
    Exercise(
        "4.4",
        "oversample the rare classes",
        checks_04.check_oversample,
        (
            "Keep all rows, and add for each class as many copies as it lacks.",
            "`np.flatnonzero(targets == c)` gives the rows of class c; "
            "`np.random.default_rng(seed).choice(rows, k)` draws k of them, with repeats.",
        ),
        oversample,
    ),
    Exercise(
        "4.5",
        "a weighted loss that keeps its weights",
        checks_04.check_weighted_loss,
        (
            "`weights[targets]` gives each image the weight of its class.",
            "Divide by the number of images and not by the sum of their weights: look at a batch without rare images.",
        ),
        weighted_loss,
    ),
    Exercise(
        "4.6",
        "plan your own data",
        checks_04.check_plan,
        (
            "Begin with `today` and `metric`. The curve needs three sizes and three seeds: an hour of computing, "
            "most of it unattended.",
            "An honest `not done` is an answer too. It shows you what to do next.",
        ),
        plan,
        value="{\n" + "".join(f'    "{point}": "",\n' for point in checks_04.POINTS) + "}",
    ),
)
