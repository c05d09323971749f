"""Which lessons show results that are older than their code?"""

import re

import nbformat

from tdnn_helpers.evidence import bank
from tdnn_helpers.evidence.definitions import Definitions

from . import NOTEBOOKS, ROOT


def digest(notebook: nbformat.NotebookNode, package: Definitions) -> str:
    """Twelve hexadecimal digits for what the results of a notebook follow from: its code, the definitions of the
    package that it reaches, and its rows of the evidence bank. The setup cell, which holds the repository's address,
    does not count."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    code = "\n".join(cell.source for cell in cells if "setup" not in cell.metadata.get("tags", []))
    lesson = re.search(r"""start\(["'](\w+)["']""", code)
    rows = bank.content(lesson[1]) if lesson else ""
    return package.of_code(code + (f"\n_rows = {rows!r}" if rows else ""))


def stamp(notebook: nbformat.NotebookNode) -> str | None:
    """The digest that the last run noted."""
    return notebook.metadata.get("tdnn", {}).get("source")


def say() -> int:
    """Say which lessons show results that are older than their code; exit code 1 if there is one."""
    package, old = Definitions(ROOT / "tdnn_helpers"), 0
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        then, now = stamp(notebook), digest(notebook, package)
        old += then != now
        state = f"is older than its code ({then} → {now})" if then else "was never run"
        print(path.stem, "is up to date" if then == now else state, flush=True)
    return old
