"""Exercises of lesson 12: test-time augmentation."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

from .blocks import exercise


@exercise(
    "12.1 predict the answers of four rules",
    value='{"mean": "", "vote": "", "product": "", "max": ""}  # "A", "B" or "C" for each rule',
    hint="Mean: add each column. Vote: which class does each view call the largest? Max: the largest number of all.",
    hint2="Product: multiply each column. A single number near 0 spoils a class, however large the others are.",
    read=lambda named: str(named).strip().upper(),
    right="One image, three views, three different answers: the rule decides when the views disagree.",
)
def four_rules():
    """Three views of one image. View 1: A 0.90, B 0.09, C 0.01. View 2: 0.02, 0.38, 0.60. View 3: 0.20, 0.35, 0.45."""
    return {
        "mean": "A",  # sums 1.12, 0.82, 1.06
        "vote": "C",  # A, C, C
        "product": "B",  # 0.0036, 0.0120, 0.0027
        "max": "A",  # 0.90, 0.38, 0.60
    }


four_rules.part("mean", "add each column: A 0.90 + 0.02 + 0.20. One sure view weighs more than two doubtful ones.")
four_rules.part("vote", "each view names its largest class, and most votes win; how sure a view was is lost.")
four_rules.part("product", "multiply each column. 0.02 in view 2 spoils A, and 0.01 in view 1 spoils C.")
four_rules.part("max", "name the class with the largest of the nine numbers: the surest single view decides.")


def answers_of_networks():
    random = np.random.default_rng(0)
    sure = 0.4 + 0.6 * random.random(200)
    yield sure, random.random(200) < sure - 0.15, 10  # too sure, and bins below 0.4 are empty
    yield sure, random.random(200) < 0.7, 5  # too sure in some bins, not sure enough in others
    yield np.array([0.55, 0.95, 0.97, 0.98]), np.array([True, False, True, True]), 10


@exercise(
    "12.2 calibration error",
    hint="In each bin: the share of right answers, and the mean confidence. How far apart are they?",
    hint2="Weight each distance by the share of the answers in this bin. Skip empty bins.",
    cases=answers_of_networks,
    otherwise="add up the distances between accuracy and mean confidence, weighted by share.",
    write_it=("expected_calibration_error", "reliability"),
    right="Bins with many answers count most, and being too sure in one bin cannot make up for doubt in another.",
)
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


def per_bin(confidence, right, bins):
    """The share of the answers, and the distance of accuracy and confidence, of each bin that is not empty."""
    place = np.ceil(confidence * bins)
    inside = [place == one for one in np.unique(place)]
    return np.array([(one.mean(), abs(right[one].mean() - confidence[one].mean())) for one in inside]).T


WEIGHT = "weight each bin by its share of the answers."
CANCEL = "without bins, or without the absolute value in each bin, too sure and too unsure cancel."
calibration_error.mistakes(
    (lambda c, r, bins: math.nan, "an empty bin gave NaN, the mean of nothing: skip it, because it weighs nothing."),
    (lambda c, r, bins: 100 * calibration_error(c, r, bins), "give a fraction from 0 to 1, not per cent."),
    (lambda c, r, bins: c.mean() - r.mean(), CANCEL),
    (lambda c, r, bins: r.mean() - c.mean(), CANCEL),
    (lambda c, r, bins: per_bin(c, r, bins)[1].mean(), WEIGHT),
    (lambda c, r, bins: per_bin(c, r, bins)[1].sum() / bins, WEIGHT),
    (lambda c, r, bins: per_bin(c, r, bins)[1].sum(), f"that is a sum over the bins; {WEIGHT}"),
    (lambda c, r, bins: per_bin(c, r, bins)[1].max(), "that is the maximum over the bins; take the weighted mean."),
    (lambda c, r, bins: per_bin(c, r, bins).prod(0) @ per_bin(c, r, bins)[1], "do not square the distance."),
)


def network_and_images():
    random = torch.Generator().manual_seed(0)
    kernel = torch.randn(4, 3, 3, 3, generator=random)  # not symmetric: a mirrored image gives another answer
    yield lambda images: F.conv2d(images, kernel, padding=1), torch.rand(2, 3, 6, 6, generator=random)


@exercise(
    "12.3 average over the mirror image when the answer is an image",
    hint="The answer for a mirrored image is mirrored too: what lay on the left is now on the right.",
    hint2="`tensor.flip(-1)` swaps left and right, of images and of maps alike.",
    cases=network_and_images,
    otherwise="Ask the model twice, mirror the second answer back, and take the mean of both.",
    right="For class labels nothing needs to be mirrored back; for masks, boxes and key points it is the usual bug.",
)
def mirror_average(model, images):
    """The mean answer for images and their mirror images, when the answer is itself an image.

    images: float tensor (N, C, H, W). model: a function that gives maps (N, K, H, W), such as
    the probability of "road" for each pixel. Mirror left and right. Returns maps of that shape.
    """
    mirrored = model(images.flip(-1)).flip(-1)  # back, so that each pixel lies where it was
    return (model(images) + mirrored) / 2


NEVER = "You mirror the answer, but the network never sees the mirrored image."
mirror_average.mistakes(
    (lambda m, x: (m(x) + m(x.flip(-1))) / 2, "You average left with right: mirror the second answer back first."),
    (lambda m, x: m(x.flip(-1)).flip(-1), "That is the answer for the mirror image alone; average it with the other."),
    (lambda m, x: m(x), "That is the answer for the image alone; average it with the one for the mirror image."),
    (lambda m, x: 2 * mirror_average(m, x), "That is the sum; take the mean."),
    (lambda m, x: (m(x) + m(x.flip(-2)).flip(-2)) / 2, "You turned it upside down: columns are dimension −1."),
    (lambda m, x: (m(x) + m(x.flip(-2))) / 2, "Mirror along dimension −1, and mirror the second answer back."),
    (lambda m, x: m(x).flip(-1), NEVER),
    (lambda m, x: (m(x) + m(x).flip(-1)) / 2, NEVER),
)


@exercise(
    "12.4 plan the last points of your own project",
    hint="Begin with `robustness`: it costs one call, and it may show a larger problem than TTA can solve.",
    hint2="An honest `not done` is an answer too. It shows you what to do next.",
    points={
        "views": "which ones, and did the training use them? A view must never change what the label names.",
        "rule": "how are the answers combined, and how much does another rule change on validation images?",
        "gain": "accuracy with minus without views, on validation images, with an interval; images fixed and broken.",
        "price": "time for an image before and after; what would a larger or a second network bring for this time?",
        "robustness": "`robustness` on your network: which changes will images have in use, and what do they cost?",
        "decision": "views, another training, a larger network, or nothing; one sentence.",
    },
)
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
