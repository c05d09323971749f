"""Makes the rows of the evidence bank, and audits them: runs the cells of lessons that are tagged "experiment"."""

import io
import json
import linecache
import os
import random
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path

import nbformat

from tdnn_helpers.evidence.definitions import LISTING

from . import ROOT
from .running import paths_of

TAG = "experiment"
REPLAYED = 20  # updates that must be the same before a row gets a new key


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


def draw(seed: int, rows: int, *, begin: bool = False) -> list[tuple[Path, dict]]:
    """So many (notebook, row) of the bank, the same on every machine: comparisons are drawn first and then a row of
    each, in turn, so that a large comparison doesn't crowd out the others. ``begin``: of those that hold first losses
    (an arm that trains several networks keeps none)."""
    from tdnn_helpers.evidence import bank, portable

    pool: dict[tuple[Path, str], list[dict]] = {}
    for path in paths_of():
        for row in bank.read(path.stem):
            if row["budget"] == portable.size() and (row["losses"] or not begin):
                pool.setdefault((path, row["comparison"]), []).append(row)
    chance, drawn = random.Random(seed), []
    while pool and len(drawn) < rows:
        for place in chance.sample(list(pool), min(rows - len(drawn), len(pool))):
            drawn.append((place[0], pool[place].pop(chance.randrange(len(pool[place])))))
            if not pool[place]:
                del pool[place]
    return drawn


def audit(seed: int, rows: int, *, begin: bool = False) -> int:
    """Runs rows of the bank again, drawn by the seed, and says how far each is from what came out now; returns how many
    could not be run again. ``begin``: only the first ten updates."""
    from tdnn_helpers.evidence import making

    making.audited.clear()
    drawn = draw(seed, rows, begin=begin)
    checks = [row["check"] for _, row in drawn]
    with told(" ".join(["begin" if begin else "audit", *checks])):
        for path in sorted({path for path, _ in drawn}):
            for error in execute(path):
                if not isinstance(error, making.NotRun):
                    _failed(path, error)
    lost = 0
    for path, row in drawn:
        found = making.audited.get(row["check"])
        lost += found is None
        what = f'{path.stem}, {row["comparison"]}, "{row["arm"]}" with seed {row["seed"]}'
        print(
            f"{what}: {found['said'] if found else 'not run again, because no cell makes this row any more'}",
            flush=True,
        )
    return lost


def keys(path: Path, updates: int = 0) -> dict[str, dict[str, list[str]]]:
    """comparison → {arm: [its key now, its first losses with its first seed]} for the cells of a lesson; without
    updates nothing is run, and the losses are ""."""
    from tdnn_helpers.evidence import making

    making.replayed.clear()
    with told(f"replay {updates}"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for error in execute(path):
            if not isinstance(error, making.NotRun):
                _failed(path, error)
    found: dict[str, dict[str, list[str]]] = {}
    for (comparison, arm), said in making.replayed.items():
        found.setdefault(comparison, {})[arm] = list(said)
    return found


def with_old_data(path: Path, tree: Path) -> dict[str, dict[str, list[str]]]:
    """The keys of the arms of a lesson if the data were that of an older tree; none if a file of it has changed."""
    listings = [folder / "data" / LISTING for folder in (tree, ROOT)]
    then, now = (json.loads(listing.read_text(encoding="utf-8")) for listing in listings)
    if any(now.get(name) != entry for name, entry in then.items()):
        return {}
    before = os.environ.get("TDNN_DATA")
    os.environ["TDNN_DATA"] = str(tree / "data")
    try:
        return keys(path)
    finally:
        os.environ.pop("TDNN_DATA")
        os.environ |= {"TDNN_DATA": before} if before else {}


def renew_rows(path: Path, tree: Path) -> tuple[int, list[str]]:
    """Give the rows of a lesson the keys that its arms have now, where nothing has changed since an older tree of the
    course but that data came to its list, or where the first updates of an arm are the same to the last bit in both
    trees. Returns how many rows were renewed, and which arms were not.

    The older tree computes for itself, so it must have `python -m course beginnings`.
    """
    from tdnn_helpers.evidence import bank

    def key(found: dict, row: dict) -> str:
        return found.get(row["comparison"], {}).get(row["arm"], ("",))[0]

    def late(row: dict) -> bool:
        return row["key"] != key(now, row)

    rows, count = bank.read(path.stem), 0
    now = keys(path) if rows else {}
    if any(map(late, rows)):
        then = with_old_data(path, tree)
        same = [row for row in rows if late(row) and row["key"] == key(then, row)]
        for row in same:
            row["key"] = key(now, row)
        bank.replace(path.stem, rows)
        count = len(same)
    if not any(map(late, rows)):
        return count, []
    with tempfile.TemporaryDirectory() as folder:
        note, own = Path(folder, "then.json"), os.environ | {"PYTHONPATH": str(tree), "TDNN_STORE": "0"}
        words = [sys.executable, "-m", "course", "beginnings", str(note), path.stem]
        done = subprocess.run(words, cwd=tree, env=own, capture_output=True, text=True)
        if done.returncode:
            raise ValueError(f"the older tree cannot run its experiments: {done.stderr.strip()[-500:]}")
        then, now = json.loads(note.read_text(encoding="utf-8")), keys(path, REPLAYED)
    missed, renewed = set(), []
    for row in rows:
        old, new = (found.get(row["comparison"], {}).get(row["arm"], ("", "")) for found in (then, now))
        if row["key"] == new[0]:
            renewed.append(row)
        elif row["key"] == old[0] and old[1] == new[1] != "":
            renewed.append(row | {"key": new[0]})
        else:
            missed.add(f"{row['comparison']}, {row['arm']}")
            renewed.append(row)
    count += sum(one is not other for one, other in zip(rows, renewed))
    bank.replace(path.stem, renewed)
    return count, sorted(missed)


def _failed(path: Path, error: Exception) -> int:
    print(f"{path.stem} failed:\n{''.join(traceback.format_exception(error))}", file=sys.stderr)
    return 1
