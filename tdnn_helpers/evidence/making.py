"""How the bank is made and audited: what ``compare(…, bank=…)`` does with the runs that it would take or miss.

The environment variable TDNN_EVIDENCE says it; ``python -m course evidence`` and ``python -m course audit`` set it:
"read" (the default) takes rows and runs what is missing, "estimate" says how long what is missing would take, "make"
runs it and adds each finished run to the bank at once (with a number: until this time in seconds since 1970), and
"audit" runs the rows with these checksums again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

from ..core.choices import check_known
from ..train.run import Run
from .bank import Row
from .banked import Banked, Job, compared

VARIABLE = "TDNN_EVIDENCE"
WARM, TIMED = 3, 5  # updates before the clock counts, and those that it counts
audited: dict[str, str] = {}  # checksum of a row → what came out when it was run again


class NotRun(Exception):
    """Runs that the bank misses and that were not made now: the ``comparison``, how many ``runs``, and about how many
    ``seconds`` of one process they take (0 if that is unknown)."""

    def __init__(self, comparison: str, runs: int, seconds: float) -> None:
        about = f", about {seconds / 60:.1f} min in one process" if seconds else ""
        super().__init__(f"{comparison}: {runs} run{'s' * (runs > 1)} to make{about}")
        self.comparison, self.runs, self.seconds = comparison, runs, seconds


class _Enough(BaseException):  # an arm that catches every Exception must not catch this
    pass


def mode() -> tuple[str, list[str]]:
    """The word in TDNN_EVIDENCE, and what follows it. ValueError for another word."""
    word, *rest = os.environ.get(VARIABLE, "read").split()
    check_known(word, ("read", "estimate", "make", "audit"), VARIABLE)
    return word, rest


def to_run(banked: Banked, missing: list[Job], run: Callable[[str, int, int], Row], threads: int) -> list[Job]:
    """Which of the missing runs are done now: all where rows are made, none in an audit. ``run(arm, seed, threads)``
    does one here. Raises NotRun for an estimate, and for an audit that finds no rows."""
    word, rest = mode()
    if word == "audit":
        for row in banked.rows:
            if row["check"] in rest and banked.keys.get(row["arm"]) == row["key"]:
                live = run(row["arm"], row["seed"], row["threads"])
                audited[row["check"]] = compared(live, row, banked.rows)["said"]
    if missing and (word == "estimate" or word == "audit" and not banked.taken):
        raise not_run(banked, missing, run if word == "estimate" else None, threads)
    return [] if word == "audit" else missing


def not_run(banked: Banked, missing: list[Job], run: Callable | None = None, threads: int = 1) -> NotRun:
    """What is missing, with the seconds of recorded rows, or else of a run that is begun here."""
    seconds = {arm: banked.expected(arm) for arm, _ in missing}
    for arm, seed in missing if run else ():
        if seconds[arm] is None:
            seconds[arm] = _timed(lambda arm=arm, seed=seed: run(arm, seed, threads))
    return NotRun(banked.name, len(missing), sum(seconds[arm] or 0.0 for arm, _ in missing))


def in_time(banked: Banked, jobs: list[Job]) -> Iterator[Job]:
    """The runs in their order, until the next one would not end in time."""
    until = float((mode()[1] or ["inf"])[0])
    for arm, seed in jobs:
        if time.time() + (banked.expected(arm) or 0.0) > until:
            return
        yield arm, seed


def _timed(run: Callable[[], object]) -> float:
    """Seconds of a run. Its training is broken off after a few updates, and their time is multiplied."""
    begin, add, after = time.perf_counter(), Run.add, []

    def counted(self: Run, *measured) -> None:
        add(self, *measured)
        if self.step == WARM:
            after.append(time.perf_counter())
        elif after and self.step == WARM + TIMED:
            each = (time.perf_counter() - after[-1]) / TIMED
            raise _Enough(after[-1] - begin + each * (len(self.losses) - WARM))

    Run.add = counted
    try:
        run()
    except _Enough as enough:
        return enough.args[0]
    finally:
        Run.add = add
    return time.perf_counter() - begin
