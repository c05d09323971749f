"""How a notebook starts: device, threads, memory, seed, figure style, and the size of the run.

Nothing here happens on import. :func:`start` is the one call that every lesson opens with.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch

from .core.choices import nearest
from .core.device import keep_freed_memory, pick_device
from .core.randomness import seed_everything

BUDGETS = ("smoke", "standard", "full")
_lesson: str | None = None


def budget() -> str:
    """The size of this run, from the environment variable TDNN_BUDGET: smoke, standard (the default) or full."""
    name = os.environ.get("TDNN_BUDGET", "standard")
    if name not in BUDGETS:
        raise ValueError(f'TDNN_BUDGET is "{name}"; it must be one of {", ".join(BUDGETS)}.{nearest(name, BUDGETS)}')
    return name


def current_lesson() -> str | None:
    """The name given to :func:`start` in this process, or None outside a lesson."""
    return _lesson


def set_figure_style() -> None:
    """One look for every figure: colour-blind-safe colours, light grid, readable sizes."""
    import matplotlib as mpl

    colours = ["#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#56b4e9", "#949494"]
    mpl.rc("axes", prop_cycle=mpl.cycler(color=colours), grid=True, axisbelow=True, labelsize=10)
    mpl.rc("axes", titlesize=11, titlelocation="left")
    mpl.rc("axes.spines", top=False, right=False)
    mpl.rc("grid", color="#e4e4e4", linewidth=0.8)
    mpl.rc(("xtick", "ytick"), labelsize=9)
    mpl.rc("legend", frameon=False, fontsize=9)
    mpl.rc("lines", linewidth=1.8)
    mpl.rc("figure", dpi=110, facecolor="white")
    mpl.rc("image", cmap="gray", interpolation="nearest")
    mpl.rc("font", size=10)


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
    print(session, flush=True)  # before matplotlib is loaded
    set_figure_style()
    if session.device.type == "cpu":
        keep_freed_memory()
    return session
