"""Calibration against loops, against networks whose calibration is known, and against what a temperature must do."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import binomtest

from tdnn_helpers.figures.measures import plot_reliability
from tdnn_helpers.measures.calibration import expected_calibration_error, fit_temperature, reliability


@pytest.fixture
def answers():
    generator = torch.Generator().manual_seed(0)
    return (3 * torch.randn(500, 4, generator=generator)).softmax(1), torch.randint(4, (500,), generator=generator)


def test_the_table_agrees_with_a_loop(answers):
    p, targets = answers
    table = reliability(p, targets, bins=10)
    error = 0.0
    for b in range(10):
        rows = [i for i in range(500) if b / 10 < p[i].max().item() <= (b + 1) / 10]
        assert table["count"][b] == len(rows)
        if not rows:
            assert np.isnan(table["accuracy"][b]) and np.isnan(table["confidence"][b])
            continue
        accuracy = np.mean([p[i].argmax() == targets[i] for i in rows])
        confidence = np.mean([p[i].max().item() for i in rows])
        assert (table["accuracy"][b], table["confidence"][b]) == pytest.approx((accuracy, confidence))
        error += len(rows) / 500 * abs(accuracy - confidence)
    assert expected_calibration_error(p, targets, bins=10) == pytest.approx(error)
    assert table["count"].sum() == 500


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


def test_no_other_temperature_is_better(answers):
    logits, targets = answers[0].log(), answers[1].clone()
    targets[:200] = logits[:200].argmax(1)  # better than a guess, and too sure
    best = fit_temperature(logits, targets)
    at_best = F.cross_entropy(logits.double() / best, targets)
    assert 1 < best < 50
    assert all(F.cross_entropy(logits.double() / t, targets) >= at_best - 1e-9 for t in np.geomspace(0.05, 500, 60))


def test_bad_input_gets_one_sentence(answers):
    p, targets = answers
    with pytest.raises(ValueError, match="softmax of logits first"):
        expected_calibration_error(p.log(), targets)
    with pytest.raises(ValueError, match="softmax of logits first"):
        reliability(torch.tensor([[1.5, -0.5]]), torch.tensor([0]))
    with pytest.raises(ValueError, match="softmax of logits first"):
        reliability(torch.full_like(p, torch.nan), targets)
    for wrong in ((p, targets[:9]), (p[0], targets), (p[:0], targets[:0])):
        with pytest.raises(ValueError, match="N×K and targets N, at least one"):
            reliability(*wrong)
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    for targets in ([0, 1], [1, 0]):  # all right, all wrong
        with pytest.raises(ValueError, match="no temperature is best for these 2 answers.*more validation images"):
            fit_temperature(logits, torch.tensor(targets))


def test_the_figure_has_a_panel_for_each_table(answers):
    figure = plot_reliability({"before": reliability(*answers), "after": reliability(*answers, bins=5)})
    assert [axis.get_title() for axis in figure.axes] == ["before", "after"]
    bars = figure.axes[1].patches
    assert len(bars) == 5 and sum(bar.get_height() for bar in bars) == pytest.approx(100)
    assert bars[-1].get_x() + bars[-1].get_width() == pytest.approx(100)
    plt.close(figure)


def test_a_bin_with_few_answers_has_no_dot():
    p = torch.tensor([[0.95, 0.05]] * 20 + [[0.65, 0.35]] * 19)
    table = reliability(p, torch.zeros(39, dtype=torch.int64), bins=10)

    def drawn(**fewest):
        figure = plot_reliability({"both": table}, **fewest)
        plt.close(figure)
        line, _, (bars,) = figure.axes[0].containers[-1]
        return line.get_xdata().tolist(), bars.get_segments()

    assert drawn()[0] == pytest.approx([95]) and drawn(fewest=1)[0] == pytest.approx([65, 95])
    wilson = binomtest(20, 20).proportion_ci(method="wilson")
    assert drawn()[1][0][:, 1] == pytest.approx([100 * wilson.low, 100 * wilson.high], abs=0.01)
