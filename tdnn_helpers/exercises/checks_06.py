"""The checks of lesson 6's exercises: closed forms, PyTorch's own optimizer and norms, and typical mistakes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from .answers import NotYet, agrees, array, expect, filled, number, numbers

KEEPS = {
    "mirror left-right: boot or bag?": True,
    "mirror left-right: letter b or d?": False,
    "turn by any angle: cell with round or lobed nucleus?": True,
    "turn by 180 degrees: digit 6 or 9?": False,
    "change the colours: tomato ripe or not?": False,
    "crop to a random quarter: is there a tumour in the image?": False,
    "a little brighter or darker: cat or dog?": True,
}
SCHEDULES = ("step", "exponential", "cosine", "cosine with restarts")


def check_rates(answer: Any) -> str:
    given = numbers(answer, *SCHEDULES)

    def half_cosine(share: float) -> float:
        return 0.1 * (1 + math.cos(math.pi * share)) / 2

    right = (0.1 * 0.5**3, 0.1 * 0.9**35, half_cosine(35 / 40), half_cosine(15 / 20))
    mistakes = {
        "step": (
            (
                0.1 * 0.5**4,
                "by epoch 35 it was halved in epochs 10, 20 and 30: three times.",
            ),
            (0.1 * 0.5**3.5, "the rate stays level for ten epochs and then halves: use whole numbers of halvings."),
            (0.1 * 0.5**35, "it halves every 10 epochs, not in every epoch."),
        ),
        "exponential": (
            (0.1 * math.exp(-0.9 * 35), "each epoch multiplies the rate by 0.9: 0.1 × 0.9^35."),
            (0.1 * 0.9**3, "it is multiplied by 0.9 in every epoch, not every 10 epochs."),
            (0.1 * 0.9**36, "epoch 0 has the full rate, so epoch 35 has 35 factors."),
        ),
        "cosine": (
            (
                0.1 * math.cos(math.pi / 2 * 35 / 40),
                "use half a wave, (1 + cos(π t / T)) / 2, flat at both ends.",
            ),
            (0.1 - half_cosine(35 / 40), "that rises; the cosine starts at 1 and falls."),
        ),
        "cosine with restarts": (
            (half_cosine(35 / 40), "the rate restarts in epoch 20: count the epochs since then."),
            (
                half_cosine(35 / 20),
                "after a restart the count begins at 0: epoch 35 is 15 epochs into its cycle.",
            ),
            (half_cosine(15 / 40), "each cycle is 20 epochs long."),
        ),
    }
    for name, value, truth in zip(SCHEDULES, given, right, strict=True):
        if math.isclose(value, truth, rel_tol=0.02):
            continue
        for trap, sentence in mistakes[name]:
            expect(not math.isclose(value, trap, rel_tol=0.02), f"{name}: {sentence}")
        raise NotYet(f"{name}: {value:g} is not it; write the formula of the schedule with the epoch put in.")
    return (
        "Right. Near the end the four differ by a factor of almost six: a schedule is a choice of the *last* rates too."
    )


def check_adam(answer: Any) -> str:
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(6, 3, generator=generator, dtype=torch.float64) * torch.tensor([1e-2, 1.0, 1e2])
    start, rate = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64), 0.03
    truth = torch.nn.Parameter(start.clone())
    optimizer = torch.optim.Adam([truth], lr=rate)
    weight, mean, square = start.clone(), torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for step, gradient in enumerate(gradients, start=1):
        truth.grad = gradient.clone()
        optimizer.step()
        result = answer(weight.clone(), gradient.clone(), mean.clone(), square.clone(), step, rate)
        expect(
            isinstance(result, (tuple, list)) and len(result) == 3,
            "Return three tensors: `return weight, mean, square`.",
        )
        new_weight, new_mean, new_square = map(array, result)
        moved = new_weight - weight.numpy()
        right_mean = 0.9 * mean.numpy() + 0.1 * gradient.numpy()
        right_square = 0.999 * square.numpy() + 0.001 * gradient.numpy() ** 2
        scale_1, scale_2 = 1 - 0.9**step, 1 - 0.999**step
        traps = (
            (rate * right_mean / np.sqrt(right_square), "The step goes up the slope: subtract it."),
            (
                -rate * right_mean / (np.sqrt(right_square) + 1e-8),
                "The averages began at 0: correct both for it.",
            ),
            (
                -rate * (right_mean / scale_1) / (right_square / scale_2 + 1e-8),
                "Divide by the root of the mean square, not by the mean square itself.",
            ),
            (-rate * gradient.numpy(), "That is plain SGD; divide the mean gradient by the root of the mean square."),
            (
                -rate * (right_mean / scale_1) / np.sqrt(right_square),
                "Only the mean is corrected: the average of the squares began at 0 as well.",
            ),
        )
        for trap, sentence in traps:
            close = moved.shape == trap.shape and np.allclose(moved, trap, rtol=1e-4)
            expect(not close or np.allclose(trap, array(truth) - weight.numpy(), rtol=1e-4), sentence)
        for name, mine, right in (("mean", new_mean, right_mean), ("square", new_square, right_square)):
            expect(
                mine.shape == right.shape and np.allclose(mine, right, rtol=1e-4, atol=1e-12),
                f"In step {step} the returned {name} is {_short(mine)} and should be {_short(right)}: return the "
                "running average itself, without the correction.",
            )
        expect(
            new_weight.shape == (3,) and np.allclose(new_weight, array(truth), rtol=1e-5, atol=1e-7),
            f"In step {step} the weight is {_short(new_weight)} and should be {_short(array(truth))}.",
        )
        weight, mean, square = truth.detach().clone(), torch.from_numpy(right_mean), torch.from_numpy(right_square)
    return (
        "It agrees with `torch.optim.Adam` in six steps. The first step has the length of the learning rate in every "
        "direction, whether the gradient is 0.01 or 100."
    )


def _short(values: np.ndarray) -> list[float]:
    return [float(f"{value:.4g}") for value in values.flatten()]


def check_warm_up(answer: Any) -> str:
    for steps, first in ((200, 40), (100, 10), (50, 0)):
        factors = np.array([number(answer(step, steps, first)) for step in range(steps)])
        place = f"With {steps} steps and a warm-up of {first}"
        expect(np.isfinite(factors).all(), f"{place} a factor is not finite.")
        expect(
            factors.max() < 1.01 and factors.min() > -0.01,
            f"{place} the factors go from {factors.min():.3g} to {factors.max():.3g}; they lie between 0 and 1.",
        )
        expect(
            factors[first] > 0.97,
            f"{place} the factor in step {first} is {factors[first]:.2f} and should be 1, the peak.",
        )
        if first:
            line = np.arange(first) / first
            expect(factors[0] < 0.5, f"{place} the factor starts at {factors[0]:.2f}: it should start near 0 and rise.")
            expect(
                np.abs(factors[:first] - line).max() < 1.5 / first,
                f"{place} the rise is not a straight line from 0 to 1.",
            )
        share = np.arange(steps - first) / (steps - first)
        fall = factors[first:]
        expect(fall[-1] < 0.05, f"{place} the last factor is {fall[-1]:.2f}; it should be near 0.")
        near = np.abs(fall - (1 - share)).max() < 0.02
        expect(not near, f"{place} the factor falls in a straight line; it should follow half a cosine.")
        quarter = np.abs(fall - np.cos(np.pi / 2 * share)).max() < 0.02
        expect(not quarter, f"{place} that is a quarter of a wave; use (1 + cos(π · share)) / 2, flat at both ends.")
        expect(
            np.abs(fall - (1 + np.cos(np.pi * share)) / 2).max() < 0.05,
            f"{place} the fall is not half a cosine from 1 to 0: count the steps from the end of the warm-up.",
        )
    return "It rises in a straight line, meets the cosine at 1, and works without a warm-up too."


def check_group_norm(answer: Any) -> str:
    maps = torch.randn(3, 8, 7, 6, generator=torch.Generator().manual_seed(0)) * 2 + 1
    maps *= torch.arange(1, 9).view(1, 8, 1, 1) * torch.tensor([0.5, 1.0, 2.0]).view(3, 1, 1, 1)
    for groups, name in ((1, "layer norm"), (8, "instance norm"), (2, "group norm"), (4, "group norm")):
        mine = array(answer(maps.clone(), groups))
        expect(mine.shape == tuple(maps.shape), f"The shape must stay {tuple(maps.shape)}; yours is {mine.shape}.")
        truth = F.group_norm(maps, groups).numpy()

        def using(dims: tuple[int, ...]) -> np.ndarray:
            mean, std = maps.mean(dims, keepdim=True), maps.std(dims, keepdim=True, correction=0)
            return ((maps - mean) / std).numpy()

        every = maps.view(3, groups, 8 // groups, 7, 6)
        of_batch = (every - every.mean((0, 2, 3, 4), keepdim=True)) / every.std((0, 2, 3, 4), keepdim=True)
        dealt = maps.view(3, 8 // groups, groups, 7, 6).transpose(1, 2)
        dealt = (dealt - dealt.mean((2, 3, 4), keepdim=True)) / dealt.std((2, 3, 4), keepdim=True)
        traps = (
            (using((0, 2, 3)), "That is batch norm: the mean must not run over the images."),
            (of_batch.view_as(maps).numpy(), "Each image needs its own mean; yours runs over the batch too."),
            (using((2, 3)), f"That is instance norm also for groups = {groups}: use groups of channels."),
            (using((1, 2, 3)), f"That is layer norm also for groups = {groups}: use groups of channels."),
            (dealt.transpose(1, 2).reshape(maps.shape).numpy(), "A group consists of neighbouring channels."),
            ((maps - maps.mean((1, 2, 3), keepdim=True)).numpy(), "Divide by the standard deviation as well."),
        )
        right = np.allclose(mine, truth, rtol=0.03, atol=0.03)
        for trap, sentence in traps:
            expect(right or not np.allclose(mine, trap, rtol=0.03, atol=0.03), sentence)
        expect(
            right,
            f"For {groups} groups ({name}) the first image and group should have mean 0 and deviation 1; yours has "
            f"{mine[0, : 8 // groups].mean():.2f} and {mine[0, : 8 // groups].std():.2f}.",
        )
    return "One function is layer norm (1 group), instance norm (C groups) and all that lies between."


def check_labels(answer: Any) -> str:
    filled(answer, KEEPS)
    agrees(answer, KEEPS)
    return "Right. The same change keeps one label and destroys another: it depends on the question, not on the image."


def check_tuned(answer: Any) -> str:
    filled(answer, ("rates", "validation", "chosen", "test"))
    rates, scores = array(answer["rates"]).flatten(), array(answer["validation"]).flatten()
    expect(len(rates) == len(scores), f"{len(rates)} rates need as many validation results; you gave {len(scores)}.")
    expect(len(rates) >= 3, "Try at least three rates: with fewer you cannot see a top.")
    order = rates.argsort()
    rates, scores, chosen = rates[order], scores[order], number(answer["chosen"])
    top = rates[scores.argmax()]
    expect(
        math.isclose(chosen, top, rel_tol=1e-6),
        f"You chose {chosen:g}, but {top:g} has the best validation result. (Write losses with a minus sign.)",
    )
    expect(
        0 < scores.argmax() < len(rates) - 1,
        f"The best rate, {top:g}, is at the edge of your list: try one beyond it.",
    )
    number(answer["test"])
    return "A top inside the list, chosen on validation data, and one look at the test set. Now do it with more seeds."
