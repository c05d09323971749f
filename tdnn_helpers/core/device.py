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


def pick_precision(device: torch.device | str | None = None) -> torch.dtype:
    """The precision in which ``fit`` is fastest there without losing accuracy, as its ``precision``.

    A GPU of compute capability 8.0 or more (A100, L4, H100) has bfloat16. One of 7.0 or more (V100, Colab's T4) has
    float16; ``torch.cuda.is_bf16_supported()`` is true there as well, because it counts emulation. Everything else
    trains in float32. (A CPU with AMX is faster in bfloat16; that has to be asked for.)
    """
    device = torch.device(device or pick_device())
    if device.type != "cuda":
        return torch.float32
    capability = torch.cuda.get_device_capability(device)
    return torch.bfloat16 if capability >= (8, 0) else torch.float16 if capability >= (7, 0) else torch.float32


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
