"""Which lessons have results that are older than their code? `python site/sources.py` says it."""

import nbformat

from setup_cell import ROOT
from tdnn_helpers.evidence.definitions import Definitions


def digest(notebook: nbformat.NotebookNode, root=ROOT) -> str:
    """Twelve hexadecimal digits for what the results of a notebook follow from. The setup cell, which holds the
    repository's address, does not count."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    code = "\n".join(cell.source for cell in cells if "setup" not in cell.metadata.get("tags", []))
    return Definitions(root / "tdnn_helpers").of_code(code)


if __name__ == "__main__":
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        recorded, now = notebook.metadata.get("tdnn", {}).get("source"), digest(notebook)
        print(path.stem, "is up to date" if recorded == now else f"is older than its code ({recorded} → {now})")
