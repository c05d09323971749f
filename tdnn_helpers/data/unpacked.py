"""Data that is unpacked once on a machine and then shared: thirty kernels that read the same images hold them once.

The unpacked copy lies in ``unpacked/`` beside the data (TDNN_DATA names a data folder that a class shares). It is put
there in one stroke by the first process that needs it, checked by every process, and mapped into memory. Where it
cannot be written, each process unpacks for itself. With Fashion-MNIST and the emoji, each of thirty kernels holds
33 MB instead of 81, besides 300 MB for the imported libraries (``python -m benchmarks.classroom``).
"""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path

import numpy as np

from ..core.places import data_dir, one_at_a_time
from .shipped import checksums, parse_idx, read_idx_gz, sha256, verified


def read_idx_shared(path_relative_to_data: str) -> np.ndarray:
    """As ``read_idx_gz(verified(…))``. The pages of the array are shared with other processes, and become this
    process's own where it writes to them.

    Raises:
        FileNotFoundError, ValueError: as :func:`~tdnn_helpers.data.shipped.verified`.
    """
    packed = verified(path_relative_to_data)
    expected = checksums(data_dir())[path_relative_to_data]["unpacked"]
    copy = data_dir() / "unpacked" / packed.stem
    try:
        if not _whole(copy, expected):
            copy.parent.mkdir(exist_ok=True)
            with one_at_a_time(copy):
                if not _whole(copy, expected):
                    _unpack(packed, copy)
        return parse_idx(np.memmap(copy, dtype=np.uint8, mode="c"), copy)
    except OSError:  # a folder or a disk that takes no file, or a system that refuses to replace a file in use
        return read_idx_gz(packed)


def _whole(copy: Path, expected: dict) -> bool:
    if not copy.is_file():
        return False
    status = copy.stat()
    right_size = status.st_size == expected["bytes"]
    return right_size and sha256(copy, status.st_size, status.st_mtime_ns) == expected["sha256"]


def _unpack(packed: Path, copy: Path) -> None:
    draft = copy.with_suffix(".part")  # the same name every time, so that a killed process leaves at most one
    with gzip.open(packed) as source, draft.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
    os.replace(draft, copy)
