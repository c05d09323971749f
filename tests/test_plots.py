"""Figures carry the numbers of the frame that they were given."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from tdnn_helpers.evidence.effects import Effect, last_values, mean_interval
from tdnn_helpers.figures import plots
from tdnn_helpers.figures.display import show
from tdnn_helpers.figures.forests import against_budget, forest
from tdnn_helpers.figures.plots import (
    plot_arms,
    plot_confusion,
    plot_curves,
    plot_differences,
    plot_effects,
    show_images,
)
from tdnn_helpers.figures.tables import table

ROWS = [
    (arm, seed, step, split, "accuracy", offset + 0.01 * seed + 0.1 * step, 0.0)
    for arm, offset in (("z", 0.5), ("a", 0.2))
    for seed in range(4)
    for step in (1, 2)
    for split in ("train", "test")
]
RUNS = pd.DataFrame(ROWS, columns="arm seed step split metric value seconds".split()).sample(frac=1, random_state=0)


def test_last_values_takes_the_last_step_of_each_seed_and_no_earlier_one():
    table = last_values(RUNS, "accuracy")
    assert table.shape == (4, 2)
    assert (table.loc[3, "z"], table.loc[0, "a"]) == pytest.approx((0.5 + 0.03 + 0.2, 0.2 + 0.2))
    end = (RUNS["arm"] == "z") & (RUNS["seed"] == 0) & (RUNS["step"] == RUNS["step"].max())
    table = last_values(RUNS.assign(value=RUNS["value"].mask(end)), "accuracy")
    assert np.isnan(table.loc[0, "z"]) and table.notna().sum().sum() == 7


def test_arms_are_joined_by_seed_unless_they_are_no_pairs_and_stand_in_the_order_of_the_frame():
    sorted_runs = RUNS.sort_values("arm", ascending=False)
    joined, alone = (plot_arms(sorted_runs, "accuracy", baseline=0.1, join=join).axes[0] for join in (True, False))
    assert len(joined.lines) - len(alone.lines) == 4
    assert [tick.get_text() for tick in joined.get_xticklabels()] == ["z", "a"]


def test_curves_draw_the_mean_with_its_interval():
    axis = plot_curves(RUNS, "accuracy", "test", percent=True).axes[0]
    lines = {line.get_label(): (line, band) for line, band in zip(axis.lines, axis.collections, strict=True)}
    line, band = lines["z"]
    effect = mean_interval(100 * (0.5 + 0.01 * np.arange(4) + 0.1))
    np.testing.assert_allclose(line.get_ydata()[0], effect.mean)
    edge = band.get_paths()[0].vertices
    at_first_step = edge[np.isclose(edge[:, 0], 1)][:, 1]
    np.testing.assert_allclose([at_first_step.min(), at_first_step.max()], [effect.low, effect.high])
    one_seed = plot_curves(RUNS[RUNS["seed"] == 0], "accuracy", "test").axes[0]  # a line without a band
    assert np.isfinite(one_seed.lines[0].get_ydata()).all() and one_seed.get_ylabel() == "test accuracy"
    assert plot_curves(RUNS, "accuracy", "test", ylabel="").axes[0].get_ylabel() == ""


def test_differences_are_paired():
    figure = plot_differences(RUNS, [("z", "a")], "accuracy", scale=100, unit="pp")
    assert figure.axes[0].get_yticklabels()[0].get_text() == "z − a"
    (point,) = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 1 and line.get_marker() == "o"]
    assert point.get_xdata()[0] == pytest.approx(30)


def test_effects_are_bars_or_a_band_from_low_to_high():
    effects = [Effect(2, 1, 4, 5), Effect(3, 2.5, 3.5, 5)]
    figure, axes = plt.subplots(1, 3)
    plot_effects(axes[0], [10, 20], effects, fmt="s", capsize=4)
    plot_effects(axes[1], [10, 20], iter(effects), across=True, fmt="o")
    plot_effects(axes[2], [10, 20], effects, band=True, marker="o", label="mean")
    for axis, turn in ((axes[0], 1), (axes[1], -1)):
        (bars,) = axis.collections
        ends = [[[10, 1], [10, 4]], [[20, 2.5], [20, 3.5]]]
        np.testing.assert_allclose(bars.get_segments(), np.array(ends)[:, :, ::turn])
        points = axis.lines[0].get_xydata()
        np.testing.assert_allclose(points, np.array([[10, 2], [20, 3]])[:, ::turn])
    assert axes[0].lines[0].get_marker() == "s" and axes[0].lines[1].get_markersize() == 8  # the caps
    np.testing.assert_allclose(axes[2].lines[0].get_ydata(), [2, 3])
    band = axes[2].collections[0].get_paths()[0].vertices
    at_first_place = band[np.isclose(band[:, 0], 10)][:, 1]
    assert (at_first_place.min(), at_first_place.max()) == (1, 4) and axes[2].lines[0].get_label() == "mean"
    plt.close(figure)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: plot_curves(RUNS, "loss", "test"), 'no "loss" was recorded for "test"'),
        (lambda: last_values(RUNS, "loss"), 'no "loss" was recorded'),
        (lambda: show_images(torch.zeros(0, 1, 2, 2)), "no images to show"),
    ],
)
def test_nothing_to_draw_is_a_clear_error(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_images_are_drawn_with_their_class_names_and_floats_in_their_own_range(digits):
    figure = show_images(digits[:5], columns=3)
    assert [axis.get_title() for axis in figure.axes][:5] == ["0", "1", "2", "3", "4"]
    np.testing.assert_array_equal(figure.axes[1].images[0].get_array(), digits.images[1, 0])
    assert show_images(torch.rand(2, 3, 4, 4)).axes[0].images[0].get_clim() == (0, 1)


def test_projections_draw_every_point_once():
    points = np.random.default_rng(0).normal(size=(30, 2))
    figure = plots.plot_projections({"one": points, "two": points}, torch.arange(30) % 3, ["x", "y", "z"])
    assert sum(len(scatter.get_offsets()) for scatter in figure.axes[0].collections) == 30


def test_a_forest_names_its_effects_from_above_and_shades_what_is_too_small():
    effects = [Effect(mean, mean - 1, mean + 1, 5, "pp", what) for mean, what in ((2, "first"), (-3, "second"))]
    axis = forest(effects, smallest=1.5).axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["first", "second"]
    assert axis.get_ylim()[0] > axis.get_ylim()[1] and axis.get_xlabel() == "pp"
    (shade,) = axis.patches
    assert (shade.get_x(), shade.get_width()) == (-1.5, 3)
    with pytest.raises(ValueError, match="all in one unit"):
        forest([effects[0], Effect(1, 0, 2, 5, "nats")])


def test_effects_along_a_budget_stand_at_their_budgets():
    lines = {"a": {100: Effect(1, 0, 2, 5), 1000: Effect(3, 2, 4, 5)}, "b": {1000: Effect(-1, -2, 0, 5)}}
    axis = against_budget(lines, x="updates", y="pp", smallest=1).axes[0]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["100", "1,000"]
    drawn = {box.get_label(): box.lines[0] for box in axis.containers}
    np.testing.assert_allclose(drawn["a"].get_xdata(orig=False), [100, 1000], rtol=0.05)
    assert list(drawn["a"].get_ydata()) == [1, 3] and list(drawn["b"].get_ydata()) == [-1]
    for wrong in ({}, {"a": {0: Effect(1, 0, 2, 5)}}):
        with pytest.raises(ValueError, match="positive numbers"):
            against_budget(wrong, x="updates", y="pp")


def test_a_figure_brings_its_own_alternative_text(capsys):
    shown = []
    effects = {"z − a": {10: Effect(30, 29, 31, 4, "pp", "z − a"), 20: Effect(-3, -4, -2, 4, "pp", "z − a")}}
    for figure, words in (
        (plot_arms(RUNS, "accuracy", scale=100, label="test accuracy (%)"), ("test accuracy (%)", "z 71.5 [", "n = 4")),
        (plot_curves(RUNS, "accuracy", "test", percent=True), ("test accuracy (%)", "z ends at 71.5")),
        (forest(list(effects["z − a"].values())), ("z − a: +30.0 pp [29.0, 31.0], n = 4",)),
        (against_budget(effects, x="updates", y="gain"), ("gain against updates", "−3.0 pp [−4.0, −2.0], n = 4 at 20")),
    ):
        assert all(word in figure.get_label() for word in words), figure.get_label()
        show(figure)
        shown.append(capsys.readouterr().out)
    assert all("n = 4" in out or "ends at" in out for out in shown)
    with pytest.raises(ValueError, match="alternative text"):
        show(plt.figure())


def test_a_confusion_matrix_counts_in_per_cent_of_each_class():
    targets, answers = torch.tensor([0, 0, 0, 0, 1, 1, 2]), torch.tensor([0, 0, 0, 1, 1, 1, 0])
    figure = plot_confusion(targets, answers, ["bag", "boot", "coat"])
    axis = figure.axes[0]
    shares = axis.collections[0].get_array().reshape(3, 3)
    np.testing.assert_array_equal(shares, [[75, 25, 0], [0, 100, 0], [100, 0, 0]])
    assert [label.get_text() for label in axis.get_yticklabels()] == ["bag (4)", "boot (2)", "coat (1)"]
    assert "7 images, 71.4 % right" in figure.get_label() and "coat called bag 100 %" in figure.get_label()
    with pytest.raises(ValueError, match="not 7 and 6"):
        plot_confusion(targets, answers[1:], ["bag", "boot", "coat"])


def test_a_table_writes_numbers_in_one_way_and_escapes_words():
    rows = {"a <b>": {"n": 12000, "gain (pp)": -1.25, "effect": Effect(1, 0, 2, 5, "pp"), "seen": float("nan")}}
    made = table(rows, "How <much>?", digits=2)
    assert list(made.frame.loc["a <b>"]) == ["12,000", "−1.25", "+1.0 pp [0.0, 2.0], n = 5", "–"]
    page = made._repr_html_()
    assert "a &lt;b&gt;" in page and "How &lt;much&gt;?" in page and "<b>" not in page.replace("<body>", "")
    assert repr(made).splitlines()[0] == "How <much>?"
    assert list(table({"x": 0.5, "y": np.int64(3)}).frame[""]) == ["0.5", "3"]
    assert "caption" not in table([{"x": 1}])._repr_html_()
    with pytest.raises(ValueError, match="at least one row"):
        table({})
