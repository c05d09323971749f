"""A lesson in JupyterLab, as a reader meets it: Run All in a browser, move a slider, see the figure change."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell

from browser import Watch, chromium
from setup_cell import ROOT

LESSON = "11_activations"  # the quickest one at smoke
DONE = "every cell has run"
TOKEN = "a-token-of-this-test"
PATIENCE = 240  # seconds to wait for a thing on a busy machine; a quiet one needs a few


@pytest.fixture
def course(tmp_path):
    """A copy of the lesson beside the package, so that JupyterLab saves nothing into the checkout."""
    folder = tmp_path / "course"
    (folder / "notebooks").mkdir(parents=True)
    (folder / "tdnn_helpers").symlink_to(ROOT / "tdnn_helpers")
    notebook = nbformat.read(ROOT / "notebooks" / f"{LESSON}.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    notebook.cells.append(new_code_cell(f"print({DONE[:5]!r} + {DONE[5:]!r})"))  # its source doesn't hold the sentence
    nbformat.write(notebook, folder / "notebooks" / f"{LESSON}.ipynb")
    return folder


@contextmanager
def jupyterlab(course):
    """A JupyterLab server on a free port of this machine, with settings of its own; gives its address."""
    own = course.parent / "jupyter"
    settings = own / "lab" / "user-settings" / "@jupyterlab"
    # All cells stay in the page while it scrolls; no news is fetched.
    for name, value in {
        "notebook-extension/tracker": {"windowingMode": "none"},
        "apputils-extension/notification": {"fetchNews": "false"},
    }.items():
        path = settings / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.root_dir": course,
        "ServerApp.open_browser": False,
        "IdentityProvider.token": TOKEN,
        "LabApp.news_url": None,
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
    }
    where = {
        "JUPYTER_CONFIG_DIR": own,
        "JUPYTER_DATA_DIR": own / "data",
        "JUPYTER_RUNTIME_DIR": own / "runtime",
        "JUPYTERLAB_SETTINGS_DIR": own / "lab" / "user-settings",
        "JUPYTERLAB_WORKSPACES_DIR": own / "lab" / "workspaces",
        "IPYTHONDIR": own / "ipython",
        "TDNN_RUNS": own / "runs",
        "TDNN_BUDGET": "smoke",
    }
    command = [sys.executable, "-m", "jupyterlab", *(f"--{name}={value}" for name, value in options.items())]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    log = course.parent / "server.log"
    with log.open("w") as out:
        server = psutil.Popen(command, env=os.environ | where, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/api/status?token={TOKEN}", server, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        started = [server, *server.children(recursive=True)] if server.is_running() else []
        for process in started:
            with_patience(process.terminate)
        _, stubborn = psutil.wait_procs(started, timeout=10)
        for process in stubborn:
            with_patience(process.kill)


def with_patience(stop):
    """Stops a process that may have ended by itself."""
    try:
        stop()
    except psutil.NoSuchProcess:
        pass


def wait_for(address, server, log):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise TimeoutError(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


def run_all_and_slide(browser, server):
    """Runs the lesson and moves its first slider. Returns (figure before, after, caption before, after) and a Watch."""
    page = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
    page.set_default_timeout(PATIENCE * 1000)
    watch = Watch(page)
    page.goto(f"{server}/lab/tree/notebooks/{LESSON}.ipynb?reset&token={TOKEN}")
    page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]')
    page.get_by_role("menuitem", name="Run", exact=True).first.click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).first.click()
    page.wait_for_selector(f".jp-OutputArea-output:has-text('{DONE}'), [data-mime-type*='stderr']:has-text('Error')")
    panel = page.locator(".widget-vbox:has(.widget-image)").first
    figure, caption, handle = (
        panel.locator(".widget-image"),
        panel.locator(".widget-html"),
        panel.locator(".noUi-handle"),
    )
    before, said = figure.screenshot(), caption.inner_text()
    handle.first.click()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("([box, old]) => box.innerText !== old", arg=[caption.element_handle(), said])
    end = time.monotonic() + 20
    while (after := figure.screenshot()) == before and time.monotonic() < end:
        page.wait_for_timeout(200)
    seen = before, after, said, caption.inner_text()
    errors = page.locator("[data-mime-type='application/vnd.jupyter.error']").all_inner_texts()
    page.context.close()
    return seen, errors, watch


def test_a_lesson_runs_and_its_slider_changes_the_figure(course):
    from playwright.sync_api import Error

    with chromium() as browser, jupyterlab(course) as server:
        try:
            (before, after, said, says), errors, watch = run_all_and_slide(browser, server)
        except Error:  # a browser that starves on a busy machine gets one more try
            (before, after, said, says), errors, watch = run_all_and_slide(browser, server)
    assert errors == []
    assert before != after and said != says, f"the slider moved and the figure stayed: {said}"
    assert watch.away() == [], "JupyterLab asked for something that is not on this machine"
