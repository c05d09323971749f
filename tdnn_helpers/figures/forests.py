"""Effects in one picture: as a forest, one line each, or along an axis such as the budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from ..evidence.effects import Effect
from .plots import plot_effects

SHADE = dict(color="#949494", alpha=0.18, linewidth=0)  # smaller than what is of interest


def forest(effects: Sequence[Effect], smallest: float | None = None, *, x: str | None = None) -> Figure:
    """Effects below each other: mean and 95 % interval, with the line of zero, named by what was measured.

    All are in one unit. ``smallest``: the smallest effect of interest; what lies below it, to either side, is shaded.
    ``x``: the label of the axis, else the unit. ValueError for no effect, or several units.
    """
    if len({effect.unit for effect in effects}) != 1:
        raise ValueError("a forest needs effects, all in one unit.")
    figure, axis = plt.subplots(figsize=(7.2, 0.7 + 0.34 * len(effects)), layout="constrained")
    places = range(len(effects))
    plot_effects(axis, places, effects, across=True, fmt="o", capsize=4)
    axis.axvline(0, color="#555555", linewidth=1)
    if smallest:
        axis.axvspan(-smallest, smallest, **SHADE)
    axis.set_yticks(places, [effect.what for effect in effects])
    axis.set(xlabel=effects[0].unit if x is None else x, ylim=(len(effects) - 0.5, -0.5))
    axis.grid(axis="y", visible=False)
    figure.set_label(
        "Effects with 95 % intervals. " + "; ".join(f"{effect.what}: {effect}" for effect in effects) + "."
    )
    return figure


def against_budget(
    effects: Mapping[str, Mapping[float, Effect]], *, x: str, y: str, smallest: float | None = None
) -> Figure:
    """How effects change along a budget: one line for each name, with 95 % intervals, and the line of zero.

    Args:
        effects: name → {budget: effect}; budgets are positive and stand on a logarithmic axis.
        x, y: the labels of the axes, such as "updates (log scale)" and "test accuracy, difference (pp)".
        smallest: the smallest effect of interest; what lies below it, to either side, is shaded.

    Raises ValueError for no effect, or for a budget that is not a positive number.
    """
    budgets = sorted({budget for line in effects.values() for budget in line})
    if not budgets or not all(isinstance(budget, (int, float)) and budget > 0 for budget in budgets):
        raise ValueError("effects along a budget need positive numbers as budgets.")
    figure, axis = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    if smallest:
        axis.axhspan(-smallest, smallest, **SHADE)
    axis.axhline(0, color="#555555", linewidth=1)
    spread = (budgets[-1] / budgets[0]) ** 0.008  # lines side by side, so that no interval hides another
    for index, (name, line) in enumerate(effects.items()):
        places = [budget * spread ** (index - (len(effects) - 1) / 2) for budget in sorted(line)]
        style = dict(marker="osD^vPX"[index % 7], linestyle=("-", "--", "-.", ":")[index % 4], label=name)
        plot_effects(axis, places, [line[budget] for budget in sorted(line)], **style)
    axis.set(xscale="log", xlabel=x, ylabel=y)
    axis.set_xticks(budgets, [f"{budget:,g}" for budget in budgets])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.legend()
    lines = (
        f"{name}: " + ", ".join(f"{line[budget]} at {budget:,g}" for budget in sorted(line))
        for name, line in effects.items()
    )
    figure.set_label(f"{y} against {x}, with 95 % intervals. " + "; ".join(lines) + ".")
    return figure
