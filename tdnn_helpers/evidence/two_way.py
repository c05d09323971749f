"""Intervals where more is random than the seed: the test images, the families that they come in, the split itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..core.choices import check_known
from .bank import unpacked
from .effects import LEVEL, Effect, from_runs, mean_interval

if TYPE_CHECKING:
    import pandas as pd


def over_images(
    runs: pd.DataFrame, treatment: str, control: str, answers: str = "test right", *, groups: Sequence | None = None
) -> Effect:
    """Treatment minus control, in percentage points, of the share of right answers; seeds *and* test images are random
    (:func:`crossed`). Every run must have been asked the same images.

    Args:
        runs: from :func:`tdnn_helpers.evidence.compare`, of arms that recorded booleans for each image.
        answers: under which name: "test right" for ``history.record("test", right=...)``.
        groups: as for :func:`crossed`.

    Raises ValueError for an unknown arm, runs without such answers, or fewer than two seeds that both arms finished.
    """
    for arm in (treatment, control):
        check_known(arm, runs["arm"].unique(), "arm")
    found = {job: kept[answers] for job, kept in runs.attrs["answers"].items() if answers in kept}
    seeds = {arm: {seed for name, seed in found if name == arm} for arm in (treatment, control)}
    both = sorted(seeds[treatment] & seeds[control])
    if len(both) < 2:
        raise ValueError(f'"{treatment}" and "{control}" share {len(both)} seed(s) with answers "{answers}".')
    one, other = (np.array([unpacked(found[arm, seed]) for seed in both], float) for arm in (treatment, control))
    split, _, metric = answers.partition(" ")
    what = f"{treatment} − {control}, {split} {'accuracy' if metric == 'right' else metric}"
    effect = crossed(100 * (one - other), "pp", what, groups=groups)
    effect = replace(effect, dropped=len(runs["seed"].unique()) - len(both))
    return from_runs(effect, runs, treatment, control)


def crossed(gaps: np.ndarray, unit: str = "", what: str = "", *, groups: Sequence | None = None) -> Effect:
    """The mean of a table seeds × test images and its 95 % interval, where both are samples of many.

    An interval over seeds alone speaks of these test images only: with a few hundred of them and an effect of a point
    or two, other images would often have given the other sign. Variance components of a two-way table without
    repeats, with Satterthwaite's degrees of freedom (Biometrics Bulletin 2, 1946).

    Args:
        gaps: S×I, treatment minus control for each seed and test image, such as ``100 * (right_a - right_b)``.
        groups: for each image the object that it shows (a family, a patient); then objects are the sample and not
            images. Objects of unequal size count by their size.

    Returns:
        The effect; its ``n`` is the number of seeds.

    Raises ValueError for fewer than two seeds, images or objects, groups of another length, a value that is not finite.
    """
    from scipy.special import stdtrit

    table = np.asarray(gaps, dtype=float)
    if table.ndim != 2 or min(table.shape) < 2 or not np.isfinite(table).all():
        raise ValueError(
            f"a table of at least 2 seeds × 2 images of finite numbers is needed, not shape {table.shape}."
        )
    mean = table.mean()
    if groups is not None:
        table = _by_object(table, np.asarray(groups))
    seeds, columns = table.shape
    of_seed, of_column = table.mean(1, keepdims=True) - mean, table.mean(0, keepdims=True) - mean
    rest = table - mean - of_seed - of_column
    squares = {  # mean squares and their degrees of freedom
        "seed": (columns * (of_seed**2).sum() / (seeds - 1), seeds - 1),
        "image": (seeds * (of_column**2).sum() / (columns - 1), columns - 1),
        "rest": ((rest**2).sum() / ((seeds - 1) * (columns - 1)), (seeds - 1) * (columns - 1)),
    }
    total = squares["seed"][0] + squares["image"][0] - squares["rest"][0]
    one_way = max(squares["seed"], squares["image"])
    if total > one_way[0]:
        freedom = total**2 / sum(square**2 / number for square, number in squares.values())
    else:  # one of the two components is estimated below zero: it is taken for none
        total, freedom = one_way
    half = stdtrit(freedom, (1 + LEVEL) / 2) * math.sqrt(total / table.size)
    return Effect(float(mean), float(mean - half), float(mean + half), seeds, unit, what, freedom=float(freedom))


def _by_object(table: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Seeds × objects with the same mean: each object's part of a mean over images (linearised, as for a ratio)."""
    if len(groups) != table.shape[1]:
        raise ValueError(f"groups needs one entry for each of the {table.shape[1]} images, not {len(groups)}.")
    _, codes = np.unique(groups, return_inverse=True)
    member = np.eye(codes.max() + 1)[codes]  # I×U, 1 where the image shows the object
    if member.shape[1] < 2:
        raise ValueError("all images show one object: that is a sample of one.")
    mean = table.mean()
    return mean + (table - mean) @ member * member.shape[1] / len(groups)


def resplit(values: Sequence[float], train: int, test: int, unit: str = "", what: str = "") -> Effect:
    """The mean over repeated random splits of the same few objects, and its 95 % interval.

    The splits share objects, so that Student's interval is far too narrow. The variance is therefore multiplied by
    1 + J · test / train for J splits (Nadeau and Bengio, Machine Learning 52, 2003), which is rather cautious.

    Args:
        values: one for each split.
        train, test: objects in each of the two parts, at least one.

    Raises ValueError for fewer than two splits, a value that is not finite, or an empty part.
    """
    if train < 1 or test < 1:
        raise ValueError(f"both parts of a split hold objects, not {train} and {test}.")
    plain = mean_interval(values, unit, what)
    factor = math.sqrt(1 + plain.n * test / train)
    low, high = (plain.mean + factor * (end - plain.mean) for end in (plain.low, plain.high))
    return Effect(plain.mean, low, high, plain.n, unit, what)
