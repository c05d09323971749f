"""What captured steps gain on a GPU. Eight minutes at most; each row is shown as soon as it is measured.

``python -m benchmarks --only gpu`` on a machine with a CUDA device. A step that could not be captured stops the
measurement: it would be none.
"""

import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator

import torch

from course import ROOT
from tdnn_helpers.core.device import pick_precision
from tdnn_helpers.data.sets import load
from tdnn_helpers.evidence.comparison import compare
from tdnn_helpers.models.networks import small_cnn
from tdnn_helpers.train.loop import fit, sgd

from . import accuracy, vectorised
from .loops import AUGMENT
from .measure import Row, Size, Skipped, images_per_second, interleaved, watched
from .workers import RATES, SEEDS

DEVICE, LIMIT = "cuda", 480  # seconds for all rows
WIDTHS, BATCHES, LESSONS = (8, 16, 64), (64, 128, 512), ("04_small_data", "10_self_supervised")
SETTINGS = {"": {}, ", captured": {"capture": True}}


def train(width: int, batch: int, steps: int, seed: int = 0, **options):
    """The history of one run with shift and flip, recorded once, at its end."""
    torch.manual_seed(seed)
    split = load("fashion-mnist")
    options = dict(steps=steps, batch_size=batch, evaluate_every=steps, augment=AUGMENT, seed=seed) | options
    with warnings.catch_warnings(), watched():
        warnings.simplefilter("error", RuntimeWarning)
        return fit(small_cnn(split, width=width), split, **options, device=DEVICE)


def steps_per_second(size: Size) -> Iterator[Row]:
    """Each width and batch size, as usual and captured; and the precision that suits the GPU."""
    steps = 5 * size.steps
    fast = {"precision": pick_precision(DEVICE)}
    for width in WIDTHS:
        for batch in BATCHES:
            settings = SETTINGS | ({f", {str(fast['precision'])[6:]}": fast} if (width, batch) == (64, 512) else {})
            arms = {
                name: lambda options=options, width=width, batch=batch: (
                    steps / train(width, batch, steps, **options).seconds
                )
                for name, options in settings.items()
            }
            speeds = interleaved(arms, max(2, size.rounds - 2))
            for name in list(settings)[1:]:
                what = f"`fit`, width {width}, batches of {batch}"
                yield Row(what + name, "as usual", speeds[name], speeds[""], "steps/s")


def agreement(size: Size) -> Row:
    """The largest difference between two runs' losses: rounding, or a mistake?"""
    usual, captured = (train(16, 128, size.steps, **options).step_losses for options in SETTINGS.values())
    most = max(abs(a - b) / abs(a) for a, b in zip(usual, captured, strict=True))
    return Row("largest relative difference of a step's loss", "captured and as usual", [100 * most], unit="%")


def comparisons(size: Size) -> Iterator[Row]:
    """``compare`` with four arms and five seeds: as usual, captured, and in several processes."""
    steps = 5 * size.steps

    def work(workers: int, **options) -> Callable[[], object]:
        def arm(rate: float) -> Callable[[int], object]:
            return lambda seed: train(16, 128, steps, seed, optimizer=sgd(rate), **options)

        return lambda: compare({str(rate): arm(rate) for rate in RATES}, SEEDS, workers=workers, store=False)

    runs = len(RATES) * SEEDS
    arms = {"as usual": work(1), "captured": work(1, capture=True), "captured, 2 processes": work(2, capture=True)}
    speeds = interleaved({name: images_per_second(arm, runs * steps) for name, arm in arms.items()}, 1)
    for name in list(arms)[1:]:
        what = f"`compare`, {len(RATES)} arms × {SEEDS} seeds, {name}"
        yield Row(what, "as usual, one process", speeds[name], speeds["as usual"], "steps/s")


def stacked(size: Size) -> Row:
    """Five seeds of an MLP as one stacked model."""
    split = load("fashion-mnist")[: 5 * size.images]
    images, targets = split.images.to(DEVICE).float().div(255), split.targets.to(DEVICE)

    def arm(way: Callable) -> Callable[[], float]:
        def work() -> None:
            models = [model.to(DEVICE) for model in vectorised.networks(split, (128,))]
            way(models, images, targets, size.batch)
            torch.zeros(1, device=DEVICE).item()  # wait for the GPU

        return images_per_second(work, vectorised.SEEDS * len(split))

    speeds = interleaved({way.__name__: arm(way) for way in (vectorised.one_by_one, vectorised.as_one)}, size.rounds)
    what = f"{vectorised.SEEDS} seeds of MLP (128 hidden) as one stacked model"
    return Row(what, "one after the other, bare loop", speeds["as_one"], speeds["one_by_one"])


def lesson(name: str, capture: str, seconds: float) -> Row | Skipped:
    """One lesson at ``standard``, nothing kept; given up after so many seconds."""
    what = f"lesson {name} at `standard`" + (", captured" if capture == "1" else "")
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "TDNN_BUDGET": "standard", "TDNN_RUNS": f"{folder}/runs", "TDNN_CAPTURE": capture}
        command = [sys.executable, "-m", "course", "run", folder, name]
        start = time.perf_counter()
        try:
            subprocess.run(command, check=True, cwd=ROOT, env=environment, stdout=sys.stderr, timeout=seconds)
        except subprocess.TimeoutExpired:
            return Skipped(what, f"not done after {seconds:.0f} s")
        except subprocess.CalledProcessError:
            return Skipped(what, "the lesson failed")
        return Row(what, "", [time.perf_counter() - start], unit="s")


def to_accuracy(recipe: accuracy.Recipe) -> Row:
    """Seconds to a test accuracy on all of Fashion-MNIST, captured, one seed."""
    split, test = load("fashion-mnist"), load("fashion-mnist", "test")
    with watched():
        seconds, reached = accuracy.run(recipe, split, test, 0, device=DEVICE, precision=torch.float32, capture=True)
    what = f"{recipe.percent} % test accuracy: {recipe}, captured"
    return Row(what, f"reached {100 * reached:.1f} % (1 seed)", [seconds], unit="s")


def rows(size: Size) -> Iterator[Row | Skipped]:
    if DEVICE == "cuda" and not torch.cuda.is_available():
        yield Skipped("captured steps, precision, several runs at a time", "no GPU: not measured")
        return
    end = time.perf_counter() + LIMIT
    yield agreement(size)
    yield from steps_per_second(size)
    yield from comparisons(size)
    yield stacked(size)
    for recipe in accuracy.RECIPES[1:]:
        yield to_accuracy(recipe) if time.perf_counter() < end else Skipped(str(recipe), "no time left")
    for name in LESSONS:
        for capture in "10":
            left = end - time.perf_counter()
            yield lesson(name, capture, min(left, 120)) if left > 10 else Skipped(f"lesson {name}", "no time left")
