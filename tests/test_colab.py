"""Colab: the first cell brings the course and leaves torch alone, sliders fall back, a fork moves by one command."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from types import ModuleType

import pytest

import setup_cell
from setup_cell import ROOT, move, repository
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


@pytest.mark.skipif(os.name == "nt", reason="Colab's machines run Linux")
def test_the_first_cell_brings_the_course_and_leaves_torch_alone(runtime, tmp_path):
    if not shutil.which("git") or subprocess.run(["git", "rev-parse"], cwd=ROOT, capture_output=True).returncode:
        pytest.skip("this copy of the course is not a git checkout")
    empty = tmp_path / "content"
    empty.mkdir()
    cell = setup_cell.setup_cell().replace('"/content/', f'"{empty}/')
    assert str(empty) in cell
    settings = {
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "TDNN_RUNS": str(tmp_path / "runs"),
        "TDNN_DEVICE": "cpu",
        # git takes the address on GitHub for this checkout; nothing is downloaded.
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": f"url.file://{ROOT}.insteadOf",
        "GIT_CONFIG_VALUE_0": repository(),
        "GIT_CONFIG_KEY_1": "safe.directory",
        "GIT_CONFIG_VALUE_1": "*",
    }
    ran = subprocess.run(
        [runtime, "-c", RUNTIME % cell], cwd=empty, env=settings, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    seen = json.loads(ran.stdout.splitlines()[-1])
    assert seen["helpers"] == str(empty / "course" / "tdnn_helpers" / "__init__.py")
    assert seen["same"] and "torch" in seen["names"], "the first cell changed the installed packages"
    import torch

    assert (seen["torch"], seen["version"]) == (torch.__file__, torch.__version__)
    assert seen["sizes"] == {"n": 2} and seen["images"] == 60_000
    assert sorted(os.listdir(empty)) == ["course"]


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


# --- a fork -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def copy(tmp_path):
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    shutil.copytree(ROOT / "site", tmp_path / "site", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}


def test_one_command_moves_the_course_to_a_fork(copy):
    command = [sys.executable, copy / "site" / "setup_cell.py", "--repository"]
    before = contents(copy)
    said = subprocess.run([*command, FORK + ".git"], capture_output=True, text=True, check=True).stdout
    after = contents(copy)
    notebooks = sorted((copy / "notebooks").glob("*.ipynb"))
    changed = {path for path in before if before[path] != after[path]}
    assert changed == {copy / "pyproject.toml", copy / "README.md", *notebooks} and all(p.name in said for p in changed)
    old = repository().removeprefix("https://github.com/").encode()
    assert not [path for path in changed if old in after[path]]
    assert repository(copy) == FORK

    for path in notebooks:
        notebook = json.loads(path.read_bytes())
        text = "".join("".join(cell["source"]) for cell in notebook["cells"])
        assert (
            f"(https://colab.research.google.com/github/somebody/a-fork.of-it/blob/main/notebooks/{path.name})" in text
        )
        assert f"git clone -q --depth 1 {FORK} " in text

    subprocess.run([*command, FORK + "/"], capture_output=True, check=True)  # a second time changes nothing
    assert contents(copy) == after
    subprocess.run([*command, repository()], capture_output=True, check=True)  # and back again, to the last byte
    assert contents(copy) == before


IN_THE_FORK = """
import nbformat, setup_cell
from notebook_rules import colab_badge, same_setup
from readme import with_table
text = (setup_cell.ROOT / "README.md").read_text(encoding="utf-8")
wrong = [] if with_table(text) == text else ["README.md"]
for path in sorted((setup_cell.ROOT / "notebooks").glob("*.ipynb")):
    notebook = nbformat.read(path, as_version=4)
    wrong += [*same_setup(notebook, path.name), *colab_badge(notebook, path.name)]
print(setup_cell.repository(), wrong)
"""


def test_the_fork_keeps_the_rules_of_its_notebooks_and_readme(copy):
    move(FORK, copy)
    folders = (copy / "site", ROOT / "tests", ROOT)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, folders))}
    ran = subprocess.run([sys.executable, "-c", IN_THE_FORK], env=environment, capture_output=True, text=True)
    assert ran.stdout == f"{FORK} []\n", ran.stdout + ran.stderr


def test_an_address_that_colab_cannot_open_is_refused(copy):
    for address in (
        "https://gitlab.com/a/b",
        "github.com/a/b",
        "https://github.com/a",
        "https://github.com/a/b/tree/main",
    ):
        with pytest.raises(ValueError, match="NAME/REPO"):
            move(address, copy)
    assert repository(copy) == repository()
