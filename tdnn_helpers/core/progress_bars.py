"""Progress bars, and when there are none."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager

_quiet = False


def static() -> bool:
    """True when a notebook is executed for a page (TDNN_STATIC=1): widgets then show only their static twin."""
    return os.environ.get("TDNN_STATIC", "0") == "1"


@contextmanager
def quiet():
    """No progress bars inside this block: for runs inside a run that has a bar of its own."""
    global _quiet
    before, _quiet = _quiet, True
    try:
        yield
    finally:
        _quiet = before


def progress(total: int, description: str):
    """A text progress bar (tqdm) that suits a terminal, a notebook and Colab; a line every half minute in a log file.

    Silent under :func:`quiet` and when a notebook is executed for a page. A text bar leaves no widget state behind.
    """
    from tqdm import tqdm

    live = sys.stderr.isatty() or "ipykernel" in sys.modules
    return tqdm(
        total=total,
        desc=description,
        leave=False,
        disable=_quiet or static(),
        mininterval=0.25 if live else 30.0,
        delay=1.0,
    )
