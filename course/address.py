"""Where the course is found: its repository, its ref (a branch or a release tag), and the two things of every notebook
that name both, the setup cell and the Colab badge. pyproject.toml holds them; `fork` and `release` change them."""

import re

from . import ROOT

SETUP = """\
# @title Setup
# On Colab this fetches the course once; elsewhere it finds the copy around this notebook.
import os
import sys

course = "/content/course" if "google.colab" in sys.modules else os.path.abspath("..")
clone = "git clone -q --depth 1 {repository} " + course
if not os.path.exists(course) and os.system(clone + " --branch {ref}") != 0 and os.system(clone) != 0:
    raise RuntimeError("GitHub could not be reached, so the course was not fetched. Run this cell again in a minute.")
sys.path.insert(0, course)"""


def _stated(key: str) -> str:
    return re.search(rf'^{key} = "(.+?)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)[1]


def repository() -> str:
    """The address of the course's repository."""
    return _stated("Repository")


def ref() -> str:
    """The branch or tag that a reader gets."""
    return _stated("ref")


def setup_cell() -> str:
    """The source of a notebook's first code cell, which is tagged "setup". A fork may lack the tag: then it gets the
    default branch."""
    return SETUP.format(repository=repository(), ref=ref())


def _on_colab(repository: str, ref: str) -> str:
    return f"{repository.replace('https://github.com', 'https://colab.research.google.com/github')}/blob/{ref}/"


def badge(notebook: str) -> str:
    """The Markdown of the badge that opens notebooks/`notebook` (a file name) on Colab."""
    colab = "https://colab.research.google.com/assets/colab-badge.svg"
    return f"[![Open in Colab]({colab})]({_on_colab(repository(), ref())}notebooks/{notebook})"


def move(address: str, new_ref: str) -> list[str]:
    """Writes another address and ref into the files that carry the old ones; returns the names of these files.

    Raises ValueError if Colab could not open it: it opens repositories on GitHub.
    """
    new = address.rstrip("/").removesuffix(".git")
    if not re.fullmatch(r"https://github\.com/[\w-]+/[\w.-]+", new):
        raise ValueError(f"{address} is no address like https://github.com/NAME/REPO.")
    if not re.fullmatch(r"\w[\w.-]*", new_ref):
        raise ValueError(f"{new_ref} is no name of a tag, such as v1.2.0.")
    old, old_ref = repository(), ref()
    changes = {  # in this order: the old address may begin the new one
        re.escape(_on_colab(old, old_ref)): _on_colab(new, new_ref),
        re.escape(f"{old}/blob/{old_ref}/"): f"{new}/blob/{new_ref}/",
        rf'--branch {re.escape(old_ref)}(?=\\?")': f"--branch {new_ref}",
        rf'(?m)^ref = "{re.escape(old_ref)}"': f'ref = "{new_ref}"',
        rf"{re.escape(old)}(?![\w-])": new,
    }
    changed = []
    for path in [ROOT / "pyproject.toml", ROOT / "README.md", *sorted((ROOT / "notebooks").glob("*.ipynb"))]:
        text = moved = path.read_bytes().decode()
        for before, after in changes.items():
            moved = re.sub(before, after, moved)
        if moved != text:
            path.write_bytes(moved.encode())
            changed.append(path.name)
    return changed
