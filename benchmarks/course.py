"""How long the whole course takes: at ``standard`` what its committed outputs took, at ``smoke`` what it takes now."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat

from course import NOTEBOOKS, ROOT

from .measure import Row, Size, Skipped


def noted(folder: Path) -> list[dict]:
    """What the last run noted in the notebooks of a folder; nothing for one that has not been executed."""
    books = [nbformat.read(path, as_version=4).metadata for path in sorted(folder.glob("*.ipynb"))]
    return [dict(metadata.get("tdnn", {})) for metadata in books]


def row(budget: str, runs: list[dict]) -> Row:
    measured = [run for run in runs if run.get("budget") == budget]
    machines = {f"{run['cpus']} cores" if run["device"] == "cpu" else run["device"] for run in measured}
    minutes = sum(run["seconds"] for run in measured) / 60
    remark = ", ".join([f"{len(measured)} of {len(runs)} lessons", *sorted(machines)])
    return Row(f"the whole course at `{budget}`", remark, [minutes], unit="minutes")


def smoke(folder: Path) -> None:
    """Executes every lesson into this folder, with nothing kept from earlier runs. CalledProcessError if one fails."""
    environment = {**os.environ, "TDNN_BUDGET": "smoke", "TDNN_RUNS": str(folder / "runs")}
    command = [sys.executable, "-m", "course", "run", str(folder)]
    subprocess.run(command, check=True, cwd=ROOT, env=environment, stdout=sys.stderr)


def rows(size: Size) -> list[Row | Skipped]:
    standard = row("standard", noted(NOTEBOOKS))
    with tempfile.TemporaryDirectory() as folder:
        try:
            smoke(Path(folder))
        except subprocess.CalledProcessError:  # its message is on the screen; the other rows are kept
            return [standard, Skipped("the whole course at `smoke`", "a lesson failed")]
        return [standard, row("smoke", noted(Path(folder)))]
