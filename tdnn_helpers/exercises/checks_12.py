"""The checks of lesson 12's exercises: properties and naive references, and a sentence for each typical mistake."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .answers import NotYet, all_answered, array, expect, number

RIGHT = {"mean": "A", "vote": "C", "product": "B", "max": "A"}
HELP = {
    "mean": "add each column: A 0.90 + 0.02 + 0.20, and so on. A very sure view weighs more than two doubtful ones",
    "vote": "each view names one class, its largest, and the class with the most votes wins; how sure it was is lost",
    "product": "multiply each column. A has 0.02 in view 2 and C has 0.01 in view 1, and such a number spoils a class",
    "max": "take the largest of the nine numbers: the surest single view decides",
}


def check_four_rules(answer: Any) -> str:
    expect(
        isinstance(answer, dict) and set(answer) == set(RIGHT),
        f"Give a dictionary with one class for each of {', '.join(RIGHT)}.",
    )
    for rule, given in answer.items():
        named = str(given).strip().upper()
        expect(named in ("A", "B", "C"), f'For "{rule}" name one class, "A", "B" or "C", not {given!r}.')
        expect(named == RIGHT[rule], f'For "{rule}" it is not {named}: {HELP[rule]}.')
    return "One image, three views, three different answers: the rule decides when the views disagree."


def check_calibration_error(answer: Any) -> str:
    random = np.random.default_rng(0)
    sure = 0.4 + 0.6 * random.random(200)
    cases = (
        (sure, random.random(200) < sure - 0.15, 10),  # too sure, and bins below 0.4 are empty
        (sure, random.random(200) < 0.7, 5),  # too sure in some bins, not sure enough in others
        (np.array([0.55, 0.95, 0.97, 0.98]), np.array([True, False, True, True]), 10),
    )
    for confidence, right, bins in cases:
        parts = _bins(confidence, right, bins)
        expected = sum(weight * abs(gap) for weight, gap in parts)
        got = number(answer(confidence.copy(), right.copy(), bins))
        if np.isclose(got, expected, atol=1e-6):
            continue
        expect(
            not np.isnan(got),
            "An empty bin gave NaN, the mean of nothing: skip it, because it weighs nothing.",
        )
        mistakes = (
            (100 * expected, "give a fraction from 0 to 1, not per cent"),
            (np.mean([abs(gap) for _, gap in parts]), "weight each bin by its share of the answers"),
            (sum(abs(gap) for _, gap in parts), "that is a sum over the bins; weight each bin by its share"),
            (sum(abs(gap) for _, gap in parts) / bins, "weight each bin by its share of the answers"),
            (
                abs(confidence.mean() - right.mean()),
                "without bins, or without the absolute value in each bin, too sure and too unsure cancel",
            ),
            (confidence.mean() - right.mean(), "take the absolute value of the distance, in each bin"),
            (right.mean() - confidence.mean(), "take the absolute value of the distance, in each bin"),
            (max(abs(gap) for _, gap in parts), "that is the maximum over the bins; take the weighted mean"),
            (sum(weight * gap**2 for weight, gap in parts), "take the absolute distance, not its square"),
        )
        case = f"For {len(right)} answers and {bins} bins it is {expected:.4f}, not {got:.4g}"
        for value, sentence in mistakes:
            expect(not np.isclose(got, value, atol=1e-6), f"{case}: {sentence}.")
        raise NotYet(f"{case}: add up the distances between accuracy and mean confidence, weighted by share.")
    return "Bins with many answers count most, and being too sure in one bin cannot make up for doubt in another."


def _bins(confidence: np.ndarray, right: np.ndarray, bins: int) -> list[tuple[float, float]]:
    """(share of the answers, accuracy minus mean confidence) of each bin that is not empty."""
    parts = []
    for b in range(bins):
        inside = (confidence > b / bins) & (confidence <= (b + 1) / bins)
        if inside.any():
            parts.append((float(inside.mean()), float(right[inside].mean() - confidence[inside].mean())))
    return parts


def check_mirror_average(answer: Any) -> str:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 6, 6, generator=generator)
    kernel = torch.randn(4, 3, 3, 3, generator=generator)  # not symmetric, so a mirrored image gives another answer

    def model(images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(images, kernel, padding=1)

    plain, mirrored, upside_down = model(images), model(images.flip(-1)), model(images.flip(-2))
    expected = array((plain + mirrored.flip(-1)) / 2)
    got = array(answer(model, images.clone()))
    expect(got.shape == expected.shape, f"Return maps of the shape {expected.shape}; yours have {got.shape}.")
    mistakes = (
        ((plain + mirrored) / 2, "You average the left side with the right side: mirror the second answer back first."),
        (mirrored.flip(-1), "That is the answer for the mirror image alone; average it with the answer for the image."),
        (plain, "That is the answer for the image alone; average it with the one for the mirror image."),
        (plain + mirrored.flip(-1), "That is the sum; take the mean."),
        ((plain + upside_down.flip(-2)) / 2, "That is the mean with the image upside down: columns are dimension −1."),
        ((plain + upside_down) / 2, "Mirror left and right (dimension −1), and mirror the second answer back."),
        (plain.flip(-1), "You mirror the answer, but the network never sees the mirrored image."),
        ((plain + plain.flip(-1)) / 2, "You mirror the answer, but the network never sees the mirrored image."),
    )
    for wrong, sentence in mistakes:
        expect(not np.allclose(got, array(wrong), atol=1e-5), sentence)
    expect(
        np.allclose(got, expected, atol=1e-5),
        "Ask the model twice, mirror the second answer back, and take the mean of both.",
    )
    return "For class labels nothing needs to be mirrored back; for masks, boxes and key points it is the usual bug."


POINTS = {
    "views": "which ones, and did the training use them? A view must never change what the label names.",
    "rule": "how are the answers combined, and how much does another rule change on validation images?",
    "gain": "accuracy with minus without views, on validation images, with an interval; images fixed and broken.",
    "price": "time for an image before and after; what would a larger network, or a second one, bring for this time?",
    "robustness": "`robustness` on your network: which changes will your images have in use, and what do they cost?",
    "decision": "views, another training, a larger network, or nothing; one sentence.",
}


def check_plan(answer: Any) -> str:
    return all_answered(answer, POINTS)
