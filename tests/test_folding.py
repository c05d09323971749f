"""What only draws, phrases or sets up is folded everywhere, and nothing that a reader must see."""

import copy
import json
import re

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from course import NOTEBOOKS, folding, lesson, running
from course.__main__ import main
from course.address import setup_cell
from course.cleaning import clean
from course.folding import fold, is_folded, is_hidden, refusals, titled
from course.pages.drawing import draw
from course.stale import digest
from notebook_rules import NOW

HIDE = ["hide-input"]
PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))
IMPORTS = 'from tdnn_helpers.session import start\n\nsession = start("00_a")\n\nimport torch'


def book(*cells):
    """A notebook of code cells: (source, tags) each."""
    return new_notebook(cells=[new_code_cell(text, metadata={"tags": tags} if tags else {}) for text, tags in cells])


@pytest.mark.parametrize(
    ("before", "tags", "after"),
    [
        ("x = 1", [], "# @title Code\nx = 1"),
        ("show(figure)", [], "# @title Figure\nshow(figure)"),
        ("x = 1\nsay(x)", [], "# @title Summary\nx = 1\nsay(x)"),
        (IMPORTS, [], f"# @title Imports\n{IMPORTS}"),
        ("import os", ["setup"], "# @title Setup\nimport os"),
        ("# All rates\nshow(figure)", [], "# @title All rates\nshow(figure)"),
        ("# All rates.\nshow(figure)", [], "# @title All rates\nshow(figure)"),
        ("# All rates. Each has 0.5 s.\nshow(figure)", [], "# @title All rates\n# Each has 0.5 s.\nshow(figure)"),
        ("# Which rate? The best.\nx", [], "# @title Which rate?\n# The best.\nx"),
        ("# A sentence that goes\n# on\nx = 1", [], "# @title Code\n# A sentence that goes\n# on\nx = 1"),
        (f"# {'long ' * 20}\nx", [], f"# @title Code\n# {'long ' * 20}\nx"),
        ("#\nx", [], "# @title Code\n#\nx"),
        ("# @title Mine\nshow(figure)", [], "# @title Mine\nshow(figure)"),
        ('#@title Mine { display-mode: "form" }\nx', [], '#@title Mine { display-mode: "form" }\nx'),
    ],
)
def test_a_title_is_the_one_that_is_there_or_a_comment_or_a_word(before, tags, after):
    assert titled(before, tags) == after and titled(after, tags) == after
    assert folding.title(after) and folding.untitled(after) == after.partition("\n")[2]
    assert folding.title("x = 1\n# @title No") == "" and folding.untitled("# no title\nx") == "# no title\nx"


def test_folded_is_what_is_tagged_or_only_imports_and_nothing_else():
    shown = [("x = 1", []), ("import os\nx = os.name", []), ("", HIDE), ("!ls", []), ("'a text'", [])]
    hidden = [
        ("x = 1", ["hide-input", "slide"]),
        ("x", ["setup"]),
        (IMPORTS, []),
        ("import torch", []),
        ("!", ["setup"]),
    ]
    notebook = book(*hidden, *shown)
    notebook.cells.append(new_markdown_cell("Text", metadata={"tags": HIDE}))
    notebook.cells[5].metadata |= {"cellView": "form", "jupyter": {"source_hidden": True, "outputs_hidden": True}}
    before = [cell.source for cell in notebook.cells[len(hidden) :]]
    assert [is_hidden(cell) for cell in notebook.cells] == [True] * 5 + [False] * 6
    fold(notebook)
    nbformat.validate(notebook)
    assert [is_folded(cell) for cell in notebook.cells] == [True] * 5 + [False] * 6
    assert [cell.source for cell in notebook.cells[len(hidden) :]] == before
    assert notebook.cells[5].metadata == {"jupyter": {"outputs_hidden": True}}  # what is in view is not folded anywhere
    assert list(notebook.cells[0].metadata) == ["cellView", "jupyter", "tags"]
    again = copy.deepcopy(notebook)
    fold(again)
    assert again == notebook and clean(copy.deepcopy(notebook)).cells[0] == notebook.cells[0]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_folding_a_lesson_changes_titles_and_metadata_only_and_no_result_becomes_old(path, tmp_path):
    copied = tmp_path / path.name
    copied.write_bytes(path.read_bytes())
    folding.rewrite(copied, fold)
    once = copied.read_bytes()
    assert not folding.rewrite(copied, fold) and copied.read_bytes() == once
    before, after = (nbformat.read(one, as_version=4) for one in (path, copied))
    nbformat.write(after, copied)
    assert copied.read_bytes() == once  # as every other program writes it
    assert digest(before, NOW) == digest(after, NOW)
    assert after.cells[1].source == setup_cell()
    for old, new in zip(before.cells, after.cells, strict=True):
        assert is_folded(new) == is_hidden(new) == is_hidden(old)
        code, kept = (re.sub(r"^#.*\n", "", cell.source, flags=re.MULTILINE) for cell in (new, old))
        assert code == kept and new.metadata.get("tags") == old.metadata.get("tags")
        if is_hidden(old):
            new.source, new.metadata = old.source, old.metadata
    assert after == before


def test_a_comment_or_metadata_makes_no_result_old():
    notebook = book(("x = 1  # one", HIDE), ("# A title.\nprint(x)", []))
    before = digest(notebook, NOW)
    fold(notebook)
    notebook.cells[1].source = f"# @title Other\n{notebook.cells[1].source}"
    assert digest(notebook, NOW) == before
    notebook.cells[0].source += "\ny = 2"
    assert digest(notebook, NOW) != before


def test_the_page_folds_what_is_folded_under_its_title():
    notebook = book(("x = 'in view'", []), ("# Rates < 1\nshow(secret)", HIDE), ("import imported", []))

    def folds(notebook):
        return BeautifulSoup(draw(copy.deepcopy(notebook))[0], "html.parser").select("details.fold")

    (unfolded,) = folds(notebook)  # a first edition: imports are in view, and there may be no title
    assert unfolded.summary.get_text() == "Show the code" and "# Rates" in unfolded.get_text()
    fold(notebook)
    figure, imports = folds(notebook)
    assert figure.summary.get_text() == "Show the code: Rates < 1" and "secret" in figure.get_text()
    assert imports.summary.get_text() == "Show the code: Imports" and "@title" not in figure.pre.get_text()
    (setup,) = folds(book(("import os", ["setup"])))
    assert setup.summary.get_text() == "Show the code: Setup"


@pytest.mark.parametrize(
    ("reason", "cells"),
    [
        *((f"calls {name}", [(f"runs = {name}(arms)", HIDE)]) for name in folding.IN_VIEW),
        ("calls fit", [("def arm(seed):\n    model.fit(seed)", HIDE)]),
        ("uses x", [("x = 1", HIDE), ("x + 1", [])]),
        ("uses x", [("x = 1", HIDE), ("x = x + 1", [])]),
        ("uses x", [("x = 1", HIDE), ("x += 1", [])]),
        ("uses x", [("x = 1", HIDE), ("def f():\n    return x\n", [])]),
        ("uses x", [("x = 1", HIDE), ("[x * y for y in z]", [])]),
        ("uses x", [("x = {}", []), ("x['a'].b = 1", HIDE), ("x", [])]),
        ("uses draw", [("def draw(rate):\n    return rate", HIDE), ("explore(draw)", [])]),
        ("uses x", [("x = 1", []), ("x = 2", HIDE), ("y = 1", []), ("x", [])]),
        ("uses x", [("for x in y:\n    pass", HIDE), ("x", [])]),
    ],
)
def test_a_folded_cell_is_refused(reason, cells):
    found = list(refusals(book(*cells)))
    assert len(found) == 1 and found[0].startswith(reason)


@pytest.mark.parametrize(
    "cells",
    [
        [(IMPORTS, []), ("from a import x", HIDE), ("x, torch, session", [])],
        [("x = 1", HIDE), ("x + 1", HIDE)],
        [("x = 1", HIDE), ("x = 2", []), ("x", [])],
        [("x = 1", HIDE), ("def f(x):\n    return x\n", []), ("[x for x in y]", []), ("lambda x: x", [])],
        [("x = 1", HIDE), ("for x in y:\n    print(x)", [])],
        [("def f():\n    x = 1", HIDE), ("x", [])],
        [("show(figure)", HIDE), ("compare(arms)", []), ("x", [])],
        [("!ls", HIDE), ("x", [])],
    ],
)
def test_a_folded_cell_that_only_draws_is_fine(cells):
    assert list(refusals(book(*cells))) == []


def test_the_commands_fold_and_mark_the_lessons_of_these_names(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(running, "NOTEBOOKS", tmp_path)
    for name in ("01_a", "02_b"):
        nbformat.write(book(("show(figure)", HIDE)), tmp_path / f"{name}.ipynb")
    assert main(["fold", "01_a"]) == main(["second", "01_a"]) == 0
    assert capsys.readouterr().out == "Folded: 01_a\nMarked: 01_a\n"
    one, two = (nbformat.read(path, as_version=4) for path in sorted(tmp_path.iterdir()))
    assert is_folded(one.cells[0]) and not is_folded(two.cells[0])
    assert (lesson.edition(one), lesson.edition(two)) == (2, 1)
    assert main(["fold"]) == 0 and capsys.readouterr().out == "Folded: 02_b\n"
    assert main(["fold", "03_none"]) == 2 and "no lesson 03_none" in capsys.readouterr().err


def test_the_edition_stays_when_a_lesson_runs_and_is_no_measurement():
    notebook = book(("x", []))
    lesson.make_second(notebook)
    assert lesson.measurement(notebook) == {}
    lesson.tell_time(notebook, {"seconds": 1})
    assert notebook.metadata.tdnn == {"seconds": 1, "edition": 2}
    assert lesson.measurement(notebook) == {"seconds": 1} and clean(notebook).metadata.tdnn.edition == 2
    first = book(("x", []))
    lesson.tell_time(first, {"seconds": 1})
    assert first.metadata.tdnn == {"seconds": 1} and json.dumps(first).count("edition") == 0
