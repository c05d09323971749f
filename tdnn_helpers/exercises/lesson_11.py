"""Exercises of lesson 11: activation functions, the paper's section VI-A. The solutions are what a reader unfolds."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from . import checks_11
from . import old_exercise as Exercise


def slopes():
    """The largest slope of ten sigmoids in a row, and three slopes near zero."""
    ten_sigmoids = 0.25**10  # each slope is s · (1 − s), at most 1/4; slopes in a chain multiply
    relu_just_above, relu_just_below = 1.0, 0.0  # however near to zero
    swish_at_zero = 0.5  # sigmoid(0) + 0 · sigmoid'(0)
    return ten_sigmoids, relu_just_above, relu_just_below, swish_at_zero


def mish(x):
    """x · tanh(ln(1 + eˣ)) for each element, with finite values and gradients for any finite x.

    x: float tensor of any shape.
    """
    return x * torch.tanh(F.softplus(x))


def dead_units(batches):
    """Which units are dead: bool tensor (units,), True if the output is 0 for every image of every batch.

    batches: list of float tensors (images in the batch, units), outputs of one layer; the last may be smaller.
    """
    return torch.cat(batches).eq(0).all(dim=0)


def come_back():
    """Whether a dead ReLU unit can ever pass a gradient again."""
    return {
        "first layer, plain SGD": False,  # the gradient is 0 and the images stay: nothing that it computes can change
        "first layer, weight decay on weights and bias": False,  # both shrink by one factor: the sign stays
        "first layer, weight decay on weights only, bias above 0": True,  # the weights shrink, the bias wins
        "third layer, plain SGD": True,  # the layers before it still learn and change its inputs
        "first layer, plain SGD, new kinds of images": True,  # one of them may reach its positive side
    }


def comparison():
    """An example: is GELU worth it in a classifier of leaves?"""
    return {
        "what stays the same": "network, 12,000 images, split, augmentation, 30 epochs, first weights of each seed",
        "how each was tuned": "rates 0.03, 0.1, 0.3 for each activation, chosen on validation images",
        "seeds": "8, paired",
        "difference with its interval": "GELU − ReLU: +0.2 pp [−0.1, +0.5]",
        "time": "a step with GELU takes 1.1 times as long; at equal time +0.0 pp [−0.3, +0.3]",
        "decision": "we stay with ReLU",
    }


EXERCISES = (
    Exercise(
        "11.1",
        "predict four slopes",
        checks_11.check_slopes,
        (
            "The slope of the sigmoid is s · (1 − s), where s is its output. For which s is that largest?",
            "In a chain the slopes multiply. The slope of x · σ(x) is σ(x) + x · σ′(x): put in x = 0.",
        ),
        slopes,
        value="(None, None, None, None)  # ten sigmoids; ReLU at 0.001; ReLU at -0.001; Swish at 0",
    ),
    Exercise(
        "11.2",
        "Mish that does not overflow",
        checks_11.check_mish,
        (
            "In float32, e¹⁰⁰ is infinite. The value may still come out right, and the gradient becomes NaN.",
            "ln(1 + eˣ) has a name, softplus: `torch.nn.functional.softplus` takes care of large x.",
        ),
        mish,
    ),
    Exercise(
        "11.3",
        "count dead units on all images",
        checks_11.check_dead_units,
        (
            "A unit that is silent on one batch may answer in the next: look at all batches before you decide.",
            "`torch.cat(batches)` joins them; `outputs.eq(0).all(dim=0)` asks each column (unit) about all its rows.",
        ),
        dead_units,
    ),
    Exercise(
        "11.4",
        "which dead units can come back",
        checks_11.check_come_back,
        (
            "Its own gradient is 0. So ask: what else can change w · x + b? The inputs x, or a step without gradient.",
            "Weight decay multiplies what it decays by the same factor below 1. Can that change the sign of w · x + b?",
        ),
        come_back,
        value="{\n" + "".join(f'    "{case}": None,\n' for case in checks_11.CASES) + "}  # True or False",
    ),
    Exercise(
        "11.5",
        "compare two activations in your own network",
        checks_11.check_comparison,
        (
            "Change one thing only. Then each pair of runs with the same seed tells you one difference.",
            "Begin with `what stays the same`, and run eight seeds of each before you look at any test image.",
        ),
        comparison,
        value="{\n" + "".join(f'    "{part}": "",\n' for part in checks_11.PARTS) + "}",
    ),
)
