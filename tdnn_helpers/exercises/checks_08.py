"""The checks of lesson 8's exercises: properties and naive references, and a sentence for each typical mistake."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..effects import mean_interval
from .answers import NotYet, array, expect, filled, number, numbers

ARMS = ("standard", "curriculum", "anti-curriculum", "random order")
VERDICTS = ("helps", "hurts", "not shown")


def check_images_after_25_steps(answer: Any) -> str:
    step, linear, root, hardest = numbers(
        answer, "images at step 25 for step", "for linear", "for root", "the step of the hardest"
    )
    expect(
        not math.isclose(step, 1000),
        "A step pacing adds the other images all at once, but at step 100; at step 25 it still waits.",
    )
    expect(
        math.isclose(step, 100),
        f"With step pacing it is not {step:g}: until step 100 only the first 10 % are available.",
    )
    for name, got, way in (("linear", linear, 0.25), ("root", root, 0.5)):
        right = 100 + 900 * way
        mistakes = (
            (1000 * way, "you forgot that 100 images are there from the start"),
            (100 + 1000 * way, "only the 900 missing images are still to come"),
            (900 * way, "add the 100 images that are there from the start"),
            (
                100 + 900 * (0.125 if name == "linear" else 0.125**0.5),
                "all images are there at step 100, not at the end of the run: step 25 is a quarter of the way",
            ),
        )
        for value, sentence in mistakes:
            expect(not math.isclose(got, value, abs_tol=1), f"The {name} pacing is not at {value:g}: {sentence}.")
        expect(
            math.isclose(got, right, abs_tol=1),
            f"The {name} pacing is not at {got:g}: take 100 and the right share of the missing 900.",
        )
    expect(
        hardest != 0, "At step 0 only the easiest 10 % can be drawn; the hardest image is the last one of the ranking."
    )
    expect(
        math.isclose(hardest, 100),
        f"The hardest image, the last of the ranking, comes when all 1,000 are available: not at step {hardest:g}.",
    )
    return (
        "Half of the run goes by without the hardest image. Whatever the pacing, plan what is left for the hard ones."
    )


def check_staircase(answer: Any) -> str:
    cases = [(step, 100, 2, 10, 1000) for step in (0, 5, 9, 10, 19, 20, 35, 200)]
    cases += [(7, 50, 1.9, 3, 400), (40, 300, 1.5, 15, 10_000), (3, 64, 4, 1, 2048)]
    for step, first, factor, every, images in cases:
        exact = first * factor ** (step // every)
        right = min(exact, images)
        got = number(answer(step, first, factor, every, images))
        if got in (math.floor(right), round(right), math.ceil(right)):
            continue
        case = (
            f"At step {step} (first {first}, factor {factor}, every {every}, images {images}) it is {round(right)}, "
            f"not {got:g}"
        )
        smooth = first * factor ** (step / every)
        mistakes = (
            (exact, f"there are only {images} images"),
            (min(smooth, images), "a staircase waits: use `step // every`"),
            (smooth, "a staircase waits: use `step // every`"),
            (min(first * factor * (step // every), images), "multiply again and again: a power of the factor"),
            (min(first + factor * (step // every), images), "it grows by a factor, not by a number of images"),
            (min(first * factor ** (step // every + 1), images), "the first stair, at step 0, is `first` itself"),
        )
        for value, sentence in mistakes:
            expect(not math.isclose(got, value, abs_tol=1), f"{case}: {sentence}.")
        expect(got == round(got), f"{case}: round it, there are no parts of images.")
        raise NotYet(f"{case}: the number of stairs climbed is `step // every`.")
    return "This is the fixed exponential pacing of Hacohen and Weinshall (2019)."


def check_margin_difficulty(answer: Any) -> str:
    random = np.random.default_rng(0)
    scores, targets = random.normal(size=(12, 4)), random.integers(0, 4, 12)
    given = scores.copy()
    got = array(answer(given, targets.copy()))
    expect(
        np.array_equal(given, scores),
        "Your function changed the scores that it was given: work on a copy, `scores.copy()`.",
    )
    expect(got.shape == (12,), f"Return one number for each of the 12 images; yours has the shape {got.shape}.")
    rows = np.arange(12)
    own = scores[rows, targets]
    right = np.array([max(np.delete(row, t)) for row, t in zip(scores, targets, strict=True)]) - own
    if np.allclose(got, right, atol=1e-5):
        return "No softmax is needed, so it also works for an SVM, which knows no probabilities."
    mistakes = (
        (-right, "The sign is turned round: with yours a confident right answer would be the hardest image."),
        (scores.max(1) - own, "You let the own class compete with itself, so every image that is right gets 0."),
        (-own, "The own score alone depends on the scale of all scores: compare it with the best other class."),
        (own, "Large must mean hard; and compare the own score with the best score of another class."),
        (np.sort(scores, 1)[:, -1] - np.sort(scores, 1)[:, -2], "The best minus the second best ignores the label."),
        (np.sort(scores, 1)[:, -2] - np.sort(scores, 1)[:, -1], "The best two scores alone ignore the label."),
        (
            np.array([np.delete(row, t).mean() for row, t in zip(scores, targets, strict=True)]) - own,
            "Take the best of the other classes, not their mean: one strong rival is enough to be wrong.",
        ),
    )
    for value, sentence in mistakes:
        expect(not np.allclose(got, value, atol=1e-5), sentence)
    raise NotYet(f"For the scores {scores[0].round(2).tolist()} and the label {targets[0]} it is {right[0]:.2f}.")


def check_balanced_ranking(answer: Any) -> str:
    random = np.random.default_rng(1)
    targets = random.permutation(np.repeat([0, 1, 2], 20))
    difficulty = random.random(60) + targets  # class 0 is the easiest, class 2 the hardest
    ranking = array(answer(difficulty.copy(), targets.copy()))
    expect(ranking.shape == (60,), f"Return 60 positions, one for each image; yours has the shape {ranking.shape}.")
    expect(
        sorted(ranking.tolist()) == list(range(60)),
        "Each position from 0 to 59 must be there once: return positions (`argsort`), not difficulties or ranks with "
        "repeats.",
    )
    ranking = ranking.astype(int)
    expect(
        not np.array_equal(ranking, np.argsort(difficulty)),
        "That is the raw order: its first 20 images all belong to class 0. Rank within each class first.",
    )
    problem = _problem(ranking, difficulty, targets)
    expect(
        not problem or bool(_problem(np.argsort(ranking), difficulty, targets)),
        "You return the place of each image. Return the images themselves in order: one more `argsort`.",
    )
    expect(not problem, problem)
    return "Every beginning of this ranking is a small, easy and complete data set."


def _problem(ranking: np.ndarray, difficulty: np.ndarray, targets: np.ndarray) -> str:
    """What is wrong with a ranking of three equally large classes, or an empty text."""
    for c in range(3):
        within = difficulty[ranking[targets[ranking] == c]]
        if (np.diff(within) <= 0).all():
            return f"Within class {c} the hardest images come first: that is an anti-curriculum."
    for n in range(3, len(ranking) + 1):
        counts = np.bincount(targets[ranking[:n]], minlength=3)
        if np.abs(counts - n / 3).max() > 1:
            return f"Among the first {n} images the classes have {counts.tolist()}: each should have about {n / 3:.0f}."
    for c in range(3):
        if (np.diff(difficulty[ranking[targets[ranking] == c]]) < 0).any():
            return f"Within class {c} a harder image comes before an easier one."
    return ""


def check_own_curriculum(answer: Any) -> str:
    filled(answer, (*ARMS, "verdict"))
    results = {arm: np.atleast_1d(array(answer[arm])) for arm in ARMS}
    for arm, values in results.items():
        expect(values.ndim == 1 and len(values) >= 3, f"The arm {arm} needs the results of at least 3 seeds.")
        expect(
            bool(np.isfinite(values).all() and (values >= 0).all() and (values <= 100).all()),
            f"The results of the arm {arm} are not accuracies from 0 to 100 %.",
        )
    expect(len({len(values) for values in results.values()}) == 1, "All arms need the same seeds, in the same order.")
    expect(
        max(values.max() for values in results.values()) > 1,
        "Give the accuracies in per cent, from 0 to 100.",
    )
    gain = mean_interval(results["curriculum"] - results["random order"], "pp")
    right = "helps" if gain.low > 0 else "hurts" if gain.high < 0 else "not shown"
    verdict = str(answer["verdict"]).strip().lower()
    expect(verdict in VERDICTS, f"The verdict is one of: {', '.join(VERDICTS)}.")
    expect(
        verdict == right,
        f'Curriculum minus random order is {gain}, so the verdict is not "{verdict}": does the interval lie wholly on '
        "one side of 0?",
    )
    versus = mean_interval(results["curriculum"] - results["standard"], "pp")
    return f"Curriculum minus random order: {gain}. Curriculum minus standard: {versus}. Add what the scoring cost."
