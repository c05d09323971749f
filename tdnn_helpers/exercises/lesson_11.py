"""Exercises of lesson 11: activation functions, the paper's section VI-A."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .answers import expect
from .blocks import exercise


@exercise(
    "11.1 predict four slopes",
    value="(None, None, None, None)  # ten sigmoids; ReLU at 0.001; ReLU at -0.001; Swish at 0",
    hint="The slope of the sigmoid is s · (1 − s), where s is its output. For which s is that largest?",
    hint2="In a chain the slopes multiply. The slope of x · σ(x) is σ(x) + x · σ′(x): put in x = 0.",
    within=0.05,  # 1e-6 will do for ten sigmoids
    otherwise="the slope is the same at 0.001 and at 1,000: how fast the output grows with the input.",
    right="Ten sigmoids pass on at most 0.25¹⁰ ≈ 1e-06 of a gradient, if the weights do not help. An active ReLU "
    "passes all of it, at any distance from zero.",
)
def slopes():
    """The largest slope of ten sigmoids in a row, and three slopes near zero."""
    ten_sigmoids = 0.25**10  # each slope is s · (1 − s), at most 1/4; slopes in a chain multiply
    relu_just_above, relu_just_below = 1.0, 0.0  # however near to zero
    swish_at_zero = 0.5  # sigmoid(0) + 0 · sigmoid'(0)
    return ten_sigmoids, relu_just_above, relu_just_below, swish_at_zero


slopes.part(
    "ten sigmoids",
    "find the largest slope of one, s · (1 − s), and multiply ten of them.",
    (0.25, "that is the slope of one; in a chain they multiply."),
    (2.5, "that adds the slopes; in a chain of functions they multiply."),
    (0.5**10, "0.5 is the output at 0, not the slope; the slope is s · (1 − s)."),
    (1, "each slope is below 1, so their product is too."),
)
slopes.part("ReLU at 0.001", (0.001, "that is the output there; the slope is how fast it grows with the input."))
slopes.part("ReLU at -0.001", (1, "below zero the output is 0 however the input moves, so the slope there is 0."))
slopes.part(
    "Swish at 0",
    "it is σ(0) + 0 · σ′(0).",
    (0, "its output at 0 is 0, but its slope is not; use the product rule."),
    (0.25, "that is the slope of the sigmoid; the slope of x · σ(x) is σ(x) + x · σ′(x)."),
)


@exercise(
    "11.2 Mish that does not overflow",
    hint="In float32, e¹⁰⁰ is infinite. The value may still come out right, and the gradient becomes NaN.",
    hint2="ln(1 + eˣ) has a name, softplus: `torch.nn.functional.softplus` takes care of large x.",
    cases=(
        (torch.tensor([-3.0, -1.19243, 0.5, 2.0]),),
        (torch.tensor([100.0, 1000.0, -100.0, -1000.0]),),
        (torch.linspace(-4, 4, 24).reshape(2, 3, 4),),
    ),
    otherwise="it is x · tanh(ln(1 + eˣ)), for each element alone.",
    gradient="x",
    check=lambda answer: expect(torch.is_tensor(answer(torch.ones(1))), "Return a tensor: a gradient must flow back."),
    write_it=("mish", "Mish"),
    right="Right values, and finite gradients even at ±1000.",
)
def mish(x):
    """x · tanh(ln(1 + eˣ)) for each element, with finite values and gradients for any finite x.

    x: float tensor of any shape.
    """
    return x * torch.tanh(F.softplus(x))


mish.mistakes(
    (F.silu, "that is Swish, x · σ(x)."),
    (lambda x: torch.tanh(F.softplus(x)), "the factor x is missing."),
    (lambda x: x * F.softplus(x), "the tanh is missing."),
    (lambda x: x * torch.tanh(torch.exp(x)), "that is tanh(eˣ); take ln(1 + eˣ) inside."),
    (lambda x: x * ((1 + x.exp()) ** 2 - 1) / ((1 + x.exp()) ** 2 + 1), "eˣ overflows. Use softplus."),
)


def outputs_of_a_layer():
    outputs = torch.zeros(25, 7)
    outputs[:, 1] = 1.0  # always on
    outputs[13, 2] = 0.5  # answers one image of the second batch
    outputs[24, 3] = 0.3  # answers only in the last, smaller batch
    outputs[[2, 17, 21], 4] = 2.0  # rare, but in every batch
    outputs[4, 6] = 0.7  # answers only in the first batch
    yield (list(outputs.split(10)),)
    outputs[0, 5], outputs[1, 5] = -0.5, 0.5  # the mean is 0, the unit is alive
    yield (list(outputs.split(10)),)


@exercise(
    "11.3 count dead units on all images",
    hint="A unit that is silent on one batch may answer in the next: look at all batches before you decide.",
    hint2="`torch.cat(batches)` joins them; `outputs.eq(0).all(dim=0)` asks each column (unit) about all its rows.",
    cases=outputs_of_a_layer,
    otherwise="True for a unit that gives 0 for every image of every batch, else False.",
    right="Silent on every image of every batch: only then is a unit dead.",
)
def dead_units(batches):
    """Which units are dead: bool tensor (units,), True if the output is 0 for every image of every batch.

    batches: list of float tensors (images in the batch, units), outputs of one layer; the last may be smaller.
    """
    return torch.cat(batches).eq(0).all(dim=0)


def silent(batches):
    return torch.stack([batch.eq(0).all(0) for batch in batches])


dead_units.mistakes(
    (lambda batches: ~dead_units(batches), "exchanged: True means dead."),
    (lambda batches: silent(batches)[0], "that looks at the first batch only; a unit may answer in a later one."),
    (lambda batches: silent(batches)[-1], "that looks at the last batch only; keep what the earlier ones told you."),
    (lambda batches: silent(batches).any(0), "silent on one batch is not dead: it must be silent on every batch."),
    (lambda batches: torch.cat(batches).eq(0).any(0), "it must be silent on all images: `all`, not `any`."),
    (lambda batches: torch.cat(batches).sum(0).eq(0), "negative outputs are outputs, too: a sum of 0 may hide some."),
    (lambda batches: torch.cat(batches).sum(0), "return True for a dead unit and False for a living one."),
)


@exercise(
    "11.4 which dead units can come back",
    value="{}  # True or False",
    hint="Its own gradient is 0. So ask: what else can change w · x + b? The inputs x, or a step without gradient.",
    hint2="Weight decay multiplies what it decays by the same factor below 1. Can that change the sign of w · x + b?",
    otherwise="answer True or False.",
    right="A dead unit's own gradient is 0. It comes back only if something else moves w · x + b above 0.",
)
def come_back():
    """Whether a dead ReLU unit can ever pass a gradient again."""
    return {
        "first layer, plain SGD": False,  # the gradient is 0 and the images stay: nothing that it computes can change
        "first layer, weight decay on weights and bias": False,  # both shrink by one factor: the sign stays
        "first layer, weight decay on weights only, bias above 0": True,  # the weights shrink, the bias wins
        "third layer, plain SGD": True,  # the layers before it still learn and change its inputs
        "first layer, plain SGD, new kinds of images": True,  # one of them may reach its positive side
    }


REASONS = (
    "its own gradient is 0 on every image, and the images do not change. What could move w · x + b?",
    "decay multiplies w and b by the same factor, so w · x + b keeps its sign.",
    "the weights shrink towards 0 and the bias stays: in the end w · x + b is near b, above 0.",
    "its weights stand still, but the layers before it still learn, and they make its inputs.",
    "dead means silent on the images so far; a new one may give w · x + b > 0, and then a gradient.",
)
for (case, right), why in zip(come_back().items(), REASONS, strict=True):
    come_back.part(case, (not right, why))


@exercise(
    "11.5 compare two activations in your own network",
    hint="Change one thing only. Then each pair of runs with the same seed tells you one difference.",
    hint2="Begin with `what stays the same`, and run eight seeds of each before you look at any test image.",
    points={
        "what stays the same": "network, data, split, number of updates, first weights: all but the activation.",
        "how each was tuned": "each activation needs its own learning rate, chosen on validation images.",
        "seeds": "with one run each you see luck; eight pairs show a difference of about their own spread.",
        "difference with its interval": "`difference(runs, new, old, 'accuracy')` gives the paired mean and its "
        "interval.",
        "time": "time a hundred steps of each in turn; train the slower one for fewer steps and compare again.",
        "decision": "if the interval holds zero, keep what you have.",
    },
)
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
