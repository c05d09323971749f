"""Figures from tidy frames. Each function returns a matplotlib Figure; show it with ``display.show(figure, alt)``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure

from ..data.split import Split
from ..evidence.effects import Effect, difference, last_values, mean_interval

MARKERS = "osD^vPX*"


def _colour(index: int) -> str:
    cycle = plt.rcParams["axes.prop_cycle"].by_key()["color"]
    return cycle[index % len(cycle)]


def show_images(
    images: Split | torch.Tensor, titles: Sequence[str] = (), *, columns: int = 8, size: float = 1.1
) -> Figure:
    """A grid of images: a Split (titled with its class names) or uint8 / [0, 1] float images N×C×H×W; ``size`` in
    inches a side."""
    if isinstance(images, Split):
        if images.classes:
            titles = titles or [images.classes[target] for target in images.targets]
        images = images.images
    if not len(images):
        raise ValueError("there are no images to show.")
    rows = -(-len(images) // columns)
    columns = min(columns, len(images))
    title_height = 0.24 * max((title.count("\n") + 1 for title in titles), default=0)
    figure, axes = plt.subplots(
        rows, columns, figsize=(columns * size, rows * (size + title_height)), squeeze=False, layout="constrained"
    )
    for axis in axes.flat:
        axis.axis("off")
    for index, (axis, image) in enumerate(zip(axes.flat, images)):
        pixels = image.permute(1, 2, 0).cpu().numpy()
        highest = 255 if image.dtype == torch.uint8 else 1.0
        axis.imshow(pixels.squeeze() if pixels.shape[-1] == 1 else pixels, vmin=0, vmax=highest)
        if index < len(titles):
            axis.set_title(titles[index], fontsize=9, loc="center")
    return figure


def plot_curves(
    runs,
    metric: str,
    splits: str | Sequence[str] = "val",
    *,
    ylabel: str | None = None,
    xlabel: str = "training step",
    percent: bool = False,
    axis=None,
) -> Figure:
    """A metric over the steps of training: for each arm the mean over seeds and its 95 % interval as a band.

    ``splits``: with more than one, each has its own line style. ``percent`` shows fractions as percentages.
    """
    splits = [splits] if isinstance(splits, str) else list(splits)
    if axis is None:
        figure, axis = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    for index, arm in enumerate(runs["arm"].unique()):
        for style, split in zip(cycle(("-", "--", ":")), splits):
            rows = runs[(runs["arm"] == arm) & (runs["split"] == split) & (runs["metric"] == metric)]
            table = rows.pivot_table(index="step", columns="seed", values="value", observed=True)
            table *= 100 if percent else 1
            if table.empty:
                raise ValueError(f'no "{metric}" was recorded for "{split}" in arm "{arm}".')
            middle, low, high = _bands(table.to_numpy())
            label = f"{arm}, {split}" if len(splits) > 1 else str(arm)
            axis.plot(table.index, middle, style, color=_colour(index), label=label)
            axis.fill_between(table.index, low, high, color=_colour(index), alpha=0.15, linewidth=0)
    unit = " (%)" if percent else ""
    if ylabel is None:
        ylabel = f"{splits[0] if len(splits) == 1 else ''} {metric}{unit}".strip()
    axis.set(xlabel=xlabel, ylabel=ylabel)
    axis.legend()
    ends = ((line.get_label(), line.get_ydata()) for line in axis.lines if not line.get_label().startswith("_"))
    last = "; ".join(f"{name} ends at {values[-1]:.3g}" for name, values in ends if len(values))
    axis.figure.set_label(f"{ylabel} against {xlabel}, means with 95 % intervals: {last}.")
    return axis.figure


def _bands(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and 95 % interval of each row; a row with fewer than two finite values has no band."""
    middle, low, high = (np.full(len(values), np.nan) for _ in range(3))
    for i, row in enumerate(values):
        row = row[np.isfinite(row)]
        if len(row) >= 2:
            effect = mean_interval(row)
            middle[i], low[i], high[i] = effect.mean, effect.low, effect.high
        elif len(row):
            middle[i] = row[0]
    return middle, low, high


def plot_arms(
    runs,
    metric: str,
    split: str = "test",
    *,
    label: str = "",
    scale: float = 1.0,
    baseline: float | None = None,
    baseline_label: str = "guessing",
    join: bool = True,
    axis=None,
) -> Figure:
    """The last value of a metric for each arm: every seed a dot, its mean with the 95 % interval beside it.

    ``join``: a thin line joins the dots of one seed, so that the eye compares pairs. ``scale=100`` shows percentages.
    """
    arms = list(runs["arm"].unique())
    if axis is None:
        figure, axis = plt.subplots(figsize=(max(3.6, 1.35 * len(arms) + 1), 3.4), layout="constrained")
    table = last_values(runs, metric, split) * scale
    for _, row in table.iterrows() if join else ():
        axis.plot(range(len(arms)), row[arms], color="#bbbbbb", linewidth=0.8, zorder=1)
    for i, arm in enumerate(arms):
        values = table[arm].dropna().to_numpy()
        axis.scatter(np.full(len(values), i), values, s=16, color=_colour(i), alpha=0.6, zorder=2)
        plot_effects(axis, [i + 0.18], [mean_interval(values)], fmt=MARKERS[i % 8], color=_colour(i), zorder=3)
    if baseline is not None:
        mark_level(axis, baseline, baseline_label)
    axis.set(xticks=range(len(arms)), xticklabels=arms, xlim=(-0.5, len(arms) - 0.4))
    axis.set_ylabel(label or f"{split} {metric}")
    axis.grid(axis="x", visible=False)
    means = "; ".join(f"{arm} {mean_interval(table[arm].dropna())}" for arm in arms if table[arm].count() > 1)
    axis.figure.set_label(f"{label or f'{split} {metric}'}, mean and 95 % interval: {means}.")
    return axis.figure


def plot_effects(axis, places, effects: Iterable[Effect], *, across=False, band=False, **style) -> None:
    """Means with their 95 % intervals at these places of an axis: bars, or with ``band`` a line in a band.

    ``across``: the places lie on the upright axis, and the bars along the other. ``style`` goes to matplotlib's
    ``errorbar``, or with ``band`` to ``plot``. Of repeats: ``plot_effects(axis, places, map(mean_interval, columns))``.
    """
    effects = list(effects)
    mean, low, high = (np.array([getattr(effect, name) for effect in effects]) for name in ("mean", "low", "high"))
    if band:
        (line,) = axis.plot(places, mean, **style)
        axis.fill_between(places, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    else:
        bars = {"xerr" if across else "yerr": [mean - low, high - mean]}
        axis.errorbar(*((mean, places) if across else (places, mean)), **bars, **{"capsize": 3} | style)


def mark_level(where: Figure | plt.Axes, level: float, label: str) -> None:
    """A dotted horizontal line, named at the right edge, outside the data. ``where``: an axis, or a figure's first."""
    axis = where.axes[0] if isinstance(where, Figure) else where
    axis.axhline(level, color="#555555", linewidth=1, linestyle=":")
    place = axis.get_yaxis_transform()
    axis.annotate(label, (1.01, level), xycoords=place, va="center", fontsize=8, color="#555555", annotation_clip=False)


def plot_differences(
    runs,
    pairs: Sequence[tuple[str, str]],
    metric: str,
    split: str = "test",
    *,
    scale: float = 1.0,
    unit: str = "",
    axis=None,
) -> Figure:
    """Paired differences (first minus second of each pair of arms): mean and 95 % interval, and the line of zero."""
    if axis is None:
        figure, axis = plt.subplots(figsize=(6.0, 0.5 * len(pairs) + 1.1), layout="constrained")
    axis.axvline(0, color="#555555", linewidth=1)
    for row, (first, second) in enumerate(pairs):
        effect = difference(runs, first, second, metric, split, scale=scale, unit=unit)
        plot_effects(axis, [row], [effect], across=True, fmt="o", color=_colour(row), capsize=4)
    labels = [f"{first} − {second}" for first, second in pairs]
    axis.set(yticks=range(len(pairs)), yticklabels=labels, ylim=(len(pairs) - 0.5, -0.5))
    axis.set_xlabel(f"difference in {split} {metric}{f' ({unit})' if unit else ''}, mean and 95 % interval")
    axis.grid(axis="y", visible=False)
    return axis.figure


def plot_confusion(targets: torch.Tensor, answers: torch.Tensor, classes: Sequence[str]) -> Figure:
    """The confusion matrix: in each row the images of a class (their number stands beside it), in each column how many
    per cent of them got that answer. ``targets``, ``answers``: (N,) int64 labels.

    Raises ValueError for two different lengths, or for no image.
    """
    import seaborn

    if targets.shape != answers.shape or not len(targets):
        raise ValueError(f"targets and answers need one label for each image, not {len(targets)} and {len(answers)}.")
    counts = torch.zeros(len(classes), len(classes)).index_put_(
        (targets.cpu(), answers.cpu()), torch.ones(len(targets)), accumulate=True
    )
    sizes = counts.sum(1)
    share = (100 * counts / sizes.clamp(min=1)[:, None]).numpy()
    side = 2.2 + 0.42 * len(classes)
    figure, axis = plt.subplots(figsize=(side + 0.8, side), layout="constrained")
    rows = [f"{name} ({int(size)})" for name, size in zip(classes, sizes)]
    style = dict(cmap="cividis", vmin=0, vmax=100, annot_kws={"fontsize": 8}, cbar_kws={"label": "% of the row"})
    seaborn.heatmap(share, annot=True, fmt=".0f", xticklabels=list(classes), yticklabels=rows, ax=axis, **style)
    axis.set(xlabel="answer", ylabel="true class (images)")
    axis.tick_params(axis="x", rotation=60)
    axis.tick_params(axis="y", rotation=0)
    off = share * (1 - np.eye(len(classes)))
    worst = [divmod(int(place), len(classes)) for place in off.ravel().argsort()[::-1][:3]]
    named = ", ".join(f"{classes[true]} called {classes[said]} {off[true, said]:.0f} %" for true, said in worst)
    right = 100 * float(counts.diagonal().sum() / len(targets))
    figure.set_label(
        f"Confusion matrix of {len(targets)} images, {right:.1f} % right. Most frequent mistakes: {named}."
    )
    return figure


def plot_projections(
    points: Mapping[str, np.ndarray], targets: torch.Tensor, classes: Sequence[str], *, columns: int = 4
) -> Figure:
    """Two-dimensional projections side by side: title → N×2 points, coloured and marked by class."""
    rows, columns = -(-len(points) // columns), min(columns, len(points))
    figure, axes = plt.subplots(
        rows, columns, figsize=(2.7 * columns, 2.75 * rows + 0.5), squeeze=False, layout="constrained"
    )
    colours = plt.get_cmap("tab20" if len(classes) > 10 else "tab10").colors
    for axis in axes.flat[len(points) :]:
        axis.axis("off")
    for axis, (title, xy) in zip(axes.flat, points.items()):
        for c, name in enumerate(classes):
            chosen, colour, marker = (targets == c).numpy(), colours[c % len(colours)], MARKERS[c % 8]
            axis.scatter(*xy[chosen].T, s=9, alpha=0.75, color=colour, marker=marker, linewidths=0, label=name)
        axis.set(xticks=[], yticks=[])
        axis.set_title(title, fontsize=10)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(5, len(classes)), markerscale=2)
    return figure
