"""Exercises of lesson 5: architectures, the paper's section III."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ..core.choices import nearest
from .answers import NotYet, array, expect, filled
from .blocks import exercise


@exercise(
    "5.1 predict weights and operations",
    value="(None, None, None, None)  # standard: weights, MACs; depthwise separable: weights, MACs",
    hint="A standard convolution has one k×k kernel for each pair of an input and an output channel.",
    hint2="Depthwise: `3 * 3 * 32` weights; then 1×1: `32 * 64`. Every weight is used once at each of the 14 × 14 "
    "places.",
    within=0,  # counts
    otherwise="count the weights first, then the places that use each of them.",
    right="Right: 7.9 times fewer weights and MACs. The clock may not agree.",
)
def weights_and_macs():
    """Weights and MACs of the standard layer, then of the depthwise separable one."""
    standard = 3 * 3 * 32 * 64
    separable = 3 * 3 * 32 + 32 * 64
    places = 14 * 14  # each weight is used once at every place
    return standard, standard * places, separable, separable * places


STANDARD, MACS, _, SEPARABLE_MACS = weights_and_macs()
TWICE = "that counts two operations; a multiplication with its addition is one MAC."
weights_and_macs.part(
    "standard weights",
    (STANDARD + 64, "there are no biases here."),
    (9 * 64, "every output channel has a kernel for *each* of the 32 input channels."),
    (3 * 32 * 64, "a 3×3 kernel has 9 weights, not 3."),
)
weights_and_macs.part(
    "standard MACs",
    (2 * MACS, TWICE),
    (STANDARD * 12 * 12, "the output has 14×14 places (the layer pads its input)."),
    (STANDARD * 14, "the output has 14 × 14 places, not 14."),
)
weights_and_macs.part(
    "separable weights",
    (9 * 32, "add the 1×1 convolution, which mixes the channels."),
    (9 * 32 * 32 * 64, "the two parts are added, not multiplied."),
    (9 * 64 + 32 * 64, "the depthwise part comes first, so it has one kernel for each of the 32 *input* maps."),
)
weights_and_macs.part("separable MACs", (2 * SEPARABLE_MACS, TWICE))


@exercise(
    "5.2 predict the uniform maps",
    value="{}  # True or False",
    hint="Whether the kernel size is an even number doesn't matter: compare it with the stride.",
    hint2="Every pixel is reached equally often exactly when the stride divides the kernel size.",
    right="Right: uniform exactly where the stride divides the kernel size.",
)
def uniform_maps():
    """Uniform where the stride divides the kernel size."""
    return {
        "kernel 6, stride 4": False,
        "kernel 5, stride 5": True,
        "kernel 6, stride 3": True,
        "kernel 5, stride 2": False,
    }


BY_PARITY = {case: "kernel 6" in case for case in uniform_maps()}
uniform_maps.mistakes((BY_PARITY, "You went by even and odd kernel sizes; the stride decides as well."))


@exercise(
    "5.3 blur before you drop",
    hint="Pad by one place on each side first, so that every place has neighbours.",
    hint2="The 3×3 blur is the outer product of (1, 2, 1) / 4 with itself; `groups=` keeps the channels apart, and "
    "`stride=2` or `[..., ::2, ::2]` drops.",
    cases=((torch.randn(2, 3, 8, 6, generator=torch.Generator().manual_seed(0)),),),
    within=1e-5,
    otherwise="a place becomes a quarter of itself, an eighth of each direct, a sixteenth of each diagonal neighbour.",
    right="Right. Put it behind a maximum at every place and you have blur pooling, `POOLS['blur']`.",
)
def blur_and_drop(maps):
    """Blur with (1, 2, 1) / 4 in both directions, then keep rows and columns 0, 2, 4, …

    maps: float N×C×H×W, H and W even. The edge is continued with its own values
    ("replicate"). Returns N×C×H/2×W/2.
    """
    row = maps.new_tensor([1.0, 2.0, 1.0]) / 4
    blur = (row[:, None] * row).expand(maps.shape[1], 1, 3, 3)  # the same blur for every channel
    padded = F.pad(maps, (1, 1, 1, 1), mode="replicate")
    return F.conv2d(padded, blur, stride=2, groups=maps.shape[1])


def along_rows(maps):
    rows = F.pad(maps, (1, 1, 0, 0), mode="replicate")[..., ::2, :]
    return (rows[..., :-2:2] + 2 * rows[..., 1:-1:2] + rows[..., 2::2]) / 4


def padded_before(maps, n, mode):
    """The first and last places are blurred with what this padding put around the maps."""
    return blur_and_drop(F.pad(maps, (n, n, n, n), mode=mode))


SUM_1 = "The weights of the blur must have sum 1: divide by 4 twice."
EDGE = "Inside it is right; at the edge pad with replicate, not with "
blur_and_drop.mistakes(
    (lambda x: x[..., ::2, ::2], "That only drops places; blur first."),
    (lambda x: F.avg_pool2d(x, 2), "That is average pooling over 2×2; the blur reaches over 3×3 with (1, 2, 1) / 4."),
    (along_rows, "You blur along the rows only; blur in both directions."),
    (lambda x: 16 * blur_and_drop(x), SUM_1),
    (lambda x: 4 * blur_and_drop(x), SUM_1),
    (lambda x: padded_before(x, 2, "constant")[..., 1:-1, 1:-1], EDGE + "zeros."),
    (lambda x: padded_before(x, 2, "reflect")[..., 1:-1, 1:-1], EDGE + "reflect."),
    (lambda x: padded_before(x, 1, "replicate")[..., 1:, 1:], "Keep the places 0, 2, 4, …; you keep 1, 3, 5, …"),
)


@exercise(
    "5.4 attention that can't see the future",
    hint="Start from `attention` in question 6, and change the scores before the softmax.",
    hint2="A score of minus infinity becomes a weight of exactly 0. `torch.ones(T, T).triu(1).bool()` marks the "
    "future.",
    cases=(torch.randn(5, 35, generator=torch.Generator().manual_seed(0)).split((16, 16, 3), dim=1),),
    within=1e-5,
    returns="output, weights",
    otherwise="the weights of an item are the softmax of its scores with itself and those before it; the output is "
    "`weights @ values`.",
    write_it=("scaled_dot_product_attention", "MultiheadAttention"),
    right="It is `F.scaled_dot_product_attention(…, is_causal=True)`. This mask is what makes a language model.",
)
def causal_attention(queries, keys, values):
    """Attention in which item t takes from the items 0, 1, …, t only.

    queries, keys: float T×d. values: float T×e. Returns the output, T×e, and the
    weights, T×T; each row of the weights has sum 1.
    """
    scores = queries @ keys.T / queries.shape[-1] ** 0.5
    future = torch.ones(scores.shape).triu(diagonal=1).bool()
    weights = scores.masked_fill(future, -torch.inf).softmax(dim=-1)  # before the softmax: the rows keep their sum
    return weights @ values, weights


def attend(weights):
    """The task with other weights, a function of the scores."""
    return lambda q, k, v: (weights(q @ k.T / 4) @ v, weights(q @ k.T / 4))


def only(seen, scores, dim=-1):
    return scores.masked_fill(~seen, -torch.inf).softmax(dim)


PAST = torch.ones(5, 5).tril().bool()
AFTER = "You hide the future after the softmax, so the rows no longer have sum 1: change the scores before it."
causal_attention.mistakes(
    (attend(lambda s: s.softmax(-1)), "That is attention to all items; the future must have weight 0."),
    (attend(lambda s: s.softmax(-1) * PAST), AFTER),
    (attend(lambda s: (s * PAST).softmax(-1)), "A score of 0 still gets a weight; it must be minus infinity."),
    (attend(lambda s: only(PAST, 4 * s)), "Divide the scores by √d, d the numbers in a query."),
    (attend(lambda s: only(PAST.T, s)), "That hides the past and shows the future: take the other triangle."),
    (attend(lambda s: only(PAST, s, 0)), "Each column has sum 1; the softmax must run along the rows."),
    (attend(lambda s: only(PAST.tril(-1), s)), "Some are NaN: the first item sees no one; it may see itself."),
    (lambda q, k, v: (v, causal_attention(q, k, v)[1]), "The weights are right; the output is `weights @ values`."),
)


def check_measured(answer: Any) -> None:
    filled(answer, measured())
    names, chosen = list(answer["networks"]), answer["chosen"]
    seconds, accuracy = array(answer["seconds"]).flatten(), array(answer["validation"]).flatten()
    needs = f"{len(names)} networks need as many seconds and accuracies; you gave {len(seconds)} and {len(accuracy)}."
    expect(len(names) == len(seconds) == len(accuracy), needs)
    expect(len(names) >= 3, "Measure at least three networks.")
    expect(seconds.min() > 0 and np.isfinite(accuracy).all(), "Seconds are above 0, accuracies finite numbers.")
    expect(chosen in names, f'"{chosen}" is none of your networks.{nearest(str(chosen), names)}')
    mine = names.index(chosen)
    no_worse = (seconds <= seconds[mine]) & (accuracy >= accuracy[mine])
    for n in np.flatnonzero(no_worse & ((seconds < seconds[mine]) | (accuracy > accuracy[mine]))):
        raise NotYet(f'"{names[n]}" is at least as fast as "{chosen}" and at least as accurate, and wins one of them.')


@exercise(
    "5.5 choose an architecture by measurement",
    value="{\n"
    '    "networks": None,  # a list of names\n'
    '    "seconds": None,  # per step, in the same order\n'
    '    "validation": None,  # accuracy, in the same order\n'
    '    "chosen": None,  # one of the names\n'
    "}",
    hint="Measure all networks in one call of `step_seconds`, so that they meet the same machine.",
    hint2="Among networks of the same accuracy take the fastest, among those of the same speed the best.",
    check=check_measured,
    open=True,
    right="No other network of yours beats it in both. Which of such networks to take, your project must say.",
)
def measured():
    """An example: three widths of the small network."""
    return {
        "networks": ["width 8", "width 16", "width 32"],
        "seconds": [0.009, 0.016, 0.037],  # of one step
        "validation": [82.9, 85.6, 86.1],  # accuracy (%), mean of three seeds
        "chosen": "width 16",
    }
