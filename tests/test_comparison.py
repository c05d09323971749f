"""Comparisons: pairs are pairs, the number of processes changes nothing, one failure does not lose the rest."""

import os
import time
import warnings
from multiprocessing import forkserver
from unittest import mock

import joblib
import numpy as np
import pytest
import torch
from joblib._parallel_backends import LokyBackend
from pandas.testing import assert_frame_equal

from helpers import CELL
from tdnn_helpers.core.progress_bars import progress
from tdnn_helpers.core.randomness import seed_everything
from tdnn_helpers.data.split import Split
from tdnn_helpers.evidence import store
from tdnn_helpers.evidence.comparison import ArmsFailed, compare
from tdnn_helpers.models.networks import mlp
from tdnn_helpers.train.loop import evaluate, fit, predict, sgd


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


@pytest.mark.usefixtures("random_state_is_left_alone")
def test_the_callers_random_state_is_left_alone():
    with pytest.warns(UserWarning):
        compare({"arm": lambda seed: {"x": np.random.rand()}, "bad": lambda seed: 1 / 0}, seeds=2, workers=1)


def test_an_arm_may_name_torch_and_classes_and_a_second_comparison_does_not_see_the_arms_of_the_first(few):
    """cloudpickle takes the names for a use of the module torch.classes, which cannot be pickled by itself."""
    for more in (0, 1):
        text = f"lambda seed: {{'classes': len(split.classes) + torch.zeros(1).item() + {more}}}"
        arm = eval(text, {"split": few, "torch": torch})
        frame = compare({"named": arm}, seeds=2, workers=2, store=False)
        assert frame["value"].tolist() == [10.0 + more] * 2


# ---- other processes and their kept runs -----------------------------------------------------------------------------
ARMS = "arms = {size: lambda seed, size=size: {'size': size * len(pool)} | arm(seed) for size in (2, 3)}"


def test_a_new_kernel_finds_what_another_has_run():
    """In another process the cell has another name and place, and sets of words another order."""

    def kernel(name, lines, runs):
        rows = torch.arange(3)
        pool = Split(torch.arange(12, dtype=torch.uint8).reshape(3, 1, 2, 2), rows, "abc", {"row": rows})
        names = {"__name__": "__main__", "np": np, "data": rows, "pool": pool}
        exec(compile("\n" * lines + CELL + ARMS, name, "exec"), names)
        with mock.patch.dict(os.environ, TDNN_RUNS=runs, TDNN_DEVICE="cpu"), warnings.catch_warnings():
            warnings.simplefilter("error")  # that a run is not kept
            return os.getpid(), compare(names["arms"], seeds=2, workers=1)

    here, first = kernel("<ipython-input-1>", 0, os.environ["TDNN_RUNS"])
    kept = store.runs()
    there = joblib.delayed(kernel)("/tmp/ipykernel_7/9.py", 30, os.environ["TDNN_RUNS"])
    ((elsewhere, second),) = joblib.Parallel(n_jobs=2, pre_dispatch="all")([there])
    assert len(kept) == 4 and here != elsewhere
    assert_frame_equal(store.runs(), kept)  # nothing was written a second time
    assert_frame_equal(first, second, check_exact=True)


def test_worker_processes_keep_their_runs(tmp_path):
    """Each run leaves a mark in a folder, which a found run does not."""

    def arm(seed):
        (tmp_path / f"{os.getpid()}-{seed}").touch()
        return {"x": torch.rand(()).item()}

    first = compare({"arm": arm}, seeds=3, workers=2)
    assert len(list(tmp_path.glob("*-*"))) == len(store.runs()) == 3
    assert_frame_equal(first, compare({"arm": arm}, seeds=3, workers=1))
    assert len(list(tmp_path.glob("*-*"))) == 3


def test_a_backend_of_processes_is_used_with_our_number_of_workers_and_one_of_threads_only_one_after_the_other():
    asked = []

    class Watched(LokyBackend):
        def configure(self, n_jobs=1, **settings):
            asked.append(n_jobs)
            return super().configure(n_jobs, **settings)

    def drawing(scale):
        return lambda seed: {"torch": scale * torch.randn(50).sum().item(), "numpy": np.random.rand() - seed}

    joblib.register_parallel_backend("watched", Watched)
    arms = {"one": drawing(1), "two": drawing(2)}
    usual = compare(arms, seeds=2, workers=1, store=False)
    assert asked == []
    for workers, backend in (2, "watched"), (1, "threading"), (2, "sequential"):
        with joblib.parallel_config(backend, n_jobs=7):
            found = compare(arms, seeds=2, workers=workers, store=False)
        assert_frame_equal(without_seconds(usual), without_seconds(found), check_exact=True)
    assert asked == [2]
    with pytest.raises(ValueError, match="share one random state: .*workers=1"), joblib.parallel_config("threading"):
        compare(arms, seeds=2, workers=2)


def test_a_comparison_inside_an_arm_says_what_to_do():
    """Inside a worker joblib would use threads."""

    def nested(seed):
        return {"x": len(compare({"inner": lambda seed: {"x": 1}}, seeds=2, workers=2, store=False))}

    with pytest.warns(UserWarning), pytest.raises(ArmsFailed, match="workers=1"):
        compare({"a": nested}, seeds=2, workers=2)


# ---- a cluster -------------------------------------------------------------------------------------------------------
def test_a_cluster_gives_the_same_frame_keeps_its_runs_and_names_failures(arms):
    """Two workers with a process each, as two machines would be; reached through the loopback only."""
    dask, distributed = (pytest.importorskip(name) for name in ("dask", "dask.distributed"))
    place = dict(host="127.0.0.1", dashboard_address="127.0.0.1:0", n_workers=2, threads_per_worker=1)
    dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})  # torch is imported once for both
    forkserver.set_forkserver_preload(["distributed", "tdnn_helpers.evidence.comparison"])
    forkserver.ensure_running()

    def where(seed):
        if seed == 3:
            raise RuntimeError("the dog ate it")
        time.sleep(0.1)
        return {"pid": os.getpid()}

    plain = compare(arms, seeds=3, workers=1, store=False)
    assert store.runs().empty
    with distributed.LocalCluster(**place) as workers, distributed.Client(workers) as client:
        with joblib.parallel_config(backend="dask"):
            far = compare(arms, seeds=3)
            assert len(store.runs()) == 6
            assert_frame_equal(without_seconds(plain), without_seconds(far), check_exact=True)
            assert_frame_equal(compare(arms, seeds=3), far, check_exact=True)  # found, not run again
            with pytest.warns(UserWarning, match="seed 3 failed: .*the dog ate it"):
                table = compare({"arm": where}, seeds=6, store=False)
        pids = set(table["value"].astype(int))
        assert pids == set(client.run(os.getpid).values()) and os.getpid() not in pids
    assert_frame_equal(compare(arms, seeds=3, workers=1), far, check_exact=True)


def test_dask_workers_with_several_threads_are_refused():
    distributed = pytest.importorskip("dask.distributed")
    place = dict(processes=False, dashboard_address="127.0.0.1:0", n_workers=1, threads_per_worker=2)
    with distributed.LocalCluster(**place) as workers, distributed.Client(workers):
        with joblib.parallel_config(backend="dask"), pytest.raises(ValueError, match="threads_per_worker=1"):
            compare({"arm": lambda seed: {"x": 1}}, seeds=2)
