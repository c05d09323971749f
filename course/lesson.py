"""What the pages and the README say about a lesson, read from its notebook and from its verdicts."""

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import nbformat

from . import NOTEBOOKS

TIME = re.compile(r"(<!-- time -->).*?(<!-- /time -->)")  # the place in a lesson's first cell that tells its cost
VERDICTS = {  # the kinds that are counted, each with the first words of its verdicts; the rest of these says how
    "holds": ("holds",),
    "refuted": ("refuted",),
    "depends": ("depends on",),
    "not shown": ("not shown",),
    "by reading": ("by reading", "settled by reading"),
    "cannot be tested": ("cannot be tested",),
}


@dataclass(frozen=True)
class Lesson:
    """One notebook.

    `measured` is what `measurement` finds.
    """

    path: Path
    title: str
    description: str
    measured: dict
    verdicts: Counter

    @property
    def number(self) -> int:
        """The number that the file name starts with; 0 if there is none."""
        found = re.match(r"\d+", self.path.stem)
        return int(found[0]) if found else 0

    @property
    def name(self) -> str:
        """The title without its number, for a list that shows the number by itself."""
        return re.sub(r"^\d+\s*[·.:–]\s*", "", self.title)

    @property
    def cost(self) -> str:
        """Measured time and machine in words."""
        return cost(self.measured)


def cost(measured: dict) -> str:
    """{"seconds", "device", "cpus"} in words, such as "3.5 min on 2 CPU cores"; "not measured yet" if it is empty."""
    if not measured:
        return "not measured yet"
    minutes, cpus = measured["seconds"] / 60, measured["cpus"]
    time = f"{minutes:.1f} min" if minutes >= 1 else f"{measured['seconds']:.0f} s"
    machine = measured["device"]
    return f"{time} on " + (f"{cpus} CPU core{'s' if cpus > 1 else ''}" if machine == "cpu" else machine)


def kind_of(verdict: str) -> str:
    """One of VERDICTS, or "open"."""
    return next((kind for kind, words in VERDICTS.items() if verdict.startswith(words)), "open")


def verdicts_of(notebook: Path) -> dict[str, dict]:
    """claim id → the verdict that the run of a lesson recorded beside its notebook; empty if there are none."""
    path = notebook.parent / "verdicts" / f"{notebook.stem}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def edition(notebook: nbformat.NotebookNode) -> int:
    """1 or 2. The second edition keeps the rules on folding and on form."""
    return notebook["metadata"].get("tdnn", {}).get("edition", 1)


def make_second(notebook: dict) -> None:
    """Marks a notebook, in place, as one of the second edition. A notebook as JSON, or of nbformat."""
    known = notebook["metadata"].get("tdnn", {})
    notebook["metadata"]["tdnn"] = dict(sorted({**known, "edition": 2}.items()))  # as nbformat writes it
    in_order = sorted(notebook["metadata"].items())
    notebook["metadata"].clear()
    notebook["metadata"].update(in_order)


def measurement(notebook: nbformat.NotebookNode) -> dict:
    """{"seconds", "cells", "device", "cpus", "budget", "source"} of the last run, or empty; "cells" is
    {cell id: seconds} of the code cells that took a second or more."""
    return {key: value for key, value in notebook.metadata.get("tdnn", {}).items() if key != "edition"}


def read_lesson(path: Path) -> Lesson:
    """Reads a notebook and its verdicts."""
    notebook = nbformat.read(path, as_version=4)
    text = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    title = re.search(r"^# +(.+)$", text, re.MULTILINE)
    # The description is the first paragraph of plain prose: no heading, badge, picture, table, list or HTML.
    prose = [part for part in re.split(r"\n\s*\n", text) if re.match(r"[\w\"“_$`(]|\*\S", part)]
    kinds = map(kind_of, (row["verdict"] for row in verdicts_of(path).values()))
    return Lesson(
        path=path,
        title=title[1].strip() if title else path.stem,
        description=" ".join(prose[0].split()) if prose else "",
        measured=measurement(notebook),
        verdicts=Counter(kinds),
    )


def lessons(folder: Path = NOTEBOOKS) -> list[Lesson]:
    """The lessons of a folder, in the order of their file names."""
    return [read_lesson(path) for path in sorted(folder.glob("*.ipynb"))]


def tell_time(notebook: nbformat.NotebookNode, measured: dict) -> None:
    """Keeps the measurement in the notebook's metadata and writes it in words into its first cell, in place."""
    chosen = {"edition": edition(notebook)} if edition(notebook) > 1 else {}
    notebook.metadata["tdnn"] = measured | chosen
    notebook.cells[0].source = TIME.sub(lambda found: found[1] + cost(measured) + found[2], notebook.cells[0].source)
