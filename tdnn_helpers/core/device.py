"""The device that trains, its memory and its cores."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def pick_device() -> torch.device:
    """CUDA if there is one, else MPS, else the CPU. The environment variable TDNN_DEVICE overrules it."""
    if "TDNN_DEVICE" in os.environ:
        return torch.device(os.environ["TDNN_DEVICE"])
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def keep_freed_memory() -> bool:
    """Tell glibc to keep large freed blocks instead of handing them back; returns whether it could.

    A small network allocates and frees the same few megabytes thousands of times. By default glibc maps and unmaps
    each such block, and the page faults cost more than some of the arithmetic (``make bench`` shows how much).
    Does nothing on other systems.
    """
    if platform.system() != "Linux" or not platform.libc_ver()[0].startswith("glibc"):
        return False
    m_trim_threshold, m_mmap_threshold = -1, -3  # parameter numbers of mallopt(3)
    libc = ctypes.CDLL(None)
    gigabyte = 1 << 30
    # An old glibc refuses a threshold above 32 MiB.
    kept = libc.mallopt(m_mmap_threshold, gigabyte) or libc.mallopt(m_mmap_threshold, 32 << 20)
    return bool(kept and libc.mallopt(m_trim_threshold, 2 * gigabyte - 1))


@contextmanager
def all_cores() -> Iterator[None]:
    """Torch works on all cores inside this block."""
    import joblib

    before = torch.get_num_threads()
    torch.set_num_threads(joblib.cpu_count())
    try:
        yield
    finally:
        torch.set_num_threads(before)
