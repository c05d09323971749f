"""Each arm at its own best learning rate: sweep, choose on validation data, and keep the runs of the chosen rates.

A comparison at one shared learning rate compares how well that rate suits each arm. Here every arm gets the rate that
suits it, and the test results of all other rates stay unread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from .compare import Arm, compare
from .effects import check_known

if TYPE_CHECKING:
    import pandas as pd

BETWEEN = " · "  # name · rate, in the column arm


def sweep(
    arm: Callable[[str, float], Arm],
    rates: Mapping[str, Sequence[float]],
    seeds: int | Iterable[int] = 5,
) -> pd.DataFrame:
    """Run ``arm(name, rate)`` for every name, each of its rates, and every seed: the frame of
    :func:`~tdnn_helpers.compare.compare` with two more columns, name (categorical, in the order given) and rate.

    ``rates``: name → the learning rates to try. Raises ValueError if a name has no rates, or holds " · ".
    """
    import pandas as pd

    for name, tried in rates.items():
        if BETWEEN in name or not len(tried):
            raise ValueError(f'"{name}" needs at least one rate, and a name without "{BETWEEN}".')
    runs = compare({f"{name}{BETWEEN}{rate:g}": arm(name, rate) for name in rates for rate in rates[name]}, seeds)
    parts = runs["arm"].astype(str).str.split(BETWEEN, expand=True)
    return runs.assign(name=pd.Categorical(parts[0], list(rates), ordered=True), rate=parts[1].astype(float))


def ends(runs: pd.DataFrame, metric: str = "accuracy", split: str = "val") -> pd.DataFrame:
    """The last recorded value of a metric in every run of a sweep: rows (name, rate), one column per seed.

    Raises ValueError if nothing of that name was recorded.
    """
    rows = runs[runs["split"] == split]
    check_known(metric, rows["metric"].unique(), f"{split} metric")
    rows = rows[rows["metric"] == metric].sort_values("step")
    return rows.groupby(["name", "rate", "seed"], observed=True)["value"].last().unstack("seed")


def best_rates(runs: pd.DataFrame, metric: str = "accuracy", split: str = "val") -> dict[str, float]:
    """name → the rate with the highest mean last value over seeds, of a validation metric by default. A run without
    that value counts as nothing gained: its rate is left out."""
    mean = ends(runs, metric, split).dropna().mean(axis=1)
    return {name: float(mean[name].idxmax()) for name in runs["name"].cat.categories}


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
