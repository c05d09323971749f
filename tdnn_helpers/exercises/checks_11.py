"""The checks of lesson 11's exercises: properties and naive references, and a sentence for each typical mistake."""

from __future__ import annotations

import math
from typing import Any

import torch

from .answers import NotYet, all_answered, array, expect, filled


def check_slopes(answer: Any) -> str:
    try:
        chain, above, below, swish = (float(one) for one in answer)
    except (TypeError, ValueError):
        raise NotYet("Give four numbers: (ten sigmoids, ReLU at 0.001, ReLU at −0.001, Swish at 0).") from None
    expect(
        not math.isclose(chain, 0.25, rel_tol=0.02), "Ten sigmoids: 0.25 is the slope of one; in a chain they multiply."
    )
    expect(
        not math.isclose(chain, 2.5, rel_tol=0.02),
        "Ten sigmoids: that adds the slopes; in a chain of functions they multiply.",
    )
    expect(
        not math.isclose(chain, 0.5**10, rel_tol=0.02),
        "Ten sigmoids: 0.5 is the output at 0, not the slope; the slope is s · (1 − s).",
    )
    expect(chain < 1, "Ten sigmoids: each slope is below 1, so their product is too.")
    expect(
        math.isclose(chain, 0.25**10, rel_tol=0.05),
        f"Ten sigmoids: {chain:g} is not it; find the largest slope of one, s · (1 − s), and multiply ten of them.",
    )
    expect(
        (above, below) != (0.001, 0),
        "ReLU: 0.001 is the output there; the slope is how fast the output grows with the input.",
    )
    expect(
        (above, below) != (1, 1), "ReLU: below zero the output is 0 however the input moves, so the slope there is 0."
    )
    expect(
        (above, below) == (1, 0),
        "ReLU: the slope does not depend on the distance to zero; it is the same at 0.001 and at 1,000.",
    )
    expect(swish != 0, "Swish: its output at 0 is 0, but its slope is not; use the product rule.")
    expect(swish != 0.25, "Swish: that is the slope of the sigmoid; the slope of x · σ(x) is σ(x) + x · σ′(x).")
    expect(math.isclose(swish, 0.5, rel_tol=0.02), f"Swish: {swish:g} is not σ(0) + 0 · σ′(0).")
    return (
        f"Ten sigmoids pass on at most 0.25¹⁰ ≈ {0.25**10:.0e} of a gradient, if the weights do not help. An active "
        "ReLU passes all of it, at any distance from zero."
    )


def check_mish(answer: Any) -> str:
    def slope(at: float) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.full((1,), at, requires_grad=True)
        value = answer(x)
        expect(isinstance(value, torch.Tensor), "Return a tensor, so that a gradient can flow back.")
        expect(value.shape == x.shape, f"The shape must stay {tuple(x.shape)}; yours is {tuple(value.shape)}.")
        expect(value.requires_grad, "The gradient is cut off: use torch operations only, no `.detach()` or `.item()`.")
        value.sum().backward()
        return value.detach(), x.grad

    for at in (-3.0, -1.19243, 0.5, 2.0):
        right = at * math.tanh(math.log1p(math.exp(at)))
        value = slope(at)[0].item()
        for wrong, sentence in (
            (at / (1 + math.exp(-at)), "that is Swish, x · σ(x)."),
            (math.tanh(math.log1p(math.exp(at))), "the factor x is missing."),
            (at * math.log1p(math.exp(at)), "the tanh is missing."),
            (at * math.tanh(math.exp(at)), "that is tanh(eˣ); take ln(1 + eˣ) inside."),
        ):
            expect(not math.isclose(value, wrong, rel_tol=1e-4), f"At {at:g}: {sentence}")
        expect(math.isclose(value, right, rel_tol=1e-4), f"At {at:g} Mish is {right:.5f}; yours is {value:.5f}.")
    for at, limit, gradient in ((100.0, 100.0, 1.0), (1000.0, 1000.0, 1.0), (-100.0, 0.0, 0.0), (-1000.0, 0.0, 0.0)):
        value, got = slope(at)
        expect(bool(value.isfinite()), f"At {at:g} the value is {value.item()}: eˣ overflows. Use softplus.")
        expect(
            bool(got.isfinite()),
            f"At {at:g} the value is right, the gradient is {got.item()}: eˣ overflows on the way back. Use softplus.",
        )
        expect(
            math.isclose(value.item(), limit, abs_tol=1e-3) and math.isclose(got.item(), gradient, abs_tol=1e-3),
            f"At {at:g} the value should be {limit:g} with slope {gradient:g}; "
            f"yours are {value.item():g} and {got.item():g}.",
        )
    grid = torch.linspace(-4, 4, 24).reshape(2, 3, 4)
    right = torch.nn.functional.mish(grid)
    mine = answer(grid.clone())
    expect(tuple(mine.shape) == (2, 3, 4), "Work on each element alone: a 2×3×4 tensor must stay 2×3×4.")
    expect(bool(torch.allclose(mine, right, atol=1e-4)), "For a whole tensor the values differ from those of single x.")
    return "Right values, and finite gradients even at ±1000."


def check_dead_units(answer: Any) -> str:
    def batches(leaky: bool) -> list[torch.Tensor]:
        outputs = torch.zeros(25, 7)
        outputs[:, 1] = 1.0  # always on
        outputs[13, 2] = 0.5  # answers one image of the second batch
        outputs[24, 3] = 0.3  # answers only in the last, smaller batch
        outputs[[2, 17, 21], 4] = 2.0  # rare, but in every batch
        outputs[4, 6] = 0.7  # answers only in the first batch
        if leaky:
            outputs[0, 5], outputs[1, 5] = -0.5, 0.5  # the mean is 0, the unit is alive
        return list(outputs.split(10))

    result = answer(batches(leaky=False))
    units = array(result)
    expect(
        units.shape == (7,),
        f"Return one True or False for each of the 7 units; yours has the shape {units.shape}.",
    )
    got = units.astype(bool).tolist()
    expect(set(units.tolist()) <= {0.0, 1.0}, "Return True for a dead unit and False for a living one.")
    right = [True, False, False, False, False, True, False]
    if got != right:
        some_batch = [bool(any((batch[:, unit] == 0).all() for batch in batches(False))) for unit in range(7)]
        first = batches(False)[0].eq(0).all(0).tolist()
        last = batches(False)[-1].eq(0).all(0).tolist()
        some_image = [True, False, True, True, True, True, True]
        for trap, sentence in (
            ([not unit for unit in right], "True and False are exchanged: True means dead."),
            (first, "That looks at the first batch only; a unit may answer in a later one."),
            (last, "That looks at the last batch only; keep what the earlier batches told you."),
            (some_batch, "A unit silent on one batch is not dead: it must be silent on every batch."),
            (
                some_image,
                "A unit silent on some images is not dead: it must be silent on all of them (`all`, not `any`).",
            ),
        ):
            expect(got != trap, sentence)
        raise NotYet(f"The dead units are {right}; yours are {got}: 0 for every image of every batch.")
    leaky = array(answer(batches(leaky=True))).astype(bool).tolist()
    expect(
        leaky == [*right[:5], False, False],
        "Negative outputs are outputs too: a mean or sum of 0, or a test for > 0, takes a living unit for dead.",
    )
    return "Silent on every image of every batch: only then is a unit dead."


CASES = {
    "first layer, plain SGD": (
        False,
        "its own gradient is 0 on every image, and the images do not change. What could move w · x + b?",
    ),
    "first layer, weight decay on weights and bias": (
        False,
        "decay multiplies w and b by the same factor, so w · x + b keeps its sign.",
    ),
    "first layer, weight decay on weights only, bias above 0": (
        True,
        "the weights shrink towards 0 and the bias stays: in the end w · x + b is near b, above 0.",
    ),
    "third layer, plain SGD": (
        True,
        "its weights stand still, but the layers before it still learn, and they make its inputs.",
    ),
    "first layer, plain SGD, new kinds of images": (
        True,
        "dead means silent on the images so far; a new one may give w · x + b > 0, and then a gradient.",
    ),
}


def check_come_back(answer: Any) -> str:
    filled(answer, CASES)
    for case, (right, why) in CASES.items():
        said = answer[case]
        expect(said in (True, False) and not isinstance(said, str), f'"{case}": answer True or False.')
        expect(bool(said) == right, f'"{case}": not {bool(said)}; {why}')
    return "A dead unit's own gradient is 0. It comes back only if something else moves w · x + b above 0."


PARTS = {
    "what stays the same": "network, data, split, number of updates, first weights: all but the activation.",
    "how each was tuned": "each activation needs its own learning rate, chosen on validation images.",
    "seeds": "with one run each you see luck; eight pairs show a difference of about their own spread.",
    "difference with its interval": "`difference(runs, new, old, 'accuracy')` gives the paired mean and its interval.",
    "time": "time a hundred steps of each in turn; train the slower one for fewer steps and compare again.",
    "decision": "if the interval holds zero, keep what you have.",
}


def check_comparison(answer: Any) -> str:
    return all_answered(answer, PARTS)
