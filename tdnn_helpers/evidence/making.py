"""How the bank is made and audited: what ``compare(…, bank=…)`` does with the runs that it would take or miss.

The environment variable TDNN_EVIDENCE says it; ``python -m course evidence`` and ``python -m course audit`` set it:
"read" (the default) takes rows and runs what is missing, "estimate" says how long what is missing would take, "make"
runs it and adds each finished run to the bank at once (with a number: until this time in seconds since 1970), and
"audit" runs the rows with these checksums again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

from ..train.run import Run
from .bank import Finished, Row, add
from .banked import Banked, Job, compared
from .store import Store

WARM, TIMED = 3, 5  # updates before the clock counts, and those that it counts
audited: dict[str, str] = {}  # checksum of a row → what came out when it was run again


class NotRun(Exception):
    """Runs that the bank misses and that were not made now: the name of the comparison, how many runs, and about how
    many ``seconds`` of one process they take (0 if that is unknown)."""

    def __init__(self, comparison: str, runs: int, seconds: float = 0.0) -> None:
        about = f", about {seconds / 60:.1f} min in one process" if seconds else ""
        super().__init__(f"{comparison}: {runs} run{'s' * (runs > 1)} to make{about}")
        self.seconds = seconds


class _Enough(BaseException):  # an arm that catches every Exception must not catch this
    pass


def to_run(banked: Banked, missing: list[Job], run: Callable[[str, int, int], Row], threads: int) -> list[Job]:
    """Which of the missing runs are done now: all where rows are made, none in an audit. ``run(arm, seed, threads)``
    does one here. Raises NotRun for an estimate, and for an audit that finds no rows."""
    if banked.mode == "audit":
        for row in banked.rows:
            if row["check"] in banked.words and banked.keys.get(row["arm"]) == row["key"]:
                live = run(row["arm"], row["seed"], row["threads"])
                audited[row["check"]] = compared(live, row, banked.rows)["said"]
    seconds = {arm: banked.expected(arm) for arm, _ in missing}
    for arm, seed in missing if banked.mode == "estimate" else ():
        if seconds[arm] is None:
            seconds[arm] = _timed(lambda arm=arm, seed=seed: run(arm, seed, threads))
    if missing and (banked.mode == "estimate" or banked.mode == "audit" and not banked.taken):
        raise NotRun(banked.name, len(missing), sum(seconds[arm] or 0.0 for arm, _ in missing))
    return [] if banked.mode == "audit" else missing


def in_time(banked: Banked, jobs: list[Job]) -> Iterator[Job]:
    """The runs in their order; where rows are made, up to the first one that would not end in time."""
    until = float(banked.words[0]) if banked.mode == "make" and banked.words else math.inf
    for arm, seed in jobs:
        if time.time() + (banked.expected(arm) or 0.0) > until:
            return
        yield arm, seed


def keep(banked: Banked, run: Finished) -> Row | None:
    """The row of a run that was made for the bank, where it now is; None for a run that isn't, or died of the machine
    (too little memory, another version of this package in the process)."""
    if banked.mode != "make" or run.failure.startswith("MemoryError") or run.source != Store.source():
        return None
    row = banked.row(run)
    add(banked.lesson, [row])
    return row


def _timed(run: Callable[[], object]) -> float:
    """Seconds of a run. Its training is broken off after a few updates, and their time is multiplied."""
    begin, plain, after = time.perf_counter(), Run.add, []

    def counted(self: Run, *measured) -> None:
        plain(self, *measured)
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
        Run.add = plain
    return time.perf_counter() - begin
