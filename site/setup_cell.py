"""The two things that every notebook carries word for word: the setup cell and the Colab badge.

`python site/setup_cell.py` prints the setup cell. In a fork, `python site/setup_cell.py --repository
https://github.com/NAME/REPO` writes the fork's address into pyproject.toml, the README and every notebook.
"""

import argparse
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

SETUP = """\
# Setup. On Colab this fetches the course once; elsewhere it finds the copy around this notebook.
import os
import sys

course = "/content/course" if "google.colab" in sys.modules else os.path.abspath("..")
if not os.path.exists(course) and os.system("git clone -q --depth 1 {repository} " + course) != 0:
    raise RuntimeError("GitHub could not be reached, so the course was not fetched. Run this cell again in a minute.")
sys.path.insert(0, course)"""


def repository(root: Path = ROOT) -> str:
    """The address of the course's repository, as pyproject.toml states it."""
    return re.search(r'^Repository = "(.+)"$', (root / "pyproject.toml").read_text(), re.MULTILINE)[1]


def setup_cell() -> str:
    """The source of a notebook's first code cell, which is tagged "setup"."""
    return SETUP.format(repository=repository())


def on_colab(repository: str) -> str:
    """Where Colab finds a repository of GitHub."""
    return repository.replace("https://github.com", "https://colab.research.google.com/github")


def colab_address(notebook: str) -> str:
    """Where Colab opens notebooks/`notebook` (a file name)."""
    return f"{on_colab(repository())}/blob/main/notebooks/{notebook}"


def badge(notebook: str) -> str:
    """The Markdown of the badge that opens notebooks/`notebook` on Colab."""
    return f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab_address(notebook)})"


def move(address: str, root: Path = ROOT) -> list[str]:
    """Writes another repository's address into the files that carry the old one; returns their names.

    Raises ValueError if it is no address of a repository on GitHub, where Colab finds the lessons.
    """
    new = address.rstrip("/").removesuffix(".git")
    if not re.fullmatch(r"https://github\.com/[\w-]+/[\w.-]+", new):
        raise ValueError(f"{address} is no address like https://github.com/NAME/REPO.")
    old = repository(root)
    changed = []
    for path in [root / "pyproject.toml", root / "README.md", *sorted((root / "notebooks").glob("*.ipynb"))]:
        text = moved = path.read_bytes().decode()
        for place in (lambda repository: repository, on_colab):
            moved = re.sub(re.escape(place(old)) + r"(?![\w-])", place(new), moved)
        if moved != text:
            path.write_bytes(moved.encode())
            changed.append(path.name)
    return changed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Print the setup cell, or move the course to another repository.")
    parser.add_argument("--repository", metavar="ADDRESS", help="https://github.com/NAME/REPO of your fork")
    address = parser.parse_args().repository
    print("Rewritten: " + (", ".join(move(address)) or "nothing; the address was there") if address else setup_cell())
