"""The two things that every notebook carries word for word: the setup cell and the Colab badge."""

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


def repository() -> str:
    """The address of the course's repository, as pyproject.toml states it."""
    return re.search(r'^Repository = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]


def setup_cell() -> str:
    """The source of a notebook's first code cell, which is tagged "setup"."""
    return SETUP.format(repository=repository())


def colab_address(notebook: str) -> str:
    """Where Colab opens notebooks/`notebook` (a file name)."""
    return f"{repository().replace('https://github.com', 'https://colab.research.google.com/github')}/blob/main/notebooks/{notebook}"


def badge(notebook: str) -> str:
    """The Markdown of the badge that opens notebooks/`notebook` on Colab."""
    return f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab_address(notebook)})"


if __name__ == "__main__":
    print(setup_cell())
