"""Finished runs are kept on disk, so that no run is trained twice.

:func:`~tdnn_helpers.evidence.compare` keeps the numbers of every run that finished under a key: a digest of all that
they follow from. That is the arm and everything it refers to (see :mod:`.fingerprint`), the seed, the budget, the
device, and the versions of Python, torch and other packages. Change any of it and the run is done again. What has no
reliable digest is never kept: a run too many costs time, a stale number costs the truth.
"""

from __future__ import annotations

import contextlib
import functools
import json
import operator
import os
import platform
import time
import warnings
from collections.abc import Callable, Mapping
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from ..core.device import pick_device
from ..core.places import runs_dir, write_whole
from ..session import budget
from .definitions import OURS
from .fingerprint import Walk, digest

_said: set[str] = set()
_installed = functools.cache(metadata.version)


def runs():
    """The finished runs on disk: a DataFrame with the columns arm, seed, when (local time) and bytes, oldest first."""
    import pandas as pd

    rows = []
    for path in folder().glob("*.run"):
        try:
            entry, status = _read(path), path.stat()
        except FileNotFoundError:  # another kernel cleared it
            continue
        if entry is not None:
            rows.append((entry["arm"], entry["seed"], datetime.fromtimestamp(status.st_mtime), status.st_size))
    return pd.DataFrame(sorted(rows, key=operator.itemgetter(2)), columns=["arm", "seed", "when", "bytes"])


def clear() -> None:
    """Forget everything that is kept: the runs, and the features of :mod:`tdnn_helpers.measures.frozen`. What another
    kernel is writing at this moment stays."""
    hour_ago = time.time() - 3600  # what was begun before then, a killed kernel has left
    for path in folder().glob("*.*"):
        with contextlib.suppress(FileNotFoundError):  # another kernel renamed or cleared it
            if path.suffix != ".tmp" or path.stat().st_mtime < hour_ago:
                path.unlink()


class Store:
    """The kept runs of one comparison. With ``enabled=False``, or TDNN_STORE=0, it finds nothing and keeps nothing."""

    def __init__(self, arms: Mapping[str, Callable], threads: int, *, enabled: bool = True):
        on = enabled and is_on()
        self._keys = digests(arms, Walk, _surroundings(threads), "kept") if on else {}

    def get(self, arm: str, seed: int) -> tuple[list[tuple], dict[str, str]] | None:
        """The rows and the answers of a run that was kept, or None. A damaged entry counts as none."""
        entry = _read(self._path(arm, seed)) if arm in self._keys else None
        return None if entry is None else ([tuple(row) for row in entry["rows"]], entry.get("answers", {}))

    @staticmethod
    def source() -> str:
        """Of every file of this package, and of the data in use: a worker with other ones must not add to the runs."""
        return digest(f"{OURS.all} {OURS.data}".encode())

    def put(self, arm: str, seed: int, rows: list[tuple], answers: dict[str, str], source: str) -> None:
        """Keep a finished run. ``source``: :meth:`source` in the process that ran it; another one is not kept."""
        if arm not in self._keys or source != self.source():
            return
        entry = {"arm": str(arm), "seed": int(seed), "rows": rows, "answers": answers}
        write(self._path(arm, seed), json.dumps(entry).encode())

    def _path(self, arm: str, seed: int) -> Path:
        return folder() / f"{self._keys[arm]}-{seed}.run"


def digests(arms: Mapping[str, Callable], kind: type[Walk], around: tuple, lost: str) -> dict[str, str]:
    """arm → the digest of its name, of what is around it and of all that it refers to. An arm that has none is left
    out, and a warning says why its runs are not ``lost``."""
    found: dict[str, str] = {}
    contents: dict[int, tuple[Any, str]] = {}
    for name, arm in arms.items():
        walk = kind(contents)
        try:
            walk.visit((name, around, arm))
            found[name] = walk.hash.hexdigest()
        except Exception as error:  # whatever a stranger's object raises, the run itself can go on
            place = " → ".join(f'"{step}"' for step in walk.names)
            why = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            _say(f'The runs of arm "{name}" are not {lost}, because {place or "it"} has no reliable digest ({why}).')
    return found


def is_on() -> bool:
    """Whether anything is looked for and kept: not with TDNN_STORE=0."""
    return os.environ.get("TDNN_STORE", "1") != "0"


def folder() -> Path:
    """Where everything that is kept lies."""
    return runs_dir() / "store"


def read(path: Path) -> bytes | None:
    """What :func:`write` kept there, or None if it is not there or damaged."""
    try:
        check, _, body = path.read_bytes().partition(b"\n")
    except OSError:
        return None
    return body if check == digest(body).encode() else None


def write(path: Path, body: bytes) -> None:
    """Keep ``body`` under a path in :func:`folder`, with its digest. A folder that cannot be written is a warning."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, digest(body).encode() + b"\n" + body)
    except OSError as error:
        _say(f"Results cannot be kept, because their folder cannot be written ({error.strerror}).")


def _read(path: Path) -> dict | None:
    body = read(path)
    return None if body is None else json.loads(body)


def _say(sentence: str) -> None:
    if sentence not in _said:
        _said.add(sentence)
        warnings.warn(sentence, stacklevel=5)


def _surroundings(threads: int) -> tuple:
    """What every run depends on, whatever its arm is."""
    device = pick_device()
    chip = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    packages = ("numpy", "scipy", "scikit-learn", "torchvision", "pillow")
    numerics = (
        str(torch.get_default_dtype()),
        torch.get_float32_matmul_precision(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.allow_tf32,
        torch.backends.cudnn.benchmark,
    )
    versions = (platform.python_version(), str(torch.__version__), *map(_installed, packages))
    runner = OURS.of("evidence.comparison", "_run")
    return runner, versions, device.type, chip, threads, budget(), numerics
