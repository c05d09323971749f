"""Each arm at its own best learning rate: sweep, choose on validation data, and keep the runs of the chosen rates.

A comparison at one shared learning rate compares how well that rate suits each arm. Here every arm gets the rate that
suits it, and the test results of all other rates stay unread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from ..core.choices import check_known
from .comparison import Arm, compare
from .effects import last_of_each

if TYPE_CHECKING:
    import pandas as pd

BETWEEN = " · "  # name · rate, in the column arm


def sweep(
    arm: Callable[[str, float], Arm],
    rates: Mapping[str, Sequence[float]],
    seeds: int | Iterable[int] = 5,
    *,
    bank: str | None = None,
) -> pd.DataFrame:
    """Run ``arm(name, rate)`` for every name, each of its rates, and every seed: the frame of
    :func:`~tdnn_helpers.evidence.compare` with two more columns, name (categorical, in the order given) and rate.

    ``rates``: name → the learning rates to try. ``bank``: as for ``compare``. Raises ValueError if a name has no rates,
    or holds " · ".
    """
    import pandas as pd

    for name, tried in rates.items():
        if BETWEEN in name or not len(tried):
            raise ValueError(f'"{name}" needs at least one rate, and a name without "{BETWEEN}".')
    tries = [(name, float(rate)) for name in rates for rate in rates[name]]
    runs = compare({f"{name}{BETWEEN}{rate!r}": arm(name, rate) for name, rate in tries}, seeds, bank=bank, twin=False)
    parts = runs["arm"].astype(str).str.split(BETWEEN, expand=True)
    return runs.assign(name=pd.Categorical(parts[0], list(rates), ordered=True), rate=parts[1].astype(float))


def ends(runs: pd.DataFrame, metric: str = "accuracy", split: str = "val") -> pd.DataFrame:
    """The last recorded value of a metric in every run of a sweep: rows (name, rate), one column per seed.

    Raises ValueError if nothing of that name was recorded.
    """
    rows = runs[runs["split"] == split]
    check_known(metric, rows["metric"].unique(), f"{split} metric")
    keys = ["name", "rate", "seed"]
    return last_of_each(rows[rows["metric"] == metric], keys).set_index(keys)["value"].unstack("seed")


def best_rates(runs: pd.DataFrame, metric: str = "accuracy", split: str = "val") -> dict[str, float]:
    """name → the rate with the highest mean last value over seeds, of a validation metric by default. A run without
    that value counts as nothing gained: its rate is left out. ValueError if that leaves a name without a rate."""
    mean = ends(runs, metric, split).dropna().mean(axis=1)
    for name in runs["name"].cat.categories:
        if name not in mean.index.get_level_values("name"):
            raise ValueError(f'every rate of "{name}" lost a run: runs.attrs["failures"] says why.')
    return {name: float(mean[name].idxmax()) for name in runs["name"].cat.categories}


def tune(
    arm: Callable[[str, float], Arm],
    names: Iterable[str],
    grid: Sequence[float],
    seeds: int | Iterable[int] = 5,
    metric: str = "accuracy",
    *,
    bank: str | None = None,
) -> dict[str, float]:
    """name → its best rate of a long grid, in the sense of :func:`best_rates`, without running all of the grid: start
    with the three rates in the middle, and as long as a name's best rate is the first or the last that it tried, try
    the next one beyond. A result at an end of the whole grid says that the grid is too short.

    ``grid``: rising learning rates. ``bank``: as for :func:`~tdnn_helpers.evidence.compare`. Raises ValueError if the
    grid is empty or doesn't rise, or if no rate of a name gave the metric.
    """
    import pandas as pd

    grid = list(grid)
    if not grid or any(low >= high for low, high in pairwise(grid)):
        raise ValueError(f"the grid must be learning rates that rise, not {grid}.")
    seeds = seeds if isinstance(seeds, int) else list(seeds)
    start = max(0, (len(grid) - 3) // 2)
    wanted = {name: grid[start : start + 3] for name in names}
    tried, runs, best = {name: list(rates) for name, rates in wanted.items()}, [], {}
    while wanted:
        runs.append(sweep(arm, wanted, seeds, bank=bank))
        found = ends(pd.concat(runs), metric).dropna().mean(axis=1)
        for name in tried:
            if name not in found.index:
                raise ValueError(f"{name} gave no val {metric} at {', '.join(f'{r:g}' for r in tried[name])}.")
            best[name] = found[name].idxmax()
        beside = {name: [r for r in _beside(grid, rate) if r not in tried[name]] for name, rate in best.items()}
        wanted = {name: rates for name, rates in beside.items() if rates}
        for name, rates in wanted.items():
            tried[name] += rates
    return {name: float(rate) for name, rate in best.items()}


def _beside(grid: list[float], rate: float) -> list[float]:
    """The rate and its neighbours in the grid."""
    place = grid.index(rate)
    return grid[max(0, place - 1) : place + 2]


def at_rates(runs: pd.DataFrame, rates: Mapping[str, float]) -> pd.DataFrame:
    """The runs of a sweep at one rate for each name. The column arm then holds the name, so that ``difference``,
    ``plot_arms`` and ``plot_curves`` take it. Raises ValueError for a name or a rate that was not swept."""
    for name, rate in rates.items():
        check_known(name, runs["name"].cat.categories, "name")
        tried = sorted(runs.loc[runs["name"] == name, "rate"].unique())
        if rate not in tried:
            raise ValueError(f"{name} was not run at {rate:g}, only at {', '.join(f'{one:g}' for one in tried)}.")
    chosen = runs[runs["rate"] == runs["name"].astype(str).map(rates)]
    return chosen.assign(arm=chosen["name"].cat.remove_unused_categories())
