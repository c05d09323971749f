"""The commands that change the course: a digest is renewed by proof only, and a new lesson starts whole."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from course import NOTEBOOKS, ROOT, address, readme, renewal, running, scaffold, stale
from course.__main__ import COMMANDS, main
from course.folding import rewrite
from course.pages.terms import link
from notebook_rules import colab_badge, same_setup
from tdnn_helpers.evidence.definitions import Definitions


def lesson(text="ready", picture="AAAA", alt="A curve", **data):
    figure = {"data": {"image/png": picture}, "metadata": {"image/png": {"alt": alt}}}
    shown = [new_output("display_data", **figure), new_output("display_data", data={"text/html": "<b>1</b>", **data})]
    return new_notebook(cells=[new_code_cell("1", id="cell", outputs=[new_output("stream", text=text), *shown])])


def test_a_duration_is_no_difference():
    for old, new in {
        "took 1.3 s": "took 12 s",
        "24 milliseconds, 5 ms per image": "1,327 milliseconds, 6.5 ms per image",
        "4 fine (2 s)\n3 min": "4 fine (1 s)\n12 min",
    }.items():
        assert renewal.differences(lesson(old), lesson(new)) == []
        assert renewal.differences(lesson(**{"text/markdown": old}), lesson(**{"text/markdown": new})) == []


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


def test_a_cell_that_shows_nothing_any_more_is_a_difference_and_one_that_shows_measured_times_is_left_out():
    silent, timed = new_notebook(cells=[new_code_cell("1", id="cell")]), lesson("2.1 times as fast")
    assert renewal.differences(lesson(), silent) and renewal.differences(silent, lesson())
    assert renewal.differences(silent, new_notebook()) == []
    assert renewal.differences(lesson("1.7 times as fast"), timed) != []
    timed.cells[0].metadata["tags"] = ["timed"]
    assert renewal.differences(lesson("1.7 times as fast"), timed) == []


ADD = "def add(x):\n    return x + 1\n"
CODE = """import sys
sys.path.insert(0, "..")
from tdnn_helpers.numbers import add
class session: sizes = staticmethod(dict)
session.sizes(n=(1, 2, 3))
print(add(1), "in 1 s")"""
SAYS = "print('01_one is up to date')"  # what a tree's own program says


def digest(book):
    return stale.digest(book, Definitions(stale.ROOT / "tdnn_helpers"))


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A function that writes a course of one lesson, the one that `renew` works on, and returns its notebook."""
    root = tmp_path / "tree"
    for module in (renewal, stale):
        monkeypatch.setattr(module, "ROOT", root)
    monkeypatch.setattr(running, "NOTEBOOKS", root / "notebooks")

    def write(add=ADD, code=CODE, source=None, program=""):
        book = new_notebook(cells=[new_code_cell(code, id="cell")])
        files = {"tdnn_helpers/__init__": "", "tdnn_helpers/numbers": add, "course/__init__": ""}
        for name, text in (files | {"course/__main__": program}).items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / f"{name}.py").write_text(text)
        book.metadata["tdnn"] = {"source": source or digest(book)}
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
    for words in ("init -q", "add -A", "-c user.name=a -c user.email=a commit -qm old"):
        subprocess.run(["git", *words.split()], cwd=renewal.ROOT, check=True)
    book = tree(**{"source": recorded, **new})
    renewed = "is renewed" in said
    assert renewal.renew("HEAD", []) == (not renewed)
    out = capsys.readouterr().out
    assert said in out and ("make claims LESSONS=01_one" in out) != renewed
    now = nbformat.read(running.NOTEBOOKS / "01_one.ipynb", as_version=4)
    assert (stale.stamp(now) == digest(book)) == renewed and now.cells == book.cells
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
    """A copy of the course."""
    for name in ("course", "notebooks", "tests", "tdnn_helpers"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in "README.md CLAIMS.md Makefile pyproject.toml requirements.txt environment.yml".split():
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    return tmp_path


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


FORK, HERE, REF = "https://github.com/somebody/a-fork.of-it", address.repository(), address.ref()


@pytest.mark.parametrize("words", [("fork", f"{FORK}.git"), ("fork", f"{FORK}/"), ("release", "v1.2.0")])
def test_one_command_moves_the_course_to_a_fork_or_a_release(copy, monkeypatch, capsys, words):
    place, ref = (FORK, "main") if words[0] == "fork" else (HERE, "v1.2.0")
    monkeypatch.setattr(address, "ROOT", copy)
    notebooks = sorted((copy / "notebooks").glob("*.ipynb"))
    for path in notebooks:
        rewrite(path, link)  # to the glossary
    before = contents(copy)
    assert main([*words]) == 0
    after, said = contents(copy), capsys.readouterr().out
    changed = {path for path in before if before[path] != after[path]}
    assert changed == {copy / "pyproject.toml", copy / "README.md", *notebooks} and all(p.name in said for p in changed)
    assert (address.repository(), address.ref()) == (place, ref)
    old = HERE.removeprefix("https://github.com/").encode()
    assert any(old in after[path] for path in changed) == ("git tag v1.2.0\n" in said) == (place == HERE)
    for path in notebooks:
        book = nbformat.read(path, as_version=4)
        text = "".join(cell.source for cell in book.cells)
        on_colab = place.replace("https://github.com", "https://colab.research.google.com/github")
        assert f"({on_colab}/blob/{ref}/notebooks/{path.name})" in text
        assert f'git clone -q --depth 1 {place} "' in text and f'" --branch {ref}"' in text
        assert [*same_setup(book, path.name), *colab_badge(book, path.name), *link(book)] == []  # its own rules hold
    front = (copy / "README.md").read_text(encoding="utf-8")
    assert readme.with_table(front) == front
    assert main([*words]) == 0 and "nothing" in capsys.readouterr().out and contents(copy) == after  # once more
    address.move(HERE, REF)  # and back again, to the last byte
    assert contents(copy) == before


def test_what_colab_cannot_open_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(Path, "write_bytes", lambda *_: pytest.fail("it wrote"))
    hub = "https://github.com"
    for place in ("https://gitlab.com/a/b", "github.com/a/b", f"{hub}/a", f"{hub}/a/b/tree/main"):
        assert main(["fork", place]) == 2 and "NAME/REPO" in capsys.readouterr().err, place
    assert main(["release", "v1 2"]) == 2 and "no name of a tag" in capsys.readouterr().err


ANSWERED = """
import nbformat
from tdnn_helpers.exercises import all_exercises, check, stub
def test_answered():
    shown = [cell.source for cell in nbformat.read("notebooks/99_new.ipynb", as_version=4).cells]
    own = [one for one in all_exercises().values() if one.id.startswith("99.")]
    assert all(stub(one.id) in shown for one in own)
    statuses = [check(one.id, one.solution() if one.value else one.solution).status for one in own]
    assert statuses == ["right", "complete"]
    assert all(sentence in check(one.id, wrong).sentence for one in own for wrong, sentence in one.known)
"""


def test_a_new_lesson_runs_and_obeys_every_rule_from_the_start(copy, monkeypatch, capfd):
    def python(*words):
        own = os.environ | {"PYTHONPATH": str(copy), "TDNN_BUDGET": "smoke"}
        return subprocess.Popen([sys.executable, "-m", *words], cwd=copy, env=own, stdout=subprocess.PIPE, text=True)

    made = python("course", "new", "99_new", "A *new* lesson")
    said, _ = made.communicate()
    assert made.returncode == 0 and "tdnn_helpers/evidence/ledger.json" in said, capfd.readouterr().err
    by_hand = [word.rstrip(",.:") for word in said.split() if "/" in word]
    assert len(by_hand) <= 7 and all((copy / name).exists() for name in by_hand)

    (copy / "tests" / "test_answered.py").write_text(ANSWERED)
    names = [f"tests/test_{subject}.py" for subject in ("repository", "teaching", "reference", "answered")]
    wanted = "99_new or readme_is_up_to_date or page_of_claims or glossary_is_complete or answered"
    tested = python("pytest", "-q", "-p", "no:cacheprovider", *names, "-k", wanted)

    for module in (scaffold, running):  # here too the copy is now the course
        monkeypatch.setattr(module, "NOTEBOOKS", copy / "notebooks")
    for module in (scaffold, readme):
        monkeypatch.setattr(module, "ROOT", copy)
    for name, why in {"99_other": "99 is taken by 99_new", "new": "no name like"}.items():
        assert main(["new", name, "Another"]) == 2 and why in capfd.readouterr().err
    monkeypatch.setenv("TDNN_BUDGET", "smoke")
    assert main(["run", str(copy / "out"), "99_new"]) == 0, capfd.readouterr().err
    said, _ = tested.communicate()
    assert tested.returncode == 0 and said.count(".") > 21, said
