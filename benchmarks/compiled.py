"""``torch.compile``: what a compiled network gains, and how long it must train before its start-up is paid back."""

import os
import shutil
import statistics
import tempfile
import time
from functools import partial
from unittest.mock import patch

import torch

from .loops import bare_loop, network, ready, training_images
from .measure import Row, Size, Skipped, speeds


def rows(size: Size) -> list[Row | Skipped]:
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        return [Skipped("bare loop, `torch.compile`", "no C++ compiler")]
    train = training_images(size)
    columns, eager, model = ready(train), network(train), network(train)
    # An empty cache: a reader's first run, not his second.
    with tempfile.TemporaryDirectory() as cache, patch.dict(os.environ, TORCHINDUCTOR_CACHE_DIR=cache):
        try:
            compiled, start = torch.compile(model), time.perf_counter()
            bare_loop(*(column[: size.batch] for column in columns), compiled, size.batch)
            seconds = time.perf_counter() - start
            works = {model: partial(bare_loop, *columns, model, size.batch) for model in (eager, compiled)}
            plain, faster = speeds(works, size.images, size.rounds).values()
        finally:
            torch.compiler.reset()
    row = Row("bare loop, `torch.compile`, once it runs", "bare loop", faster, plain)
    return [row, Row("`torch.compile`, first step", paid_back(seconds, row, size.batch), [seconds], unit="s")]


def paid_back(seconds: float, row: Row, batch: int) -> str:
    """After how many steps a start-up of this many seconds is made good, in words."""
    gain = batch / statistics.median(row.base) * (1 - 1 / statistics.median(row.ratios))
    return f"paid back after {seconds / gain:,.0f} steps" if gain > 0 else "never paid back: no faster afterwards"
