"""How the bank is made and audited: what ``compare(…, bank=…)`` does with the runs that it would take or miss.

The environment variable TDNN_EVIDENCE says it; ``python -m course evidence`` and ``python -m course audit`` set it:
"read" (the default) takes rows and runs what is missing, "estimate" says how long what is missing would take, "make"
runs it and adds each finished run to the bank at once (with a number: until this time in seconds since 1970), "audit"
runs the rows with these checksums again, "begin" runs only their first ten updates again, and "replay N" the first N
updates of each arm with its first seed, whatever the bank holds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from functools import partial

from ..train.run import Run
from .bank import UPDATES, Finished, Row, add, result_of, rounded
from .banked import Banked, Job, compared
from .store import Store

WARM, TIMED = 3, 5  # updates before the clock counts, and those that it counts
audited: dict[str, dict] = {}  # checksum of a row → what compared() says of it when it was run again
replayed: dict[tuple[str, str], tuple[str, str]] = {}  # (comparison, arm) → its key, and its first losses as text


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
    again = banked.mode in ("audit", "begin", "replay")
    for row in banked.rows if banked.mode in ("audit", "begin") else ():
        if row["check"] in banked.words and banked.keys.get(row["arm"]) == row["key"]:
            one = partial(run, row["arm"], row["seed"], row["threads"])
            live = one() if banked.mode == "audit" else _begun(one, row)
            audited[row["check"]] = compared(live, row, banked.rows)
    if banked.mode == "replay":
        updates = int(banked.words[0])
        for arm, key in banked.keys.items():
            begun = _beginning(partial(run, arm, banked.seeds[0], threads), updates) if updates else ""
            replayed[banked.name, arm] = key, begun
    seconds = {arm: banked.expected(arm) for arm, _ in missing}
    for arm, seed in missing if banked.mode == "estimate" else ():
        if seconds[arm] is None:
            seconds[arm] = _timed(lambda arm=arm, seed=seed: run(arm, seed, threads))
    if missing and (banked.mode == "estimate" or again and not banked.taken):
        raise NotRun(banked.name, len(missing), sum(seconds[arm] or 0.0 for arm, _ in missing))
    return [] if again else missing


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


def _broken_off(run: Callable[[], Row], updates: int) -> tuple[list[float], list[float], int] | Row:
    """What a run had done when its training was broken off after so many updates: the loss of each, when it ended (in
    seconds of the clock), and how many updates the whole training has. The row of a run that ended before."""
    plain, losses, times = Run.add, [], []

    def counted(self: Run, *measured) -> None:
        plain(self, *measured)
        losses.append(float(self.losses[self.step - 1]))
        times.append(time.perf_counter())
        if self.step == updates:
            raise _Enough(len(self.losses))

    Run.add = counted
    try:
        return run()
    except _Enough as enough:
        return losses, times, enough.args[0]
    finally:
        Run.add = plain


def _timed(run: Callable[[], Row]) -> float:
    """Seconds of a run. Its training is broken off after a few updates, and their time is multiplied."""
    begin = time.perf_counter()
    found = _broken_off(run, WARM + TIMED)
    if isinstance(found, dict):
        return time.perf_counter() - begin
    _, times, updates = found
    each = (times[-1] - times[-1 - TIMED]) / TIMED
    return times[-1 - TIMED] - begin + each * (updates - WARM)


def _beginning(run: Callable[[], Row], updates: int) -> str:
    """The losses of the first updates of a run to the last bit, as text; of a shorter run, all that came out."""
    found = _broken_off(run, updates)
    return result_of(found) if isinstance(found, dict) else " ".join(loss.hex() for loss in found[0])


def _begun(run: Callable[[], Row], row: Row) -> Row:
    """A row with the first ten losses of a run that is broken off then; of a shorter run, all that came out."""
    found = _broken_off(run, UPDATES)
    return found if isinstance(found, dict) else row | {"losses": [*map(rounded, found[0][-UPDATES:])]}
