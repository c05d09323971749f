"""The evidence bank: runs that were made once, on whatever machine, and are committed as rows.

``notebooks/bank/<lesson>.jsonl`` holds one run a line, as JSON with sorted keys, in a stable order:

- ``comparison``, ``arm``, ``seed``, ``budget``: what was run; ``key``: the digest of what the runs of this arm follow
  from (:mod:`.portable`), the same for all its seeds;
- ``metrics``: [step, split, metric, value], at most 24 points a curve; ``losses``: those of the first ten updates;
  numbers have six significant digits. ``answers``: which images were right, as packed bits. ``failure``: why the run
  died, or "";
- ``machine`` (the name of the GPU or CPU), ``device``, ``threads``, ``versions``, ``seconds``: how it was made;
- ``rule``: the digest of the rules of the claims that it serves; ``check``: that of the row.

A line can be deleted by hand: the run is then missing, and is made again.
"""

from __future__ import annotations

import base64
import functools
import json
import platform
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ..core.choices import check_known
from ..core.device import pick_device
from ..core.places import bank_dir, one_at_a_time, write_whole
from .claims import ledger
from .fingerprint import digest

POINTS = 24  # of a curve
UPDATES = 10  # whose losses are kept
RESULT = ("metrics", "losses", "answers", "failure")  # what must not differ between two rows of one run
IDENTITY = ("comparison", "budget", "arm", "seed", "key", "machine")
Row = dict[str, Any]


class Finished(NamedTuple):
    """A run that came to its end, in whatever process."""

    arm: str
    seed: int
    rows: list[tuple]  # (step, split, metric, value, seconds)
    failure: str  # the reason, or ""
    source: str  # of this package in the process that ran it
    losses: list[float]  # of the first ten updates
    answers: dict[str, str]  # such as {"test right": what packed() gives}
    seconds: float
    made: dict[str, Any]  # on which machine, as in a row of the bank


class Answers(dict):
    """(arm, seed) → the answers of a run, packed. They never change, so they need no copy, though pandas copies the
    attrs of a frame deeply at every step."""

    def __deepcopy__(self, memo) -> Answers:
        return self


def path_of(lesson: str) -> Path:
    """The file of a lesson's rows, which may not be there."""
    return bank_dir() / f"{lesson}.jsonl"


def read(lesson: str) -> list[Row]:
    """The rows of a lesson in the order of the file; none if there is no file.

    ValueError, with file, line, arm and seed, for a line that is damaged or not what was written, and for two rows of
    one run on the same kind of machine that differ. Two that are equal count once.
    """
    path = path_of(lesson)
    lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
    rows = ((f"line {number}", _checked(path, number, line)) for number, line in enumerate(lines, 1) if line)
    return _collapsed(path, rows)


def add(lesson: str, rows: Iterable[Row]) -> None:
    """Add rows to a lesson's file. Every moment finds the old file or the whole new one, and writers wait for each
    other. ValueError as :func:`read`, and for a row that conflicts with one that is there."""
    path = path_of(lesson)
    path.parent.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(path):
        _write(path, [("an older line", row) for row in read(lesson)] + [("the new row", row) for row in rows])


def _write(path: Path, rows: list[tuple[str, Row]]) -> None:
    kept = sorted(_collapsed(path, rows), key=lambda row: [row[name] for name in IDENTITY])
    write_whole(path, "".join(f"{_line(row)}\n" for row in kept).encode(), alone=True)


def replace(lesson: str, rows: Iterable[Row]) -> None:
    """Put these rows in the place of those that a lesson has. ValueError as :func:`add`."""
    path = path_of(lesson)
    with one_at_a_time(path):
        _write(path, [("a row", row) for row in rows])


def content(lesson: str) -> str:
    """Twelve hexadecimal digits for the results that a lesson's rows hold; "" without rows."""
    rows = [[row[name] for name in IDENTITY if name != "key"] + [result_of(row)] for row in read(lesson)]
    return digest(_json(sorted(rows)).encode())[:12] if rows else ""


def check_of(row: Row) -> str:
    """Twelve hexadecimal digits for all of a row but ``check``."""
    return digest(_json({name: value for name, value in row.items() if name != "check"}).encode())[:12]


def result_of(row: Row) -> str:
    """What came out, as text: equal for equal results (NaN too)."""
    return _json([row[name] for name in RESULT])


def packed(booleans: np.ndarray) -> str:
    """Booleans of shape (N,) as text: N, and their bits in base 64."""
    return f"{len(booleans)}:{base64.b64encode(np.packbits(booleans)).decode('ascii')}"


def unpacked(text: str) -> np.ndarray:
    """The booleans of shape (N,) that :func:`packed` took."""
    count, _, bits = text.partition(":")
    return np.unpackbits(np.frombuffer(base64.b64decode(bits), np.uint8), count=int(count)).astype(bool)


def rounded(value: float) -> float:
    """A number with six significant digits."""
    return float(f"{value:.6g}")


def thinned(rows: Iterable[tuple]) -> list[tuple]:
    """(step, split, metric, value, …) in the same order, at most 24 of each split and metric: the first, the last and
    what lies evenly between; values rounded. Curves of one length keep the same steps."""
    rows, places = list(rows), {}
    for place, (_, split, metric, *_) in enumerate(rows):
        places.setdefault((split, metric), []).append(place)
    kept = set()
    for curve in places.values():
        kept |= {curve[i] for i in np.linspace(0, len(curve) - 1, min(POINTS, len(curve))).round().astype(int)}
    return [(*row[:3], rounded(row[3]), *row[4:]) for place, row in enumerate(rows) if place in kept]


def rule_digest(claims: Iterable[str]) -> str:
    """Twelve hexadecimal digits for the rules (``decide``) that the ledger holds for these claims; "" for none.
    ValueError for a claim that the ledger doesn't know."""
    rules = {row["id"]: row.get("decide") for row in ledger()["claims"]}
    for claim in (claims := sorted(claims)):
        check_known(claim, rules, "claim")
    return digest(_json([rules[claim] for claim in claims]).encode())[:12] if claims else ""


@functools.cache
def _processor() -> str:
    listing = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.+)$", listing.read_text(), re.MULTILINE) if listing.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def machine() -> str:
    """The class of this machine: the name of its GPU, or of its CPU where that trains."""
    device = pick_device()
    return torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()


def surroundings(threads: int) -> Row:
    """How a run here is made: machine, device, threads and versions, as in a row."""
    versions = {"python": platform.python_version(), "torch": str(torch.__version__), "numpy": np.__version__}
    return {"machine": machine(), "device": pick_device().type, "threads": threads, "versions": versions}


def _json(content) -> str:
    return json.dumps(content, sort_keys=True, ensure_ascii=False)


def _line(row: Row) -> str:
    return _json({**row, "check": check_of(row)})


def _checked(path: Path, number: int, line: str) -> Row:
    try:
        row = json.loads(line)
        why = "" if check_of(row) == row["check"] else "its checksum is not that of its content"
    except (ValueError, KeyError, AttributeError, TypeError):
        row, why = {}, "it is damaged"
    if why:
        arm, seed = (re.search(rf'"{name}": "?([^",}}]*)', line) for name in ("arm", "seed"))
        raise ValueError(
            f'{path}, line {number} (arm "{arm[1] if arm else "?"}", seed {seed[1] if seed else "?"}) cannot be read: '
            f"{why}. Restore the file with git, or delete the line: the run is then made again."
        )
    return row


def _collapsed(path: Path, rows: Iterable[tuple[str, Row]]) -> list[Row]:
    found: dict[tuple, tuple[str, Row]] = {}
    for place, row in rows:
        other, first = found.setdefault(tuple(row[name] for name in IDENTITY), (place, row))
        if result_of(row) != result_of(first):
            raise ValueError(
                f'{path}: {place} and {other} hold two results of arm "{row["arm"]}" with seed {row["seed"]} in '
                f'"{row["comparison"]}" for the same kind of machine, {row["machine"]}: delete one of them.'
            )
    return [row for _, row in found.values()]
