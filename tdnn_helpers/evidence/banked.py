"""What a comparison takes from the bank and what it runs: whole pairs of one class of machine, a live twin beside them,
and all of it afresh where a reader changed an arm."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import zip_longest
from statistics import median
from typing import Any

import numpy as np

from .. import session
from ..core.choices import check_known
from . import bank, portable
from .bank import Finished, Row
from .store import digests

VARIABLE = "TDNN_EVIDENCE"
MODES = ("read", "estimate", "make", "audit", "begin", "replay")  # .making tells what they mean
LIVE = 45.0  # seconds of live twins in one process, by the recorded seconds
OWN_SEEDS = 3  # of a reader's own run
Job = tuple[str, int]  # arm, seed
_twins: dict[tuple[str, int], tuple[Row, float]] = {}  # (key, seed) → the live row, and the seconds of the banked one


class Banked:
    """One comparison and its rows in the bank of the running lesson, at the current budget.

    ``taken`` is (arm, seed) → the row that fits. ``own``: the bank is read, and knows the comparison but not all of
    these arms. Then nothing is taken, and ``seeds`` are the first three of those asked for. ``revised``: a row serves a
    rule that has changed since. ``mode`` and ``words``: what TDNN_EVIDENCE says.

    Raises ValueError outside of a lesson, for an unknown claim or mode, and for a bank that cannot be read.
    """

    def __init__(self, name: str, arms: Mapping[str, Callable], seeds: Sequence[int], claims: Iterable[str]) -> None:
        lesson = session.current_lesson()
        if lesson is None:
            raise ValueError("the rows of the bank belong to a lesson, and none is running: call session.start first.")
        if other := [arm for arm in arms if not isinstance(arm, str)]:
            raise ValueError(f"in the bank, the name of an arm is a text, not {other[0]!r}.")
        self.name, self.lesson, self.arms, self.here = name, lesson, list(arms), bank.machine()
        self.mode, *self.words = os.environ.get(VARIABLE, "read").split()
        check_known(self.mode, MODES, VARIABLE)
        self.rule = bank.rule_digest(claims)
        self.keys = digests(arms, portable.PortableWalk, portable.surroundings(name), "in the bank")
        wanted = (name, portable.size())
        self.rows = [row for row in bank.read(lesson) if (row["comparison"], row["budget"]) == wanted]
        known = {row["key"] for row in self.rows}
        self.changed = [arm for arm in arms if self.keys.get(arm) not in known]
        self.own = bool(self.mode == "read" and self.rows and self.changed)
        self.seeds = seeds[:OWN_SEEDS] if self.own else seeds
        # A replay asks what the arms do now, so the rows may be of older ones.
        keys = {row["arm"]: row["key"] for row in self.rows} if self.mode == "replay" else self.keys
        self.taken = {} if self.own else fitting(self.rows, keys, self.arms, seeds, self.here)
        self.revised = any(row["rule"] != self.rule for row in self.taken.values())

    def row(self, run: Finished) -> Row:
        """A run that was made now, as a row of the bank. ValueError for an arm that has no digest."""
        if run.arm not in self.keys:
            raise ValueError(f'the runs of arm "{run.arm}" cannot go to the bank, because it has no reliable digest.')
        return {
            "comparison": self.name, "budget": portable.size(), "arm": run.arm, "seed": int(run.seed),
            "key": self.keys[run.arm], "rule": self.rule, "metrics": [list(one[:4]) for one in bank.thinned(run.rows)],
            "losses": [*map(bank.rounded, run.losses)], "answers": run.answers,
            "failure": run.failure.partition("\n")[0], "seconds": bank.rounded(run.seconds), **run.made,
        }  # fmt: skip

    def expected(self, arm: str) -> float | None:
        """Seconds that a run of an arm takes, from rows of that name under any key; None if there are none."""
        seconds = [row["seconds"] for row in self.rows if row["arm"] == arm]
        return median(seconds) if seconds else None  # the first run of a process loads its libraries

    def own_run(self, workers: int) -> str:
        """What a reader is told before her own run begins."""
        each = median(row["seconds"] for row in self.rows)  # of an arm that the bank doesn't know
        seconds = sum(self.expected(arm) or each for arm in self.arms) * len(self.seeds) / workers
        return (
            f"{self.name}: the bank holds no such {', '.join(self.changed)}. So all arms run here, {len(self.seeds)} "
            f"seeds, in about {seconds / 60:.1f} min. It is your own run: no verdict is recorded."
        )

    def twin(self, run: Callable[[str, int, int], Row]) -> dict[str, Any]:
        """The cheapest row that was taken is run here once, by ``run(arm, seed, threads)``, and laid beside it.

        Returns what :func:`compared` finds, with "arm", "seed", and the machines "there" and "here"; an empty
        dictionary where nothing was run: on a smoke run, where nothing was taken, or where it would take too long.
        """
        if self.mode != "read" or session.budget() == "smoke":
            return {}
        cheapest = min(
            (row for row in self.taken.values() if not row["failure"]),
            key=lambda row: (row["seconds"], row["seed"], row["arm"]),
            default=None,
        )
        if cheapest is None:
            return {}
        arm, seed, seconds = cheapest["arm"], cheapest["seed"], cheapest["seconds"]
        if (place := (cheapest["key"], seed)) not in _twins:
            if seconds > LIVE - sum(spent for _, spent in _twins.values()):
                return {}
            _twins[place] = run(arm, seed, cheapest["threads"]), seconds
        found = compared(_twins[place][0], cheapest, self.rows)
        return {"arm": arm, "seed": seed, "there": cheapest["machine"], "here": self.here} | found

    def origin(self, twin: Mapping[str, Any], made_here: int) -> str:
        """Where the runs come from, such as "rates: 20 runs from the bank (NVIDIA H100, torch 2.15.0)."""
        kinds = Counter((row["machine"], row["versions"].get("torch", "?")) for row in self.taken.values())
        made = "; ".join(f"{machine}, torch {torch}" for (machine, torch), _ in kinds.most_common())
        text = f"{self.name}: {len(self.taken)} runs from the bank ({made})"
        if made_here:
            text += f", {made_here} made here"
        if twin:
            text += f'. "{twin["arm"]}" with seed {twin["seed"]}, run here beside its row: {twin["said"]}'
        return f"{text}."


def fitting(
    rows: Iterable[Row], keys: Mapping[str, str], arms: Sequence[str], seeds: Sequence[int], here: str
) -> dict[Job, Row]:
    """(arm, seed) → the row with the arm's key, such that all runs of a seed are of one class of machine.

    A seed whose rows are whole in one class is taken from there: from this machine's, else the class with the most
    rows. What is partly there is taken only where this machine can make the rest of it.
    """
    found = {(row["machine"], row["seed"], row["arm"]): row for row in rows if keys.get(row["arm"]) == row["key"]}
    many = Counter(machine for machine, *_ in found)
    classes = sorted(many, key=lambda machine: (machine != here, -many[machine], machine))
    taken: dict[Job, Row] = {}
    for seed in seeds:
        whole = (machine for machine in classes if all((machine, seed, arm) in found for arm in arms))
        machine = next(whole, here)
        taken |= {(arm, seed): found[machine, seed, arm] for arm in arms if (machine, seed, arm) in found}
    return taken


def compared(live: Row, row: Row, rows: Iterable[Row]) -> dict[str, Any]:
    """How far a run is from its row: "same" (to the last digit, over all that is kept); "metric", the last value that
    differs most, with its "difference" and its "spread" (standard deviation over the seeds in ``rows``); "losses", the
    largest difference of the first ten losses; and "said", a sentence. Infinite where one of the two has no value."""
    ends, there = last(live), last(row)
    alike = [last(other) for other in rows if (other["key"], other["machine"]) == (row["key"], row["machine"])]
    gaps, spread, size = {"": 0.0}, {"": math.nan}, {"": 0.0}
    for name in ends | there:
        values = [other[name] for other in alike if name in other]
        gaps[name] = _gap(ends.get(name, math.inf), there.get(name, math.inf))
        spread[name] = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
        size[name] = gaps[name] / spread[name] if spread[name] > 0 else gaps[name] and math.inf
    worst = max(reversed(size), key=size.get)
    losses = max([0.0, *(_gap(*pair) for pair in zip_longest(live["losses"], row["losses"], fillvalue=math.inf))])
    found = {"same": bank.result_of(live) == bank.result_of(row), "metric": worst, "losses": losses}
    found |= {"difference": gaps[worst], "spread": spread[worst]}
    if found["same"]:
        return found | {"said": "the same to the last digit"}
    if live["failure"] != row["failure"]:
        return found | {"said": f'it ended with "{live["failure"]}", in the bank with "{row["failure"]}"'}
    return found | {
        "said": f"{worst} differs by {found['difference']:.2g} (standard deviation over seeds: {found['spread']:.2g}), "
        f"the first losses by {losses:.2g} at most"
    }


def last(row: Row) -> dict[str, float]:
    """The last value of each metric of a row, such as {"test accuracy": 0.9}."""
    return {f"{split} {metric}".strip(): value for _, split, metric, value in row["metrics"]}


def _gap(one: float, other: float) -> float:
    if one == other or math.isnan(one) and math.isnan(other):
        return 0.0
    gap = abs(one - other)
    return math.inf if math.isnan(gap) else gap
