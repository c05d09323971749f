"""What several test files share and is no fixture: a small network that repeats, and processes that end."""

import multiprocessing
import os
import signal
import warnings
from functools import partial

import pytest
import torch
from torch import nn

from tdnn_helpers.models.networks import mlp

press_ctrl_c = partial(signal.raise_signal, signal.SIGINT)
kill = partial(signal.raise_signal, signal.SIGKILL)


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
