"""Makes the rows of the evidence bank, and audits them: runs the cells of lessons that are tagged "experiment"."""

import io
import linecache
import os
import random
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path

import nbformat

from .running import paths_of

TAG = "experiment"


def cells_of(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """The cells tagged "experiment", after the set-up: what is tagged "setup", and the code without a tag that stands
    before the first experiment."""
    code = [(cell, set(cell.metadata.get("tags", []))) for cell in notebook.cells if cell.cell_type == "code"]
    first = next((place for place, (_, tags) in enumerate(code) if TAG in tags), 0)
    return [cell for place, (cell, tags) in enumerate(code) if TAG in tags or place < first and tags <= {"setup"}]


@contextmanager
def told(evidence: str) -> Iterator[None]:
    """What TDNN_EVIDENCE says in here, where no window opens."""
    before = dict(os.environ)
    os.environ |= {"TDNN_EVIDENCE": evidence, "MPLBACKEND": "agg"}
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def execute(path: Path) -> Iterator[Exception]:
    """Runs the cells of a lesson in this process, in the folder of the notebook. What the set-up prints isn't shown.

    Yields the error of each cell that fails; the first one in the set-up ends it.
    """
    variables, folder, searched = {"__name__": "__main__"}, os.getcwd(), list(sys.path)
    os.chdir(path.parent)
    try:
        for cell in cells_of(nbformat.read(path, as_version=4)):
            name, setup = f"<{path.stem}, cell {cell.id}>", TAG not in cell.metadata.get("tags", [])
            linecache.cache[name] = len(cell.source), None, cell.source.splitlines(True), name  # keys read the source
            try:
                with redirect_stdout(io.StringIO()) if setup else nullcontext():
                    exec(compile(cell.source, name, "exec"), variables)
            except Exception as error:
                yield error
                if setup:
                    return
    finally:
        os.chdir(folder)
        sys.path[:] = searched


def estimate(paths: list[Path]) -> int:
    """Says how long the rows take that the bank misses; returns how many cells failed."""
    from tdnn_helpers.evidence.making import NotRun

    failed, total = 0, 0.0
    for path in paths:
        late = False
        with told("estimate"):
            for error in execute(path):
                if isinstance(error, NotRun):
                    late, total = True, total + error.seconds
                    print(f"{path.stem}, {error}", flush=True)
                elif late and isinstance(error, NameError):
                    print(f"{path.stem}: a later cell is known only after these runs ({error})", flush=True)
                else:
                    failed += _failed(path, error)
    print(f"In all about {total / 3600:.2f} core-hours.", flush=True)
    return failed


def make(paths: list[Path], minutes: float) -> int:
    """Runs what the bank misses, for so many minutes at most; returns how many cells failed."""
    from tdnn_helpers.evidence.making import NotRun

    failed, until = 0, time.time() + 60 * minutes
    with told(f"make {until}"):
        for path in paths:
            for error in execute(path):
                if isinstance(error, NotRun):
                    print(f"The time is up at {path.stem}, {error}. The same command goes on there.", flush=True)
                    return failed
                failed += _failed(path, error)
            print(f"{path.stem}: done", flush=True)
    return failed


def audit(seed: int, rows: int) -> int:
    """Runs rows of the bank again, drawn by the seed among those of this budget, and says how far each is from what
    came out now; returns how many could not be run again. The same seed draws the same rows on every machine."""
    from tdnn_helpers.evidence import bank, making
    from tdnn_helpers.session import budget

    pool = [(path, row) for path in paths_of() for row in bank.read(path.stem) if row["budget"] == budget()]
    drawn = random.Random(seed).sample(pool, min(rows, len(pool)))
    checks = [row["check"] for _, row in drawn]
    with told(" ".join(["audit", *checks])):
        for path in sorted({path for path, _ in drawn}):
            for error in execute(path):
                if not isinstance(error, making.NotRun):
                    _failed(path, error)
    said = [making.audited.pop(check, None) for check in checks]
    for (path, row), found in zip(drawn, said):
        what = f'{path.stem}, {row["comparison"]}, "{row["arm"]}" with seed {row["seed"]}'
        print(f"{what}: {found or 'not run again, because no cell makes this row any more'}", flush=True)
    return said.count(None)


def _failed(path: Path, error: Exception) -> int:
    print(f"{path.stem} failed:\n{''.join(traceback.format_exception(error))}", file=sys.stderr)
    return 1
