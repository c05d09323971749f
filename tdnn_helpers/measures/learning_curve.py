"""How much data do I need? Measure a learning curve, fit a power law to it, and extrapolate it with an interval.

The error of a trained model falls with the number n of training images roughly as ``floor + scale · n ** −rate``
(Hestness et al., arXiv 1712.00409; Viering and Loog, arXiv 2103.10948). The fit says nothing about images of another
kind than those measured, and little far beyond the largest measured size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..data.split import Split
from ..evidence.comparison import ArmsFailed, compare
from ..evidence.effects import LEVEL, Effect, mean_interval

RATES = np.geomspace(0.02, 2, 600)  # tried by the fit; measured curves lie between 0.05 and 1
FARTHEST = 100  # no forecast for more than this many times the largest measured size


@dataclass(frozen=True)
class PowerLaw:
    """error(n) = floor + scale · n ** −rate, with floor ≥ 0, scale ≥ 0 and rate > 0. Call it with one or many n."""

    floor: float
    scale: float
    rate: float

    def __call__(self, n):
        return self.floor + self.scale * np.asarray(n, dtype=float) ** -self.rate


def fit_power_law(sizes: Sequence[float], errors: Sequence[float]) -> PowerLaw:
    """The power law with the smallest sum of squared *relative* deviations from these errors.

    With three sizes the floor is 0, because three numbers through three points would be no fit. For each of many rates,
    floor and scale follow from linear least squares with both kept from going below 0; the best rate wins.

    Args:
        sizes: K ≥ 3 different numbers of training images. errors: K positive errors, lower is better.

    Raises:
        ValueError: fewer than three sizes, lengths that differ, or an error that is not a positive number.
    """
    n, e = np.asarray(sizes, dtype=float), np.asarray(errors, dtype=float)
    if n.ndim != 1 or n.shape != e.shape or len(set(n)) < max(3, len(n)):
        raise ValueError(f"a power law needs at least 3 different sizes with one error each, not {sizes} and {errors}.")
    if not (np.isfinite(e) & (e > 0)).all() or n.min() <= 0:
        raise ValueError(
            f"sizes and errors must be positive, but the errors are {np.round(e, 4).tolist()}: give errors, not "
            "accuracies, and hold out more images if a model makes no error at all on those it is tested on."
        )
    # Least squares of floor · u + scale · x = 1, for all rates at once; n / n[0] keeps the numbers near 1.
    x = (n / n[0]) ** -RATES[:, None] / e
    u = np.broadcast_to(1 / e, x.shape)
    uu, ux, xx, u1, x1 = ((a * b).sum(1) for a, b in ((u, u), (u, x), (x, x), (u, 1), (x, 1)))
    determinant = uu * xx - ux**2
    floor, scale = (u1 * xx - x1 * ux) / determinant, (x1 * uu - u1 * ux) / determinant
    straight, flat = (floor < 0) | (len(n) == 3), scale < 0
    floor, scale = np.where(straight, 0, floor), np.where(straight, x1 / xx, scale)
    floor, scale = np.where(flat & ~straight, u1 / uu, floor), np.where(flat & ~straight, 0, scale)
    best = int(((floor[:, None] * u + scale[:, None] * x - 1) ** 2).sum(1).argmin())
    rate = float(RATES[best])
    return PowerLaw(float(floor[best]), float(scale[best] * n[0] ** rate), rate)


@dataclass(frozen=True)
class Need:
    """A number of training images: the likely one, and the 95 % range. ``math.inf``: not within the reach of the fit,
    which is ``reach`` images."""

    low: float
    likely: float
    high: float
    reach: int

    def __str__(self) -> str:
        low, likely, high = (
            f"{number:,.0f}" if math.isfinite(number) else f"more than {self.reach:,}"
            for number in (self.low, self.likely, self.high)
        )
        return f"{likely} images [{low}, {high}]"


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """Errors measured at several sizes, and what a power law through them says about other sizes.

    Attributes:
        sizes: K increasing numbers of training images.
        errors: float S×K, one row per seed; a row's training sets are nested, or at least share their test images, so
            rows and not single numbers are the independent repeats.

    Raises ValueError for fewer than 3 sizes or seeds, sizes that do not increase, another shape, or errors that are not
    finite, or whose mean is 0 at some size.
    """

    sizes: tuple[int, ...]
    errors: np.ndarray

    def __post_init__(self):
        object.__setattr__(self, "sizes", tuple(int(n) for n in self.sizes))
        object.__setattr__(self, "errors", np.asarray(self.errors, dtype=float))
        _check_sizes(self.sizes)
        if self.errors.ndim != 2 or self.errors.shape[1] != len(self.sizes) or len(self.errors) < 3:
            raise ValueError(
                f"errors must be seeds × sizes with at least 3 seeds and {len(self.sizes)} sizes, "
                f"but their shape is {self.errors.shape}."
            )
        fit_power_law(self.sizes, self.errors.mean(0))  # complains about errors that no law fits

    @cached_property
    def law(self) -> PowerLaw:
        """The power law through the mean error of each size."""
        return fit_power_law(self.sizes, self.errors.mean(0))

    @cached_property
    def _without_one(self) -> list[PowerLaw]:
        """The law without the first seed, without the second, …: the jackknife's replicates."""
        return [fit_power_law(self.sizes, np.delete(self.errors, s, axis=0).mean(0)) for s in range(len(self.errors))]

    @cached_property
    def _miss(self) -> float:
        """By how much the law of all sizes but the last missed the last: in logarithms, per unit of log n."""
        (*_, n0, n1, n2), (*_, e0, e1, e2) = np.log(self.sizes), np.log(self.errors.mean(0))
        if len(self.sizes) == 3:  # two sizes know only a straight line
            forecast = e1 + (e1 - e0) / (n1 - n0) * (n2 - n1)
        else:
            forecast = np.log(fit_power_law(self.sizes[:-1], self.errors.mean(0)[:-1])(self.sizes[-1]))
        return float(abs(e2 - forecast) / (n2 - n1))

    def measured(self) -> list[Effect]:
        """The mean error at each size, with its 95 % interval over seeds."""
        return [mean_interval(column, what=f"error at {n:,} images") for n, column in zip(self.sizes, self.errors.T)]

    def first(self, k: int) -> LearningCurve:
        """The curve as you knew it after the first ``k`` sizes. ValueError for fewer than 3 or more than there are."""
        if not 3 <= k <= len(self.sizes):
            raise ValueError(f"this curve has {len(self.sizes)} sizes: take from 3 to {len(self.sizes)}, not {k}.")
        return LearningCurve(self.sizes[:k], self.errors[:, :k])

    def at(self, n: float) -> Effect:
        """The mean error to expect with ``n`` images, with its 95 % interval.

        Student's t times the root of two variances of the logarithm of the error. One is a delete-one jackknife over
        seeds (Efron and Tibshirani, 1993, chapter 11). The other, beyond the largest size, is the doubt whether a power
        law is the right curve: how far the law of the smaller sizes missed the largest one, squared, and growing with
        the logarithm of the distance.
        Raises ValueError for ``n`` below 1 or beyond :data:`FARTHEST` times the largest size.
        """
        if not 1 <= n <= FARTHEST * self.sizes[-1]:
            raise ValueError(
                f"n must lie between 1 and {FARTHEST * self.sizes[-1]:,} ({FARTHEST} times the largest measured size), "
                f"not {n:,}: no curve can be trusted that far."
            )
        middle, low, high = (float(line[0]) for line in self.band(np.array([float(n)])))
        return Effect(middle, low, high, len(self.errors), what=f"forecast error at {n:,.0f} images")

    def needed(self, error: float) -> Need:
        """How many images bring the mean error down to ``error``: where the law, and its 95 % band, get there first.

        Raises ValueError unless ``error`` is above 0 and below the largest error measured.
        """
        worst = self.errors.mean(0).max()
        if not 0 < error < worst:
            raise ValueError(f"the error asked for must lie between 0 and the largest measured, {worst:.3g}: {error}.")
        reach = FARTHEST * self.sizes[-1]
        grid = np.geomspace(1, reach, 4000)
        middle, low, high = self.band(grid)
        first = [grid[(line <= error).argmax()] if (line <= error).any() else math.inf for line in (low, middle, high)]
        return Need(*first, reach)

    def band(self, n: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The fitted error at each n, and its 95 % interval."""
        from scipy.special import stdtrit

        middle = np.log(self.law(n))
        replicates = np.log([law(n) for law in self._without_one])
        seeds = len(replicates)
        variance = (seeds - 1) / seeds * ((replicates - replicates.mean(0)) ** 2).sum(0)
        doubt = self._miss * np.log(n / self.sizes[-1]).clip(min=0)
        half = stdtrit(seeds - 1, (1 + LEVEL) / 2) * np.sqrt(variance + doubt**2)
        return np.exp(middle), np.exp(middle - half), np.exp(middle + half)


def measure_curve(
    error_of: Callable[[Split, Split, int], float],
    split: Split,
    sizes: Sequence[int] | None = None,
    *,
    seeds: int = 5,
    held_out: float = 0.25,
) -> LearningCurve:
    """Your own learning curve: train on ever larger parts of ``split`` and measure the error on a part held out.

    Each seed holds out other images (stratified; groups stay together) and takes nested subsets of the rest, with the
    class proportions of the whole. Runs go side by side and are kept, as in :func:`~tdnn_helpers.evidence.compare`.

    Args:
        error_of: (training split, held-out split, seed) → the error of a model trained on the first, measured on the
            second: a positive number, lower is better, such as 1 − balanced accuracy, or an RMSE. Give every size the
            same number of updates.
        sizes: increasing numbers of training images; default six, from 1/32 of what is left for training up to all.
        seeds: at least 3. held_out: the fraction held out, between 0 and 1.

    Raises:
        ValueError: sizes or seeds that cannot be used, or an ``error_of`` that fails or gives no finite error.
    """
    if seeds < 3:
        raise ValueError(f"an interval over seeds needs at least 3 of them, not {seeds}.")
    if not 0 < held_out < 1:
        raise ValueError(f"held_out is a fraction between 0 and 1, not {held_out}.")
    most = len(split.split(held_out, seed=0)[1])
    if sizes is None:
        sizes = sorted({max(2, round(most / 2**halvings)) for halvings in range(6)})
    sizes = tuple(sizes)
    _check_sizes(sizes)
    if sizes[-1] > most:
        raise ValueError(
            f"the largest size is {sizes[-1]:,}, but only {most:,} of {len(split):,} images are left for training when "
            f"{held_out:.0%} are held out."
        )

    def with_images(n: int):
        def arm(seed: int) -> dict[str, float]:
            test, train = split.split(held_out, seed=seed)
            return {"test error": float(error_of(train.take(min(n, len(train)), seed=seed), test, seed))}

        return arm

    try:
        runs = compare({f"{n}": with_images(n) for n in sizes}, seeds)
    except ArmsFailed as error:
        raise ValueError(str(error)) from error
    for arm, seed, why in runs.attrs["failures"]:
        raise ValueError(f"the run with {arm} images and seed {seed} failed: {why.splitlines()[0]}")
    errors = runs.pivot_table(index="seed", columns="arm", values="value", observed=True)
    if errors.shape != (seeds, len(sizes)):
        raise ValueError("error_of returned a number that is not finite (NaN or infinite) for at least one run.")
    return LearningCurve(sizes, errors.to_numpy())


def _check_sizes(sizes: Sequence[int]) -> None:
    if len(sizes) < 3 or min(sizes) < 1 or any(a >= b for a, b in zip(sizes, sizes[1:])):
        raise ValueError(f"a curve needs at least 3 sizes of 1 or more, each larger than the one before, not {sizes}.")
