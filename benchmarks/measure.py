"""Time several things side by side, and write the ratios down.

On a machine that others use too, speeds drift by far more than the differences of interest. So every comparison is
made within a round: each arm runs once, the ratio is taken, and the next round runs the arms in reverse order.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
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


@dataclass(frozen=True)
class Row:
    """One line of the table: speeds (images a second) of one arm and of what it is compared with, round by round."""

    what: str
    against: str
    speeds: list[float]
    base: list[float]

    @property
    def ratios(self) -> list[float]:
        return [speed / base for speed, base in zip(self.speeds, self.base, strict=True)]

    def __str__(self) -> str:
        ratio = f"{statistics.median(self.ratios):.2f} ({min(self.ratios):.2f} to {max(self.ratios):.2f})"
        return f"| {self.what} | {self.against} | {statistics.median(self.speeds):,.0f} | {ratio} |"


def images_per_second(work: Callable[[], object], images: int) -> Callable[[], float]:
    """A function that does the work once and returns its speed."""

    def run() -> float:
        start = time.perf_counter()
        work()
        return images / (time.perf_counter() - start)

    return run


def interleaved(arms: dict[str, Callable[[], float]], rounds: int, *, warm_up: bool = True) -> dict[str, list[float]]:
    """Speeds of every arm, round by round; the first round of all, which warms up, is thrown away."""
    speeds: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(-1 if warm_up else 0, rounds):
        for name in list(arms) if number % 2 else reversed(arms):
            speed = arms[name]()
            if number >= 0:
                speeds[name].append(speed)
    return speeds
