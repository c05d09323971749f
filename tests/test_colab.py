"""Colab: the first cell brings the course and leaves torch alone, sliders fall back, a fork moves by one command."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from types import ModuleType

import nbformat
import pytest

from course import ROOT
from course.__main__ import main
from course.address import move, ref, repository, setup_cell
from tdnn_helpers.figures import display, widgets

FORK = "https://github.com/somebody/a-fork.of-it"


# --- the first cell ---------------------------------------------------------------------------------------------------

# What a reader's runtime does: google.colab is loaded, the first cell runs, a lesson starts.
RUNTIME = """
import importlib.metadata, json, sys, types
sys.modules["google.colab"] = types.ModuleType("google.colab")
def packages():
    return sorted({(found.metadata["Name"], found.version) for found in importlib.metadata.distributions()})
before = packages()
%s
import torch
import tdnn_helpers
from tdnn_helpers.data import load
from tdnn_helpers.session import start
session = start("01_checklist")
seen = dict(helpers=tdnn_helpers.__file__, torch=torch.__file__, version=torch.__version__,
            same=packages() == before, names=[name for name, _ in before],
            sizes=vars(session.sizes(n=(1, 2, 3))), images=len(load("fashion-mnist")))
print(json.dumps(seen))
"""


@pytest.fixture
def runtime(tmp_path):
    """A new Python environment that already has torch and its friends, but not the course."""
    folder = tmp_path / "runtime"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    # A folder named in a .pth file is searched, but its own .pth files, such as the course's own link, are not read.
    (packages / "preinstalled.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "bin" / "python"


@pytest.fixture
def github(tmp_path, monkeypatch):
    """A folder that git takes for the address on GitHub: nothing is downloaded. HOME is a folder without settings."""
    settings = {f"url.file://{tmp_path}/github.insteadOf": repository(), "safe.directory": "*"}
    settings |= {"user.name": "a", "user.email": "a", "init.defaultBranch": "main"}
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_COUNT", str(len(settings)))
    for place, (name, value) in enumerate(settings.items()):
        monkeypatch.setenv(f"GIT_CONFIG_KEY_{place}", name)
        monkeypatch.setenv(f"GIT_CONFIG_VALUE_{place}", value)
    return tmp_path / "github"


def git(*words, **options):
    if not shutil.which("git"):
        pytest.skip("git is not here")
    return subprocess.run(["git", *words], capture_output=True, text=True, **options)


@pytest.mark.skipif(os.name == "nt", reason="Colab's machines run Linux")
def test_the_first_cell_brings_the_course_and_leaves_torch_alone(runtime, github, tmp_path, monkeypatch):
    if git("clone", "-q", "--bare", "--depth", "1", f"file://{ROOT}", str(github)).returncode:
        pytest.skip("this copy of the course is not a git checkout")
    empty = tmp_path / "content"
    empty.mkdir()
    cell = setup_cell().replace('"/content/', f'"{empty}/')
    assert str(empty) in cell
    monkeypatch.delenv("PYTHONPATH", raising=False)
    command = [runtime, "-c", RUNTIME % cell]
    ran = subprocess.run(command, cwd=empty, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    seen = json.loads(ran.stdout.splitlines()[-1])
    assert seen["helpers"] == str(empty / "course" / "tdnn_helpers" / "__init__.py")
    assert seen["same"] and "torch" in seen["names"], "the first cell changed the installed packages"
    import torch

    assert (seen["torch"], seen["version"]) == (torch.__file__, torch.__version__)
    assert seen["sizes"] == {"n": 2} and seen["images"] == 60_000
    assert sorted(os.listdir(empty)) == ["course"]


@pytest.mark.parametrize(("wanted", "got"), [("v1.0", "tagged"), ("gone", "newest"), ("v1.0", None)])
def test_the_first_cell_brings_the_release_or_what_there_is(github, tmp_path, monkeypatch, wanted, got):
    if got:
        git("init", "-q", github)
        for text in ("tagged", "newest"):
            (github / "text").write_text(text)
            git("add", "text", cwd=github)
            git("commit", "-qm", text, cwd=github)
            git("tag", text.replace("tagged", "v1.0"), cwd=github)
    monkeypatch.setitem(sys.modules, "google.colab", object())
    monkeypatch.setattr(sys, "path", list(sys.path))
    cell = setup_cell().replace(f"--branch {ref()}", f"--branch {wanted}")
    cell = cell.replace("/content/course", f"{tmp_path}/course")
    assert wanted in cell and len(cell.splitlines()) <= 9 and "pip" not in cell and repository() in cell
    if got:
        exec(cell, {})
        assert (tmp_path / "course" / "text").read_text() == got and sys.path[0] == f"{tmp_path}/course"
        shutil.rmtree(github)
        exec(cell, {})  # it is there: nothing is fetched again
    else:
        with pytest.raises(RuntimeError, match="GitHub could not be reached"):
            exec(cell, {})


def test_the_first_cell_finds_the_copy_around_a_notebook(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "system", lambda command: pytest.fail(command))
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    exec(setup_cell(), {})
    assert sys.path[0] == str(tmp_path)


# --- sliders ----------------------------------------------------------------------------------------------------------


def draw_line(slope):
    """A line of the given slope."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(2, 1))
    axis.plot([0, 1], [0, slope])
    return figure


@pytest.fixture
def colab(monkeypatch):
    """As in a kernel of Colab: google.colab is there, IPython has a kernel; returns what was displayed."""
    monkeypatch.delenv("TDNN_STATIC", raising=False)
    monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    kernel = type("Shell", (), {"kernel": object()})()
    monkeypatch.setattr(widgets, "get_ipython", lambda: kernel)
    shown = []
    for module in (display, widgets):
        monkeypatch.setattr(module, "display", lambda thing, **options: shown.append(thing))
    return shown


def test_on_colab_the_sliders_are_core_widgets_only(colab):
    ipywidgets = pytest.importorskip("ipywidgets")
    widgets.explore(draw_line, slope=[1, 2, 3])
    (panel,) = colab
    todo, kinds = [panel], set()
    while todo:
        widget = todo.pop()
        kinds.add(type(widget))
        todo += getattr(widget, "children", ())
    # A third party's widget would need a custom manager on Colab; these come with ipywidgets 7 and 8.
    assert all(kind.__module__.startswith("ipywidgets.widgets.") for kind in kinds)
    assert kinds == {ipywidgets.VBox, ipywidgets.HBox, ipywidgets.SelectionSlider, ipywidgets.Image, ipywidgets.HTML}


def test_without_ipywidgets_the_static_twin_is_shown(colab, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)  # an import of it now fails
    widgets.explore(draw_line, slope=[1, 2, 3], twin=[{"slope": 1}, {"slope": 3}])
    assert [set(shown) for shown in colab] == [{"text/markdown", "text/plain"}, {"image/png", "text/plain"}] * 2
    assert colab[0]["text/markdown"] == "**slope = 1**" and colab[1]["image/png"] != colab[3]["image/png"]


# --- a fork, a release ------------------------------------------------------------------------------------------------


@pytest.fixture
def copy(tmp_path):
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("notebooks", "course"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}


IN_THE_COPY = """
import nbformat
from course import NOTEBOOKS, ROOT, readme
from course.address import ref, repository
from notebook_rules import colab_badge, same_setup
text = (ROOT / "README.md").read_text(encoding="utf-8")
wrong = [] if readme.with_table(text) == text else ["README.md"]
for path in sorted(NOTEBOOKS.glob("*.ipynb")):
    notebook = nbformat.read(path, as_version=4)
    wrong += [*same_setup(notebook, path.name), *colab_badge(notebook, path.name)]
print(ROOT, repository(), ref(), wrong)
"""


@pytest.mark.parametrize(
    ("words", "address", "new"), [(("fork", FORK + ".git"), FORK, "main"), (("release", "v1.2.0"), None, "v1.2.0")]
)
def test_one_command_moves_the_course_to_a_fork_or_a_release(copy, words, address, new):
    address = address or repository()
    path = {"PYTHONPATH": os.pathsep.join(map(str, (copy, ROOT / "tests", ROOT)))}

    def run(*command):
        ran = subprocess.run(
            [sys.executable, *command], cwd=copy, env=os.environ | path, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    before = contents(copy)
    said = run("-m", "course", *words)
    after = contents(copy)
    notebooks = sorted((copy / "notebooks").glob("*.ipynb"))
    changed = {path for path in before if before[path] != after[path]}
    assert changed == {copy / "pyproject.toml", copy / "README.md", *notebooks} and all(p.name in said for p in changed)
    assert (repository(copy), ref(copy)) == (address, new)
    if words[0] == "fork":
        assert not [
            path for path in changed if repository().removeprefix("https://github.com/").encode() in after[path]
        ]
    else:
        assert "git tag v1.2.0\n" in said

    for path_of in notebooks:
        text = "".join(cell.source for cell in nbformat.read(path_of, as_version=4).cells)
        place = address.removeprefix("https://github.com/")
        assert f"(https://colab.research.google.com/github/{place}/blob/{new}/notebooks/{path_of.name})" in text
        assert f'git clone -q --depth 1 {address} "' in text and f'" --branch {new}"' in text
    # Its own rules hold: badges, setup cells and the README say the same.
    assert run("-c", IN_THE_COPY) == f"{copy} {address} {new} []\n"

    assert "nothing" in run("-m", "course", *words) and contents(copy) == after  # a second time changes nothing
    move(repository(), ref(), copy)  # and back again, to the last byte
    assert contents(copy) == before


@pytest.mark.parametrize(
    "address", ["https://gitlab.com/a/b", "github.com/a/b", "https://github.com/a", "https://github.com/a/b/tree/main"]
)
def test_an_address_that_colab_cannot_open_is_refused(tmp_path, address):
    with pytest.raises(ValueError, match="NAME/REPO"):
        move(address, "main", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_tag_with_a_space_is_refused(capsys):
    assert main(["release", "v1 2"]) == 2 and "no name of a tag" in capsys.readouterr().err
