"""Colab: the first cell brings the course and leaves torch alone, and sliders fall back."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from types import ModuleType

import pytest
import torch

from course import ROOT
from course.address import ref, repository, setup_cell
from tdnn_helpers.figures import display, widgets

# --- the first cell ---------------------------------------------------------------------------------------------------

# What a reader's runtime does: google.colab is loaded, the first cell runs, a lesson starts.
RUNTIME = """
import importlib.metadata, json, sys, types
sys.modules["google.colab"] = types.ModuleType("google.colab")
def packages():
    return sorted({(found.metadata["Name"], found.version) for found in importlib.metadata.distributions()})
before = packages()
%s
import torch, tdnn_helpers
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
    assert seen.pop("same") and "torch" in seen.pop("names"), "the first cell changed the installed packages"
    helpers = str(empty / "course" / "tdnn_helpers" / "__init__.py")
    ours = {"torch": torch.__file__, "version": torch.__version__}
    assert seen == {"helpers": helpers, **ours, "sizes": {"n": 2}, "images": 60_000}
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
    assert wanted in cell and len(cell.splitlines()) <= 10 and "pip" not in cell and repository() in cell
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
