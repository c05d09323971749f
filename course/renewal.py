"""Renews, by proof, the digest of the code that a lesson's results were recorded with.

What the proof cannot see: what only a standard run reaches. The sizes of a lesson are therefore compared as text.
"""

import ast
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path

import nbformat

from tdnn_helpers.evidence.definitions import Definitions

from . import ROOT, experiments
from .running import execute, paths_of
from .stale import digest, stamp

DURATION = re.compile(r"\d+(?:[.,]\d+)*\s?(?:µs|ms|s|min|h|(?:micro|milli)?seconds?|minutes?|hours?)\b")


class Unproven(Exception):
    """Why the results of a lesson may not stand any more."""


def shown(notebook: nbformat.NotebookNode) -> dict[str, list[str]]:
    """cell id → the lines of its outputs: text without durations, and a digest of each picture."""
    found = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            parts = output.get("data", {}) | {key: output[key] for key in ("text", "traceback") if key in output}
            parts |= {f"about {kind}": json.dumps(about) for kind, about in output.get("metadata", {}).items()}
            for kind, part in sorted(parts.items()):
                text = part if isinstance(part, str) else json.dumps(part)
                drawn = hashlib.sha256(text.encode()).hexdigest()[:12]
                lines = [drawn] if kind.startswith("image/") else DURATION.sub("…", text).splitlines()
                found.setdefault(cell.id, []).extend(f"{kind}: {line}" for line in lines)
    return found


def differences(old: nbformat.NotebookNode, new: nbformat.NotebookNode) -> list[tuple[str, str, str]]:
    """(cell id, old, new) for the first line that differs in each cell whose outputs differ. A cell tagged "timed"
    shows what follows from measured times, such as a ratio of speeds, and is left out."""
    timed = {cell.id for cell in new.cells if "timed" in cell.metadata.get("tags", [])}
    before, after = ({one: lines for one, lines in shown(book).items() if one not in timed} for book in (old, new))
    pairs = ((cell, zip_longest(before.get(cell, ()), after.get(cell, ()), fillvalue="")) for cell in before | after)
    return [
        (cell, *found) for cell, lines in pairs if (found := next((pair for pair in lines if len({*pair}) > 1), ()))
    ]


def sizes(notebook: nbformat.NotebookNode) -> list[str]:
    """What the lesson says of its sizes for the three budgets."""
    nodes = [node for cell in notebook.cells if cell.cell_type == "code" for node in ast.walk(ast.parse(cell.source))]
    calls = [node for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    return [ast.dump(call) for call in calls if call.func.attr == "sizes"]


@contextmanager
def tree_of(commit: str) -> Iterator[Path]:
    """The files of a commit in a folder that goes away afterwards. Raises ValueError if git does not know it."""

    def git(*words: str) -> subprocess.CompletedProcess:
        return subprocess.run(["git", "worktree", *words], cwd=ROOT, capture_output=True, text=True)

    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder).resolve() / "tree"
        if (made := git("add", "--detach", str(tree), commit)).returncode:
            raise ValueError(f"git could not check out {commit}: {made.stderr.strip().splitlines()[-1]}")
        try:
            yield tree
        finally:
            git("remove", "--force", str(tree))


def up_to_date(tree: Path) -> set[str]:
    """The lessons whose results are of their code, as the tree's own program says."""
    own = os.environ | {"PYTHONPATH": str(tree)}
    program = [sys.executable, "-m", "course", "stale"]
    said = subprocess.run(program, cwd=tree, env=own, capture_output=True, text=True).stdout
    return set(re.findall(r"^(\w+) is up to date$", said, re.MULTILINE))


def smoke(path: Path, runs: Path) -> nbformat.NotebookNode:
    """The notebook after a run at the smallest budget in its own tree. Raises Unproven if a cell fails."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("TDNN_") or name == "TDNN_DEVICE"}
    own |= {"TDNN_BUDGET": "smoke", "TDNN_STORE": "0", "TDNN_STATIC": "1", "TDNN_RUNS": str(runs)}
    notebook, _, error = execute(path, own | {"PYTHONPATH": str(path.parent.parent)})
    if error:
        raise Unproven(f"it fails at the smoke budget in {path.parent}:\n{error}")
    return notebook


def proof(path: Path, now: Definitions, tree: Path, then: Definitions, known: set[str]) -> str:
    """How it is known that the results of a lesson stand, in words. `known`: what was up to date in the old tree.

    Raises Unproven, with the reason.
    """
    before = tree / "notebooks" / path.name
    if not before.exists():
        raise Unproven("the old tree has no such lesson")
    old, new = (nbformat.read(place, as_version=4) for place in (before, path))
    if stamp(old) != stamp(new):
        raise Unproven("it was measured at another time than the old tree's")
    there = digest(old, then)
    if stamp(old) != there and path.stem not in known:
        raise Unproven("its results were older than its code in the old tree already")
    if there == digest(new, now):
        return "the code only moved"
    if sizes(old) != sizes(new):
        raise Unproven("its sizes changed, and a smoke run cannot see what that means")
    with tempfile.TemporaryDirectory() as runs:
        found = differences(smoke(before, Path(runs, "old")), smoke(path, Path(runs, "new")))
    if found:
        lines = [f"  cell {cell}\n    old {one[:300]}\n    new {other[:300]}" for cell, one, other in found[:5]]
        raise Unproven("\n".join([f"{len(found)} cells show something else at the smoke budget", *lines]))
    return "a smoke run shows the same in both trees"


def renew(old: str, lessons: list[str]) -> int:
    """Prove that the results of OLD, a commit, still stand, and renew their digest; exit code 1 where it fails.

    Equal digests of both trees are a proof: code only moved. Else the lesson runs at the smoke budget in both trees,
    and all outputs must be equal, but for durations. A lesson that fails the proof needs `make claims LESSONS=…`.
    Rows of the evidence bank keep up with their arms where the first 20 updates are equal to the bit in both trees.
    """
    now, missed = Definitions(ROOT / "tdnn_helpers"), 0
    with tree_of(old) as tree:
        for path in paths_of(lessons):
            count, lost = experiments.renew_rows(path, tree)
            missed += len(lost)
            if count or lost:
                print(f"{path.stem}: {count} rows of the bank are renewed", flush=True)
            for arm in lost:
                print(f"  NOT those of {arm}: make evidence LESSONS={path.stem}", flush=True)
    digests = {path: digest(nbformat.read(path, as_version=4), now) for path in paths_of(lessons)}
    with tree_of(old) as tree:
        then, known = Definitions(tree / "tdnn_helpers"), up_to_date(tree)
        for path, found in digests.items():
            book = json.loads(path.read_text(encoding="utf-8"))
            if stamp(nbformat.from_dict(book)) == found:
                continue
            try:
                print(f"{path.stem} is renewed: {proof(path, now, tree, then, known)}", flush=True)
            except Unproven as reason:
                missed += 1
                print(f"{path.stem} is NOT renewed: {reason}\n  It needs: make claims LESSONS={path.stem}", flush=True)
                continue
            book["metadata"]["tdnn"]["source"] = found
            path.write_text(json.dumps(book, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return missed
