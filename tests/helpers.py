"""What several test files share and is no fixture: a notebook's cell, small networks, processes that end."""

import multiprocessing
import os
import signal
import warnings
from functools import partial

import pytest
import torch
from torch import nn

from tdnn_helpers.evidence.definitions import OURS, Definitions
from tdnn_helpers.models.networks import mlp

press_ctrl_c = partial(signal.raise_signal, signal.SIGINT)
kill = partial(signal.raise_signal, signal.SIGKILL)
CELL = """
rate = 0.5
table = {"a": [1, 2.0], "b": {"one", "two", "three", "four", "six", "x", "y", "z"}}

def helper(x):
    import math
    return math.exp(x) * rate + len(table["b"] | {"five"})

class Thing(dict):
    "A class of the notebook."
    factor: int = 3
    def times(self, x):
        return self.factor * x + super().__len__()

def make(offset):
    def arm(seed, more=1):
        inner = [helper(x) for x in (seed, 2)]
        if seed in {"o", "p", "s", "t", "u", "v", "q", "r"}:
            return {}
        return {"loss": sum(inner) + offset + more + Thing().times(3) + float(data.sum()), "noise": np.random.rand()}
    return arm

arm = make(7)
"""


def network(split, seed=0, kind=mlp, dropout=0.0, **options):
    """A small network whose first weights depend on the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind(split, **options)
        return nn.Sequential(*model[:-1], nn.Dropout(dropout), model[-1]) if dropout else model


def forked(work, *arguments):
    """A process that has all that this one has, does this and ends there, whatever pytest would do after it."""
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("needs fork")

    def child():
        work(*arguments)
        os._exit(0)

    process = multiprocessing.get_context("fork").Process(target=child)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
        process.start()
    return process


def exit_codes(processes, seconds=60):
    """How they ended; None is one that hangs, and it is killed."""
    for one in processes:
        one.join(seconds)
    codes = [one.exitcode for one in processes]
    for one in processes:
        one.kill()
    return codes


def edited_package(monkeypatch, modules, old="", new="", moved=None):
    """From now on these modules see this package as it would be with other text in its files, or with moved files."""
    ours = Definitions(OURS.package)
    assert any(old in source for source, _ in ours.files.values())
    files = {name: (source.replace(old, new) if old else source, top) for name, (source, top) in ours.files.items()}
    ours._modules = {name: OURS.module(name) for name, file in files.items() if file == OURS.files[name]}  # parsed
    ours.files = {(moved or {}).get(name, name): file for name, file in files.items()}
    for module in modules:
        monkeypatch.setattr(module, "OURS", ours)
    return ours


def row(seed=0, value=0.5, arm="a", **other):
    """A row of the evidence bank."""
    plain = dict(comparison="c", budget="standard", arm=arm, seed=seed, key="k", machine="M", seconds=1.0, rule="")
    result = dict(metrics=[[3, "test", "accuracy", value]], losses=[1.0, 0.5], answers={}, failure="")
    return plain | result | dict(device="cpu", threads=1, versions={}) | other
