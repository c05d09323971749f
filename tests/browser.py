"""A headless Chromium for the tests, and what it asked for and complained about while a page was open."""

import shutil
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Without a sandbox it starts in containers and as root too; it opens only pages of this course, on this machine.
FLAGS = (
    "--no-sandbox --disable-gpu --disable-dev-shm-usage --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
).split()


@contextmanager
def chromium():
    """A Playwright browser; skips the test if there is no Chromium or no Playwright on this machine."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"needs a browser: none of {', '.join(NAMES)} is on the PATH")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class Watch:
    """Listens to a page: `requests` (addresses), `complaints` (console errors, exceptions, failed requests)."""

    def __init__(self, page) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))

        def complain(kind: str, what) -> None:
            self.complaints.append(f"{kind}: {what} ({page.url.rpartition('/')[2]})")

        page.on("console", lambda said: said.type == "error" and complain("console", said.text))
        page.on("pageerror", lambda error: complain("exception", error))
        page.on("requestfailed", lambda failed: complain("failed", f"{failed.url} {failed.failure}"))

    def away(self) -> list[str]:
        """The requests that leave this machine."""
        inside = ("file", "data", "blob", "about")
        addresses = ((url, urlsplit(url)) for url in self.requests)
        return [url for url, parts in addresses if parts.scheme not in inside and parts.hostname != "127.0.0.1"]
