"""What a teacher gets: a guide for each lesson (texts/guides), and which cells of the last kept run take how long."""

import re
from pathlib import Path

import nbformat

from ..folding import title
from .drawing import TEXTS

GUIDES = TEXTS / "guides"


def guide(name: str) -> Path | None:
    """The guide of the lesson with this file name, without its suffix; None if there is none."""
    path = GUIDES / f"{name}.md"
    return path if path.exists() else None


def slow_cells(notebook: nbformat.NotebookNode) -> list[tuple[str, str, float]] | None:
    """(heading of its part, title or first line of its code, seconds) of each code cell that took a second or more.

    None if the last run did not keep the seconds of its cells.
    """
    seconds = notebook.metadata.get("tdnn", {}).get("cells")
    if seconds is None:
        return None
    part, rows = "Before the first question", []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            part = next(iter(reversed(re.findall(r"^## +(.+)$", cell.source, re.MULTILINE))), part)
        elif cell.get("id") in seconds:
            first = title(cell.source) or cell.source.strip().partition("\n")[0]
            rows.append((part, first, seconds[cell.id]))
    return rows
