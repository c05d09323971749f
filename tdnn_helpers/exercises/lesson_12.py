"""Exercises of lesson 12: test-time augmentation. The solutions are what a reader unfolds."""

from __future__ import annotations

import numpy as np

from . import checks_12
from . import old_exercise as Exercise


def four_rules():
    """Three views of one image. View 1: A 0.90, B 0.09, C 0.01. View 2: 0.02, 0.38, 0.60. View 3: 0.20, 0.35, 0.45."""
    return {
        "mean": "A",  # sums 1.12, 0.82, 1.06
        "vote": "C",  # A, C, C
        "product": "B",  # 0.0036, 0.0120, 0.0027
        "max": "A",  # 0.90, 0.38, 0.60
    }


def calibration_error(confidence, right, bins):
    """The expected calibration error, from 0 to 1.

    confidence: float array (N,), above 0 and at most 1. right: bool array (N,). bins: how
    many equally wide bins of confidence, from 0 to 1; some may be empty.
    """
    place = np.ceil(confidence * bins).astype(int)
    error = 0.0
    for b in range(1, bins + 1):
        inside = place == b
        if inside.any():
            gap = abs(right[inside].mean() - confidence[inside].mean())
            error += inside.mean() * gap  # weighted by the share of the answers
    return error


def mirror_average(model, images):
    """The mean answer for images and their mirror images, when the answer is itself an image.

    images: float tensor (N, C, H, W). model: a function that gives maps (N, K, H, W), such as
    the probability of "road" for each pixel. Mirror left and right. Returns maps of that shape.
    """
    mirrored = model(images.flip(-1)).flip(-1)  # back, so that each pixel lies where it was
    return (model(images) + mirrored) / 2


def plan():
    """An example: sorting fruit on a belt, 40 images a second."""
    return {
        "views": "as it is and mirrored, which the training used too; not upside down, because stalks hang to one side",
        "rule": "mean of probabilities; the vote was 0.1 pp worse on validation images, within its interval",
        "gain": "+0.4 pp [0.1, 0.7] over 5 trainings on validation images; 31 fixed and 12 broken of the last one",
        "price": "9 ms instead of 5 ms an image; a network twice as wide takes 14 ms and gains 0.9 pp",
        "robustness": "shift 4 px −0.5 pp, noise 0.1 −2 pp, blur 2 px −19 pp: the lens gets dirty, so this one matters",
        "decision": "no views: train with blur first; then the wider network if the belt allows 14 ms",
    }


EXERCISES = (
    Exercise(
        "12.1",
        "predict the answers of four rules",
        checks_12.check_four_rules,
        (
            "Mean: add each column. Vote: which class does each view call the largest? Max: the largest number of all.",
            "Product: multiply each column. A single number near 0 spoils a class, however large the others are.",
        ),
        four_rules,
        value='{"mean": "", "vote": "", "product": "", "max": ""}  # "A", "B" or "C" for each rule',
    ),
    Exercise(
        "12.2",
        "calibration error",
        checks_12.check_calibration_error,
        (
            "In each bin: the share of right answers, and the mean confidence. How far apart are they?",
            "Weight each distance by the share of the answers in this bin. Skip empty bins.",
        ),
        calibration_error,
    ),
    Exercise(
        "12.3",
        "average over the mirror image when the answer is an image",
        checks_12.check_mirror_average,
        (
            "The answer for a mirrored image is mirrored too: what lay on the left is now on the right.",
            "`tensor.flip(-1)` swaps left and right, of images and of maps alike.",
        ),
        mirror_average,
    ),
    Exercise(
        "12.4",
        "plan the last points of your own project",
        checks_12.check_plan,
        (
            "Begin with `robustness`: it costs one call, and it may show a larger problem than TTA can solve.",
            "An honest `not done` is an answer too. It shows you what to do next.",
        ),
        plan,
        value="{\n" + "".join(f'    "{point}": "",\n' for point in checks_12.POINTS) + "}",
    ),
)
