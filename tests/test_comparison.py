"""Comparisons: pairs are pairs, the number of processes changes nothing, one failure does not lose the rest."""

import os
import random
import time

import joblib
import numpy as np
import pandas as pd
import pytest
import torch

from tdnn_helpers.core.progress import progress
from tdnn_helpers.core.randomness import seed_everything
from tdnn_helpers.evidence import store
from tdnn_helpers.evidence.comparison import ArmsFailed, compare
from tdnn_helpers.models.networks import mlp
from tdnn_helpers.train.loop import evaluate, fit, predict, sgd


@pytest.fixture(autouse=True)
def random_state_is_restored():
    with torch.random.fork_rng():
        yield


@pytest.fixture(scope="module")
def arms(digits):
    """Closures over data, as a notebook has them; the names are not in alphabetical order."""
    data = digits.take(200, seed=0)

    def run(lr, seed):
        train, test = data.split(0.7, seed=seed)
        model = mlp(train, hidden=(8,))
        history = fit(model, train, val=test, steps=6, optimizer=sgd(lr), seed=seed)
        return history.record("test", **evaluate(model, test))

    return {"slow": lambda seed: run(0.01, seed), "fast": lambda seed: run(0.1, seed)}


def without_seconds(frame):
    return frame.drop(columns="seconds")


def test_the_number_of_processes_changes_nothing_and_pairs_lie_side_by_side(arms):
    one, two = (compare(arms, seeds=[4, 1, 7], workers=workers, store=False) for workers in (1, 2))
    assert list(one.columns) == ["arm", "seed", "step", "split", "metric", "value", "seconds"]
    assert len(one) == 2 * 3 * (3 * 2 * 2 + 2) and not one.isna().any().any()
    assert without_seconds(one).equals(without_seconds(two))  # values bit for bit
    assert list(two["arm"].cat.categories) == ["slow", "fast"] and two["arm"].cat.ordered
    runs = two[["seed", "arm"]].drop_duplicates().values.tolist()
    assert runs == [[seed, arm] for seed in (4, 1, 7) for arm in ("slow", "fast")]
    assert two.attrs["failures"] == []
    seed_everything(7)  # a plain loop gives the same
    columns = ["step", "split", "metric", "value"]
    plain = [tuple(row[:4]) for row in arms["fast"](7).rows]
    assert list(one[(one["arm"] == "fast") & (one["seed"] == 7)][columns].itertuples(index=False, name=None)) == plain


def test_pairs_start_from_equal_weights_and_seeds_from_others(few):
    def start(seed):
        logits = predict(mlp(few, hidden=(8,)), few[:3])
        return {f"logit {i}": value for i, value in enumerate(logits.flatten().tolist())} | {"numpy": np.random.rand()}

    table = compare({"first": start, "second": start}, seeds=3, workers=2)
    values = table.pivot(index=["seed", "metric"], columns="arm", values="value")
    assert len(values) == 3 * 31
    assert values["first"].equals(values["second"])
    assert [table[table["metric"] == drawn]["value"].nunique() for drawn in ("logit 0", "numpy")] == [3, 3]


def test_results_as_a_mapping():
    def arm(seed):
        return {"test accuracy": 0.5 + seed, "train loss": torch.tensor(2.0), "size": 3, "val": 1}

    table = compare({"arm": arm}, seeds=[2], workers=1)
    assert table[["split", "metric", "value", "step"]].values.tolist() == [
        *(["test", "accuracy", 2.5, 0], ["train", "loss", 2.0, 0], ["", "size", 3.0, 0], ["", "val", 1.0, 0])
    ]
    assert table["seconds"].isna().all()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failing_run_is_reported_and_the_others_are_kept(workers):
    def sometimes(seed):
        if seed == 1:
            raise RuntimeError("the dog ate it\nand more")
        return {"test accuracy": seed}

    with pytest.warns(UserWarning, match='run of arm "bad" with seed 1 failed: RuntimeError: the dog ate it$'):
        table = compare({"good": lambda seed: {"test accuracy": seed}, "bad": sometimes}, seeds=3, workers=workers)
    assert table[["arm", "seed"]].values.tolist() == [["good", 0], ["bad", 0], ["good", 1], ["good", 2], ["bad", 2]]
    ((arm, seed, why),) = table.attrs["failures"]
    assert (arm, seed) == ("bad", 1)
    assert "the dog ate it" in why and "Traceback" in why and "sometimes" in why


def test_a_diverging_arm_is_a_failing_arm(few, arms):
    def diverge(seed):
        return fit(mlp(few), few, steps=40, optimizer=sgd(1e36), seed=seed)

    with pytest.warns(UserWarning, match='"wild" with seed 0 failed: Diverged: the loss is (nan|inf) at step'):
        table = compare(arms | {"wild": diverge}, seeds=1, workers=1)
    assert list(table["arm"].unique()) == ["slow", "fast"]
    assert list(table["arm"].cat.categories) == ["slow", "fast", "wild"]


def lost(seed):
    raise KeyError("lost")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("arms", "seeds", "error", "words"),
    [
        ({"a": lost, "b": lost}, 2, ArmsFailed, "every run failed.*\nKeyError: 'lost'"),
        ({"a": lambda seed: 0.5}, 1, ArmsFailed, "returns a History or a mapping of names to numbers, not float"),
        *(
            ({"a": lost}, seeds, ValueError, "one arm and one seed, and each seed only once")
            for seeds in (0, [], [1, 1])
        ),
        ({}, 2, ValueError, "at least one arm"),
    ],
)
def test_what_cannot_be_compared_says_why(arms, seeds, error, words):
    with pytest.raises(error, match=words):
        compare(arms, seeds=seeds, workers=1)


@pytest.mark.parametrize("workers", [1, 2])
def test_threads_are_as_asked_and_bars_are_silent_inside(workers):
    def look(seed):
        with progress(2, "inside") as bar:
            return {"threads": torch.get_num_threads(), "silent": bar.disable}

    before = torch.get_num_threads()
    table = compare({"arm": look}, seeds=2, workers=workers, threads=2)
    assert table.groupby("metric")["value"].unique().map(list).to_dict() == {"threads": [2.0], "silent": [1.0]}
    assert torch.get_num_threads() == before


def test_a_second_comparison_does_not_see_the_arms_of_the_first():
    for value in (1.0, 2.0):
        table = compare({"arm": lambda seed, value=value: {"x": value}}, seeds=2, workers=2)
        assert table["value"].tolist() == [value, value]


def test_the_callers_random_state_is_left_alone():
    def draw(seed):
        return {"python": random.random(), "numpy": np.random.rand(), "torch": torch.rand(()).item()}

    seed_everything(11)
    expected = [draw(0), draw(0)]
    seed_everything(11)
    found = [draw(0)]
    with pytest.warns(UserWarning):
        compare({"arm": draw, "bad": lambda seed: 1 / 0}, seeds=2, workers=1)
    assert [*found, draw(0)] == expected


def test_an_arm_may_name_torch_and_classes(few):
    """cloudpickle takes this for a use of the module torch.classes, which cannot be pickled by itself."""
    text = "lambda seed: {'classes': len(split.classes) + torch.zeros(1).item()}"
    arm = eval(text, {"split": few, "torch": torch})
    frame = compare({"named": arm}, seeds=2, workers=2, store=False)
    assert frame["value"].tolist() == [10.0, 10.0]


@pytest.fixture(scope="module")
def cluster():
    """Two workers with a process each, as two machines would be; reached through the loopback only."""
    dask = pytest.importorskip("dask.distributed")
    place = dict(host="127.0.0.1", dashboard_address="127.0.0.1:0")
    with dask.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, **place) as workers:
        with dask.Client(workers) as client:
            yield client


def test_dask_gives_the_same_frame_and_its_runs_are_kept(arms, cluster):
    plain = compare(arms, seeds=3, workers=1, store=False)
    assert store.runs().empty
    with joblib.parallel_config(backend="dask"):
        far = compare(arms, seeds=3)
        assert len(store.runs()) == 6
        pd.testing.assert_frame_equal(without_seconds(plain), without_seconds(far), check_exact=True)
        pd.testing.assert_frame_equal(compare(arms, seeds=3), far, check_exact=True)  # found, not run again
    pd.testing.assert_frame_equal(compare(arms, seeds=3, workers=1), far, check_exact=True)


def test_dask_runs_on_its_workers_and_failures_are_named(cluster):
    def where(seed):
        if seed == 3:
            raise RuntimeError("the dog ate it")
        time.sleep(0.3)
        return {"pid": os.getpid()}

    with joblib.parallel_config(backend="dask"), pytest.warns(UserWarning, match="seed 3 failed: .*the dog ate it"):
        table = compare({"arm": where}, seeds=6, store=False)
    pids = set(table["value"].astype(int))
    assert pids == set(cluster.run(os.getpid).values()) and os.getpid() not in pids


def test_dask_workers_with_several_threads_are_refused():
    dask = pytest.importorskip("dask.distributed")
    place = dict(processes=False, dashboard_address="127.0.0.1:0")
    with dask.LocalCluster(n_workers=1, threads_per_worker=2, **place) as workers, dask.Client(workers):
        with joblib.parallel_config(backend="dask"), pytest.raises(ValueError, match="threads_per_worker=1"):
            compare({"arm": lambda seed: {"x": 1}}, seeds=2)
