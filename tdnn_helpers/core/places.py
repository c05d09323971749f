"""Where things lie: data, runs, the evidence bank; and files that are written whole or not at all, by one at a time."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_ROOT = Path(__file__).resolve().parents[2]


def data_dir(checkout: Path = _ROOT) -> Path:
    """Where the data lies: TDNN_DATA, else ``data/`` of this checkout (or of another one)."""
    return Path(os.environ.get("TDNN_DATA", checkout / "data"))


def runs_dir() -> Path:
    """Where runs write: TDNN_RUNS, else ``build/runs`` of this checkout, else a folder in the user's cache."""
    if "TDNN_RUNS" in os.environ:
        return Path(os.environ["TDNN_RUNS"])
    in_checkout = (_ROOT / "pyproject.toml").exists()
    return _ROOT / "build" / "runs" if in_checkout else Path.home() / ".cache" / "tdnn_helpers"


def bank_dir() -> Path:
    """Where the evidence bank lies: TDNN_BANK, else ``notebooks/bank/`` of this checkout."""
    return Path(os.environ.get("TDNN_BANK", _ROOT / "notebooks" / "bank"))


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Processes that change this file wait for each other here (not under Windows); the system ends the wait for one
    that was killed. The lock lies beside the file. OSError if the folder cannot be written."""
    if fcntl is None:
        yield
        return
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_whole(path: Path, content: bytes, *, alone: bool = False) -> None:
    """Replace a file in one stroke: at every moment it is absent, the old one or the whole new one.

    ``alone``: no other process writes this file at the same time. The draft then has the same name every time, so that
    a process that is killed again and again leaves at most one. OSError if the file cannot be written.
    """
    draft = path.with_name(f"{path.name}.new" if alone else f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:  # Ctrl-C too
        draft.unlink(missing_ok=True)
        raise
