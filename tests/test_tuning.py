"""Sweeps: what they run, and that the chosen rates are those of the best validation mean, whatever the test says."""

import math

import pandas as pd
import pytest

from tdnn_helpers.evidence.tuning import at_rates, best_rates, ends, sweep, tune


def arm(name, rate):
    distance = abs(rate - {"a": 0.1, "b": 1e-5}[name])  # the test prefers the worst rate
    return lambda seed: {"val accuracy": 1 - distance + seed / 100, "test accuracy": distance}


@pytest.fixture(scope="module")
def runs():
    return sweep(arm, {"b": (1e-5, 0.3), "a": (0.01, 0.1, 1)}, seeds=[0, 3])


def test_every_rate_of_every_name_is_run_with_every_seed(runs):
    rows = runs[runs["split"] == "val"]
    found = sorted(zip(rows["name"].astype(str), rows["rate"], rows["seed"], strict=True))
    rates = [("a", 0.01), ("a", 0.1), ("a", 1), ("b", 1e-5), ("b", 0.3)]
    assert found == sorted((name, rate, seed) for name, rate in rates for seed in (0, 3))
    assert list(runs["name"].cat.categories) == ["b", "a"]


def test_best_rates_follow_the_validation_mean_and_skip_a_rate_with_a_missing_result(runs):
    assert best_rates(runs) == {"b": 1e-5, "a": 0.1}
    assert best_rates(runs, split="test") == {"b": 0.3, "a": 1}
    lost = (runs["name"] == "a") & (runs["rate"] == 0.1) & (runs["seed"] == 3)
    assert best_rates(runs[~lost])["a"] == 0.01


def test_ends_are_the_last_values(runs):
    table = ends(runs)
    assert list(table.columns) == [0, 3] and table.loc[("a", 0.1), 3] == pytest.approx(1.03)
    later = runs[runs["split"] == "val"].assign(step=5, value=0.5)
    assert (ends(pd.concat([later, runs])) == 0.5).all(axis=None)


def test_at_rates_keeps_the_chosen_runs_under_their_names(runs):
    chosen = at_rates(runs, {"b": 0.3, "a": 0.01})
    assert set(zip(chosen["arm"], chosen["rate"], strict=True)) == {("b", 0.3), ("a", 0.01)}
    assert list(chosen["arm"].unique()) == ["b", "a"] and len(chosen) == 8
    assert list(at_rates(runs, {"a": 1})["arm"].cat.categories) == ["a"]


def peaked(peaks, tried):
    """An arm that is best at the rate of its name, and gives nothing above 10; it notes what it was asked for."""

    def arm(name, rate):
        tried.append((name, rate))
        value = {} if rate > 10 else {"val accuracy": -abs(math.log(rate / peaks[name]))}
        return lambda seed: value | {"test accuracy": rate}

    return arm


def test_tuning_goes_on_beyond_the_last_rate_that_it_tried_and_with_a_short_grid_runs_all_of_it():
    peaks, tried, grid = {"low": 0.001, "inside": 0.1, "high": 9}, [], (0.001, 0.01, 0.1, 1, 10, 100)
    assert tune(peaked(peaks, tried), peaks, grid, seeds=[4, 7]) == {"low": 0.001, "inside": 0.1, "high": 10}
    asked = {name: [rate for one, rate in tried if one == name] for name in peaks}
    assert asked == {"low": [0.01, 0.1, 1, 0.001], "inside": [0.01, 0.1, 1], "high": [0.01, 0.1, 1, 10, 100]}
    assert tune(peaked({"a": 0.1}, []), ["a"], (0.1,), seeds=1) == {"a": 0.1}
    assert tune(peaked({"a": 3}, []), ["a"], (0.1, 1), seeds=1) == {"a": 1}


ONE = peaked({"a": 1}, [])


def some(name, rate):
    return ONE(name, rate) if name == "a" else lambda seed: {"test accuracy": 0}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda runs: ends(runs, "acuracy"), 'no val metric "acuracy". Did you mean "accuracy"'),
        (lambda runs: at_rates(runs, {"b": 0.2}), "b was not run at 0.2, only at 1e-05, 0.3"),
        (lambda runs: at_rates(runs, {"c": 0.2}), 'no name "c"'),
        (lambda runs: sweep(arm, {"a · b": (0.1,)}), "at least one rate"),
        (lambda runs: sweep(arm, {"a": ()}), "at least one rate"),
        *((lambda runs, g=g: tune(ONE, ["a"], g), "rates that rise") for g in ((), (0.1, 0.1), (1, 0.1))),
        (lambda runs: tune(ONE, ["a"], (20, 30), seeds=1), 'no val metric "accuracy"'),
        (lambda runs: tune(some, ["a", "lost"], (0.1, 1), seeds=1), "lost gave no val accuracy at 0.1, 1."),
    ],
)
def test_what_was_not_measured_and_what_cannot_be_is_named(runs, call, words):
    with pytest.raises(ValueError, match=words):
        call(runs)
