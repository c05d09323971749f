"""Robustness against a loop; the corruptions against what they promise."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch

from tdnn_helpers.data.augment import shift
from tdnn_helpers.data.sets import load
from tdnn_helpers.data.split import Split
from tdnn_helpers.figures.measures import plot_robustness
from tdnn_helpers.measures.corruptions import CORRUPTIONS, blur, brighten, noise, robustness
from tdnn_helpers.models.networks import small_cnn
from tdnn_helpers.train.loop import evaluate, fit


@pytest.fixture(scope="module")
def digits():
    return load("digits").take(300, seed=0)


@pytest.fixture(scope="module")
def model(digits):
    torch.manual_seed(0)
    model = small_cnn(digits, width=4)
    fit(model, digits, steps=60, seed=0, device="cpu")
    return model


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def test_noise_has_the_standard_deviation_it_says_and_stays_in_range():
    grey = torch.full((4, 1, 50, 50), 0.5)
    noisy = noise(0.1)(grey, draws())
    assert float((noisy - grey).std()) == pytest.approx(0.1, rel=0.03) and float(noisy.mean()) == pytest.approx(
        0.5, abs=0.01
    )
    wild = noise(2.0)(grey, draws())
    assert (float(wild.min()), float(wild.max())) == (0.0, 1.0)
    black = noise(0.1)(torch.zeros_like(grey), draws())
    assert float(black.mean()) == pytest.approx(0.04, abs=0.002)  # 0.1 / √(2π): half of the noise is cut off


@pytest.mark.parametrize("pixels", [0.3, 1.0, 2.0])
def test_blur_spreads_a_dot_with_the_deviation_it_says(pixels):
    dot = torch.zeros(1, 1, 41, 41)
    dot[0, 0, 20, 20] = 1
    blurred = blur(pixels)(dot, draws())[0, 0]
    places = torch.arange(41) - 20
    assert float(blurred.sum()) == pytest.approx(1, abs=1e-4)
    deviation = float((blurred.sum(0) * places**2).sum().sqrt())
    weights = torch.exp(-(places**2) / (2 * pixels**2))  # of a Gaussian at whole pixels
    assert deviation == pytest.approx(float((weights * places**2).sum().div(weights.sum()).sqrt()), rel=0.02)


def test_brighten_adds_and_clamps():
    images = torch.tensor([0.0, 0.5, 0.95]).view(1, 1, 1, 3)
    assert brighten(0.25)(images, draws()).flatten().tolist() == pytest.approx([0.25, 0.75, 1.0])
    assert brighten(-0.25)(images, draws()).flatten().tolist() == pytest.approx([0.0, 0.25, 0.7])


def test_the_table_agrees_with_a_loop(digits, model):
    model.train()
    table = robustness(model, digits, {"shift (px)": (shift, (1, 2)), "noise": (noise, (0.2,))}, seed=3)
    assert list(table["corruption"]) == ["shift (px)"] * 3 + ["noise"] * 2
    assert list(table["strength"]) == [0, 1, 2, 0, 0.2] and not model.training
    images, clean = digits.images.float() / 255, evaluate(model, digits)["accuracy"]
    before = model(images).argmax(1)
    makers = [None, shift(1), shift(2), None, noise(0.2)]
    for row, augment in zip(table.itertuples(), makers, strict=True):
        after = model(augment(images, draws(3))).argmax(1) if augment else before
        assert row.accuracy == pytest.approx(float((after == digits.targets).double().mean()))
        assert row.drop == pytest.approx(clean - row.accuracy, abs=1e-6)
        assert row.changed == pytest.approx(float((after != before).double().mean()))
    assert table["drop"][2] > 0.05  # two of eight pixels


def test_it_follows_from_the_seed_and_leaves_the_random_state_alone(digits, model):
    state = torch.get_rng_state()
    tables = [robustness(model, digits, {"noise": (noise, (0.4,))}, seed=seed)["changed"][1] for seed in (0, 0, 1)]
    assert tables[0] == tables[1] != tables[2] and torch.equal(state, torch.get_rng_state())


def test_the_default_corruptions_run_in_batches_and_colour(digits, model):
    table = robustness(model, digits, batch_size=128)
    assert set(table["corruption"]) == set(CORRUPTIONS)
    assert len(table) == sum(1 + len(strengths) for _, strengths in CORRUPTIONS.values())
    for make, strengths in CORRUPTIONS.values():
        images = torch.rand(2, 3, 9, 9)
        changed = make(strengths[-1])(images, draws())
        assert changed.shape == images.shape and 0 <= float(changed.min()) and float(changed.max()) <= 1


def test_bad_input_gets_one_sentence(digits, model):
    with pytest.raises(ValueError, match="no accuracy without labels"):
        robustness(model, digits[[]])
    with pytest.raises(ValueError, match="no accuracy without labels"):
        robustness(model, Split(digits.images, torch.zeros(len(digits))))
    with pytest.raises(ValueError, match="there are no corruptions"):
        robustness(model, digits, {})
    with pytest.raises(ValueError, match='"noise" has no strengths'):
        robustness(model, digits, {"noise": (noise, ())})
    with pytest.raises(ValueError, match=r'"too bright" makes images of shape \(1, 8, 8\) with values from 1 to 2'):
        robustness(model, digits, {"too bright": (lambda by: lambda images, _: images + by, (1,))})
    with pytest.raises(ValueError, match=r'"cut" makes images of shape \(1, 4, 8\)'):
        robustness(model, digits, {"cut": (lambda by: lambda images, _: images[:, :, :by], (4,))})


def test_the_figure_has_a_panel_for_each_corruption_and_a_band_for_repeats(digits, model):
    kinds = {"noise": (noise, (0.1, 0.4)), "shift": (shift, (1,))}
    one, other = (robustness(model, digits, kinds, seed=seed) for seed in (0, 1))
    figure = plot_robustness({"alone": one, "repeated": pd.concat([one, other])})
    assert [axis.get_xlabel() for axis in figure.axes] == ["noise", "shift"]
    lines = figure.axes[0].get_lines()
    assert lines[0].get_xdata().tolist() == [0, 0.1, 0.4]
    assert lines[0].get_ydata()[2] == pytest.approx(100 * one["accuracy"][2])
    assert lines[1].get_ydata()[2] == pytest.approx(50 * (one["accuracy"][2] + other["accuracy"][2]))
    assert len(figure.axes[0].collections) == 1  # only repeats have a band
    plt.close(figure)
