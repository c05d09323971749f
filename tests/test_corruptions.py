"""Robustness against a loop; the corruptions against what they promise."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch

from refusals import refused
from tdnn_helpers.data.augment import shift
from tdnn_helpers.data.split import Split
from tdnn_helpers.figures.measures import plot_robustness
from tdnn_helpers.measures.corruptions import CORRUPTIONS, blur, brighten, noise, robustness
from tdnn_helpers.train.loop import evaluate


@pytest.fixture(scope="module")
def some(digits):
    return digits.take(300, seed=0)


def draws():
    return torch.Generator().manual_seed(0)


def test_noise_has_the_deviation_it_says_brighten_adds_and_both_stay_in_range():
    grey = torch.full((4, 1, 50, 50), 0.5)
    noisy, wild, black = noise(0.1)(grey, draws()), noise(2.0)(grey, draws()), noise(0.1)(0 * grey, draws())
    assert float((noisy - grey).std()) == pytest.approx(0.1, rel=0.03)
    assert float(noisy.mean()) == pytest.approx(0.5, abs=0.01)
    assert (float(wild.min()), float(wild.max())) == (0.0, 1.0)
    assert float(black.mean()) == pytest.approx(0.04, abs=0.002)  # 0.1 / √(2π): half of the noise is cut off
    images = torch.tensor([0.0, 0.5, 0.95]).view(1, 1, 1, 3)
    assert brighten(0.25)(images, draws()).flatten().tolist() == pytest.approx([0.25, 0.75, 1.0])
    assert brighten(-0.25)(images, draws()).flatten().tolist() == pytest.approx([0.0, 0.25, 0.7])


@pytest.mark.parametrize("pixels", [0.3, 1.0, 2.0])
def test_blur_spreads_a_dot_with_the_deviation_it_says(pixels):
    dot = torch.zeros(1, 1, 41, 41)
    dot[0, 0, 20, 20] = 1
    blurred, squares = blur(pixels)(dot, draws())[0, 0], (torch.arange(41) - 20) ** 2
    assert float(blurred.sum()) == pytest.approx(1, abs=1e-4)
    weights = torch.exp(-squares / (2 * pixels**2))  # of a Gaussian at whole pixels
    expected = ((weights * squares).sum() / weights.sum()).sqrt()
    assert float((blurred.sum(0) * squares).sum().sqrt()) == pytest.approx(float(expected), rel=0.02)


def test_the_table_agrees_with_a_loop_and_leaves_the_random_state_alone(some, trained):
    trained.train()
    state, kinds = torch.get_rng_state(), {"shift (px)": (shift, (1, 2)), "noise": (noise, (0.2,))}
    table = robustness(trained, some, kinds)
    assert list(table["corruption"]) == ["shift (px)"] * 3 + ["noise"] * 2
    assert list(table["strength"]) == [0, 1, 2, 0, 0.2] and not trained.training
    images, clean = some.images.float() / 255, evaluate(trained, some)["accuracy"]
    before = trained(images).argmax(1)
    for row, augment in zip(table.itertuples(), [None, shift(1), shift(2), None, noise(0.2)], strict=True):
        after = trained(augment(images, draws())).argmax(1) if augment else before
        assert row.accuracy == pytest.approx(float((after == some.targets).double().mean()))
        assert row.drop == pytest.approx(clean - row.accuracy, abs=1e-6)
        assert row.changed == pytest.approx(float((after != before).double().mean()))
    assert table["drop"][2] > 0.05  # two of eight pixels
    assert robustness(trained, some, kinds).equals(table) and torch.equal(state, torch.get_rng_state())


def test_the_default_corruptions_run_in_batches_and_colour(digits, trained):
    table = robustness(trained, digits[:600])
    assert set(table["corruption"]) == set(CORRUPTIONS)
    assert len(table) == sum(1 + len(strengths) for _, strengths in CORRUPTIONS.values())
    images = torch.rand(2, 3, 9, 9)
    for make, strengths in CORRUPTIONS.values():
        changed = make(strengths[-1])(images, draws())
        assert changed.shape == images.shape and 0 <= float(changed.min()) and float(changed.max()) <= 1


CUT = {"cut": (lambda by: lambda images, _: images[:, :, :by], (4,))}
BRIGHT = {"too bright": (lambda by: lambda images, _: images + by, (1,))}
test_bad_input_gets_one_sentence = refused(
    (lambda some, trained: robustness(trained, some[[]]), "no accuracy without labels"),
    (lambda some, trained: robustness(trained, Split(some.images, torch.zeros(300))), "no accuracy without labels"),
    (lambda some, trained: robustness(trained, some, {}), "there are no corruptions"),
    (lambda some, trained: robustness(trained, some, {"noise": (noise, ())}), '"noise" has no strengths'),
    (lambda some, trained: robustness(trained, some, BRIGHT), r'corruption "too bright" has values from 1 to 2'),
    (lambda some, trained: robustness(trained, some, CUT), r'"cut" makes \(1, 4, 8\) from images of \(1, 8, 8\)'),
)


def test_the_figure_has_a_panel_for_each_corruption_and_a_band_for_repeats(some, trained):
    kinds = {"noise": (noise, (0.1, 0.4)), "shift": (shift, (1,))}
    one, other = (robustness(trained, part, kinds) for part in (some[:150], some[150:]))
    figure = plot_robustness({"alone": one, "repeated": pd.concat([one, other])})
    assert [axis.get_xlabel() for axis in figure.axes] == ["noise", "shift"]
    lines = figure.axes[0].get_lines()
    assert lines[0].get_xdata().tolist() == [0, 0.1, 0.4]
    assert lines[0].get_ydata()[2] == pytest.approx(100 * one["accuracy"][2])
    assert lines[1].get_ydata()[2] == pytest.approx(50 * (one["accuracy"][2] + other["accuracy"][2]))
    assert len(figure.axes[0].collections) == 1  # only repeats have a band
    plt.close(figure)
