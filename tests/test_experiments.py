"""The commands that make the evidence bank and audit it, on a lesson of a few cells."""

import json
import os
import signal
import subprocess
import sys
import time

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from course import ROOT, experiments, running
from course.__main__ import main
from helpers import row
from tdnn_helpers import session
from tdnn_helpers.evidence import bank

SETUP = """
from tdnn_helpers.session import start
session = start("01_one")
import time
from tdnn_helpers.evidence import compare

def paced(rate):
    def arm(seed):
        time.sleep(PAUSE)
        return {"test accuracy": rate * seed + 1 / 3}
    return arm
PAUSE = 0
"""
FIRST = 'rates = compare({"slow": paced(1), "fast": paced(2)}, 3, bank="rates", workers=1)\nprint(list(rates.made))'
SECOND = 'best = rates["value"].max()\nlate = compare({"late": lambda seed: {"best": best}}, 2, bank="late", workers=1)'
ROWS = [("late", 0), ("late", 1), *((arm, seed) for arm in ("fast", "slow") for seed in range(3))]


def cell(source, *tags):
    return new_code_cell(source, metadata={"tags": [*tags]} if tags else {})


@pytest.fixture(autouse=True)
def course(tmp_path, monkeypatch):
    """A function that writes the lesson 01_one, with these changes of its text, into a course of its own."""
    monkeypatch.setattr(running, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(session, "_lesson", None)
    monkeypatch.setenv("TDNN_BANK", str(tmp_path / "bank"))

    def write(*changes, name="01_one"):
        cells = [new_markdown_cell("# One"), cell("print('setup')", "setup"), cell(SETUP), cell("1 / 0", "slide")]
        cells += [cell(FIRST, "experiment", "slide"), cell("1 / 0"), cell(SECOND, "experiment")]
        for one in cells:
            for old, new in changes:
                one.source = one.source.replace(old, new)
        nbformat.write(new_notebook(cells=cells), tmp_path / f"{name}.ipynb")

    write()
    return write


def rows():
    return [(row["arm"], row["seed"]) for row in bank.read("01_one")]


def test_the_setup_and_the_experiments_run(tmp_path):
    chosen = experiments.cells_of(nbformat.read(tmp_path / "01_one.ipynb", as_version=4))
    assert [one.source for one in chosen] == ["print('setup')", SETUP, FIRST, SECOND]
    assert experiments.cells_of(new_notebook(cells=[cell("x = 1"), cell("x = 2", "setup")])) == []


def test_rows_are_estimated_made_once_and_run_again(course, capsys):
    before = dict(os.environ), os.getcwd(), list(sys.path)
    assert main(["evidence", "01_one", "--estimate"]) == 0 and rows() == []
    said = capsys.readouterr().out
    assert "01_one, rates: 6 runs to make" in said and "(name 'rates' is not defined)" in said
    assert "In all about 0.00 core-hours" in said and "setup" not in said
    assert main(["evidence", "--minutes", "0"]) == 0 and rows() == []
    assert "The time is up at 01_one, rates: 6 runs to make. The same command goes on there." in capsys.readouterr().out
    assert main(["evidence"]) == 0 and rows() == ROWS
    said = capsys.readouterr().out
    assert f"{['bank'] * 6}" in said and said.endswith("01_one: done\n")
    text = bank.path_of("01_one").read_bytes()
    assert main(["evidence", "01_one"]) == 0 and bank.path_of("01_one").read_bytes() == text
    assert "to make" not in capsys.readouterr().out
    assert (dict(os.environ), os.getcwd(), list(sys.path)) == before

    drawn = []
    for seed in ("1", "1", "2"):
        assert main(["audit", "--seed", seed, "--rows", "4"]) == 0
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("01_one, ")]
        assert len(lines) == 4 and all(line.endswith(": the same to the last digit") for line in lines)
        drawn.append(lines)
    assert drawn[0] == drawn[1] != drawn[2]


def test_an_audit_says_how_far_a_row_is_and_which_rows_no_cell_makes(course, capsys):
    assert main(["evidence"]) == 0
    made = bank.read("01_one")
    bank.path_of("01_one").unlink()
    bank.add("01_one", [{**row, "metrics": [[0, "test", "accuracy", 9.0]]} for row in made if row["arm"] == "slow"])
    assert main(["audit", "--seed", "5", "--rows", "99"]) == 0
    said = capsys.readouterr().out
    assert '01_one, rates, "slow" with seed 2: test accuracy differs by 6.7' in said and said.count(" by 7.7") == 1
    course(("paced(1)", "paced(3)"))
    assert main(["audit", "--seed", "5"]) == 1
    assert capsys.readouterr().out.count('"slow" with seed') == 3 and rows() == [("slow", seed) for seed in range(3)]
    for words in ([], ["--seed", "x"]):
        with pytest.raises(SystemExit, match="2"):
            main(["audit", *words])


TRAINED = """
import torch
from tdnn_helpers.data import load
from tdnn_helpers.models import mlp
from tdnn_helpers.train import fit, sgd
pool = load("fashion-mnist").take(200, seed=0)

def trained(rate, steps=30):
    def arm(seed):
        train = pool.take(60, seed=seed)
        return fit(mlp(train, hidden=(4,)), train, steps=steps, batch_size=8, optimizer=sgd(rate), seed=seed)
    return arm

def answered(share):
    def arm(seed):
        return {"test accuracy": share}
    return arm
"""
COMPARED = 'compare({"slow": trained(0.01), "fast": trained(0.1), "sure": answered(0.5)}, 2, bank="rates", workers=1)'


@pytest.fixture
def trees(course, tmp_path, monkeypatch):
    """Two folders with the lesson 01_one and its package's code: (the new one's notebook, the old tree)."""
    cells = [cell(SETUP), cell(TRAINED), cell(COMPARED, "experiment")]
    nbformat.write(new_notebook(cells=cells), tmp_path / "01_one.ipynb")
    tree = tmp_path / "tree"
    (tree / "notebooks").mkdir(parents=True)
    for name in ("course", "tdnn_helpers", "data", "pyproject.toml"):
        (tree / name).symlink_to(ROOT / name)
    (tree / "notebooks" / "01_one.ipynb").write_bytes((tmp_path / "01_one.ipynb").read_bytes())
    # The old tree finds its own notebooks, and reads the same bank.
    runner = "import sys; from pathlib import Path; from course import running; from course.__main__ import main\n"
    runner += f"running.NOTEBOOKS = Path({str(tree / 'notebooks')!r}); sys.exit(main(sys.argv[1:]))"
    program = [sys.executable, "-c", runner]
    run = subprocess.run
    monkeypatch.setattr(
        experiments.subprocess, "run", lambda words, **how: run([*program, *words[3:]], **how | {"cwd": tree})
    )
    assert main(["evidence"]) == 0 and len(rows()) == 6
    return tmp_path / "01_one.ipynb", tree


def changed(path, old, new):
    book = nbformat.read(path, as_version=4)
    assert any(old in one.source for one in book.cells)
    for one in book.cells:
        one.source = one.source.replace(old, new)
    nbformat.write(book, path)


def test_rows_follow_an_edit_that_changes_no_bit(trees):
    path, tree = trees
    before = bank.read("01_one")
    content = bank.content("01_one")
    assert experiments.renew_rows(path, tree) == (0, [])
    changed(path, "steps=steps, batch_size=8", "batch_size=8, steps=steps")
    assert experiments.renew_rows(path, tree) == (4, [])
    after = bank.read("01_one")
    assert [row["key"] == old["key"] for row, old in zip(after, before)] == [row["arm"] == "sure" for row in after]
    drop = ("key", "check")
    assert [{n: v for n, v in row.items() if n not in drop} for row in after] == [
        {n: v for n, v in row.items() if n not in drop} for row in before
    ]
    assert bank.content("01_one") == content and main(["evidence", "--estimate"]) == 0
    assert main(["audit", "--seed", "0", "--rows", "6"]) == 0


@pytest.mark.parametrize(("old", "new", "lost"), [
    ("batch_size=8", "batch_size=9", ["rates, fast", "rates, slow"]),
    ("trained(0.1)", "trained(0.10001)", ["rates, fast"]),
    ('{"test accuracy": share}', '{"test accuracy": share + 1e-9}', []),  # six digits are kept, and they are the same
    ('{"test accuracy": share}', '{"test accuracy": share + 1e-3}', ["rates, sure"]),
])  # fmt: skip
def test_rows_of_another_result_are_not_renewed(trees, old, new, lost):
    path, tree = trees
    text = bank.path_of("01_one").read_bytes()
    changed(path, old, new)
    assert experiments.renew_rows(path, tree) == (2 * (not lost), lost)
    assert (bank.path_of("01_one").read_bytes() == text) == bool(lost)


def test_rows_are_drawn_from_comparison_to_comparison(course):
    bank.add("01_one", [row(seed, arm=arm, comparison=f"c{arm}") for arm in "ab" for seed in range(3)])
    bank.add("01_one", [row(seed, comparison="large") for seed in range(100)])
    drawn = [(one["comparison"], one["seed"]) for _, one in experiments.draw(7, 9)]
    assert drawn == [(one["comparison"], one["seed"]) for _, one in experiments.draw(7, 9)] and len({*drawn}) == 9
    assert {name: [c for c, _ in drawn].count(name) for name in ("ca", "cb", "large")} == {"ca": 3, "cb": 3, "large": 3}
    assert [(c, s) for _, one in experiments.draw(8, 9) for c, s in [(one["comparison"], one["seed"])]] != drawn
    assert len(experiments.draw(0, 1000)) == 106


def test_the_first_updates_of_rows_are_run_again(trees, capsys):
    assert main(["audit", "--seed", "3", "--rows", "6", "--begin"]) == 0
    assert capsys.readouterr().out.count("the same to the last digit") == 4  # the arm "sure" has no losses
    made = bank.read("01_one")
    bank.replace(
        "01_one", [row | {"losses": [row["losses"][0] + 0.25, *row["losses"][1:]]} for row in made if row["losses"]]
    )
    assert main(["audit", "--seed", "3", "--rows", "6", "--begin"]) == 0
    assert capsys.readouterr().out.count("the first losses by 0.25 at most") == 4


@pytest.mark.parametrize(("old", "left"), [("session = start", []), ("rates = compare", []), ("best = ", ROWS[2:])])
def test_a_cell_that_fails_is_told_and_the_next_lesson_goes_on(course, capsys, old, left):
    course((old, f"oops\n{old}"))
    course(("01_one", "02_two"), name="02_two")
    assert main(["evidence"]) == 1
    told = capsys.readouterr()
    assert "01_one failed:" in told.err and "name 'oops' is not defined" in told.err
    assert rows() == left and len(bank.read("02_two")) == len(ROWS) and told.out.endswith("02_two: done\n")


def test_a_killed_command_loses_no_finished_run(course, tmp_path, capsys):
    course(("PAUSE = 0", "PAUSE = 0.3"))
    program = "import sys; from pathlib import Path; from course import running; from course.__main__ import main\n"
    program += f"running.NOTEBOOKS = Path({str(tmp_path)!r}); main(['evidence'])"
    command = [sys.executable, "-c", program]
    going = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while len(rows()) < 2 and time.monotonic() < until:
        time.sleep(0.02)
    going.send_signal(signal.SIGKILL)
    going.wait()
    text = bank.path_of("01_one").read_text()
    assert 2 <= len(rows()) < 6
    assert main(["evidence"]) == 0 and "to make" in capsys.readouterr().out
    assert rows() == ROWS and set(text.splitlines()) <= set(bank.path_of("01_one").read_text().splitlines())


@pytest.mark.parametrize(
    ("then", "renewed"), [({"a": 1}, 2), ({"a": 1, "b": 2}, 2), ({"a": 9}, 0), ({"a": 1, "c": 3}, 0)]
)
def test_rows_follow_data_that_only_came_to_the_list(course, tmp_path, monkeypatch, then, renewed):
    """Of two arms one reads the data folder. The list holds files a and b now."""
    for folder, listing in (("now", {"a": 1, "b": 2}), ("then", then)):
        (tmp_path / folder / "data").mkdir(parents=True)
        (tmp_path / folder / "data" / "checksums.json").write_text(json.dumps(listing))
    monkeypatch.setattr(experiments, "ROOT", tmp_path / "now")

    def keys(path, updates=0):
        old = os.environ.get("TDNN_DATA") == str(tmp_path / "then" / "data")
        return {"c": {"reads": ["k" if old else "new", ""], "alone": ["k", ""]}}

    monkeypatch.setattr(experiments, "keys", keys)
    bank.add("01_one", [row(seed, arm=arm) for arm in ("reads", "alone") for seed in (0, 1)])
    if renewed:
        assert experiments.renew_rows(tmp_path / "01_one.ipynb", tmp_path / "then") == (2, [])
        assert [one["key"] for one in bank.read("01_one")] == ["k", "k", "new", "new"]
    else:  # the older tree is asked, and there is none
        with pytest.raises(ValueError, match="the older tree cannot run its experiments"):
            experiments.renew_rows(tmp_path / "01_one.ipynb", tmp_path / "then")
    assert "TDNN_DATA" not in os.environ
