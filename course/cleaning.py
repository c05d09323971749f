"""Takes out of an executed notebook what must not be kept: widget views, time stamps, progress bars, second formats."""

import hashlib
import re

from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from nbformat import NotebookNode, from_dict

from .folding import FOLDED

DRAWN_TWICE = ("image/svg+xml", "application/pdf", "image/jpeg")  # beside a PNG of the same figure
JOIN = CoalesceStreamsPreprocessor()  # pieces of one stream: how they were cut depends on the clock
PROGRESS = re.compile(r"\d+%\||\d+(it|step|epoch|batch)\s*\[|\[\d\d:\d\d[<,]")


def clean(notebook: NotebookNode) -> NotebookNode:
    """Cleans the notebook in place and returns it. Cleaning twice changes nothing more.

    Kept metadata: kernelspec (always python3), language, "tdnn"; a cell's tags and what folds it; a PNG's alternative
    text and size.
    """
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    kept = {"tdnn": notebook.metadata["tdnn"]} if notebook.metadata.get("tdnn") else {}
    notebook.metadata = from_dict({"kernelspec": kernel, "language_info": {"name": "python"}, **kept})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    taken = set()
    for position, cell in enumerate(notebook.cells):
        kept = {key: mark for key, mark in FOLDED.items() if cell.metadata.get(key) == mark}
        kept |= {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
        cell.metadata = from_dict(kept)
        if cell.get("id") is None or cell.id in taken:
            cell.id = hashlib.sha256(f"{position}\n{cell.source}".encode()).hexdigest()[:8]
        taken.add(cell.id)
        if cell.cell_type == "code":
            JOIN.preprocess_cell(cell, {}, position)
            cell.outputs = [kept for output in cell.outputs if (kept := _clean_output(output))]
    return notebook


def _clean_output(output: NotebookNode) -> NotebookNode | None:
    if output.output_type == "stream":
        # A carriage return overwrites its line, as in a terminal.
        lines = [line.rsplit("\r", 1)[-1] for line in output.text.replace("\r\n", "\n").splitlines(keepends=True)]
        output.text = "".join(line for line in lines if output.name == "stdout" or not PROGRESS.search(line))
        return output if output.text.strip() else None
    if output.output_type == "error":
        return output
    if any("widget-view" in kind for kind in output.data):
        return None
    if "image/png" in output.data:
        output.data = NotebookNode({kind: value for kind, value in output.data.items() if kind not in DRAWN_TWICE})
        output.data["image/png"] = output.data["image/png"].strip()
    picture = output.get("metadata", {}).get("image/png")
    output.metadata = NotebookNode({"image/png": picture} if picture else {})
    return output
