"""Exercises of lesson 8: curricula."""

from __future__ import annotations

import numpy as np

from ..evidence.effects import mean_interval
from .answers import array, expect, filled, number
from .blocks import exercise


@exercise(
    "8.1 predict four numbers of a pacing",
    value="(None, None, None, None)  # step, linear, root; first step of the hardest",
    hint="Step 25 is a quarter of the way to step 100. A linear pacing has then added a quarter of the missing 900 "
    "images.",
    hint2="A root pacing has added the square root of a quarter of them; a step pacing adds all at once, at step 100.",
    within=0.002,
    right="Half of the run goes by without the hardest image. Whatever the pacing, plan what is left for the hard "
    "ones.",
)
def images_after_25_steps():
    """1,000 images, 10 % at the start, all of them from step 100 on; step 25 is a quarter of the way."""
    way = 25 / 100
    step = 100
    linear = 100 + 900 * way
    root = 100 + 900 * way**0.5
    hardest = 100  # before all images are available, the hardest one cannot be drawn
    return step, linear, root, hardest


part, START = images_after_25_steps.part, "100 images are there from the start."
part("step", "until step 100 only the first 10 % are available.", (1000, "at step 25 it still waits for step 100."))
for pacing, way, way_of_run in (("linear", 0.25, 0.125), ("root", 0.25**0.5, 0.125**0.5)):
    missing = (100 + 1000 * way, "only the 900 missing images are still to come.")
    run = (100 + 900 * way_of_run, "all are there at step 100, not at the end: step 25 is a quarter of the way.")
    part(pacing, "add to 100 the right share of 900.", (1000 * way, START), (900 * way, START), missing, run)
part("first step of the hardest", "it must wait for all 1,000.", (0, "only the easiest 10 % can be drawn there."))


@exercise(
    "8.2 a staircase",
    hint="`step // every` counts how often the number has grown.",
    hint2="Multiply `first` by `factor` that many times, and use `min` for the end.",
    cases=(  # of 18,061 images one may be missing: rounded up or down
        *((step, 100, 2, 10, 1000) for step in (0, 5, 9, 10, 19, 20, 35, 200)),
        *((7, 5003, 1.9, 3, 40_000), (40, 300, 1.5, 15, 10_000), (3, 64, 4, 1, 2048)),
    ),
    check=lambda answer: expect(number(answer(7, 5003, 1.9, 3, 40_000)) % 1 == 0, "Round it: images have no parts."),
    otherwise="the number of stairs climbed is `step // every`.",
    right="This is the fixed exponential pacing of Hacohen and Weinshall (2019).",
)
def staircase(step, first, factor, every, images):
    """How many images are available: first, then factor times as many after every so many steps.

    step: 0, 1, 2, … The number is rounded to a whole one and never exceeds images.
    """
    return min(round(first * factor ** (step // every)), images)


STAIRS = "a staircase waits: use `step // every`."
staircase.mistakes(
    (lambda s, first, factor, e, n: first * factor ** (s // e), "there are only so many images: use `min`."),
    (lambda s, first, factor, e, n: min(first * factor ** (s / e), n), STAIRS),
    (lambda s, first, factor, e, n: first * factor ** (s / e), STAIRS),
    (lambda s, first, factor, e, n: min(first * factor * (s // e), n), "multiply again and again: a power of factor."),
    (lambda s, first, factor, e, n: min(first + factor * (s // e), n), "it grows by a factor, not by a number."),
    (lambda s, first, factor, e, n: staircase(s + e, first, factor, e, n), "the first stair is `first` itself."),
)


def check_copy(answer):
    scores = np.eye(3)
    answer(scores, np.array([0, 2, 1]))
    expect((scores == np.eye(3)).all(), "Your function changed the scores that it was given: use `scores.copy()`.")


@exercise(
    "8.3 difficulty from a margin",
    hint="`scores[np.arange(len(targets)), targets]` is the score of each image's own class.",
    hint2="For the best *other* class, set the own score to minus infinity in a copy, then take the maximum of each "
    "row.",
    cases=[(np.random.default_rng(0).normal(size=(12, 4)), np.arange(12) % 4)],
    check=check_copy,
    otherwise="it is the best score of another class minus that of the own.",
    right="No softmax is needed, so it also works for an SVM, which knows no probabilities.",
)
def margin_difficulty(scores, targets):
    """How hard each image is: the best score of another class minus the score of its own.

    scores: float (N, C), one row per image. targets: int (N,). Returns float (N,),
    above 0 where the image is misclassified. Both are NumPy arrays.
    """
    rows = np.arange(len(targets))
    own = scores[rows, targets]
    others = scores.copy()
    others[rows, targets] = -np.inf
    return others.max(axis=1) - own


SCALE = "The own score depends on the scale of all scores; compare it with the best other."
margin_difficulty.mistakes(
    (lambda s, t: -margin_difficulty(s, t), "The sign is turned round: a confident right answer would be hardest."),
    (lambda s, t: s.max(1) - s[range(12), t], "You let the own class compete with itself: all that is right gets 0."),
    (lambda s, t: -s[range(12), t], SCALE),
    (lambda s, t: s[range(12), t], "Large must mean hard; and compare the own score with the best other one."),
    (lambda s, t: np.ptp(np.sort(s)[:, 2:], 1), "The best minus the second best ignores the label."),
    (lambda s, t: -np.ptp(np.sort(s)[:, 2:], 1), "The best two scores alone ignore the label."),
    (lambda s, t: (s.sum(1) - 4 * s[range(12), t]) / 3, "Take the best of the other classes, not their mean."),
)


def check_ranking(answer):
    random = np.random.default_rng(1)
    targets = random.permutation(np.repeat([0, 1, 2], 20))
    difficulty = random.random(60) + targets  # class 0 is the easiest, class 2 the hardest
    ranking = array(answer(difficulty.copy(), targets.copy()))
    each_once = ranking.shape == (60,) and set(ranking) == set(range(60))
    expect(each_once, "Return each of the 60 positions once, 0 to 59 (`argsort`), not difficulties, and not ranks.")
    ranking = ranking.astype(int)
    raw = (ranking == np.argsort(difficulty)).all()
    expect(not raw, "That is the raw order: its first 20 images all belong to class 0. Rank within each class first.")
    wrong = what_is_wrong(ranking, difficulty, targets)
    places = wrong and not what_is_wrong(np.argsort(ranking), difficulty, targets)
    expect(not places, "That is the place of each image; return the images themselves in order: one more `argsort`.")
    expect(not wrong, wrong)


def what_is_wrong(ranking, difficulty, targets):
    """Of a ranking of three equally large classes; an empty text if nothing is."""
    harder = np.array([np.diff(difficulty[ranking[targets[ranking] == c]]) for c in range(3)]) > 0
    if not harder.any(axis=1).all():
        return "Within a class the hardest images come first: that is an anti-curriculum."
    for n in range(3, len(ranking) + 1):
        counts = np.bincount(targets[ranking[:n]], minlength=3)
        if np.abs(counts - n / 3).max() > 1:
            return f"Among the first {n} images the classes have {counts.tolist()}: each should have about {n / 3:.0f}."
    return "" if harder.all() else "Within a class a harder image comes before an easier one."


@exercise(
    "8.4 an easy beginning with all classes in it",
    hint="First rank the images of each class among themselves: the easiest gets 0, the next 1, …",
    hint2="Then sort all images by this rank: first the easiest of each class, then the second easiest of each, …",
    check=check_ranking,
    write_it=("easy_first",),
    right="Every beginning of this ranking is a small, easy and complete data set.",
)
def balanced_ranking(difficulty, targets):
    """Positions of all images, the easiest first, with the classes mixed evenly.

    difficulty: float (N,). targets: int (N,); all classes have the same number of
    images. Of the first n images of the ranking, each class has n / C, give or take
    one. Both are NumPy arrays; returns N positions.
    """
    rank_in_class = np.empty(len(targets), dtype=int)
    for c in np.unique(targets):
        members = np.flatnonzero(targets == c)
        rank_in_class[members[np.argsort(difficulty[members])]] = np.arange(len(members))
    return np.argsort(rank_in_class, kind="stable")


def check_results(answer):
    filled(answer, own_curriculum())
    results = {arm: np.atleast_1d(array(values)) for arm, values in answer.items() if arm != "verdict"}
    for arm, values in results.items():
        expect(values.ndim == 1 and len(values) >= 3, f"The arm {arm} needs the results of at least 3 seeds.")
        expect(((values >= 0) & (values <= 100)).all(), f"The results of {arm} are no accuracies from 0 to 100 %.")
    expect(len(set(map(len, results.values()))) == 1, "All arms need the same seeds, in the same order.")
    expect(np.max([*results.values()]) > 1, "Give the accuracies in per cent, from 0 to 100.")
    verdict = str(answer["verdict"]).strip().lower()
    expect(verdict in ("helps", "hurts", "not shown"), "The verdict is one of: helps, hurts, not shown.")
    gain, versus = (mean_interval(results["curriculum"] - results[arm], "pp") for arm in ("random order", "standard"))
    follows = verdict == ("helps" if gain.low > 0 else "hurts" if gain.high < 0 else "not shown")
    why = f'so the verdict is not "{verdict}": does the interval lie wholly on one side of 0?'
    expect(follows, f"Curriculum minus random order is {gain}, {why}")
    return f"Curriculum minus random order: {gain}. Curriculum minus standard: {versus}. Add what the scoring cost."


@exercise(
    "8.5 a curriculum of your own, and its verdict",
    value="""{
    "standard": None,
    "curriculum": None,
    "anti-curriculum": None,
    "random order": None,
    "verdict": "",
}  # test accuracies (%), one per seed; helps, hurts or not shown""",
    hint="Four arms, the same seeds in each, the same number of updates, and a learning rate chosen for each.",
    hint2='`mean_interval` of the differences, curriculum minus random order, decides: "helps" if it lies wholly '
    'above 0, "hurts" if wholly below, else "not shown".',
    check=check_results,
    open=True,
)
def own_curriculum():
    """An example: three seeds on a set of moth photographs, each arm at its own learning rate."""
    return {
        "standard": [81.2, 80.5, 81.9],
        "curriculum": [81.0, 81.1, 81.4],
        "anti-curriculum": [79.8, 79.1, 80.9],
        "random order": [81.4, 80.2, 81.7],
        "verdict": "not shown",
    }
