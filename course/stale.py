"""Which lessons show results that are older than their code?"""

import nbformat

from tdnn_helpers.evidence.definitions import Definitions

from . import NOTEBOOKS, ROOT


def digest(notebook: nbformat.NotebookNode, definitions: Definitions | None = None) -> str:
    """Twelve hexadecimal digits for what the results of a notebook follow from: its code, and the definitions of the
    package, as they are now or as given. The setup cell, which holds the repository's address, does not count."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    code = "\n".join(cell.source for cell in cells if "setup" not in cell.metadata.get("tags", []))
    return (definitions or Definitions(ROOT / "tdnn_helpers")).of_code(code)


def recorded(notebook: nbformat.NotebookNode) -> str | None:
    """The digest that the last run noted."""
    return notebook.metadata.get("tdnn", {}).get("source")


def say() -> int:
    """Prints one line for each lesson; returns how many have old results."""
    definitions, old = Definitions(ROOT / "tdnn_helpers"), 0
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        then, now = recorded(notebook), digest(notebook, definitions)
        old += then != now
        state = f"is older than its code ({then} → {now})" if then else "was never run"
        print(path.stem, "is up to date" if then == now else state, flush=True)
    return old
