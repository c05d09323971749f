"""The checks of lesson 4's exercises: properties and naive references, and a sentence for each typical mistake."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from .answers import NotYet, all_answered, array, expect, number, numbers


def check_screening_scores(answer: Any) -> str:
    accuracy, balanced, weight = numbers(answer, "accuracy", "balanced accuracy", "class weight of the ill")
    for name, value in (("The accuracy", accuracy), ("The balanced accuracy", balanced)):
        expect(0 <= value <= 1, f"{name} is a fraction from 0 to 1, not {value:g}.")
    expect(
        not math.isclose(accuracy, 0.5, abs_tol=0.01),
        "Accuracy counts images and not classes: 990 of the 1,000 answers are right.",
    )
    expect(
        math.isclose(accuracy, 0.99, abs_tol=0.002), f"The accuracy is not {accuracy:g}: how many of 1,000 are right?"
    )
    expect(
        not math.isclose(balanced, 0.99, abs_tol=0.002),
        "That is the accuracy again. Balanced accuracy gives the ill half of the weight, and none of them is found.",
    )
    expect(
        not math.isclose(balanced, 0, abs_tol=0.002),
        "0 is the recall of the ill alone; balanced accuracy is the mean of both recalls.",
    )
    expect(
        math.isclose(balanced, 0.5, abs_tol=0.002),
        f"The balanced accuracy is not {balanced:g}: average the recall of the healthy and the recall of the ill.",
    )
    mistakes = (
        (100, "1,000 / 10 forgets the number of classes: then the weights would not be 1 on average."),
        (99, "99 is the ratio of the two counts. The weight of the ill is 99 times that of the healthy, but not 99."),
        (1000 / (2 * 990), "That is the weight of the healthy."),
        (0.01, "That is the share of the ill; a rare class needs a large weight."),
    )
    for value, sentence in mistakes:
        expect(not math.isclose(weight, value, rel_tol=0.005), sentence)
    expect(math.isclose(weight, 50, rel_tol=0.005), f"The weight is not {weight:g}: it is N / (C · images of the ill).")
    return (
        "99 % accuracy and 50 % balanced accuracy describe the same useless model; an ill person counts 50 in the "
        "loss, a healthy one 0.505, and 1 on average."
    )


def check_images_needed(answer: Any) -> str:
    cases = ((0.0, 1.0, 0.5, 0.1), (0.05, 0.8, 0.4, 0.1), (0.02, 2.0, 0.7, 0.3), (0.1, 0.5, 0.2, 0.35))
    for floor, scale, rate, error in cases:
        right = (scale / (error - floor)) ** (1 / rate)
        got = number(answer(floor, scale, rate, error))
        if math.isclose(got, right, rel_tol=1e-3) or got == math.ceil(right):
            continue
        case = f"For floor {floor}, scale {scale}, rate {rate} and error {error} it is {right:,.1f}, not {got:,.4g}"
        mistakes = (
            ((scale / error) ** (1 / rate), "take the floor off the error first"),
            (((error - floor) / scale) ** (1 / rate), "the fraction is upside down: a smaller error needs more images"),
            ((scale / (error - floor)) ** rate, "the exponent is 1 / rate"),
            (floor + scale * error**-rate if error else 0, "that is the error at n images; solve for n"),
        )
        for value, sentence in mistakes:
            expect(not math.isclose(got, value, rel_tol=1e-3), f"{case}: {sentence}.")
        raise NotYet(f"{case}: solve error = floor + scale · n ** −rate for n.")
    for error in (0.05, 0.01):
        try:
            got = answer(0.05, 0.8, 0.4, error)
        except (ZeroDivisionError, ValueError) as failure:
            raise NotYet(
                f"Right above the floor, but error {error} with floor 0.05 raised {type(failure).__name__}: "
                "no number of images is enough there, so return math.inf."
            ) from None
        expect(
            not isinstance(got, complex) and number(got) == math.inf,
            f"Right above the floor, but for error {error} with floor 0.05 you return {got}: no number of images is "
            "enough there, so return math.inf.",
        )
    return "Halving what is above the floor at rate 0.4 takes 2 ** 2.5, about 5.7 times the images."


def check_balanced_accuracy(answer: Any) -> str:
    random = np.random.default_rng(0)
    skewed = np.repeat([0, 1, 2], [80, 15, 5])
    cases = [
        (skewed, np.where(random.random(100) < 0.7, skewed, random.integers(0, 3, 100))),
        (skewed, np.zeros(100, dtype=int)),
        (np.array([0, 0, 0, 2]), np.array([0, 1, 0, 2])),  # class 1 is predicted but does not occur
        (np.array([3, 3, 3, 1, 1, 0]), np.array([3, 3, 1, 1, 3, 3])),
    ]
    for targets, predictions in cases:
        got = number(answer(targets.copy(), predictions.copy()))
        present = sorted(set(targets.tolist()))
        recalls = [np.mean([p == c for t, p in zip(targets, predictions, strict=True) if t == c]) for c in present]
        right = float(np.mean(recalls))
        if np.isclose(got, right, atol=1e-4):
            continue
        expect(
            not np.isnan(got), "A class without images gave 0 / 0: average only over the classes that occur in targets."
        )
        hits, asked = targets == predictions, sorted(set(predictions.tolist()))
        precisions = [np.mean(hits[predictions == c]) for c in asked]
        mistakes = (
            (np.mean(hits), "that is the accuracy, in which frequent classes count more"),
            (100 * right, "give a fraction from 0 to 1, not per cent"),
            (sum(recalls), "that is the sum of the recalls; take their mean"),
            (sum(recalls) / (targets.max() + 1), "average only over the classes that occur in targets"),
            (sum(recalls) / len(set(present) | set(asked)), "average only over the classes that occur in targets"),
            (np.mean(precisions), "that is the mean precision: divide by the images *of* each class, not predicted as"),
        )
        case = f"For targets {_short(targets)} and predictions {_short(predictions)} it is {right:.4f}, not {got:.4g}"
        for value, sentence in mistakes:
            expect(not np.isclose(got, value, atol=1e-4), f"{case}: {sentence}.")
        raise NotYet(f"{case}: average the share found over the classes.")
    return "Every class counts the same, however rare; a constant answer gets 1 / number of classes."


def _short(numbers: np.ndarray) -> str:
    shown = ", ".join(map(str, numbers[:4]))
    return f"[{shown}{', …' if len(numbers) > 4 else ''}]"


def check_oversample(answer: Any) -> str:
    targets = np.random.default_rng(1).permutation(np.repeat([0, 1, 2], [40, 4, 13]))
    rows = _rows(answer(targets.copy(), 0), targets)
    counts = np.bincount(targets[rows], minlength=3)
    missing = len(targets) - len(set(rows))
    expect(
        len(set(counts)) == 1,
        f"The classes now have {counts.tolist()} rows; all should have 40, as many as the most frequent one.",
    )
    expect(
        counts[0] == 40,
        f"All classes have {counts[0]} rows; the most frequent one has 40 and should be left as it is.",
    )
    expect(missing == 0, f"{missing} of the {len(targets)} original rows are gone: keep each one, and add copies.")
    times = np.bincount(rows[targets[rows] == 1], minlength=len(targets))[targets == 1]
    expect(times.max() < 33, "All copies of the rare class are the same image: draw among all images of the class.")
    again, other = _rows(answer(targets.copy(), 0), targets), _rows(answer(targets.copy(), 1), targets)
    expect(sorted(again) == sorted(rows), "The same seed gave other copies: use the seed for every random choice.")
    expect(sorted(other) != sorted(rows), "Every seed gives the same copies: draw them with the seed.")
    return "All classes are equally frequent and no image was lost. Do this after the split, on the training part."


def _rows(result: Any, targets: np.ndarray) -> np.ndarray:
    rows = array(result)
    expect(rows.ndim == 1 and rows.size > 0, "Return a list of row numbers.")
    expect((rows == rows.round()).all(), "Row numbers are whole numbers.")
    expect(
        len(rows) >= len(targets) or rows.max() > targets.max(),
        f"You return {len(rows)} numbers from {rows.min():g} to {rows.max():g}: are those classes, not rows?",
    )
    expect(
        rows.min() >= 0 and rows.max() < len(targets),
        f"Rows go from 0 to {len(targets) - 1}; yours from {rows.min():g} to {rows.max():g}.",
    )
    expect(
        rows.max() > targets.max(),
        f"Your numbers go from {rows.min():g} to {rows.max():g}: those are classes; return the numbers of their rows.",
    )
    return rows.astype(int)


def check_weighted_loss(answer: Any) -> str:
    losses = torch.tensor([0.2, 1.5, 0.7, 2.0, 0.1])
    weights = torch.tensor([0.6, 3.0])
    mixed, common = torch.tensor([0, 1, 0, 0, 1]), torch.zeros(5, dtype=torch.long)
    for targets in (mixed, common):
        each = [weights[t].item() * loss.item() for loss, t in zip(losses, targets, strict=True)]
        right, total = sum(each) / len(each), sum(weights[t].item() for t in targets)
        got = number(answer(losses.clone(), targets.clone(), weights.clone()))
        if math.isclose(got, right, rel_tol=1e-4):
            continue
        mistakes = (
            (sum(each) / total, "you divide by the weights of the batch, as PyTorch's weighted mean does. In a batch "
             "of one class they cancel, so the weights do nothing there. Divide by the number of images"),
            (sum(each), "that is the sum; divide by the number of images"),
            (losses.mean().item(), "the weights have no effect"),
            (losses.mean().item() * weights.mean().item(), "each image has the weight of its class: weights[targets]"),
            (sum(each) / len(weights), "divide by the number of images, not of classes"),
            (
                sum(loss.item() / weights[t].item() for loss, t in zip(losses, targets, strict=True)) / len(losses),
                "multiply by the weight, do not divide",
            ),
        )  # fmt: skip
        case = f"For targets {targets.tolist()} the loss should be {right:.4f}; yours is {got:.4f}"
        for value, sentence in mistakes:
            expect(not math.isclose(got, value, rel_tol=1e-4), f"{case}: {sentence}.")
        raise NotYet(f"{case}: weigh each loss by weights[targets], then take the mean.")
    losses.requires_grad_()
    result = answer(losses, mixed, weights)
    expect(
        isinstance(result, torch.Tensor) and result.requires_grad,
        "The value is right, but it is cut off from the losses: no gradient reaches the network.",
    )
    return "An image of the rare class pulls five times as hard as a common one, in whatever batch it comes."


POINTS = {
    "today": "how many images of each class, from how many sources? Images of one source stay on one side of a split.",
    "metric": "name it, and give its value for a constant answer and for a humble model on pixels.",
    "curve": "measure_curve on your data, at three sizes or more: the errors, and the forecast for twice the data.",
    "goal": "the error you need, why, and the number of images with its interval (`curve.needed`).",
    "missing": "which kinds of image will come in use that your data do not have? Test on a few of each.",
    "decision": "collect (what?), transfer, augment or stop; one sentence, with the price.",
}


def check_plan(answer: Any) -> str:
    return all_answered(answer, POINTS)
