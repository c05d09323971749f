"""Time several things side by side, and write the ratios down.

On a machine that others use too, speeds drift by far more than the differences of interest. So every comparison is
made within a round: each arm runs once, the ratio is taken, and the next round runs the arms in reverse order.
"""

import io
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Hashable
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """How large a measurement is: rounds, training steps of a run, images of a batch."""

    rounds: int
    steps: int
    batch: int = 128

    @property
    def images(self) -> int:
        return self.steps * self.batch


FULL = Size(rounds=5, steps=60)
QUICK = Size(rounds=2, steps=20)


def spread(values: list[float], form: Callable[[float], str]) -> str:
    """The median of several values, with the lowest and the highest in brackets."""
    middle = form(statistics.median(values))
    return f"{middle} ({form(min(values))} to {form(max(values))})" if len(values) > 1 else middle


def short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


@dataclass(frozen=True)
class Row:
    """One line of the table: values of one arm and of what it is compared with, round by round. Without ``base`` there
    is no ratio, and ``against`` may hold a remark."""

    what: str
    against: str
    values: list[float]
    base: list[float] | None = None
    unit: str = "images/s"

    @property
    def ratios(self) -> list[float]:
        return [value / base for value, base in zip(self.values, self.base, strict=True)] if self.base else []

    def __str__(self) -> str:
        if not self.ratios:
            return f"| {self.what} | {self.against} | {spread(self.values, short)} {self.unit} | |"
        ratio = spread(self.ratios, lambda ratio: f"{ratio:.2f}")
        return f"| {self.what} | {self.against} | {short(statistics.median(self.values))} {self.unit} | {ratio} |"


@dataclass(frozen=True)
class Skipped:
    """A line of the table that could not be measured here, and why: ``not installed``, ``no GPU``."""

    what: str
    why: str

    def __str__(self) -> str:
        return f"| {self.what} | | {self.why} | |"


class Screen(io.StringIO):
    """Passes for a terminal, so that progress bars are drawn as if somebody watched; nobody sees them."""

    def isatty(self) -> bool:
        return True


def in_process(module: str, *arguments: object) -> float:
    """The number that a fresh process prints: ``python -m benchmarks.<module> ARGUMENTS``."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


@contextmanager
def watched():
    """Inside this block everything that prints believes that it prints to a terminal."""
    with redirect_stdout(Screen()), redirect_stderr(Screen()):
        yield


def images_per_second(work: Callable[[], object], images: int) -> Callable[[], float]:
    """A function that does the work once, watched, and returns its speed."""

    def run() -> float:
        with watched():
            start = time.perf_counter()
            work()
            return images / (time.perf_counter() - start)

    return run


def speeds(works: dict[Hashable, Callable[[], object]], images: int, rounds: int) -> dict[Hashable, list[float]]:
    """Images a second of every work, each of which trains so many images, round by round."""
    return interleaved({name: images_per_second(work, images) for name, work in works.items()}, rounds)


def interleaved(arms: dict[Hashable, Callable[[], float]], rounds: int, *, warm_up: bool = True) -> dict:
    """Speeds of every arm, round by round; the first round of all, which warms up, is thrown away."""
    found: dict[Hashable, list[float]] = {name: [] for name in arms}
    for number in range(-1 if warm_up else 0, rounds):
        for name in list(arms) if number % 2 else reversed(arms):
            speed = arms[name]()
            if number >= 0:
                found[name].append(speed)
    return found
