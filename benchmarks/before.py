"""This checkout against an older one, side by side: ``TDNN_BEFORE=FOLDER python -m benchmarks --only before``.

Both run in the environment of this process. The tests of both are run once, which takes a quarter of an hour.
"""

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import torch

from course import ROOT

from .measure import Row, Size, Skipped, interleaved, short

FIT = """
import sys, torch
from benchmarks.loops import AUGMENT, fit_with_everything, training_images, validation_images
from benchmarks.measure import Size, images_per_second
torch.set_num_threads(int(sys.argv[2]))
size = Size(1, int(sys.argv[1]))
train, val = training_images(size), validation_images(size)
run = images_per_second(lambda: fit_with_everything(train, val, size.batch, AUGMENT), size.images)
run()
print(run())
"""
FIRST = {
    "import torch": "import torch; print(0, flush=True)",
    "start": "from tdnn_helpers.session import start; start('01_checklist')",
}


def in_tree(tree: Path, *arguments: object) -> subprocess.Popen:
    """``python ARGUMENTS`` in a checkout, which its imports come from."""
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.Popen(command, cwd=tree, env=environment, stdout=subprocess.PIPE, text=True)


def number(tree: Path, *arguments: object) -> float:
    """The number that it prints last."""
    with in_tree(tree, *arguments) as process:
        return float(process.communicate()[0].split()[-1])


def first_output(code: str) -> float:
    """Seconds until a fresh process of this checkout prints something."""
    begin = time.perf_counter()
    with in_tree(ROOT, "-c", code) as process:
        process.stdout.readline()
        return time.perf_counter() - begin


def tests(tree: Path) -> tuple[float, str]:
    """Seconds of ``make test`` in a checkout, and its last line."""
    environment = Path(sys.prefix)
    begin = time.perf_counter()
    command = ["make", "-C", tree, "-o", environment / ".ready", "test", f"VENV={environment}"]  # -o: as it is
    ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(tree)})
    return time.perf_counter() - begin, (ran.stdout.strip().splitlines() or [f"exit status {ran.returncode}"])[-1]


def rows(size: Size):
    """The older checkout is the yardstick: below 1 is better for seconds and megabytes, above 1 for images a second."""
    older = Path(os.environ.get("TDNN_BEFORE", "")).resolve()
    if older in (Path.cwd().resolve(), ROOT.resolve()):
        yield Skipped("this checkout", "TDNN_BEFORE names no older one")
        return
    threads, numbers = torch.get_num_threads(), (size.steps, size.batch, 1)
    seconds = interleaved({name: partial(first_output, code) for name, code in FIRST.items()}, 2 * size.rounds)
    yield Row("first output of a lesson", "`import torch`", seconds["start"], seconds["import torch"], "s")
    trees = {"here": ROOT, "older": older}
    fit = "-c", FIT, size.steps, threads
    speed = interleaved({name: partial(number, tree, *fit) for name, tree in trees.items()}, size.rounds)
    yield Row("`fit` with everything, shift and flip", "the older checkout", speed["here"], speed["older"])
    work = "-m", "benchmarks.memory", "`compare`, 2 workers", *numbers
    peak = interleaved({name: partial(number, tree, *work) for name, tree in trees.items()}, 2, warm_up=False)
    yield Row("memory: `compare`, 2 workers", "the older checkout", peak["here"], peak["older"], "MB")
    if size.rounds > 2:
        (here, said), (then, said_then) = tests(ROOT), tests(older)
        yield Row("`make test`", f"the older checkout: {short(then)} s", [here], [then], "s")
        print(f"here: {said}\nthere: {said_then}", flush=True)
