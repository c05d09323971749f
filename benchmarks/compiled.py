"""``torch.compile``: what a compiled network gains, and how long it must train before its start-up is paid back."""

import os
import shutil
import statistics
import tempfile
import time
from unittest.mock import patch

import torch

from .loops import bare_loop, network, training_images
from .measure import Row, Size, Skipped, images_per_second, interleaved


def rows(size: Size) -> list[Row | Skipped]:
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        return [Skipped("bare loop, `torch.compile`", "no C++ compiler")]
    train = training_images(size)
    ready = train.images.float().div(255), train.targets
    eager, model = network(train), network(train)
    # An empty cache: a reader's first run, not his second.
    with tempfile.TemporaryDirectory() as cache, patch.dict(os.environ, TORCHINDUCTOR_CACHE_DIR=cache):
        try:
            compiled, start = torch.compile(model), time.perf_counter()
            bare_loop(*(column[: size.batch] for column in ready), compiled, size.batch)
            seconds = time.perf_counter() - start
            models = {"eager": eager, "compiled": compiled}
            arms = {
                name: images_per_second(lambda model=model: bare_loop(*ready, model, size.batch), size.images)
                for name, model in models.items()
            }
            speeds = interleaved(arms, size.rounds)
        finally:
            torch.compiler.reset()
    row = Row("bare loop, `torch.compile`, once it runs", "bare loop", speeds["compiled"], speeds["eager"])
    return [row, Row("`torch.compile`, first step", paid_back(seconds, row, size.batch), [seconds], unit="s")]


def paid_back(seconds: float, row: Row, batch: int) -> str:
    """After how many steps a start-up of this many seconds is made good, in words."""
    gain = batch / statistics.median(row.base) * (1 - 1 / statistics.median(row.ratios))
    return f"paid back after {seconds / gain:,.0f} steps" if gain > 0 else "never paid back: no faster afterwards"
