"""Finished runs are found again when nothing has changed, in any process, and are done again when anything has."""

import json
import os
import sys
import time
import types
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pandas.testing import assert_frame_equal
from torch import nn

from helpers import CELL, edited_package, exit_codes, forked
from tdnn_helpers.core import runs_dir
from tdnn_helpers.data.sets import load
from tdnn_helpers.data.shipped import verified
from tdnn_helpers.evidence import comparison, fingerprint, store
from tdnn_helpers.evidence.comparison import compare
from tdnn_helpers.evidence.definitions import Definitions
from tdnn_helpers.evidence.store import Store
from tdnn_helpers.models.networks import mlp, normalise
from tdnn_helpers.train.loop import fit, sgd

PACKAGE = Path(store.__file__).parents[1]
READS = "def arm(seed):\n    return {'x': len(str(data))}"  # a variable of the notebook
PLAIN = {"arm": lambda seed: {"x": seed}}


@pytest.fixture(autouse=True)
def nothing_was_said(monkeypatch):
    monkeypatch.setattr(store, "_said", set())


def notebook(source, **variables):
    """What a kernel holds after a cell: the functions live in ``__main__``."""
    names = {"__name__": "__main__", "torch": torch, "np": np, "nn": nn, **variables}
    exec(compile(source, "<cell>", "exec"), names)
    return names


def key(source, **variables):
    return key_of(notebook(source, **variables)["arm"])


def key_of(arm, threads=1):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return Store({"arm": arm}, threads)._keys["arm"]


def ran(arms, seeds=1, **settings):
    """The runs that a comparison has to do, found out without doing them."""
    kept = Store(arms, settings.pop("threads", 1), **settings)
    return [(arm, seed) for seed in range(seeds) for arm in arms if kept.get(arm, seed) is None]


# --- what changes the key ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("sum(inner) + offset", "sum(inner) - offset", id="code of the arm"),
        pytest.param("(seed, 2)", "(seed, 3)", id="constant of the arm"),
        pytest.param("(seed, 2)", "(seed, 2.0)", id="type of a constant"),
        pytest.param('"q", "r"', '"q", "s"', id="constant set"),
        pytest.param("more=1", "more=2", id="default"),
        pytest.param("make(7)", "make(8)", id="closure"),
        pytest.param(") * rate", ") / rate", id="function that the arm calls"),
        pytest.param("rate = 0.5", "rate = 0.25", id="global of that function"),
        pytest.param("[1, 2.0]", "[1, 2.5]", id="inside a container"),
        pytest.param('"y", "z"', '"y", "w"', id="inside a set"),
        pytest.param("self.factor * x", "self.factor + x", id="method of a class"),
        pytest.param("factor: int = 3", "factor: int = 4", id="attribute of a class"),
        pytest.param("np.random", "torch", id="another package"),
        pytest.param("data.sum", "data.min", id="another attribute"),
        pytest.param("float(data", "int(data", id="another built-in function"),
    ],
)
def test_a_change_of_code_or_values_changes_the_key(before, after):
    assert CELL.count(before) == 1
    data = torch.arange(3)
    assert key(CELL, data=data) != key(CELL.replace(before, after), data=data)


def test_a_place_a_copy_a_comment_and_a_variable_that_is_not_read_change_nothing():
    data = torch.arange(3)
    cells = "\n\n" + CELL, CELL.replace("arm = make(7)", "unread = 3  # why\narm = make(7)")
    assert [key(cell, data=data.clone()) for cell in cells] == [key(CELL, data=data)] * 2


@pytest.mark.parametrize(
    "change",
    [lambda t: t.double(), lambda t: t.reshape(4, 3), lambda t: t.t().contiguous().t(), lambda t: t.requires_grad_()]
    + [lambda t: t.index_fill(0, torch.tensor([2]), 0.0), nn.Parameter, torch.Tensor.numpy, torch.Tensor.tolist]
    + [lambda t: t.numpy().astype("float64"), lambda t: np.asfortranarray(t.numpy())],
)
def test_data_counts_by_content_type_and_form(change):
    one, same, changed, again = (torch.arange(12.0).reshape(3, 4) for _ in range(4))
    assert key(READS, data=one) == key(READS, data=same)
    assert key(READS, data=change(changed)) == key(READS, data=change(again)) != key(READS, data=one)


@pytest.mark.parametrize("dtype", [torch.bool, torch.bfloat16, torch.complex64, torch.uint8, torch.int64])
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_every_type_of_tensor_has_a_digest(dtype, shape):
    zeros, ones = torch.zeros(shape, dtype=dtype), torch.ones(shape, dtype=dtype)
    assert key(READS, data=zeros) == key(READS, data=zeros.clone())
    assert (key(READS, data=zeros) != key(READS, data=ones)) == (zeros.numel() > 0)


def test_an_edit_in_place_is_seen_even_where_torch_does_not_count_it():
    digits = load("digits").take(50, seed=0)
    arm = notebook(READS, data=digits)["arm"]
    first = key_of(arm)
    digits.images.numpy()[3, 0, 2, 2] ^= 1  # leaves the version counter of the tensor as it is
    second = key_of(arm)
    digits.targets.data[4] = (digits.targets[4] + 1) % 10
    assert len({first, second, key_of(arm)}) == 3


def test_splits_networks_and_settings_count_by_content():
    digits = load("digits").take(100, seed=0)
    torch.manual_seed(0)
    things = [digits, load("digits").take(100, seed=1), digits.with_label_noise(0.1, seed=0), digits.take]
    things += [normalise(digits), mlp(digits, hidden=(4,)), mlp(digits, hidden=(4,)), nn.ReLU, nn.ReLU()]  # new weights
    things += [sgd(0.1), sgd(0.2), partial(fit, steps=3)]
    things += [types.SimpleNamespace(steps=3), types.SimpleNamespace(steps=4)]
    things += [torch.float32, torch.channels_last, torch.relu, nn.functional.max_pool2d, np.log, np.float32(1)]
    things += [pd.DataFrame({"a": [1.0, 2.0]}), pd.DataFrame({"a": [1.0, 2.5]})]
    keys = [key(READS, data=thing) for thing in things]
    assert len(set(keys)) == len(things)
    assert keys == [key(READS, data=thing) for thing in things]
    assert keys[0] == key(READS, data=load("digits").take(100, seed=0))


def test_functions_may_call_each_other_and_local_variables_have_the_names_of_functions_that_read():
    source = "def a(n):\n    return n and b(n - 1)\ndef b(n):\n    return n and a(n - 1)\narm = a"
    assert key(source) == key(source) != key(source.replace("b(n - 1)", "b(n - 2)"))
    source = "def arm(seed):\n    input = seed\n    load = lambda open: open + input\n    return {'x': load(1)}"
    assert key(source) != key(source.replace("load(1)", "load(2)"))


def test_a_change_of_the_surroundings_is_another_run(monkeypatch):
    compare(PLAIN, seeds=1, workers=1, threads=1)
    assert ran(PLAIN) == [] and ran(PLAIN, seeds=2) == [("arm", 1)]
    assert ran(PLAIN, threads=2) == [("arm", 0)]
    assert ran({"other name": PLAIN["arm"]}) == [("other name", 0)]
    for change in (
        lambda patch: patch.setenv("TDNN_BUDGET", "smoke"),
        lambda patch: patch.setattr(torch, "__version__", "9.9"),
        lambda patch: patch.setattr("platform.python_version", lambda: "9.9"),
        lambda patch: patch.setattr(store, "pick_device", lambda: torch.device("mps")),
        lambda patch: patch.setattr("torch.get_default_dtype", lambda: torch.float64),
    ):
        with monkeypatch.context() as patch:
            change(patch)
            assert ran(PLAIN) == [("arm", 0)]
        assert ran(PLAIN) == []


def test_a_run_on_the_data_of_another_folder_is_another_run(monkeypatch, tmp_path):
    reads = notebook("arm = lambda seed: verified('a.gz')", verified=verified)["arm"]

    def digests():
        return key_of(reads), Store.source(), fingerprint._ours(verified.__module__, "verified")

    before = digests()
    monkeypatch.setenv("TDNN_DATA", str(tmp_path))
    listing = (PACKAGE.parent / "data" / "checksums.json").read_text(encoding="utf-8")
    for text, kept in ((listing, True), (listing.replace("1", "2"), False)):
        (tmp_path / "checksums.json").write_text(text, encoding="utf-8")
        assert [now == then for now, then in zip(digests(), before, strict=True)] == [kept] * 3


# --- a new version of this package ------------------------------------------------------------------------------------
@pytest.fixture
def edited(monkeypatch):
    """A function: this package as it would be with other text in its files, or with moved files."""
    return partial(edited_package, monkeypatch, (fingerprint, store))


TRAINS = notebook("arm = lambda seed: fit(mlp(pool), pool, steps=1)", fit=fit, mlp=mlp, pool=torch.zeros(3))["arm"]


@pytest.mark.parametrize(
    ("forgets", "old", "new"),
    [
        pytest.param(False, "how much may an image of the last one", "what is the weight", id="hint of an exercise"),
        pytest.param(False, 'MARKERS = "osD^vPX*"', 'MARKERS = "sD^vPX*o"', id="figure"),
        pytest.param(False, "images.flip(-1)", "images.flip(-2)", id="function that the arm does not reach"),
        pytest.param(False, "# nowhere to rise from", "# there is nothing to rise from", id="comment"),
        pytest.param(False, "A multi-layer perceptron on", "Dense layers on", id="docstring"),
        pytest.param(True, "outputs or outputs_for(train))", "outputs or 2)", id="function that the arm calls"),
        pytest.param(True, "self.seen += images", "self.seen += 1", id="class that such a function uses"),
        pytest.param(True, "if first in SPLITS and rest else", "if first in SPLITS else", id="way of every run"),
    ],
)
def test_an_edit_of_this_package_forgets_a_run_where_the_arm_reaches_what_it_changes(edited, forgets, old, new):
    before, source = key_of(TRAINS), Store.source()
    edited(old, new)
    assert Store.source() != source  # worker processes must have each byte alike
    assert (key_of(TRAINS) != before) == forgets


def test_a_file_that_moves_forgets_no_run(edited, monkeypatch):
    before = key_of(TRAINS)
    monkeypatch.setitem(sys.modules, "tdnn_helpers.models.shapes", sys.modules[mlp.__module__])
    monkeypatch.setattr(mlp, "__module__", "tdnn_helpers.models.shapes")
    assert key_of(TRAINS) != before  # the files that were imported have no such place
    edited("networks import", "shapes import", {"models.networks": "models.shapes"})
    assert key_of(TRAINS) == before


def test_the_package_whose_source_counts_is_the_whole_one(edited):
    assert store.OURS is fingerprint.OURS and store.OURS.package == PACKAGE and PACKAGE.name == "tdnn_helpers"
    assert {"", "train.loop", "exercises.lesson_01", "evidence.store"} <= store.OURS.files.keys()
    before = Store.source()
    assert store.OURS.all == Definitions(PACKAGE).all == edited().all and Store.source() == before


# --- what has no reliable digest --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("def arm(seed):\n    return {'x': len(open('f').read())}", '"open" reads what lies outside'),
        ("def arm(seed):\n    return {'x': len(torch.load('f'))}", '"load" reads what lies outside'),
        ("read = open\ndef arm(seed):\n    return {'x': len(read('f').read())}", 'because "read" has .*"open" reads'),
        ("def inner():\n    return eval('1')\ndef arm(seed):\n    return {'x': inner()}", 'because "inner" has'),
        ("def arm(seed):\n    global n\n    n = 1\n    return {'x': n}", 'changes the global variable "n"'),
        ("log = (i for i in [1])\ndef arm(seed):\n    return {'x': len(str(log))}", 'because "log" has'),
        ("def arm(seed):\n    return {'x': loose.value}", 'because "loose" has .*"loose" has no version'),
        ("def arm(seed):\n    return {'x': len(str(sparse))}", 'because "sparse" has .*sparse or quantised'),
    ],
)
def test_what_cannot_be_told_apart_is_run_every_time_and_said_once(source, why):
    loose, sparse = types.ModuleType("loose"), torch.eye(2).to_sparse()
    arm = notebook(source, loose=loose, sparse=sparse)["arm"]
    arms = {"odd": arm, "plain": lambda seed: {"x": seed}}
    with pytest.warns(UserWarning, match=f'The runs of arm "odd" are not kept, .*{why}') as said:
        kept = Store(arms, 1)
    assert len(said) == 1 and list(kept._keys) == ["plain"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Store(arms, 1)


# --- keeping and finding ----------------------------------------------------------------------------------------------
@pytest.fixture
def calls(monkeypatch):
    """The (arm, seed) that really ran, when they run in this process."""
    done, run = [], comparison._run
    monkeypatch.setattr(comparison, "_run", lambda *job: done.append(job[2:4]) or run(*job))
    return done


def test_only_missing_runs_are_done_and_the_frame_is_the_first_one(calls):
    def arms_of(digits):
        def run(lr, seed):
            return fit(mlp(digits, hidden=(4,)), digits, steps=3, optimizer=sgd(lr), seed=seed)

        return {"slow": lambda seed: run(0.01, seed), "fast": lambda seed: run(0.1, seed)}

    arms = arms_of(load("digits").take(60, seed=0))
    first = compare(arms, seeds=2, workers=1)
    assert len(calls) == 4 and first["seconds"].gt(0).all()
    again = compare(arms_of(load("digits").take(60, seed=0)), seeds=2, workers=2)
    assert len(calls) == 4
    assert_frame_equal(first, again, check_exact=True)
    assert again.attrs == first.attrs

    more = compare(arms | {"third": lambda seed: {"test accuracy": np.nan}}, seeds=[1, 2], workers=1)
    assert calls[4:] == [("third", 1), ("slow", 2), ("fast", 2), ("third", 2)]
    old, new = (frame[(frame["seed"] == 1) & (frame["arm"] != "third")].astype({"arm": str}) for frame in (first, more))
    assert_frame_equal(old.reset_index(drop=True), new.reset_index(drop=True))
    table = store.runs()
    assert list(table.columns) == ["arm", "seed", "when", "bytes"]
    runs = [(arm, seed) for arm in ("fast", "slow") for seed in (0, 1, 2)] + [("third", 1), ("third", 2)]
    assert sorted(zip(table["arm"], table["seed"])) == runs
    assert table["when"].is_monotonic_increasing and (table["bytes"] > 0).all()
    store.clear()
    assert store.runs().empty and list(store.runs().columns) == ["arm", "seed", "when", "bytes"]
    compare(arms, seeds=1, workers=1)
    assert len(calls) == 10


def test_the_bar_says_how_many_were_kept(monkeypatch):
    said, progress = [], comparison.progress
    monkeypatch.setattr(comparison, "progress", lambda n, what: said.append((n, what)) or progress(n, what))
    for seeds in (2, 5, 5):
        compare(PLAIN, seeds=seeds, workers=1)
    assert said == [(2, "runs"), (3, "runs (2 kept)")]


def test_it_can_be_switched_off(calls, monkeypatch):
    compare(PLAIN, seeds=1, workers=1, store=False)
    assert store.runs().empty and not store.folder().exists()
    for stored, switch in (True, "1"), (False, "1"), (True, "0"), (True, "1"):
        monkeypatch.setenv("TDNN_STORE", switch)
        compare(PLAIN, seeds=1, workers=1, store=stored)
    assert len(calls) == 4  # the last one was found


def test_a_failed_run_is_not_kept_and_what_had_finished_at_an_interrupt_is(calls):
    def stopped(seed):
        if seed:
            raise RuntimeError("lost") if seed == 1 else KeyboardInterrupt
        return {"x": 1}

    for _ in range(2):
        with pytest.warns(UserWarning, match="seed 1 failed"):
            compare({"arm": stopped}, seeds=2, workers=1)
    assert calls == [("arm", 0), ("arm", 1), ("arm", 1)]
    with pytest.raises(KeyboardInterrupt):
        compare({"another": stopped}, seeds=[0, 2, 3], workers=1)
    assert store.runs()["arm"].tolist() == ["arm", "another"] and calls[3:] == [("another", 0), ("another", 2)]


def test_a_damaged_entry_is_run_again(calls):
    compare(PLAIN, seeds=[15], workers=1)
    (path,) = store.folder().iterdir()
    whole = path.read_bytes()
    for damaged in (b"", whole[:-5], whole.replace(b"15.0", b"25.0"), whole[60:], b"\xff" * 99):
        calls.clear()
        path.write_bytes(damaged)
        assert damaged != whole and store.runs().empty
        assert compare(PLAIN, seeds=[15], workers=1)["value"].tolist() == [15]
        assert len(calls) == 1 and path.read_bytes() == whole


def test_a_folder_that_cannot_be_written_loses_nothing():
    runs_dir().mkdir(parents=True)
    store.folder().write_text("a file in the way")
    with pytest.warns(UserWarning, match="cannot be kept, because their folder") as said:
        table = compare(PLAIN, seeds=3, workers=1)
    assert table["value"].tolist() == [0, 1, 2] and len(said) == 1


def test_a_run_by_other_source_than_this_process_has_is_not_kept():
    kept = Store(PLAIN, 1)
    kept.put("arm", 0, [(0, "", "x", 1.0, 0.0)], {}, "a file was edited before the worker started")
    assert kept.get("arm", 0) is None
    kept.put("arm", 0, [(0, "", "x", 1.0, float("nan"))], {"right": "1:gA=="}, Store.source())
    ((*row, seconds),), answers = kept.get("arm", 0)
    assert row == [0, "", "x", 1.0] and np.isnan(seconds) and answers == {"right": "1:gA=="}


def test_no_half_written_entry_is_ever_seen(monkeypatch):
    """The entry appears by one rename of a finished file; a rename that fails leaves nothing behind."""
    kept, renamed = Store(PLAIN, 1), []

    def refuse(source, target):
        renamed.append((json.loads(Path(source).read_bytes().partition(b"\n")[2])["seed"], Path(target).exists()))
        raise PermissionError(13, "in use")

    with monkeypatch.context() as patch, pytest.warns(UserWarning, match="in use"):
        patch.setattr(os, "replace", refuse)
        kept.put("arm", 4, [], {}, Store.source())
    assert renamed == [(4, False)] and list(store.folder().iterdir()) == []


# --- two kernels at once ----------------------------------------------------------------------------------------------
def test_two_kernels_and_one_that_clears_meanwhile():
    """Both compare the same arms again and again, a third forgets the runs all the time: nobody notices."""
    arms = {name: lambda seed, name=name: {"value": seed + len(name)} for name in ("a", "bb", "ccc")}
    expected = compare(arms, seeds=4, workers=1, store=False)

    def kernel():
        warnings.simplefilter("error")
        for _ in range(15):
            assert_frame_equal(compare(arms, seeds=4, workers=1), expected, check_exact=True)

    kernels, seen = [forked(kernel) for _ in range(2)], 0
    while any(one.is_alive() for one in kernels):
        seen = max(seen, len(store.runs()))
        store.clear()
    assert exit_codes(kernels) == [0, 0] and seen > 0
    assert_frame_equal(compare(arms, seeds=4, workers=1), expected, check_exact=True)
    assert all(path.suffix == ".run" and store._read(path) for path in store.folder().iterdir())


def test_clearing_leaves_what_another_kernel_is_writing_and_takes_what_a_killed_one_left():
    store.folder().mkdir(parents=True)
    for name, age in (("now.tmp", 0), ("old.tmp", 7200)):
        (store.folder() / name).touch()
        os.utime(store.folder() / name, (time.time() - age,) * 2)
    store.clear()
    assert [path.name for path in store.folder().iterdir()] == ["now.tmp"]
