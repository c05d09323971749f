"""Exercises of lesson 6: optimization, the paper's section IV."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from .answers import array, expect, filled, nearest_known, number, where_wrong
from .blocks import exercise


@exercise(
    "6.1 predict four learning rates",
    value="(None, None, None, None)  # epoch 35: step, exponential, cosine, cosine with restarts",
    hint="How often has the rate been halved before epoch 35? And in which epoch did the second cosine begin?",
    hint2="Half a cosine over T epochs gives the factor `(1 + cos(π t / T)) / 2`.",
    within=0.02,
    otherwise="write the formula of the schedule with the epoch put in.",
    right="Right. Near the end the four differ by a factor of almost six: a schedule is a choice of the *last* rates "
    "too.",
)
def rates_in_epoch_35():
    """Learning rates, all schedules starting at 0.1."""
    step = 0.1 * 0.5 ** (35 // 10)  # halved in epochs 10, 20 and 30
    exponential = 0.1 * 0.9**35
    cosine = 0.1 * (1 + math.cos(math.pi * 35 / 40)) / 2
    restarts = 0.1 * (1 + math.cos(math.pi * 15 / 20)) / 2  # epoch 35 is the 15th of the second cycle
    return step, exponential, cosine, restarts


def half_cosine(epoch, epochs):
    return 0.1 * (1 + math.cos(math.pi * epoch / epochs)) / 2


rates_in_epoch_35.part(
    "step",
    (0.1 * 0.5**4, "by epoch 35 it was halved in epochs 10, 20 and 30: three times."),
    (0.1 * 0.5**3.5, "the rate stays level for ten epochs and then halves: use whole numbers of halvings."),
    (0.1 * 0.5**35, "it halves every 10 epochs, not in every epoch."),
)
rates_in_epoch_35.part(
    "exponential",
    (0.1 * math.exp(-0.9 * 35), "each epoch multiplies the rate by 0.9: 0.1 × 0.9^35."),
    (0.1 * 0.9**3, "it is multiplied by 0.9 in every epoch, not every 10 epochs."),
    (0.1 * 0.9**36, "epoch 0 has the full rate, so epoch 35 has 35 factors."),
)
rates_in_epoch_35.part(
    "cosine",
    (0.1 * math.cos(math.pi / 2 * 35 / 40), "use half a wave, (1 + cos(π t / T)) / 2, flat at both ends."),
    (0.1 - half_cosine(35, 40), "that rises; the cosine starts at 1 and falls."),
)
rates_in_epoch_35.part(
    "cosine with restarts",
    (half_cosine(35, 40), "the rate restarts in epoch 20: count the epochs since then."),
    (half_cosine(35, 20), "after a restart the count begins at 0: epoch 35 is 15 epochs into its cycle."),
    (half_cosine(15, 40), "each cycle is 20 epochs long."),
)


def six_steps():
    gradients = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weight = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    mean, square = torch.zeros(2, 3, dtype=torch.float64)
    for step, gradient in enumerate(gradients * torch.tensor([1e-2, 1.0, 1e2]), start=1):
        yield weight, gradient, mean, square, step, 0.03
        weight, mean, square = adam_step(weight, gradient, mean, square, step, 0.03)


@exercise(
    "6.2 one step of Adam",
    hint="First update both averages, then correct them: they began at 0 and are too small in the first steps.",
    hint2="Divide the mean by `1 - 0.9**step` and the square by `1 - 0.999**step`, and mind the root.",
    cases=six_steps,
    within=1e-5,
    returns="weight, mean, square",
    otherwise="update both averages, correct both for the step, and only then move the weight.",
    write_it=("Adam", "AdamW", "adam"),
    right="It agrees with `torch.optim.Adam` in six steps. The first step has the length of the learning rate in every "
    "direction, whether the gradient is 0.01 or 100.",
)
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


def corrected(weight, gradient, mean, square, step, rate):
    weight, mean, square = adam_step(weight, gradient, mean, square, step, rate)
    return weight, mean / (1 - 0.9**step), square / (1 - 0.999**step)


def moving(direction):
    """The task with another step: a function of the new averages, as they are (m, s) and corrected (cm, cs)."""

    def answer(weight, *args):
        (_, *averages), (_, *unbiased), rate = adam_step(weight, *args), corrected(weight, *args), args[-1]
        return weight - rate * direction(*averages, *unbiased), *averages

    return answer


UPHILL = "the step goes up the slope: subtract it."
adam_step.mistakes(
    (moving(lambda m, s, cm, cs: -m / s.sqrt()), UPHILL),
    (moving(lambda m, s, cm, cs: -cm / cs.sqrt()), UPHILL),
    (moving(lambda m, s, cm, cs: m / s.sqrt()), "the averages began at 0: correct both for it."),
    (moving(lambda m, s, cm, cs: cm / (cs + 1e-8)), "divide by the root of the mean square, not by the mean square."),
    (moving(lambda m, s, cm, cs: cm), "that is plain SGD; divide the mean gradient by the root of the mean square."),
    (moving(lambda m, s, cm, cs: cm / s.sqrt()), "the average of the squares began at 0, too: correct it as well."),
    (corrected, "return the running average itself, without the correction."),
)


def curve(factor, steps, first):
    return np.array([number(factor(step, steps, first)) for step in range(steps)])


def check_warm_up(answer: Any) -> None:
    otherwise = "it rises in a straight line to 1, then falls to 0 along half a cosine."
    for steps, first in ((200, 40), (100, 25), (50, 0)):
        got, right = curve(answer, steps, first), curve(warm_up_cosine, steps, first)
        known = [(curve(mistake, steps, first), sentence) for mistake, sentence in warm_up_cosine.known]
        sentence = nearest_known(got, right, known, 0.05)  # step / first is near enough
        where = where_wrong({"steps": steps, "first": first}, got, right)
        expect(sentence == "", f"{where}: {sentence or otherwise}")


@exercise(
    "6.3 warm-up, then cosine",
    hint="Two cases: inside the first steps, and after them. The cosine counts from the end of the warm-up.",
    hint2="After the warm-up the share of the way done is `(step - first) / (steps - first)`.",
    check=check_warm_up,
    right="It rises in a straight line, meets the cosine at 1, and works without a warm-up too.",
)
def warm_up_cosine(step, steps, first):
    """The factor of the learning rate, from 0 to 1.

    step: 0, 1, …, steps − 1. The factor rises in a straight line to 1 during the
    first steps (there may be none), then falls to 0 along half a cosine.
    """
    if step < first:
        return (step + 1) / first
    return (1 + math.cos(math.pi * (step - first) / (steps - first))) / 2


def after_warm_up(fall):
    return lambda t, n, k: (t + 1) / k if t < k else fall((t - k) / (n - k))


QUARTER = "that is a quarter of a wave; use (1 + cos(π · share)) / 2, flat at both ends."
FROM_0 = "the cosine begins at the end of the warm-up: count the steps from there."
warm_up_cosine.mistakes(
    (after_warm_up(lambda share: 1 - share), "that is a straight line; it should follow half a cosine."),
    (after_warm_up(lambda share: math.cos(math.pi / 2 * share)), QUARTER),
    (after_warm_up(lambda share: 1.0), "after the warm-up it should fall, to near 0."),
    (lambda t, n, k: (t + 1) / k if t < k else warm_up_cosine(t, n, 0), FROM_0),
    (lambda t, n, k: warm_up_cosine(t, n, 0), "there is no warm-up; it should start near 0 and rise."),
    (lambda t, n, k: 100 * warm_up_cosine(t, n, k), "give a factor between 0 and 1, not per cent."),
)


def maps_and_groups():
    maps = torch.randn(3, 8, 7, 6, generator=torch.Generator().manual_seed(0)) * 2 + 1
    maps *= torch.arange(1, 9).view(1, 8, 1, 1) * torch.tensor([0.5, 1.0, 2.0]).view(3, 1, 1, 1)
    yield from ((maps, groups) for groups in (1, 8, 2, 4))


@exercise(
    "6.4 one function for three norms",
    hint="Which numbers share one mean? Those of one image and one group of channels, over all places.",
    hint2="`maps.view(len(maps), groups, -1)` puts the numbers that belong together into the last dimension.",
    cases=maps_and_groups,
    within=0.02,  # n or n − 1
    otherwise="each group of each image should get mean 0 and variance 1.",
    write_it=("group_norm", "GroupNorm"),
    right="One function is layer norm (1 group), instance norm (C groups) and all that lies between.",
)
def group_norm(maps, groups):
    """Standardise each image group by group: mean 0 and variance 1.

    maps: float N×C×H×W. The channels form this many groups of neighbours; with one
    group it is layer norm, with C groups instance norm. Returns the same shape.
    """
    grouped = maps.view(len(maps), groups, -1)  # each group of each image is one row of numbers
    mean = grouped.mean(2, keepdim=True)
    variance = grouped.var(2, correction=0, keepdim=True)
    return ((grouped - mean) / (variance + 1e-5).sqrt()).view_as(maps)


def over(dims, maps, *shape):
    """Standardise the maps over these dimensions, after they got this shape."""
    numbers = maps.reshape(shape or maps.shape)
    return ((numbers - numbers.mean(dims, keepdim=True)) / numbers.std(dims, keepdim=True)).view_as(maps)


OF_BATCH = "each image needs its own mean; yours runs over the batch, too."
group_norm.mistakes(
    (lambda x, g: over((0, 2, 3), x), "that is batch norm: the mean must not run over the images."),
    (lambda x, g: over((0, 2), x, 3, g, -1), OF_BATCH),
    (lambda x, g: over((2, 3), x), "that is instance norm for any number of groups; use groups of channels."),
    (lambda x, g: over((1, 2, 3), x), "that is layer norm for any number of groups; use groups of channels."),
    (lambda x, g: over((1, 3), x, 3, -1, g, 42), "a group consists of neighbouring channels."),
    (lambda x, g: x - x.mean((1, 2, 3), keepdim=True), "divide by the standard deviation as well."),
)


@exercise(
    "6.5 predict which augmentations keep the label",
    value="{}  # True or False",
    hint="Ask each time: would *you* still give the augmented image the same label?",
    hint2="A crop may leave the tumour out; a turned 6 is a 9; colour is what tells ripe from unripe.",
    right="Right. The same change keeps one label and destroys another: it depends on the question, not on the image.",
)
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


def check_tuned(answer: Any) -> None:
    filled(answer, tuned())
    rates, scores = array(answer["rates"]).flatten(), array(answer["validation"]).flatten()
    expect(len(rates) == len(scores), f"{len(rates)} rates need as many validation results; you gave {len(scores)}.")
    expect(len(rates) >= 3, "Try at least three rates: with fewer you cannot see a top.")
    chosen, top, _ = number(answer["chosen"]), rates[scores.argmax()], number(answer["test"])
    best = f"You chose {chosen:g}, but {top:g} has the best validation result. (Write losses with a minus sign.)"
    expect(math.isclose(chosen, top, rel_tol=1e-6), best)
    inside = rates.min() < top < rates.max()
    expect(inside, f"The best rate, {top:g}, is at the edge of your list: try one beyond it.")


@exercise(
    "6.6 tune a learning rate of your own",
    value="{\n"
    '    "rates": None,  # a list\n'
    '    "validation": None,  # their results, in the same order\n'
    '    "chosen": None,\n'
    '    "test": None,\n'
    "}",
    hint="Begin with three rates a factor of ten apart; then add one on each side of the best.",
    hint2="If the best rate is the first or the last of your list, the list is too short on that side.",
    check=check_tuned,
    open=True,
    right="A top inside the list, chosen on validation data, and one look at the test set. Now do it with more seeds.",
)
def tuned():
    """An example: a learning rate for a small network."""
    return {
        "rates": [0.003, 0.01, 0.03, 0.1],
        "validation": [78.9, 81.2, 82.0, 75.3],  # accuracy (%), mean of three seeds
        "chosen": 0.03,
        "test": 81.4,  # looked at once, for the chosen rate only
    }
