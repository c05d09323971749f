"""The form of a lesson is counted as a reader sees it, and each thing that makes it hard to read is named."""

import copy

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from course import lesson, running
from course.__main__ import main
from course.address import ref, repository
from course.folding import fold
from course.form import code_lines, crowded, form_of, prose, table, tree_of
from course.pages.drawing import TEXTS, draw
from course.pages.glossary import ENTRY, entries
from course.pages.terms import link

GLOSSARY = f"{repository()}/blob/{ref()}/course/pages/texts/glossary.md"
MEANING = "Pulling all weights a little towards 0 in each step."
HIDE = {"tags": ["hide-input"]}


def text(*sources):
    return new_notebook(cells=[new_markdown_cell(source) for source in sources])


def good_notebook():
    """One cell of code and eighty words about it."""
    words = f"# Title\n\n{'Some words that say what the cell does and why. ' * 8}"
    return new_notebook(cells=[new_markdown_cell(words), new_code_cell("runs = compare(arms)\njudge('C1', runs)")])


def add_code(source, **metadata):
    return lambda n: n.cells.append(new_code_cell(source, metadata=metadata))


def add_text(source):
    return lambda n: n.cells.append(new_markdown_cell(source))


THREE = "{a:.1f} and {b:,} and {c:+.2e}"
BAD = [
    ("lines", add_code("x = 1\n" * 350)),
    ("cells", lambda n: n.cells.extend(new_code_cell("x") for _ in range(30))),
    ("long", add_code("x = 1\n" * 21)),
    ("long", add_code(f"x = '{'y' * (20 * 88)}'")),
    ("words", add_code("x = 1\n" * 20)),
    ("numbers", add_code(f'say(f"It is {THREE}.")')),
    ("numbers", add_code(f'text = f"It is {THREE}, said in a folded cell."', **HIDE)),
    ("numbers", add_code('say("It is " + ", ".join(f"{a:.1f} for {b}" for a, b in c))')),
    ("numbers", add_code("say(f\"It is {', '.join(f'{a:.1f}' for a in b)}, so far.\")")),
    ("numbers", add_code('say(f"It is {a:.1f}, {len(b)} or {round(c)}.")')),
    ("terms", add_text("It has a weight decay.")),
    ("names", add_text("A humble model.")),
    ("names", add_text("The exam is over.")),
    ("names", add_text("The images that are *known*, and the `rest`.")),
    ("names", add_text("It runs without a network.")),
    ("names", add_code("known = 1")),
    ("names", add_code("def f(asked):\n    return HUMBLE")),
    ("names", add_code("for rest in x:\n    pass")),
    ("names", add_code("def draw_exam():\n    pass", **HIDE)),
    ("ideas", add_code("a, b = compare(x), over_budgets(y)")),
    ("ideas", add_code("judge('C1', a)\nexact('C2', b)")),
]


def kinds(notebook):
    return [kind for kind, _ in form_of(notebook).complaints]


def test_a_good_notebook_has_no_complaints_and_is_counted():
    found = form_of(good_notebook())
    assert (found.edition, found.lines, found.cells, found.words, found.complaints) == (1, 2, 1, 81, ())
    assert found.words_per_line == 40.5 and form_of(new_notebook()).words_per_line == float("inf")


@pytest.mark.parametrize(("kind", "change"), BAD, ids=[kind for kind, _ in BAD])
def test_what_makes_a_lesson_hard_to_read_is_named(kind, change):
    notebook = good_notebook()
    change(notebook)
    assert kind in kinds(notebook)
    if kind not in ("lines", "cells", "words", "long"):
        assert kinds(notebook) == [kind] * len(kinds(notebook))


@pytest.mark.parametrize(
    "change",
    [
        lambda n: n.cells.extend(new_code_cell("x", metadata=HIDE) for _ in range(60)),
        lambda n: n.cells.extend(new_code_cell("# nothing") for _ in range(60)),
        add_code("x = 1\n" * 40, **HIDE),
        add_code("import a\n" * 40),
        add_code("# one\n\n" * 40 + 'def f():\n    """Says\n\n    much.\n    """'),
        add_code(f'show(figure, f"It is {THREE}.")'),
        add_code(f'assert a, f"It is {THREE}."\nraise ValueError(f"It is {THREE}.")'),
        add_code('say(f"It is {a:.1f} and {b:.1f}. Then it is {c:.1f}.")'),
        add_code('say(f"It is {a:.1f}, {b}, {c} and {d:>8}.")'),
        add_code(f'row = f"| name | {THREE} |"\nlabel = f"{{a:.1f}} {{b:.1f}} {{c:.1f}}"'),
        add_code('labels = {f"{name}, {n:,} images": n for n in sizes}\n", ".join(f"{name}" for name in names)'),
        add_text("It is known that the rest is asked for."),
        add_code("knows = restless = f(known=1)"),
        add_code("runs, judged = compare(a), judge('C1', b)"),
        add_code("!pip install x"),
    ],
)
def test_what_is_fine_is_not_named(change):
    notebook = good_notebook()
    change(notebook)
    assert kinds(notebook) == []


def test_lines_wrap_and_comments_docstrings_and_blank_lines_do_not_count():
    assert code_lines("x = 1") == 1 and code_lines(f"x = '{'y' * 82}'") == 1 and code_lines(f"x = '{'y' * 83}'") == 2
    source = (
        'class A:\n    """Text.\n\n    More."""\n\n    # why\n    x = """one\n    two"""  # a text that is no docstring'
    )
    assert code_lines(source) == 3 and code_lines("") == 0


def test_prose_is_what_is_read():
    source = '# One *two*\n\n[three](a.html "no") `five` $x$ ![no](b.png)\n\n```\nno\n```\n<!-- no --> <b>six</b>\n\n'
    source += "## References\n- no\n\n## Seven\n\n[![no](c.svg)](d.html)"
    assert prose(text(source)).replace("#", "").split() == "One *two* three `five` six Seven".split()


def test_a_crowded_sentence_is_shown_as_it_reads():
    assert list(crowded(tree_of(f'x = f"It is {THREE}. {{a}} more!"'))) == ["It is … and … and …."]


def test_the_table_has_a_row_for_each_lesson():
    notebook = good_notebook()
    add_text("A humble weight decay.")(notebook)
    first, row = table({"01_a": form_of(notebook)}).splitlines()
    assert first.split() == "lesson edition lines cells long words numbers terms names ideas".split()
    assert row.split() == "01_a 1 2 1 0 42.5 0 1 1 0".split() and len(first) == len(row)


def test_a_first_edition_is_advised_and_a_second_one_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(running, "NOTEBOOKS", tmp_path)
    notebook = good_notebook()
    add_code("known = 1")(notebook)
    nbformat.write(notebook, tmp_path / "01_a.ipynb")
    assert main(["form"]) == 0 and "01_a calls something known" in capsys.readouterr().out
    lesson.make_second(notebook)
    nbformat.write(notebook, tmp_path / "01_a.ipynb")
    assert main(["form", "01_a"]) == 1 and "known" in capsys.readouterr().out
    notebook.cells.pop()
    nbformat.write(notebook, tmp_path / "01_a.ipynb")
    assert main(["form"]) == 0 and "known" not in capsys.readouterr().out


# --- terms ------------------------------------------------------------------------------------------------------------


def linked(words, id, sentence):
    return f'[{words}]({GLOSSARY}#{id} "{sentence}")'


DECAY = linked("weight decay", "weight-decay", MEANING)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Take weight decay, a weight decay.", f"Take {DECAY}, a weight decay."),
        ("*Take weight decay* now.", f"*Take {DECAY}* now."),
        ("> Weight decays?", f"> {linked('Weight decays', 'weight-decay', MEANING)}?"),
        ("Take `weight decay` or $weight decay$.\n```\nweight decay\n```\n", None),
        ("# On weight decay\n\n<!-- weight decay -->", None),
        ("## References\n- On weight decay", None),
        ("**Weight decay** pulls. The weight decay", None),
        ("Take *weight decay*: it pulls.", None),
        ("[weight decay and others](https://example.org/weight-decay) ![weight decay](x.png)", None),
        ("A weight-decay-free network, unweight decay.", None),
        (f"Take {DECAY}, a weight decay.", None),
        (f'Take [it]({GLOSSARY}#weight-decay "Old.")', f"Take {linked('it', 'weight-decay', MEANING)}"),
        ("[it](https://example.org#weight-decay)", None),
    ],
)
def test_a_term_is_linked_where_it_is_first_used_and_not_explained(before, after):
    notebook = text(before)
    assert link(notebook) == ([] if after is None else ["weight decay"])
    assert notebook.cells[0].source == (after or before)
    again = copy.deepcopy(notebook)
    assert link(again) == [] and again == notebook


def test_terms_are_met_once_in_a_lesson_and_the_longest_name_counts():
    notebook = text("A mini-batch of a batch norm.", "A learning-rate range test: a batch, batch normalisation.")
    assert link(notebook) == [
        *("mini-batch, batch", "batch normalisation, batch norm"),
        "learning-rate range test, range test",
    ]
    assert notebook.cells[1].source.endswith("): a batch, batch normalisation.")


def test_a_link_to_the_glossary_leads_to_its_entry_everywhere():
    """On GitHub, where it goes from Colab and JupyterLab, the entry has an anchor; on the site it has its page."""
    source = (TEXTS / "glossary.md").read_text(encoding="utf-8")
    anchors = [found[0].split('"')[1] for found in ENTRY.finditer(source)]
    assert sorted(anchors) == sorted(entry.id for entry in entries()[1])
    body, _ = draw(text("Take weight decay.", DECAY))
    assert f'<a href="glossary.html#weight-decay" title="{MEANING}">weight decay</a>' in body
    for entry in entries()[1]:
        notebook = text(f"a {entry.names[0]}")
        assert link(notebook) == [entry.term]
        body, _ = draw(notebook)
        assert f'href="glossary.html#{entry.id}" title="' in body and "&quot;" not in body and "](" not in body


def test_a_folded_and_linked_notebook_is_still_valid():
    notebook = good_notebook()
    add_text("Weight decay.")(notebook)
    for change in (fold, link, lesson.make_second):
        change(notebook)
    nbformat.validate(nbformat.from_dict(notebook))
    assert form_of(notebook).edition == 2 and kinds(notebook) == []
