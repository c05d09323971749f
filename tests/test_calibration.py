"""Calibration against loops, against networks whose calibration is known, and against what a temperature must do."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import binomtest

from refusals import refused
from tdnn_helpers.figures.measures import plot_reliability
from tdnn_helpers.measures.calibration import expected_calibration_error, fit_temperature, reliability

DRAWS = torch.Generator().manual_seed(0)
P, TARGETS = (3 * torch.randn(500, 4, generator=DRAWS)).softmax(1), torch.randint(4, (500,), generator=DRAWS)


@pytest.mark.parametrize("bins", [10, 15])
def test_the_table_agrees_with_a_loop(bins):
    table, error = reliability(P, TARGETS, bins=bins), 0.0
    confidence, right = P.max(1).values.double().numpy(), (P.argmax(1) == TARGETS).numpy()
    for b in range(bins):
        rows = (b / bins < confidence) & (confidence <= (b + 1) / bins)
        assert table["count"][b] == rows.sum()
        means = (right[rows].mean(), confidence[rows].mean()) if rows.any() else (np.nan, np.nan)
        assert (table["accuracy"][b], table["confidence"][b]) == pytest.approx(means, nan_ok=True)
        error += rows.mean() * abs(means[0] - means[1]) if rows.any() else 0
    assert table["count"].sum() == 500 and len(table) == bins
    if bins == 15:  # the number that a published error has
        assert expected_calibration_error(P, TARGETS) == pytest.approx(error)


def test_confidence_of_exactly_1_and_on_an_edge_have_their_bins():
    p = torch.tensor([[1.0, 0.0], [0.5, 0.5]], dtype=torch.float64)
    assert reliability(p, torch.tensor([0, 0]), bins=2)["count"].tolist() == [1, 1]
    assert expected_calibration_error(p, torch.tensor([0, 0])) == pytest.approx(0.25)  # 0.5 too unsure, half of them


def test_labels_drawn_from_the_probabilities_are_calibrated_and_sharper_ones_are_not():
    generator = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(20_000, 5, generator=generator)
    targets = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    assert expected_calibration_error(logits.softmax(1), targets) < 0.02
    assert expected_calibration_error((3 * logits).softmax(1), targets) > 0.1
    assert fit_temperature(logits, targets) == pytest.approx(1, abs=0.05)
    assert fit_temperature(3 * logits, targets) == pytest.approx(3, abs=0.15)


def test_no_other_temperature_is_better():
    logits, targets = P.log().double(), TARGETS.clone()
    targets[:200] = logits[:200].argmax(1)  # better than a guess, and too sure
    best = fit_temperature(logits, targets)
    at_best = F.cross_entropy(logits / best, targets)
    assert 1 < best < 50
    assert all(F.cross_entropy(logits / t, targets) >= at_best - 1e-9 for t in np.geomspace(0.05, 500, 60))


NO_SUM, NO_SHAPE = "softmax of logits first", "N×K and targets N, at least one"
NO_BEST = "no temperature is best for these 2 answers.*more validation images"


test_bad_input_gets_one_sentence = refused(
    (lambda: expected_calibration_error(P.log(), TARGETS), NO_SUM),
    (lambda: reliability(torch.tensor([[1.5, -0.5]]), torch.tensor([0])), NO_SUM),
    (lambda: reliability(torch.full_like(P, torch.nan), TARGETS), NO_SUM),
    (lambda: reliability(P, TARGETS[:9]), NO_SHAPE),
    (lambda: reliability(P[0], TARGETS), NO_SHAPE),
    (lambda: reliability(P[:0], TARGETS[:0]), NO_SHAPE),
    (lambda: fit_temperature(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1])), NO_BEST),  # all right
    (lambda: fit_temperature(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([1, 0])), NO_BEST),  # all wrong
)


def test_the_figure_has_a_panel_for_each_table_and_no_dot_for_fewer_than_20_answers():
    figure = plot_reliability({"before": reliability(P, TARGETS), "after": reliability(P, TARGETS, bins=5)})
    assert [axis.get_title() for axis in figure.axes] == ["before", "after"]
    bars = figure.axes[1].patches
    assert len(bars) == 5 and sum(bar.get_height() for bar in bars) == pytest.approx(100)
    assert bars[-1].get_x() + bars[-1].get_width() == pytest.approx(100)
    plt.close(figure)
    p = torch.tensor([[0.95, 0.05]] * 20 + [[0.65, 0.35]] * 19)
    figure = plot_reliability({"both": reliability(p, torch.zeros(39, dtype=torch.int64), bins=10)})
    plt.close(figure)
    line, _, (bars,) = figure.axes[0].containers[-1]
    wilson = binomtest(20, 20).proportion_ci(method="wilson")
    assert line.get_xdata() == pytest.approx([95])
    assert bars.get_segments()[0][:, 1] == pytest.approx([100 * wilson.low, 100 * wilson.high], abs=0.01)
