"""Effects with 95 % intervals: the mean of independent repeats, paired differences, and differences of paired rates.

Independent repeats (seeds) are the unit of all statistics here, never single test images: a thousand images seen by one
trained network say nothing about the next network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from ..core.choices import check_known

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.95  # of every interval in the course: a level that can be chosen after the run is no level


def wilson(share, count, level: float = LEVEL):
    """The ends of Wilson's interval (1927) of a share (0 to 1) of ``count`` answers; numbers, arrays or columns.

    [0, 1] where ``count`` is 0.
    """
    z2 = NormalDist().inv_cdf((1 + level) / 2) ** 2
    centre = (count * share + z2 / 2) / (count + z2)
    half = (z2 * (count * share * (1 - share) + z2 / 4)) ** 0.5 / (count + z2)
    return centre - half, centre + half


@dataclass(frozen=True)
class Effect:
    """A mean with its 95 % interval, all three in ``unit``, from ``n`` repeats.

    ``what`` says in words what was measured. ``dropped`` counts pairs left out because one of their runs has no result.
    ``freedom``: the degrees of freedom of Student's t behind the interval, n − 1 unless given. What it knows of its
    runs (:func:`from_runs`): their ``seeds`` and ``arms``, ``own`` if a reader changed an arm, ``banked`` if all of
    them are in the evidence bank, ``revised`` if the rule that they serve has changed since.
    Raises ValueError unless low ≤ mean ≤ high are finite numbers.
    """

    mean: float
    low: float
    high: float
    n: int
    unit: str = ""
    what: str = ""
    dropped: int = 0
    freedom: float = math.nan
    seeds: tuple[int, ...] = ()
    arms: tuple[str, ...] = ()
    own: bool = False
    banked: bool = False
    revised: bool = False

    def __post_init__(self) -> None:
        if not -math.inf < self.low <= self.mean <= self.high < math.inf:
            raise ValueError(f"an effect needs finite low ≤ mean ≤ high, not {self.low}, {self.mean}, {self.high}.")

        if math.isnan(self.freedom):
            object.__setattr__(self, "freedom", float(self.n - 1))  # the class is frozen

    def p(self, than: float = 0.0) -> float:
        """The two-sided p-value of a true effect of ``than``: how surprising the data would be then. 0 to 1."""
        from scipy.special import stdtr, stdtrit

        half = (self.high - self.low) / 2
        if half == 0:
            return float(self.mean == than)
        distance = abs(self.mean - than) / half * stdtrit(self.freedom, (1 + LEVEL) / 2)
        return float(2 * stdtr(self.freedom, -distance))

    @property
    def bars(self) -> list[list[float]]:
        """How far the interval reaches below and above the mean, as matplotlib's ``errorbar`` takes it."""
        return [[self.mean - self.low], [self.high - self.mean]]

    def __str__(self) -> str:
        half = (self.high - self.low) / 2
        if half <= 1e-9 * abs(self.mean):  # rounding, no scatter
            half = abs(self.mean) or 1.0
        decimals = max(0, 1 - math.floor(math.log10(half)))  # two digits of the uncertainty, and no more
        if self.unit in ("%", "pp"):
            decimals = min(decimals, 2)
        rounded = [round(number, decimals) + 0.0 for number in (self.mean, self.low, self.high)]  # + 0.0: no "−0.0"
        mean, low, high = (f"{number:.{decimals}f}".replace("-", "−") for number in rounded)
        signed = self.unit == "pp"  # percentage points are a difference, per cent is a level
        sign = "+" if signed and self.mean > 0 else ""
        unit = f" {self.unit}" if self.unit else ""
        dropped = f", {self.dropped} pair{'s' * (self.dropped > 1)} dropped" if self.dropped else ""
        return f"{sign}{mean}{unit} [{low}, {high}], n = {self.n}{dropped}"


def mean_interval(values: Sequence[float], unit: str = "", what: str = "") -> Effect:
    """The mean of independent repeats and its 95 % interval by Student's t with n − 1 degrees of freedom.

    Raises ValueError for fewer than two values or one that is not finite.
    """
    from scipy.special import stdtrit

    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"an interval needs a list of at least 2 repeats, not shape {values.shape}: run more seeds.")
    if not np.isfinite(values).all():
        raise ValueError("a repeat is NaN or infinite: count failed runs with rate_difference instead.")
    mean, n = float(values.mean()), len(values)
    half = float(stdtrit(n - 1, (1 + LEVEL) / 2) * values.std(ddof=1) / math.sqrt(n))
    return Effect(mean, mean - half, mean + half, n, unit, what)


def difference(
    runs: pd.DataFrame,
    treatment: str,
    control: str,
    metric: str,
    split: str = "test",
    *,
    scale: float = 1.0,
    unit: str = "",
) -> Effect:
    """Treatment minus control, paired by seed, of the last recorded value of a metric.

    ``runs`` is the tidy frame of :func:`tdnn_helpers.evidence.compare`, in any row order, with the columns arm, seed,
    step, split, metric, value. The result is multiplied by ``scale``: accuracies in 0 to 1 become percentage points
    with ``scale=100, unit="pp"``. A seed with no finite last value in one of the arms is dropped from both and counted.

    Raises ValueError for an unknown arm, split or metric, a repeated row, or fewer than two complete pairs.
    """
    for name, column, choice in (("arm", "arm", treatment), ("arm", "arm", control), ("split", "split", split)):
        check_known(choice, runs[column].unique(), name)
    rows = runs[runs["arm"].isin([treatment, control]) & (runs["split"] == split)]
    check_known(metric, rows["metric"].unique(), f"{split} metric")
    rows = rows[rows["metric"] == metric]
    if rows.duplicated(["arm", "seed", "step"]).any():
        raise ValueError(f"{split} {metric} occurs twice for one arm, seed and step: pass the frame of one compare().")
    table = last_of_each(rows, ["arm", "seed"]).pivot(index="seed", columns="arm", values="value")
    table = table.reindex(columns=[treatment, control])
    gaps = (table[treatment] - table[control]).to_numpy(dtype=float)
    paired = gaps[np.isfinite(gaps)]
    if len(paired) < 2:
        seeds = {arm: sorted(table[arm].dropna().index) for arm in (treatment, control)}
        raise ValueError(
            f'"{treatment}" and "{control}" share {len(paired)} seed(s) with a finite {split} {metric}, and a paired '
            f"interval needs 2: seeds with a value are {seeds[treatment]} and {seeds[control]}."
        )
    effect = mean_interval(scale * paired, unit, f"{treatment} − {control}, {split} {metric}".replace(",  ", ", "))
    return from_runs(replace(effect, dropped=len(gaps) - len(paired)), runs, treatment, control)


def from_runs(effect: Effect, runs: pd.DataFrame, *arms: str) -> Effect:
    """The effect, with what there is to know of the runs that it was calculated from: their seeds, and so on.

    A statistic of your own needs this before :func:`~tdnn_helpers.evidence.judge` takes it: ``from_runs(
    mean_interval(gaps, "pp", "range, Adam − SGD"), runs)``. ``arms``: all arms of the runs if none is named.
    """
    used = runs[runs["arm"].isin(arms)] if arms else runs
    return replace(
        effect,
        seeds=tuple(sorted({int(seed) for seed in used["seed"].unique()})),
        arms=arms or tuple(used["arm"].unique()),
        own=runs.attrs.get("own", False),
        banked="made" in used and bool((used["made"] == "bank").all()),
        revised=runs.attrs.get("revised", False),
    )


def last_of_each(rows: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """The row of the last step for each value of the columns ``keys``, whatever its value is, NaN too."""
    return rows.sort_values("step", kind="stable").groupby(list(keys), observed=True).tail(1)


def last_values(runs: pd.DataFrame, metric: str, split: str = "test") -> pd.DataFrame:
    """The last recorded value of a metric as a table: one row per seed, one column per arm.

    Raises ValueError if nothing of that name was recorded.
    """
    rows = runs[(runs["split"] == split) & (runs["metric"] == metric)]
    if rows.empty:
        raise ValueError(f'no "{metric}" was recorded for "{split}".')
    last = last_of_each(rows, ["seed", "arm"]).set_index(["seed", "arm"])["value"]
    return last.unstack("arm")[list(runs["arm"].unique())]


def share_interval(outcomes: Sequence[bool], what: str = "") -> Effect:
    """How often something happened (a run died, a label was found), in per cent, with Wilson's 95 % interval.

    Where some runs die, say how many and take the mean of the others: a mean over both speaks of neither.

    Args:
        outcomes: 0/1 or booleans, one for each repeat.

    Raises ValueError for no outcome, or a value that is not 0 or 1.
    """
    found = np.asarray(outcomes, dtype=float)
    if found.ndim != 1 or not found.size or not np.isin(found, (0, 1)).all():
        raise ValueError("a share is counted from a list of outcomes that are 0 or 1 (False or True).")
    mean, n = float(found.mean()), found.size
    low, high = wilson(mean, n)
    low, high = min(low, mean), max(high, mean)  # at 0 and 1 rounding may put the end beside the share
    return Effect(100 * mean, 100 * low, 100 * high, n, "%", what, freedom=math.inf)


def rate_difference(treatment: Sequence[bool], control: Sequence[bool], what: str = "") -> Effect:
    """Difference of two paired rates (dead or not, found or not), in percentage points, with its 95 % interval.

    Bonett and Price's adjusted Wald interval (Journal of Educational and Behavioral Statistics 37, 2012): one imaginary
    pair is added to each kind of disagreement. So it keeps a width when all pairs agree, where Student's t has none.

    Args:
        treatment, control: 0/1 or booleans, one per seed, in the same seed order.

    Raises ValueError for different lengths, fewer than two pairs, or a value that is not 0 or 1.
    """
    a, b = np.asarray(treatment, dtype=float), np.asarray(control, dtype=float)
    if a.ndim != 1 or a.shape != b.shape or len(a) < 2:
        raise ValueError(f"paired rates need two lists of one length, at least 2, not shapes {a.shape} and {b.shape}.")
    if not np.isin([a, b], (0, 1)).all():
        raise ValueError("a rate is counted from outcomes that are 0 or 1 (False or True); another value was found.")
    n = len(a)
    only_a, only_b = ((a > b).sum() + 1) / (n + 2), ((b > a).sum() + 1) / (n + 2)
    centre = only_a - only_b
    half = NormalDist().inv_cdf((1 + LEVEL) / 2) * math.sqrt((only_a + only_b - centre**2) / (n + 2))
    low, high = max(centre - half, -1.0), min(centre + half, 1.0)
    return Effect(100 * float((a - b).mean()), 100 * float(low), 100 * float(high), n, "pp", what, freedom=math.inf)
