"""Sweeps: what they run, and that the chosen rates are those of the best validation mean, whatever the test says."""

import math

import pandas as pd
import pytest

from tdnn_helpers.evidence.tuning import at_rates, best_rates, ends, sweep, tune

PEAK = {"a": 0.1, "b": 1e-5}


def arm(name, rate):
    def run(seed):
        distance = abs(rate - PEAK[name])
        return {"val accuracy": 1 - distance + seed / 100, "test accuracy": distance}  # the test prefers the worst rate

    return run


@pytest.fixture(scope="module")
def runs():
    return sweep(arm, {"b": (1e-5, 0.3), "a": (0.01, 0.1, 1)}, seeds=[0, 3])


def test_every_rate_of_every_name_is_run_with_every_seed(runs):
    rows = runs[runs["split"] == "val"]
    found = sorted(zip(rows["name"].astype(str), rows["rate"], rows["seed"], strict=True))
    assert found == sorted(
        (n, r, s) for n, r in [("a", 0.01), ("a", 0.1), ("a", 1), ("b", 1e-5), ("b", 0.3)] for s in (0, 3)
    )
    assert list(runs["name"].cat.categories) == ["b", "a"]


def test_best_rates_follow_the_validation_mean(runs):
    assert best_rates(runs) == {"b": 1e-5, "a": 0.1}
    assert best_rates(runs, split="test") == {"b": 0.3, "a": 1}


def test_ends_are_the_last_values(runs):
    table = ends(runs)
    assert list(table.columns) == [0, 3] and table.loc[("a", 0.1), 3] == pytest.approx(1.03)
    later = runs[runs["split"] == "val"].assign(step=5, value=0.5)
    assert (ends(pd.concat([later, runs])) == 0.5).all(axis=None)
    with pytest.raises(ValueError, match='no val metric "acuracy". Did you mean "accuracy"'):
        ends(runs, "acuracy")


def test_a_rate_with_a_missing_result_is_not_chosen(runs):
    lost = (runs["name"] == "a") & (runs["rate"] == 0.1) & (runs["seed"] == 3)
    assert best_rates(runs[~lost])["a"] == 0.01


def test_at_rates_keeps_the_chosen_runs_under_their_names(runs):
    chosen = at_rates(runs, {"b": 0.3, "a": 0.01})
    assert set(zip(chosen["arm"], chosen["rate"], strict=True)) == {("b", 0.3), ("a", 0.01)}
    assert list(chosen["arm"].unique()) == ["b", "a"] and len(chosen) == 8
    assert list(at_rates(runs, {"a": 1})["arm"].cat.categories) == ["a"]
    with pytest.raises(ValueError, match="b was not run at 0.2, only at 1e-05, 0.3"):
        at_rates(runs, {"b": 0.2})
    with pytest.raises(ValueError, match='no name "c"'):
        at_rates(runs, {"c": 0.2})


def test_names_that_cannot_be_told_apart_and_empty_lists_are_refused():
    for rates in ({"a · b": (0.1,)}, {"a": ()}):
        with pytest.raises(ValueError, match="at least one rate"):
            sweep(arm, rates)


GRID = (0.001, 0.01, 0.1, 1, 10, 100)


def peaked(peaks, tried):
    """An arm that is best at the rate of its name, and gives nothing above 10; it notes what it was asked for."""

    def arm(name, rate):
        tried.append((name, rate))
        value = {} if rate > 10 else {"val accuracy": -abs(math.log(rate / peaks[name]))}
        return lambda seed: value | {"test accuracy": rate}

    return arm


def test_tuning_goes_on_beyond_the_last_rate_that_it_tried():
    peaks, tried = {"low": 0.001, "inside": 0.1, "high": 9}, []
    assert tune(peaked(peaks, tried), peaks, GRID, seeds=[4, 7]) == {"low": 0.001, "inside": 0.1, "high": 10}
    asked = {name: [rate for one, rate in tried if one == name] for name in peaks}
    assert asked == {"low": [0.01, 0.1, 1, 0.001], "inside": [0.01, 0.1, 1], "high": [0.01, 0.1, 1, 10, 100]}


def test_tuning_with_a_short_grid_runs_all_of_it():
    assert tune(peaked({"a": 0.1}, []), ["a"], (0.1,), seeds=1) == {"a": 0.1}
    assert tune(peaked({"a": 3}, []), ["a"], (0.1, 1), seeds=1) == {"a": 1}


def test_tuning_refuses_an_impossible_grid_and_runs_without_results():
    for grid in ((), (0.1, 0.1), (1, 0.1)):
        with pytest.raises(ValueError, match="rates that rise"):
            tune(peaked({"a": 1}, []), ["a"], grid)
    with pytest.raises(ValueError, match='no val metric "accuracy"'):
        tune(peaked({"a": 1}, []), ["a"], (20, 30), seeds=1)
    some = {"a": peaked({"a": 1}, []), "lost": lambda name, rate: lambda seed: {"test accuracy": 0}}
    with pytest.raises(ValueError, match="lost gave no val accuracy at 0.1, 1."):
        tune(lambda name, rate: some[name](name, rate), some, (0.1, 1), seeds=1)
