"""A lesson in JupyterLab, as a reader meets it: Run All in a browser, move a slider, see the figure change."""

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell

from browser import Watch, chromium
from course import NOTEBOOKS, ROOT

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
    notebook = nbformat.read(NOTEBOOKS / f"{LESSON}.ipynb", as_version=4)
    for cell in filter(lambda cell: cell.cell_type == "code", notebook.cells):
        cell.outputs, cell.execution_count = [], None
    notebook.cells.append(new_code_cell(f'print("{DONE}")'))
    nbformat.write(notebook, folder / "notebooks" / f"{LESSON}.ipynb")
    return folder


@contextmanager
def jupyterlab(course):
    """A JupyterLab server on a free port of this machine, with settings of its own; gives its address."""
    own = course.parent / "jupyter"
    # All cells stay in the page while it scrolls; no news is fetched.
    news = "apputils-extension/notification", "fetchNews", "false"
    cells = "notebook-extension/tracker", "windowingMode", "none"
    for name, setting, value in (news, cells):
        path = own / "lab" / "user-settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({setting: value}))
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
        end = time.monotonic() + PATIENCE
        while not answers(port):
            if time.monotonic() > end or server.poll() is not None:
                raise TimeoutError(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.3)
        yield f"http://127.0.0.1:{port}"
    finally:  # what they leave lies in a temporary folder
        for process in [server, *server.children(recursive=True)] if server.is_running() else []:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        server.wait()


def answers(port):
    with socket.socket() as visitor:
        return visitor.connect_ex(("127.0.0.1", port)) == 0


def run_all_and_slide(browser, server):
    """Runs the lesson and moves its first slider. Returns a Watch and (figure, caption) before and after the move."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.set_default_timeout(PATIENCE * 1000)
    watch = Watch(page)
    page.goto(f"{server}/lab/tree/notebooks/{LESSON}.ipynb?reset&token={TOKEN}")
    page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]')
    failure = "[data-mime-type='application/vnd.jupyter.stderr']:has-text('Traceback')"
    ended = f".jp-OutputArea-output:has-text('{DONE}'), {failure}"
    for _ in range(PATIENCE // 2):  # a busy JupyterLab misses a click
        if page.locator(f".jp-InputPrompt:has-text('[*]'), {ended}").count():
            break
        page.get_by_role("menuitem", name="Run", exact=True).first.click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).first.click()
        page.wait_for_timeout(2000)
    page.wait_for_selector(ended)
    assert page.locator(failure).all_inner_texts() == [], "a cell of the lesson failed"

    panel = page.locator(".widget-vbox:has(.widget-image)").first
    figure, caption = panel.locator(".widget-image"), panel.locator(".widget-html")
    before = figure.screenshot(), caption.inner_text()
    panel.locator(".noUi-handle").first.click()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("([box, old]) => box.innerText !== old", arg=[caption.element_handle(), before[1]])
    end = time.monotonic() + 20
    while (drawn := figure.screenshot()) == before[0] and time.monotonic() < end:
        page.wait_for_timeout(200)
    after = drawn, caption.inner_text()
    page.close()
    return watch, before, after


def test_a_lesson_runs_and_its_slider_changes_the_figure(course):
    with chromium() as browser, jupyterlab(course) as server:
        from playwright.sync_api import Error

        try:
            watch, before, after = run_all_and_slide(browser, server)
        except Error:  # a browser that starves on a busy machine gets one more try
            watch, before, after = run_all_and_slide(browser, server)
    assert before[0] != after[0], f"the slider moved from {before[1]} to {after[1]} and the figure stayed"
    picture = "https://colab.research.google.com/assets/colab-badge.svg"  # in the lesson's own first cell
    assert set(watch.away()) <= {picture}, "JupyterLab asked for something that is not on this machine"
