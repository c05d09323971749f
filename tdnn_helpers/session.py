"""How a notebook starts: device, threads, memory, seed, figure style, and the size of the run.

Nothing here happens on import. :func:`start` is the one call that every lesson opens with.
"""

from __future__ import annotations

import ctypes
import difflib
import os
import platform
import random
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

BUDGETS = ("smoke", "standard", "full")
_ROOT = Path(__file__).resolve().parent.parent
_lesson: str | None = None
_quiet = False


def nearest(word: str, choices) -> str:
    """A sentence that suggests the most similar choice, or an empty string: ``' Did you mean "emoji"?'``."""
    close = difflib.get_close_matches(str(word), [str(choice) for choice in choices], n=1, cutoff=0.5)
    return f' Did you mean "{close[0]}"?' if close else ""


def budget() -> str:
    """The size of this run, from the environment variable TDNN_BUDGET: smoke, standard (the default) or full."""
    name = os.environ.get("TDNN_BUDGET", "standard")
    if name not in BUDGETS:
        raise ValueError(f'TDNN_BUDGET is "{name}"; it must be one of {", ".join(BUDGETS)}.{nearest(name, BUDGETS)}')
    return name


def static() -> bool:
    """True when a notebook is executed for a page (TDNN_STATIC=1): widgets then show only their static twin."""
    return os.environ.get("TDNN_STATIC", "0") == "1"


def pick_device() -> torch.device:
    """CUDA if there is one, else MPS, else the CPU. The environment variable TDNN_DEVICE overrules it."""
    if "TDNN_DEVICE" in os.environ:
        return torch.device(os.environ["TDNN_DEVICE"])
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def current_lesson() -> str | None:
    """The name given to :func:`start` in this process, or None outside a lesson."""
    return _lesson


def data_dir() -> Path:
    """Where the data lies: TDNN_DATA, else ``data/`` of this checkout."""
    return Path(os.environ.get("TDNN_DATA", _ROOT / "data"))


def runs_dir() -> Path:
    """Where runs write: TDNN_RUNS, else ``build/runs`` of this checkout, else a folder in the user's cache."""
    if "TDNN_RUNS" in os.environ:
        return Path(os.environ["TDNN_RUNS"])
    in_checkout = (_ROOT / "pyproject.toml").exists()
    return _ROOT / "build" / "runs" if in_checkout else Path.home() / ".cache" / "tdnn_helpers"


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch (every device)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@contextmanager
def untouched_random_state():
    """Whatever is seeded or drawn inside, Python, NumPy and torch (every device) go on outside as if it were not."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
        if mps is not None:
            torch.mps.set_rng_state(mps)


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


def set_figure_style() -> None:
    """One look for every figure: colour-blind-safe colours, light grid, readable sizes."""
    import matplotlib as mpl

    colours = ["#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#56b4e9", "#949494"]
    mpl.rcParams.update(
        {
            "axes.prop_cycle": mpl.cycler(color=colours),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.titlesize": 11,
            "axes.titlelocation": "left",
            "axes.labelsize": 10,
            "grid.color": "#e4e4e4",
            "grid.linewidth": 0.8,
            "xtick.labelsize": 9,
            "ytick.labelsize": 9,
            "legend.frameon": False,
            "legend.fontsize": 9,
            "lines.linewidth": 1.8,
            "figure.dpi": 110,
            "figure.facecolor": "white",
            "image.cmap": "gray",
            "image.interpolation": "nearest",
            "font.size": 10,
        }
    )


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


@dataclass(frozen=True)
class Session:
    """What :func:`start` found: the lesson's name, its budget, the device, and the number of CPU threads."""

    lesson: str
    budget: str
    device: torch.device
    threads: int

    def sizes(self, **choices: tuple[Any, Any, Any]) -> SimpleNamespace:
        """The sizes of this run: each name is given as (smoke, standard, full).

        ValueError if one does not have exactly these three.
        """
        for name, values in choices.items():
            if not isinstance(values, tuple) or len(values) != len(BUDGETS):
                raise ValueError(f"{name} needs three sizes, (smoke, standard, full), not {values!r}.")
        place = BUDGETS.index(self.budget)
        return SimpleNamespace(**{name: values[place] for name, values in choices.items()})

    def __str__(self) -> str:
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type.upper()
        threads = f"{self.threads} thread{'s' if self.threads != 1 else ''}"
        return f"{self.lesson} · {name} · {threads} · torch {torch.__version__} · budget: {self.budget}"


def start(lesson: str, seed: int = 0, threads: int = 1) -> Session:
    """Open a lesson: seed, figure style, allocator, threads; prints where this runs and how large.

    ``threads``: CPU threads of torch in this process. One is best for the small networks of the course: a second thread
    gains little on a quiet machine and costs much on a busy one, and ``compare`` uses all cores with processes anyway.
    Raises ValueError if TDNN_BUDGET is not a known budget.
    """
    global _lesson
    session = Session(lesson, budget(), pick_device(), threads)
    _lesson = lesson
    torch.set_num_threads(threads)
    seed_everything(seed)
    set_figure_style()
    if session.device.type == "cpu":
        keep_freed_memory()
    print(session)
    return session
