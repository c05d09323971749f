"""Exercises of lesson 8: curricula. The solutions are what a reader unfolds."""

from __future__ import annotations

import numpy as np

from . import checks_08
from . import old_exercise as Exercise


def images_after_25_steps():
    """1,000 images, 10 % at the start, all of them from step 100 on; step 25 is a quarter of the way."""
    way = 25 / 100
    step = 100
    linear = 100 + 900 * way
    root = 100 + 900 * way**0.5
    hardest = 100  # before all images are available, the hardest one cannot be drawn
    return step, linear, root, hardest


def staircase(step, first, factor, every, images):
    """How many images are available: first, then factor times as many after every so many steps.

    step: 0, 1, 2, … The number is rounded to a whole one and never exceeds images.
    """
    return min(round(first * factor ** (step // every)), images)


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


def own_curriculum():
    """An example: three seeds on a set of moth photographs, each arm at its own learning rate."""
    return {
        "standard": [81.2, 80.5, 81.9],
        "curriculum": [81.0, 81.1, 81.4],
        "anti-curriculum": [79.8, 79.1, 80.9],
        "random order": [81.4, 80.2, 81.7],
        "verdict": "not shown",
    }


EXERCISES = (
    Exercise(
        "8.1",
        "predict four numbers of a pacing",
        checks_08.check_images_after_25_steps,
        (
            "Step 25 is a quarter of the way to step 100. A linear pacing has then added a quarter of the missing 900 "
            "images.",
            "A root pacing has added the square root of a quarter of them; a step pacing adds all at once, at step "
            "100.",
        ),
        images_after_25_steps,
        value="(None, None, None, None)  # step, linear, root; first step of the hardest",
    ),
    Exercise(
        "8.2",
        "a staircase",
        checks_08.check_staircase,
        (
            "`step // every` counts how often the number has grown.",
            "Multiply `first` by `factor` that many times, and use `min` for the end.",
        ),
        staircase,
    ),
    Exercise(
        "8.3",
        "difficulty from a margin",
        checks_08.check_margin_difficulty,
        (
            "`scores[np.arange(len(targets)), targets]` is the score of each image's own class.",
            "For the best *other* class, set the own score to minus infinity in a copy, then take the maximum of each "
            "row.",
        ),
        margin_difficulty,
    ),
    Exercise(
        "8.4",
        "an easy beginning with all classes in it",
        checks_08.check_balanced_ranking,
        (
            "First rank the images of each class among themselves: the easiest gets 0, the next 1, …",
            "Then sort all images by this rank: first the easiest of each class, then the second easiest of each, …",
        ),
        balanced_ranking,
    ),
    Exercise(
        "8.5",
        "a curriculum of your own, and its verdict",
        checks_08.check_own_curriculum,
        (
            "Four arms, the same seeds in each, the same number of updates, and a learning rate chosen for each.",
            '`mean_interval` of the differences, curriculum minus random order, decides: "helps" if it lies wholly '
            'above 0, "hurts" if wholly below, else "not shown".',
        ),
        own_curriculum,
        value="{\n"
        + "".join(f'    "{arm}": None,\n' for arm in checks_08.ARMS)
        + '    "verdict": "",\n}  # test accuracies (%), one per seed; helps, hurts or not shown',
    ),
)
