"""The skeleton of a new lesson, made of the files in skeleton/."""

import re

import jinja2
import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from . import NOTEBOOKS, ROOT, readme
from .address import badge, setup_cell
from .cleaning import clean
from .folding import fold
from .lesson import make_second
from .pages.terms import link

SKELETON = ROOT / "course" / "skeleton"
NEXT = """Made: {made}.
What you write now, besides these three:
  tdnn_helpers/evidence/ledger.json: a row for each claim, with "lesson": "{name}", before the first run
  course/pages/texts/teaching.md: where the lesson fits in the plans for several sessions
  course/pages/texts/glossary.md: the terms that it introduces
  course/pages/texts/cheat_sheet.md: the advice that its verdicts support
Then: make claims LESSONS={name}"""


def make(name: str, title: str) -> None:
    """Make the skeleton of a new lesson: notebook, exercises and teaching guide. NAME is like 13_ensembles."""
    if not re.fullmatch(r"\d\d_[a-z][a-z0-9_]*", name):
        raise ValueError(f"{name} is no name like 13_ensembles: two digits, then small letters.")
    if taken := [path.stem for path in NOTEBOOKS.glob(f"{name[:2]}_*.ipynb")]:
        raise ValueError(f"The number {name[:2]} is taken by {taken[0]}.")
    values = {"name": name, "number": int(name[:2]), "title": title, "badge": badge(f"{name}.ipynb")}
    templates = jinja2.Environment(loader=jinja2.FileSystemLoader(SKELETON), keep_trailing_newline=True)

    def filled(template: str) -> str:
        return templates.get_template(template).render(**values, setup=setup_cell())

    # "%% code setup" and "%% markdown" begin a cell; what follows the kind are its tags.
    _, *parts = re.split(r"^%% (\w+)(.*)\n", filled("lesson.md.j2"), flags=re.MULTILINE)
    cells = [
        (new_code_cell if kind == "code" else new_markdown_cell)(text.strip(), metadata={"tags": tags.split()})
        for kind, tags, text in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    ]
    guide = ROOT / "course" / "pages" / "texts" / "guides" / f"{name}.md"
    exercises = ROOT / "tdnn_helpers" / "exercises" / f"lesson_{name[:2]}.py"
    if there := [path.name for path in (guide, exercises) if path.exists()]:
        raise ValueError(f"{' and '.join(there)} would be overwritten: move it away, or take another number.")
    guide.write_text(filled("guide.md.j2"), encoding="utf-8")
    exercises.write_text(filled("exercises.py.j2"), encoding="utf-8")
    notebook = clean(new_notebook(cells=cells))
    for finish in (fold, link, make_second):
        finish(notebook)
    nbformat.write(nbformat.from_dict(notebook), NOTEBOOKS / f"{name}.ipynb")
    readme.write()
    made = (f"notebooks/{name}.ipynb", *(str(path.relative_to(ROOT)) for path in (exercises, guide)))
    print(NEXT.format(made=", ".join(made), name=name))
