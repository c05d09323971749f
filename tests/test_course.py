"""The commands that change the course: a digest is renewed by proof only, and a new lesson starts whole."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from course import NOTEBOOKS, ROOT, address, renewal, running, stale
from course.__main__ import COMMANDS, main


def lesson(text="ready", picture="AAAA", alt="A curve", **data):
    outputs = [
        new_output("stream", text=text),
        new_output("display_data", data={"image/png": picture}, metadata={"image/png": {"alt": alt}}),
        new_output("display_data", data={"text/html": "<b>1</b>", **data}),
    ]
    return new_notebook(cells=[new_code_cell("1", id="cell", outputs=outputs)])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("took 1.3 s", "took 12 s"),
        ("24 milliseconds, 5 ms per image", "1,327 milliseconds, 6.5 ms per image"),
        ("4 fine (2 s)\n3 min", "4 fine (1 s)\n12 min"),
    ],
)
def test_a_duration_is_no_difference(old, new):
    assert renewal.differences(lesson(old), lesson(new)) == []
    assert renewal.differences(lesson(**{"text/markdown": old}), lesson(**{"text/markdown": new})) == []


def test_a_cell_that_shows_measured_times_is_left_out():
    old, new = lesson("1.7 times as fast"), lesson("2.1 times as fast")
    assert renewal.differences(old, new) != []
    new.cells[0].metadata["tags"] = ["timed"]
    assert renewal.differences(old, new) == []


@pytest.mark.parametrize(
    ("old", "new", "first"),
    [
        ({"text": "a\n84.7 %, 1 s"}, {"text": "a\n84.8 %, 1 s"}, ("text: 84.7 %, …", "text: 84.8 %, …")),
        ({"text": "+0.43, min +0.39"}, {"text": "+0.44, min +0.39"}, None),
        ({"text": "5 seeds"}, {"text": "6 seeds"}, None),
        ({"text/html": "<td>7</td>"}, {"text/html": "<td>8</td>"}, None),
        ({"picture": "AAAA"}, {"picture": "AAAB"}, None),
        ({"picture": "A1s="}, {"picture": "A2s="}, None),
        ({"alt": "A curve"}, {"alt": "A line"}, None),
        ({"text": "a"}, {"text": "a\nb"}, ("", "text: b")),
    ],
)
def test_everything_else_is_a_difference(old, new, first):
    ((cell, *lines),) = renewal.differences(lesson(**old), lesson(**new))
    assert cell == "cell" and (first is None or lines[0] != lines[1] and set(first) - {""} <= {*lines})


def test_a_cell_that_shows_nothing_any_more_is_a_difference():
    silent = new_notebook(cells=[new_code_cell("1", id="cell")])
    assert renewal.differences(lesson(), silent) and renewal.differences(silent, lesson())
    assert renewal.differences(silent, new_notebook()) == []


ADD = "def add(x):\n    return x + 1\n"
CODE = """import sys
sys.path.insert(0, "..")
from tdnn_helpers.numbers import add
class session: sizes = staticmethod(dict)
session.sizes(n=(1, 2, 3))
print(add(1), "in 1 s")"""
SAYS = "print('01_one is up to date')"  # what a tree's own program says, from before `python -m course stale`


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A function that writes a course of one lesson, the one that `renew` works on, and returns its notebook."""
    root = tmp_path / "tree"
    for module in (renewal, stale):
        monkeypatch.setattr(module, "ROOT", root)
    monkeypatch.setattr(running, "NOTEBOOKS", root / "notebooks")

    def write(add=ADD, code=CODE, source=None, program=""):
        book = new_notebook(cells=[new_code_cell(code, id="cell")])
        for name, text in {"tdnn_helpers/__init__": "", "tdnn_helpers/numbers": add, "site/sources": program}.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / f"{name}.py").write_text(text)
        book.metadata["tdnn"] = {"source": source or stale.digest(book)}
        running.NOTEBOOKS.mkdir(exist_ok=True)
        nbformat.write(book, running.NOTEBOOKS / "01_one.ipynb")
        return book

    return write


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ({"source": "another", "program": SAYS}, {}, "is renewed: the code only moved"),
        ({}, {"add": ADD.replace("x + 1", "1 + x")}, "is renewed: a smoke run shows the same in both trees"),
        ({}, {"add": ADD.replace("x + 1", "x + 2")}, "old text: 2 in …\n    new text: 3 in …"),
        ({}, {"add": ADD.replace("x + 1", "y")}, "it fails at the smoke budget"),
        ({}, {"code": CODE.replace("2, 3", "3, 4")}, "its sizes changed"),
        ({}, {"add": "add = abs", "source": "later"}, "it was measured at another time"),
        ({"source": "another"}, {}, "older than its code in the old tree already"),
    ],
)
def test_a_digest_is_renewed_by_proof_only(tree, capsys, old, new, said):
    recorded = tree(**old).metadata.tdnn.source
    for words in (["init", "-q"], ["add", "-A"], ["-c", "user.name=a", "-c", "user.email=a", "commit", "-qm", "old"]):
        subprocess.run(["git", *words], cwd=renewal.ROOT, check=True)
    book = tree(**{"source": recorded, **new})
    renewed = "is renewed" in said
    assert renewal.renew("HEAD", []) == (not renewed)
    out = capsys.readouterr().out
    assert said in out and ("make claims LESSONS=01_one" in out) != renewed
    now = nbformat.read(running.NOTEBOOKS / "01_one.ipynb", as_version=4)
    assert (stale.recorded(now) == stale.digest(book)) == renewed and now.cells == book.cells
    assert subprocess.run(["git", "worktree", "list"], cwd=renewal.ROOT, capture_output=True).stdout.count(b"\n") == 1
    assert main(["renew", "gone"]) == 2 and "git could not check out gone" in capsys.readouterr().err
    assert main(["renew", "HEAD", "02_two"]) == 2 and "no lesson 02_two" in capsys.readouterr().err


def test_a_lesson_is_named_that_is_older_than_its_code(tree, capsys, monkeypatch):
    tree()
    monkeypatch.setattr(stale, "NOTEBOOKS", running.NOTEBOOKS)
    assert main(["stale"]) == 0 and capsys.readouterr().out == "01_one is up to date\n"
    tree(source="older")
    assert main(["stale"]) == 1 and "01_one is older than its code (older → " in capsys.readouterr().out


# --- commands ---------------------------------------------------------------------------------------------------------


def test_every_command_has_help(capsys):
    for name in COMMANDS:
        with pytest.raises(SystemExit, match="0"):
            main([name, "--help"])
        assert f"usage: python -m course {name}" in capsys.readouterr().out


def test_drawing_anew_forgets_no_run(monkeypatch):
    seen = []
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(running, "run", lambda *given, **named: seen.append((*given, named)) or 1)
    assert main(["redraw", "01_one"]) == 1 and seen == [(NOTEBOOKS, ["01_one"], {"keep_times": True})]
    assert os.environ["TDNN_BUDGET"] == "standard" and os.environ["TDNN_RUNS"] == str(ROOT / "build" / "claims-runs")
    with pytest.raises(SystemExit, match="2"):  # all lessons: that is make claims
        main(["redraw"])


# --- a fork, a release, a new lesson: in a copy of the course ---------------------------------------------------------


@pytest.fixture
def copy(tmp_path):
    """A copy of the course, and a function that runs Python in it."""
    ignored = shutil.ignore_patterns("__pycache__", "build")
    for name in ("course", "notebooks", "tests", "tdnn_helpers"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    for name in ("README.md", "pyproject.toml", "CLAIMS.md", "Makefile"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    own = os.environ | {"PYTHONPATH": str(tmp_path), "TDNN_BUDGET": "smoke"}
    command = dict(cwd=tmp_path, env=own, capture_output=True, text=True)
    return tmp_path, lambda *words: subprocess.run([sys.executable, "-m", *words], **command)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}


FORK, HERE = "https://github.com/somebody/a-fork.of-it", address.repository()
TESTS = ("pytest", "-q", "-p", "no:cacheprovider")


@pytest.mark.parametrize(
    ("words", "place", "ref"),
    [
        (("fork", f"{FORK}.git"), FORK, "main"),
        (("fork", f"{FORK}/"), FORK, "main"),
        (("release", "v1.2.0"), HERE, "v1.2.0"),
    ],
)
def test_one_command_moves_the_course_to_a_fork_or_a_release(copy, words, place, ref):
    root, python = copy
    before, notebooks = contents(root), sorted((root / "notebooks").glob("*.ipynb"))
    said = python("course", *words).stdout
    after = contents(root)
    changed = {path for path in before if before[path] != after[path]}
    assert changed == {root / "pyproject.toml", root / "README.md", *notebooks} and all(p.name in said for p in changed)
    assert (address.repository(root), address.ref(root)) == (place, ref)
    old = HERE.removeprefix("https://github.com/").encode()
    assert any(old in after[path] for path in changed) == ("git tag v1.2.0\n" in said) == (place == HERE)
    for path in notebooks:
        text = "".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
        on_colab = place.replace("https://github.com", "https://colab.research.google.com/github")
        assert f"({on_colab}/blob/{ref}/notebooks/{path.name})" in text
        assert f'git clone -q --depth 1 {place} "' in text and f'" --branch {ref}"' in text
    # Its own rules hold: badges, setup cells and the README say the same.
    ran = python(*TESTS, "tests/test_repository.py", "-k", "same_setup or colab_badge or readme_is_up_to_date")
    assert ran.returncode == 0 and ran.stdout.count(".") > 2 * len(notebooks), ran.stdout
    assert "nothing" in python("course", *words).stdout and contents(root) == after  # a second time changes nothing
    address.move(HERE, address.ref(), root)  # and back again, to the last byte
    assert contents(root) == before


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("fork", "https://gitlab.com/a/b"), "NAME/REPO"),
        (("fork", "github.com/a/b"), "NAME/REPO"),
        (("fork", "https://github.com/a"), "NAME/REPO"),
        (("fork", "https://github.com/a/b/tree/main"), "NAME/REPO"),
        (("release", "v1 2"), "no name of a tag"),
    ],
)
def test_what_colab_cannot_open_is_refused(monkeypatch, capsys, words, why):
    monkeypatch.setattr(Path, "write_bytes", lambda *_: pytest.fail("it wrote"))
    assert main([*words]) == 2 and why in capsys.readouterr().err


def test_a_new_lesson_obeys_every_rule_from_the_start(copy):
    root, python = copy
    made = python("course", "new", "99_new", "A *new* lesson")
    assert made.returncode == 0 and "tdnn_helpers/evidence/ledger.json" in made.stdout, made.stderr
    by_hand = [word.rstrip(",.:") for word in made.stdout.split() if "/" in word]
    assert len(by_hand) <= 7 and all((root / name).exists() for name in by_hand)
    again = python("course", "new", "99_other", "Another")
    assert again.returncode == 2 and "99 is taken by 99_new" in again.stderr
    assert "no name like" in python("course", "new", "new", "Bad").stderr
    tests = ("tests/test_repository.py", "tests/test_teaching.py", "tests/test_reference.py")
    wanted = "99_new or readme_is_up_to_date or page_of_claims or glossary_is_complete"
    ran = python(*TESTS, *tests, "-k", wanted)
    assert ran.returncode == 0 and ran.stdout.count(".") > 20, ran.stdout


ANSWERED = """
import nbformat
from tdnn_helpers.exercises import all_exercises, check, stub
shown = [cell.source for cell in nbformat.read("notebooks/99_new.ipynb", as_version=4).cells]
own = [one for one in all_exercises().values() if one.id.startswith("99.")]
for one in own:
    assert stub(one.id) in shown, stub(one.id)
    print(check(one.id, one.solution() if one.value else one.solution).status)
    assert all(sentence in check(one.id, mistake).sentence for mistake, sentence in one.known)
"""


def test_a_new_lesson_runs_and_its_exercises_are_right(copy):
    root, python = copy
    assert python("course", "new", "99_new", "A new lesson").returncode == 0
    ran = python("course", "run", str(root / "out"), "99_new")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (root / "answered.py").write_text(ANSWERED)
    ran = python("answered")
    assert ran.stdout == "right\ncomplete\n", ran.stdout + ran.stderr
