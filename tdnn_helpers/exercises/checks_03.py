"""The checks of lesson 3's exercises: naive references, and a sentence for each typical mistake."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from .judge import NotYet, all_answered, array, expect, number, numbers


def check_linear_shifts(answer: Any) -> str:
    attack, random = numbers(answer, "change under FGSM", "standard deviation under random signs")
    step = 0.02 * 8 / 255
    right_attack, right_random = 784 * step, math.sqrt(784) * step
    _recognise(
        "FGSM",
        attack,
        right_attack,
        (right_random, "you took the square root; under FGSM all 784 changes have the same sign and add up."),
        (step, "that is the change of one term; there are 784."),
        (784 * 0.02 * 8, "eps is 8/255 on the [0, 1] scale, not 8."),
        (784 * 8 / 255, "each change is multiplied by its weight, 0.02."),
    )
    _recognise(
        "random signs",
        random,
        right_random,
        (0.0, "the *mean* change is 0; the standard deviation is not."),
        (right_attack, "random signs cancel; variances add up, so take the square root of 784."),
        (784 * step**2, "that is the variance; the standard deviation is its square root."),
        (step, "that is one term; the variances of 784 independent terms add up."),
    )
    return (
        f"The same size for every pixel, {right_attack:.2f} against {right_random:.3f}: the direction alone makes the "
        "attack √784 = 28 times stronger than noise. In a larger image the factor is larger."
    )


def _recognise(what: str, answer: float, right: float, *mistakes: tuple[float, str]) -> None:
    """Nothing if ``answer`` is right within 3 %; else NotYet with the sentence of the mistake that gives it."""
    if math.isclose(abs(answer), right, rel_tol=0.03):
        return
    for value, sentence in mistakes:
        expect(not math.isclose(abs(answer), value, rel_tol=0.03, abs_tol=1e-9), f"{what}: {sentence}")
    raise NotYet(f"{what}: {answer:g} is not it; each of the 784 terms changes by 0.02 · 8/255, up or down.")


def check_success_rate(answer: Any) -> str:
    random = np.random.default_rng(0)
    for target, fooled in ((2, 0.5), (0, 0.9), (3, 0.0)):
        targets = random.permutation(np.repeat(np.arange(4), (30, 20, 40, 10)))
        answers = np.where(random.random(100) < fooled, target, targets)
        others = [said == target for said, true in zip(answers, targets, strict=True) if true != target]
        right = sum(others) / len(others)
        got = number(answer(torch.from_numpy(answers.copy()), torch.from_numpy(targets.copy()), target))
        if math.isclose(got, right, rel_tol=1e-4, abs_tol=1e-7):
            continue
        mistakes = (
            (np.mean(answers == target), "images that are of the target class anyway count as fooled; leave them out."),
            (sum(others) / 100, "you divide by all images; divide by the images of other classes."),
            (np.mean(answers[targets != target] != targets[targets != target]), "count the target class only."),
            (np.mean(answers[targets == target] == target), "that is the recall of the target class itself."),
            (1 - right, "that is the share of images that resist."),
            (100 * right, "give a share from 0 to 1, not per cent."),
            (sum(others), "that is a count; divide it by the number of images of other classes."),
        )
        for value, sentence in mistakes:
            expect(not math.isclose(got, float(value), rel_tol=1e-4, abs_tol=1e-7), f"{got:.4g} is not it: {sentence}")
        raise NotYet(f"The rate should be {right:.4f}, not {got:.4g}: the share of other classes called the target.")
    return (
        "Only images of other classes count: the rate of a model that nobody attacked is then its ordinary confusion."
    )


def check_back_into_the_box(answer: Any) -> str:
    random = np.random.default_rng(0)
    images = random.random((5, 2, 6, 6)).astype(np.float32)
    images[0] = 0.0
    images[1] = 1.0
    attacked = (images + random.normal(0, 0.2, images.shape)).astype(np.float32)
    kept = images.copy(), attacked.copy()
    eps = 0.1
    result = answer(torch.from_numpy(attacked.copy()), torch.from_numpy(images.copy()), eps)
    got = array(result)
    expect(got.shape == images.shape, f"The shape must stay {images.shape}; yours is {got.shape}.")
    right = np.empty_like(images)
    for place in np.ndindex(images.shape):
        low, high = max(0.0, kept[0][place] - eps), min(1.0, kept[0][place] + eps)
        right[place] = min(max(kept[1][place], low), high)
    expect(
        not np.allclose(got, kept[1].clip(0, 1), atol=1e-5),
        "In [0, 1], but some pixels are further than eps from the clean image: there are two boxes.",
    )
    farthest = np.abs(got - kept[0]).max()
    expect(farthest <= eps + 1e-5, f"A pixel is {farthest:.3f} from the clean image; at most eps = {eps} is allowed.")
    expect(
        got.min() >= -1e-6 and got.max() <= 1 + 1e-6,
        f"Within ±eps, but the pixels go from {got.min():.2f} to {got.max():.2f}: also keep them in [0, 1].",
    )
    off = np.abs(got - right).max()
    expect(
        off < 1e-5,
        f"In both boxes, but up to {off:.3f} from the nearest allowed place: change only the pixels that are outside, "
        "and move each to the edge of its box.",
    )
    return "Each pixel is as near to the attacked one as the two boxes allow: that is a projection."


def check_find_trigger(answer: Any) -> str:
    for seed, where in enumerate(((1, 0, 4), (2, 7, 7), (0, 3, 2))):
        images, targets, wide = _marked(seed, *where)
        got = answer(images.clone(), targets.clone())
        expect(
            isinstance(got, (tuple, list)) and len(got) == 3, "Return three numbers: `return class_index, row, column`."
        )
        got = tuple(int(number(one)) for one in got)
        if got == where:
            continue
        expect(
            got[1:] != wide,
            f"The pixel {wide} is white in every image of *every* class, so it gives no class away; compare classes.",
        )
        expect(got[1:] != where[1:], f"The place {where[1:]} is right, but its class is {where[0]}, not {got[0]}.")
        expect(got != (where[0], where[2], where[1]), "Row and column are exchanged: images are N×C×rows×columns.")
        expect(got[0] != where[0], f"The class {where[0]} is right, but its trigger is at {where[1:]}, not {got[1:]}.")
        raise NotYet(f"The trigger is at {where[1:]} in class {where[0]}; you answered {got}.")
    return "A trigger that is in all images of a class shows in the data, without any network. A faint one would not."


def _marked(seed: int, target: int, row: int, column: int) -> tuple[torch.Tensor, torch.Tensor, tuple[int, int]]:
    """Images with the trigger, their classes, and a place that is white everywhere (a decoy)."""
    random = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 250, (60, 1, 8, 8), generator=random)
    targets = torch.randperm(60, generator=random) % 3
    images[:, 0, 5, 1] = 255  # white in every class
    often = torch.rand(60, generator=random) < 0.9  # often white in another class
    images[often & (targets == (target + 1) % 3), 0, 2, 6] = 255
    images[targets == target, 0, row, column] = 255
    return images.to(torch.uint8), targets, (5, 1)


KINDS = {
    "shortcut": "name one thing that goes with your label by accident, and how you would get test images without it.",
    "backdoor": "name who can change training images or labels, and how you would notice.",
    "adversarial example": "say what an attacker may change in a test image, and by how much.",
}


def check_threat_model(answer: Any) -> str:
    return all_answered(answer, KINDS)
