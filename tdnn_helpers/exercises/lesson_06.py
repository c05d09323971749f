"""Exercises of lesson 6: optimization, the paper's section IV. The solutions are what a reader unfolds."""

from __future__ import annotations

import math

from . import checks_06
from . import old_exercise as Exercise


def rates_in_epoch_35():
    """Learning rates, all schedules starting at 0.1."""
    step = 0.1 * 0.5 ** (35 // 10)  # halved in epochs 10, 20 and 30
    exponential = 0.1 * 0.9**35
    cosine = 0.1 * (1 + math.cos(math.pi * 35 / 40)) / 2
    restarts = 0.1 * (1 + math.cos(math.pi * 15 / 20)) / 2  # epoch 35 is the 15th of the second cycle
    return step, exponential, cosine, restarts


def adam_step(weight, gradient, mean, square, step, rate):
    """One step of Adam: the new weight, mean and square.

    weight, gradient: tensors of one shape. mean, square: the running averages of the
    gradient and of its square before this step. step: 1, 2, 3, … rate: a float.
    Adam's usual constants: 0.9, 0.999 and 1e-8.
    """
    mean = 0.9 * mean + 0.1 * gradient
    square = 0.999 * square + 0.001 * gradient**2
    unbiased_mean = mean / (1 - 0.9**step)
    unbiased_square = square / (1 - 0.999**step)
    return weight - rate * unbiased_mean / (unbiased_square.sqrt() + 1e-8), mean, square


def warm_up_cosine(step, steps, first):
    """The factor of the learning rate, from 0 to 1.

    step: 0, 1, …, steps − 1. The factor rises in a straight line to 1 during the
    first steps (there may be none), then falls to 0 along half a cosine.
    """
    if step < first:
        return (step + 1) / first
    return (1 + math.cos(math.pi * (step - first) / (steps - first))) / 2


def group_norm(maps, groups):
    """Standardise each image group by group: mean 0 and variance 1.

    maps: float N×C×H×W. The channels form this many groups of neighbours; with one
    group it is layer norm, with C groups instance norm. Returns the same shape.
    """
    grouped = maps.view(len(maps), groups, -1)  # each group of each image is one row of numbers
    mean = grouped.mean(2, keepdim=True)
    variance = grouped.var(2, correction=0, keepdim=True)
    return ((grouped - mean) / (variance + 1e-5).sqrt()).view_as(maps)


def keeps_the_label():
    """True where the label stays right."""
    return {
        "mirror left-right: boot or bag?": True,
        "mirror left-right: letter b or d?": False,
        "turn by any angle: cell with round or lobed nucleus?": True,
        "turn by 180 degrees: digit 6 or 9?": False,
        "change the colours: tomato ripe or not?": False,
        "crop to a random quarter: is there a tumour in the image?": False,
        "a little brighter or darker: cat or dog?": True,
    }


def tuned():
    """An example: a learning rate for a small network."""
    return {
        "rates": [0.003, 0.01, 0.03, 0.1],
        "validation": [78.9, 81.2, 82.0, 75.3],  # accuracy (%), mean of three seeds
        "chosen": 0.03,
        "test": 81.4,  # looked at once, for the chosen rate only
    }


EXERCISES = (
    Exercise(
        "6.1",
        "predict four learning rates",
        checks_06.check_rates,
        (
            "How often has the rate been halved before epoch 35? And in which epoch did the second cosine begin?",
            "Half a cosine over T epochs gives the factor `(1 + cos(π t / T)) / 2`.",
        ),
        rates_in_epoch_35,
        value="(None, None, None, None)  # epoch 35: step, exponential, cosine, cosine with restarts",
    ),
    Exercise(
        "6.2",
        "one step of Adam",
        checks_06.check_adam,
        (
            "First update both averages, then correct them: they began at 0 and are too small in the first steps.",
            "Divide the mean by `1 - 0.9**step` and the square by `1 - 0.999**step`, and mind the root.",
        ),
        adam_step,
    ),
    Exercise(
        "6.3",
        "warm-up, then cosine",
        checks_06.check_warm_up,
        (
            "Two cases: inside the first steps, and after them. The cosine counts from the end of the warm-up.",
            "After the warm-up the share of the way done is `(step - first) / (steps - first)`.",
        ),
        warm_up_cosine,
    ),
    Exercise(
        "6.4",
        "one function for three norms",
        checks_06.check_group_norm,
        (
            "Which numbers share one mean? Those of one image and one group of channels, over all places.",
            "`maps.view(len(maps), groups, -1)` puts the numbers that belong together into the last dimension.",
        ),
        group_norm,
    ),
    Exercise(
        "6.5",
        "predict which augmentations keep the label",
        checks_06.check_labels,
        (
            "Ask each time: would *you* still give the augmented image the same label?",
            "A crop may leave the tumour out; a turned 6 is a 9; colour is what tells ripe from unripe.",
        ),
        keeps_the_label,
        value="{\n" + "".join(f'    "{change}": None,\n' for change in checks_06.KEEPS) + "}  # True or False",
    ),
    Exercise(
        "6.6",
        "tune a learning rate of your own",
        checks_06.check_tuned,
        (
            "Begin with three rates a factor of ten apart; then add one on each side of the best.",
            "If the best rate is the first or the last of your list, the list is too short on that side.",
        ),
        tuned,
        value="{\n"
        '    "rates": None,  # a list\n'
        '    "validation": None,  # their results, in the same order\n'
        '    "chosen": None,\n'
        '    "test": None,\n'
        "}",
    ),
)
