"""Figures of the tables and curves of :mod:`tdnn_helpers.measures`."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from ..evidence.effects import mean_interval, wilson
from ..measures.learning_curve import LearningCurve
from .plots import MARKERS, plot_effects

if TYPE_CHECKING:
    import pandas as pd

FEWEST = 20  # answers in a bin that has a dot


def plot_reliability(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Reliability diagrams side by side: title → table of :func:`reliability`. On the diagonal a network knows how sure
    it may be; below it is too sure. The grey bars are the shares of the answers. A dot has the 95 % interval of its
    accuracy over such images (Wilson); a bin with fewer than 20 answers has no dot."""
    figure, axes = plt.subplots(
        1, len(tables), figsize=(2.7 * len(tables) + 0.6, 3.2), sharey=True, squeeze=False, layout="constrained"
    )
    for axis, (title, table) in zip(axes[0], tables.items(), strict=True):
        shares, width = 100 * table["count"] / table["count"].sum(), 100 * (table["high"] - table["low"])
        axis.bar(100 * table["low"], shares, width, align="edge", color="#d8d8d8", label="share of the answers")
        axis.plot([0, 100], [0, 100], color="#555555", linewidth=1, linestyle=":", label="perfectly calibrated")
        filled = table[table["count"] >= FEWEST]
        right = 100 * filled["accuracy"]
        bars = [abs(100 * ends - right) for ends in wilson(filled["accuracy"], filled["count"])]
        axis.errorbar(
            100 * filled["confidence"], right, bars, marker="o", markersize=4, elinewidth=1, label="this network"
        )
        axis.set(title=title, xlabel="confidence (%)", xlim=(0, 100), ylim=(0, 100), aspect="equal")
    axes[0, 0].set_ylabel("accuracy, share of answers (%)")
    axes[0, 0].legend(loc="upper left", fontsize=8)
    return figure


def plot_robustness(frames: Mapping[str, pd.DataFrame]) -> Figure:
    """Accuracy against strength, one panel for each corruption: name of a network → table of :func:`robustness`.

    The tables of several trained networks of one kind may be joined into one (``pd.concat``): then the line is their
    mean, with its 95 % interval as a band.
    """
    kinds = list(next(iter(frames.values()))["corruption"].unique())
    figure, axes = plt.subplots(
        1, len(kinds), figsize=(2.3 * len(kinds) + 0.5, 3.0), sharey=True, squeeze=False, layout="constrained"
    )
    for axis, kind in zip(axes[0], kinds, strict=True):
        for (name, frame), marker in zip(frames.items(), cycle(MARKERS)):
            repeats = frame[frame["corruption"] == kind].groupby("strength")["accuracy"]
            means = 100 * repeats.mean()
            line = axis.plot(means.index, means, marker=marker, markersize=5, label=name)[0]
            if repeats.size().min() > 1:
                bands = [mean_interval(100 * values) for _, values in repeats]
                low, high = ([getattr(band, end) for band in bands] for end in ("low", "high"))
                axis.fill_between(means.index, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
        axis.set(xlabel=kind, ylim=(0, 100))
    axes[0, 0].set_ylabel("accuracy (%)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(frames)))
    return figure


def plot_learning_curves(curves: Mapping[str, LearningCurve], *, until: float | None = None, per: float = 1) -> Figure:
    """Measured errors (%) with intervals, and the fitted law of each curve with its 95 % band, on logarithmic axes.

    ``until``: draw the laws on to this many images (default: the largest size). ``per``: divide the number of images by
    this, the number of classes say.
    """
    figure, axis = plt.subplots(figsize=(6.6, 3.8), layout="constrained")
    for (name, curve), marker in zip(curves.items(), cycle("os^Dv")):
        n = np.geomspace(curve.sizes[0], until or curve.sizes[-1], 200)
        middle, low, high = (100 * line for line in curve.band(n))
        (line,) = axis.plot(n / per, middle, linewidth=1.2)
        axis.fill_between(n / per, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
        points = map(mean_interval, 100 * curve.errors.T)
        plot_effects(axis, np.array(curve.sizes) / per, points, fmt=marker, color=line.get_color(), label=name)
    axis.set(xscale="log", yscale="log", xlabel="training images" + (" per class" if per != 1 else ""))
    axis.set_ylabel("error (%)")
    ticks = sorted({n / per for curve in curves.values() for n in (*curve.sizes, until or curve.sizes[-1])})
    axis.set_xticks(ticks, [f"{n:,.0f}" for n in ticks])
    axis.yaxis.set_major_locator(FixedLocator([1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 60, 80]))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.minorticks_off()
    axis.legend()
    return figure
