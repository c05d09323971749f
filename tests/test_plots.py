"""Figures carry the numbers of the frame that they were given."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from tdnn_helpers.data.sets import load
from tdnn_helpers.evidence.effects import Effect, mean_interval
from tdnn_helpers.figures.plots import (
    last_values,
    plot_arms,
    plot_curves,
    plot_differences,
    plot_effects,
    plot_projections,
    show_images,
)


@pytest.fixture
def runs():
    rows = [
        (arm, seed, step, split, "accuracy", offset + 0.01 * seed + 0.1 * step, 0.0)
        for arm, offset in (("z", 0.5), ("a", 0.2))
        for seed in range(4)
        for step in (1, 2)
        for split in ("train", "test")
    ]
    frame = pd.DataFrame(rows, columns=["arm", "seed", "step", "split", "metric", "value", "seconds"])
    return frame.sample(frac=1, random_state=0)


def test_last_values_takes_the_last_step_of_each_seed(runs):
    table = last_values(runs, "accuracy")
    assert table.shape == (4, 2)
    assert table.loc[3, "z"] == pytest.approx(0.5 + 0.03 + 0.2)
    assert table.loc[0, "a"] == pytest.approx(0.2 + 0.2)


def test_a_last_value_that_is_missing_is_not_replaced_by_an_earlier_one(runs):
    end = (runs["arm"] == "z") & (runs["seed"] == 0) & (runs["step"] == runs["step"].max())
    table = last_values(runs.assign(value=runs["value"].mask(end)), "accuracy")
    assert np.isnan(table.loc[0, "z"]) and table.notna().sum().sum() == 7


def test_arms_are_joined_by_seed_unless_they_are_no_pairs(runs):
    joined, alone = (len(plot_arms(runs, "accuracy", join=join).axes[0].lines) for join in (True, False))
    assert joined - alone == 4


def test_curves_draw_the_mean_with_its_interval(runs):
    axis = plot_curves(runs, "accuracy", "test", percent=True).axes[0]
    line = {line.get_label(): line for line in axis.lines}["z"]
    effect = mean_interval(100 * (0.5 + 0.01 * np.arange(4) + 0.1))
    np.testing.assert_allclose(line.get_ydata()[0], effect.mean)
    band = axis.collections[[line.get_label() for line in axis.lines].index("z")].get_paths()[0].vertices
    at_first_step = band[np.isclose(band[:, 0], 1)][:, 1]
    np.testing.assert_allclose([at_first_step.min(), at_first_step.max()], [effect.low, effect.high])


def test_one_seed_draws_a_line_without_a_band(runs):
    axis = plot_curves(runs[runs["seed"] == 0], "accuracy", "test").axes[0]
    assert np.isfinite(axis.lines[0].get_ydata()).all()


def test_arms_are_labelled_in_the_order_of_the_frame(runs):
    axis = plot_arms(runs.sort_values("arm", ascending=False), "accuracy", baseline=0.1).axes[0]
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["z", "a"]


def test_differences_are_paired(runs):
    figure = plot_differences(runs, [("z", "a")], "accuracy", scale=100, unit="pp")
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


def test_an_unknown_metric_is_a_clear_error(runs):
    with pytest.raises(ValueError, match='no "loss" was recorded for "test"'):
        plot_curves(runs, "loss", "test")
    with pytest.raises(ValueError, match='no "loss" was recorded'):
        last_values(runs, "loss")


def test_no_images_are_a_clear_error():
    with pytest.raises(ValueError, match="no images to show"):
        show_images(torch.zeros(0, 1, 2, 2))


def test_images_are_drawn_with_their_class_names():
    figure = show_images(load("digits")[:5], columns=3)
    assert [axis.get_title() for axis in figure.axes][:5] == ["0", "1", "2", "3", "4"]
    np.testing.assert_array_equal(figure.axes[1].images[0].get_array(), load("digits").images[1, 0])


def test_float_images_have_their_own_range():
    figure = show_images(torch.rand(2, 3, 4, 4))
    assert figure.axes[0].images[0].get_clim() == (0, 1)


def test_projections_draw_every_point_once():
    points = np.random.default_rng(0).normal(size=(30, 2))
    figure = plot_projections({"one": points, "two": points}, torch.arange(30) % 3, ["x", "y", "z"])
    assert sum(len(scatter.get_offsets()) for scatter in figure.axes[0].collections) == 30


def test_an_empty_label_leaves_the_axis_without_one(runs):
    assert plot_curves(runs, "accuracy", "test", ylabel="").axes[0].get_ylabel() == ""
    assert plot_curves(runs, "accuracy", "test").axes[0].get_ylabel() == "test accuracy"
