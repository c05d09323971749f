"""Runs the lessons and writes the executed notebooks to a folder."""

import os
import shutil
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tdnn_helpers.evidence.definitions import Definitions

from . import NOTEBOOKS, ROOT
from .cleaning import clean
from .lesson import measurement, tell_time
from .stale import digest


class Progress:
    """Says which cell runs: one line rewritten in a terminal, a line at most every 15 seconds in a log.

    `cells_took` is {cell id: seconds} of the code cells that took a second or more.
    """

    def __init__(self, name: str, cells: int) -> None:
        self.name, self.cells = name, cells
        self.start = self.said = self.cell_start = time.monotonic()
        self.cells_took: dict[str, float] = {}
        self.live = sys.stdout.isatty()

    @property
    def seconds(self) -> float:
        """Seconds since the lesson started."""
        return time.monotonic() - self.start

    def cell(self, cell: nbformat.NotebookNode, cell_index: int) -> None:
        """nbclient's hook: this cell starts now."""
        self.cell_start = time.monotonic()
        if self.live or self.cell_start - self.said > 15:
            self.said = self.cell_start
            self.say(f"cell {cell_index + 1}/{self.cells} {self.seconds:.0f} s", end="\r" if self.live else "\n")

    def cell_done(self, cell: nbformat.NotebookNode, cell_index: int, execute_reply: dict) -> None:
        """nbclient's hook: this code cell has run, as it should or into an error."""
        took = round(time.monotonic() - self.cell_start, 1)
        if took >= 1:
            self.cells_took[cell.id] = took

    def say(self, text: str, end: str = "\n") -> None:
        """Prints a line about this lesson over the one before."""
        print(f"{self.name} {text}".ljust(60 if self.live else 0), end=end, flush=True)


def machine() -> dict:
    """Where the lessons ran: {"device": "cpu", "mps" or the GPU's name, "cpus": cores, "budget": TDNN_BUDGET}."""
    import torch

    from tdnn_helpers.core.device import pick_device
    from tdnn_helpers.session import budget

    kind = pick_device().type
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"device": torch.cuda.get_device_name() if kind == "cuda" else kind, "cpus": cpus, "budget": budget()}


def execute(path: Path, environment: dict[str, str] | None = None) -> tuple[nbformat.NotebookNode, dict, str]:
    """Executes one notebook in its own folder, with these environment variables or those of this process.

    Returns the clean notebook, {"seconds": of the whole, "cells": {cell id: seconds}}, and the error ("" if none).
    """
    notebook = nbformat.read(path, as_version=4)
    progress, error = Progress(path.stem, len(notebook.cells)), ""
    client = NotebookClient(
        notebook,
        timeout=None,
        startup_timeout=180,
        kernel_name="python3",
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],  # not the kernel's remark on how it talks to us
        resources={"metadata": {"path": str(path.parent)}},
        on_cell_start=progress.cell,
        on_cell_executed=progress.cell_done,
    )
    try:
        client.execute(env=environment or dict(os.environ))
    except (CellExecutionError, RuntimeError) as failure:  # a RuntimeError is a kernel that died or did not start
        error = str(failure)
    progress.say(f"{'FAILED after' if error else 'done in'} {progress.seconds:.0f} s")
    return clean(notebook), {"seconds": round(progress.seconds), "cells": progress.cells_took}, error


def paths_of(names: list[str] | tuple = ()) -> list[Path]:
    """The notebooks of the lessons of these names, or of all. Raises FileNotFoundError for a name that none has."""
    paths = [NOTEBOOKS / f"{name}.ipynb" for name in names] or sorted(NOTEBOOKS.glob("*.ipynb"))
    if missing := next((path for path in paths if not path.exists()), None):
        raise FileNotFoundError(f"There is no lesson {missing.stem}: {missing} does not exist.")
    return paths


def run(folder: Path, names: list[str], keep_times: bool = False) -> int:
    """Runs the lessons of these names, or all; goes on after a failing one, and returns the number of failures.

    The verdicts that the lessons record go to folder/verdicts. Into notebooks/ itself a failing lesson is not written.
    With `keep_times` a lesson that was measured before goes on telling that time. Raises FileNotFoundError for a name
    that no notebook has.
    """
    paths = paths_of(names)
    os.environ["TDNN_STATIC"] = "1"
    runs = Path(os.environ.setdefault("TDNN_RUNS", str(ROOT / "build" / "runs")))
    where = machine()
    package = Definitions(ROOT / "tdnn_helpers")  # of the start: whatever an editor changes meanwhile is noticed
    (folder / "verdicts").mkdir(parents=True, exist_ok=True)
    failures = {}
    for path in paths:
        notebook, times, error = execute(path)
        if error:
            failures[path.stem] = error
        if error and folder == NOTEBOOKS:
            continue
        before = measurement(notebook) if keep_times else None
        tell_time(notebook, {**(before or {**times, **where}), "source": digest(notebook, package)})
        nbformat.write(notebook, folder / path.name)
        record = runs / "verdicts" / f"{path.stem}.json"
        if record.exists():
            shutil.copy(record, folder / "verdicts")
    for name, error in failures.items():
        print(f"\n{name} failed:\n{error}", file=sys.stderr)
    return len(failures)
