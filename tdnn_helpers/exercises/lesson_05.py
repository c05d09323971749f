"""Exercises of lesson 5: architectures, the paper's section III. The solutions are what a reader unfolds."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from . import checks_05
from . import old_exercise as Exercise


def weights_and_macs():
    """Weights and MACs of the standard layer, then of the depthwise separable one."""
    standard = 3 * 3 * 32 * 64
    separable = 3 * 3 * 32 + 32 * 64
    places = 14 * 14  # each weight is used once at every place
    return standard, standard * places, separable, separable * places


def uniform_maps():
    """Uniform where the stride divides the kernel size."""
    return {
        "kernel 6, stride 4": False,
        "kernel 5, stride 5": True,
        "kernel 6, stride 3": True,
        "kernel 5, stride 2": False,
    }


def blur_and_drop(maps):
    """Blur with (1, 2, 1) / 4 in both directions, then keep rows and columns 0, 2, 4, …

    maps: float N×C×H×W, H and W even. The edge is continued with its own values
    ("replicate"). Returns N×C×H/2×W/2.
    """
    row = torch.tensor([1.0, 2.0, 1.0]) / 4
    blur = (row[:, None] * row).expand(maps.shape[1], 1, 3, 3)  # the same blur for every channel
    padded = F.pad(maps, (1, 1, 1, 1), mode="replicate")
    return F.conv2d(padded, blur, stride=2, groups=maps.shape[1])


def causal_attention(queries, keys, values):
    """Attention in which item t takes from the items 0, 1, …, t only.

    queries, keys: float T×d. values: float T×e. Returns the output, T×e, and the
    weights, T×T; each row of the weights has sum 1.
    """
    scores = queries @ keys.T / queries.shape[-1] ** 0.5
    future = torch.ones(scores.shape).triu(diagonal=1).bool()
    weights = scores.masked_fill(future, -torch.inf).softmax(dim=-1)  # before the softmax: the rows keep their sum
    return weights @ values, weights


def measured():
    """An example: three widths of the small network."""
    return {
        "networks": ["width 8", "width 16", "width 32"],
        "seconds": [0.009, 0.016, 0.037],  # of one step
        "validation": [82.9, 85.6, 86.1],  # accuracy (%), mean of three seeds
        "chosen": "width 16",
    }


EXERCISES = (
    Exercise(
        "5.1",
        "predict weights and operations",
        checks_05.check_counts,
        (
            "A standard convolution has one k×k kernel for each pair of an input and an output channel.",
            "Depthwise: `3 * 3 * 32` weights; then 1×1: `32 * 64`. Every weight is used once at each of the 14 × 14 "
            "places.",
        ),
        weights_and_macs,
        value="(None, None, None, None)  # standard: weights, MACs; depthwise separable: weights, MACs",
    ),
    Exercise(
        "5.2",
        "predict the uniform maps",
        checks_05.check_uniform,
        (
            "Whether the kernel size is an even number doesn't matter: compare it with the stride.",
            "Every pixel is reached equally often exactly when the stride divides the kernel size.",
        ),
        uniform_maps,
        value="{\n" + "".join(f'    "{case}": None,\n' for case in checks_05.UNIFORM) + "}  # True or False",
    ),
    Exercise(
        "5.3",
        "blur before you drop",
        checks_05.check_blur,
        (
            "Pad by one place on each side first, so that every place has neighbours.",
            "The 3×3 blur is the outer product of (1, 2, 1) / 4 with itself; `groups=` keeps the channels apart, and "
            "`stride=2` or `[..., ::2, ::2]` drops.",
        ),
        blur_and_drop,
    ),
    Exercise(
        "5.4",
        "attention that can't see the future",
        checks_05.check_causal,
        (
            "Start from `attention` in question 6, and change the scores before the softmax.",
            "A score of minus infinity becomes a weight of exactly 0. `torch.ones(T, T).triu(1).bool()` marks the "
            "future.",
        ),
        causal_attention,
    ),
    Exercise(
        "5.5",
        "choose an architecture by measurement",
        checks_05.check_measured,
        (
            "Measure all networks in one call of `step_seconds`, so that they meet the same machine.",
            "Among networks of the same accuracy take the fastest, among those of the same speed the best.",
        ),
        measured,
        value="{\n"
        '    "networks": None,  # a list of names\n'
        '    "seconds": None,  # per step, in the same order\n'
        '    "validation": None,  # accuracy, in the same order\n'
        '    "chosen": None,  # one of the names\n'
        "}",
    ),
)
