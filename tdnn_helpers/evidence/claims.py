"""How a claim of the paper is settled: a rule written before the run, an effect with its interval, a verdict, a record.

``ledger.json`` beside this file holds every claim in the course's own words, with the rule that decides it: in prose,
and as data that :func:`judge` obeys. An interval wholly on the claimed side of the threshold means "holds here", wholly
on the other side "refuted here", anything else "not shown at this scale". The effects themselves come from
:mod:`tdnn_helpers.evidence.effects`.
"""

from __future__ import annotations

import html
import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .. import session
from ..core.choices import check_known
from ..core.device import pick_device
from ..core.places import runs_dir, write_whole
from .effects import Effect

if TYPE_CHECKING:
    import pandas as pd

SMOKE = "not judged on a smoke run"
OWN = "your own run, not recorded"
SYMBOLS = {  # a symbol and a word for each verdict, so that no meaning hangs on a colour
    "holds here": "✓",
    "holds exactly": "✓",
    "refuted here": "✗",
    "refuted exactly": "✗",
    "not shown at this scale": "○",
    "settled by reading": "§",
    SMOKE: "–",
    OWN: "–",
    "open": "…",
}


@cache
def ledger() -> dict[str, list[dict[str, Any]]]:
    """``{"claims": [...], "repairs": [...], …}``: claims have id, section, claim, kind, lesson, rule; repairs have id,
    section, statement, repair, lesson, shown_by. ``quote`` is the paper's key phrase, ``mode`` the kind of statement
    (can, often, advice, practice, reported, fact). ``reread`` holds what a second reading changes, and "missing" what
    no claim holds yet: both wait for the second edition of the lessons.

    A claim of the kind "experiment" also has ``decide``, its rule as data:

    - ``expect`` ("above" or "below") and ``than``, or ``within`` (± this much of zero): where each interval must lie;
    - ``parts``: how many effects decide; ``unit``: theirs, one for all or a list with one for each part;
    - ``smallest``: the smallest effect of interest in this unit, or null (like ``unit``, for all or for each);
    - ``budgets``: at which a verdict may be recorded; ``seeds``: that decide at the standard budget;
    - ``repeats``, if what an interval counts is not the seeds: its name (like ``unit``, for all or for each).
    """
    return json.loads(Path(__file__).with_name("ledger.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Verdict:
    """A settled claim: its row of the ledger, one of the verdicts of :data:`SYMBOLS`, effects, and a sentence."""

    claim: Mapping[str, Any]
    verdict: str
    effects: tuple[Effect, ...] = ()
    evidence: str = ""

    @property
    def measured(self) -> list[str]:
        """Each effect in words and numbers."""
        return [f"{effect.what}: {effect}".removeprefix(": ") for effect in self.effects]

    def _lines(self) -> list[tuple[str, str]]:
        return [
            (f"The paper says ({self.claim['section']})", self.claim["claim"]),
            ("Rule, written before the run", self.claim["rule"]),
            *(("Measured", text) for text in self.measured),
            ("Holds if" if self.effects else "Evidence", self.evidence),
        ]

    def __repr__(self) -> str:
        lines = [f"{SYMBOLS[self.verdict]} {self.claim['id']}: {self.verdict}"]
        return "\n".join(lines + [f"  {label}: {text}" for label, text in self._lines()])

    def _repr_html_(self) -> str:
        # No colour of its own: text and border follow the page, so the card is legible in light and in dark.
        rows = ""
        for label, text in self._lines():
            kind = ' class="rule"' if label.startswith("Rule") else ""  # slides leave it out
            rows += f"<div{kind}><b>{html.escape(label)}:</b> {html.escape(text)}</div>"
        return (
            '<div role="note" style="border:1px solid currentColor;border-left-width:6px;border-radius:6px;'
            'padding:.6em 1em;margin:.5em 0;max-width:52em;line-height:1.5;background:transparent;color:inherit">'
            f'<div style="font-size:1.15em"><b><span aria-hidden="true">{SYMBOLS[self.verdict]}</span> '
            f"{html.escape(self.claim['id'])}: {html.escape(self.verdict)}</b></div>{rows}</div>"
        )


def judge(claim_id: str, *effects: Effect) -> Verdict:
    """Settle an experimental claim by the rule that the ledger holds for it (``decide`` of :func:`ledger`).

    All intervals wholly where the claim says: "holds here". Any wholly outside: "refuted here". Else "not shown at this
    scale". Raises ValueError for a claim that is unknown, of another lesson, or not of the kind "experiment"; and, on a
    smoke run too, for effects of another number or unit than the rule's; for a budget that the rule doesn't allow; and,
    at the standard budget, for effects of another number of seeds. Effects of arms that a reader changed get "your own
    run, not recorded", with any number of seeds.
    """
    claim = _claim(claim_id, "experiment")
    return _settle(claim, *decided(claim, effects, session.budget()), effects)


def decided(claim: Mapping[str, Any], effects: Sequence[Effect], budget: str) -> tuple[str, str]:
    """What the rule of an experimental claim makes of these effects: a verdict, and where the intervals must lie.

    Raises ValueError for effects that :func:`judge` refuses.
    """
    claim_id, rule = claim["id"], claim["decide"]
    units = each_part(rule, "unit")
    if budget not in ("smoke", *rule["budgets"]):
        allowed = " or ".join(rule["budgets"])
        raise ValueError(f'{claim_id} is decided at the budget {allowed}; a run at "{budget}" records no verdict.')
    if len(effects) != len(units):
        many = f"{len(units)} effect{'s' * (len(units) > 1)}"
        raise ValueError(f"{claim_id} is decided by {many}, not by {len(effects)}.")
    for number, (effect, unit) in enumerate(zip(effects, units), start=1):
        if effect.unit != unit:
            raise ValueError(f'effect {number} of {claim_id} is in "{effect.unit}", but its rule is in "{unit}".')
    seeds = rule.get("seeds") if budget == "standard" else None
    for number, (effect, counted) in enumerate(zip(effects, each_part(rule, "repeats")), start=1):
        if seeds and not counted and not effect.own and (n := effect.n + effect.dropped) != len(seeds):
            raise ValueError(f"{claim_id} is decided by {len(seeds)} seeds, but effect {number} comes from {n}.")
    if "within" in rule:
        low, high, where = -rule["within"], rule["within"], f"the 95 % interval lies wholly within ±{rule['within']:g}"
    else:
        above, than = rule["expect"] == "above", rule["than"]
        low, high = (than, math.inf) if above else (-math.inf, than)
        where = f"each 95 % interval lies wholly {rule['expect']} {than:g}".replace("-", "−")
    holds = all(low < effect.low and effect.high < high for effect in effects)
    refuted = any(effect.high < low or high < effect.low for effect in effects)
    verdict = "holds here" if holds else "refuted here" if refuted else "not shown at this scale"
    named = " or ".join(dict.fromkeys(units))  # each part may have its own
    return verdict, f"{where} {named}".rstrip()


def each_part(rule: Mapping[str, Any], name: str) -> list:
    """An entry of ``decide`` that may be one for all parts or one for each, as a list with one for each part."""
    given = rule.get(name)
    return given if isinstance(given, list) else [given] * rule["parts"]


def exact(claim_id: str, passed: bool, evidence: str, *, refutes: bool = False) -> Verdict:
    """Settle a claim that needs no statistics. ``passed``: the check of the ledger's rule came out as the lesson says.

    A check that passed shows "holds exactly"; with ``refutes=True`` it shows the opposite of the claim: "refuted
    exactly". Raises AssertionError when the check failed, on smoke runs too, and ValueError as :func:`judge` does.
    """
    claim = _claim(claim_id, "exact")
    if not passed:
        raise AssertionError(f"the check of {claim_id} ({claim['claim']}) failed: {evidence}")
    return _settle(claim, "refuted exactly" if refutes else "holds exactly", evidence)


def reading(claim_id: str, sentence: str, source: str) -> Verdict:
    """Settle a claim from the literature: what is known, in one sentence, and where it is written."""
    return _settle(_claim(claim_id, "reading"), "settled by reading", f"{sentence} Source: {source}")


def records(lesson: str) -> dict[str, dict]:
    """The recorded verdicts of a lesson, ``{claim id: {"verdict": ..., ...}}``, sorted by id."""
    folder = runs_dir() / "verdicts" / lesson
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("C*.json"))}


def by_todays_rule(record: Mapping[str, Any], claim: Mapping[str, Any]) -> bool:
    """Whether a record was settled by the rule that the ledger holds now, in prose and as data.

    Of a record that does not hold the data of its rule, the effects tell: the ledger's must make the same of them.
    """
    if record.get("rule") != claim["rule"]:
        return False
    if "decide" in record or not record["effects"]:
        return record.get("decide") == claim.get("decide")
    try:
        effects = [Effect(**effect) for effect in record["effects"]]
        return decided(claim, effects, record["budget"]) == (record["verdict"], record["evidence"])
    except ValueError:
        return False


class Report:
    """The claims of a lesson with their verdicts so far: ``frame`` is the table, ``summary`` counts each verdict."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame
        counts = frame["verdict"].value_counts()
        self.summary = " · ".join(f"{SYMBOLS[name]} {name}: {counts[name]}" for name in SYMBOLS if name in counts)

    def __repr__(self) -> str:
        rows = [f"{row.id}  {SYMBOLS[row.verdict]} {row.verdict}  {row.claim}" for row in self.frame.itertuples()]
        return "\n".join([*rows, self.summary])

    def _repr_html_(self) -> str:
        left = ' style="text-align:left;vertical-align:top"'
        head = "".join(f"<th{left}>{name}</th>" for name in self.frame.columns)
        table = self.frame.assign(verdict=[f"{SYMBOLS[name]} {name}" for name in self.frame["verdict"]])
        cells = ["".join(f"<td{left}>{html.escape(text)}</td>" for text in row) for row in table.to_numpy()]
        body = "".join(f"<tr>{row}</tr>" for row in cells)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{html.escape(self.summary)}</p>"


def report(lesson: str) -> Report:
    """Every claim of a lesson with its verdict; "open" without one, or when the rule has changed since it was recorded.

    A smoke run shows what this process called, since it records nothing. Raises ValueError for an unknown lesson.
    """
    import pandas as pd

    check_known(lesson, {row["lesson"] for row in ledger()["claims"]}, "lesson")
    found = _smoke if session.budget() == "smoke" else records(lesson)
    rows = []
    for claim in ledger()["claims"]:
        if claim["lesson"] == lesson:
            record = found.get(claim["id"], {})
            verdict = record["verdict"] if by_todays_rule(record, claim) else "open"
            measured = "" if verdict == "open" else "; ".join(record["measured"]) or record["evidence"]
            rows.append((claim["id"], claim["section"], claim["claim"], measured, verdict))
    return Report(pd.DataFrame(rows, columns=["id", "section", "claim", "measured", "verdict"]))


_smoke: dict[str, dict] = {}


def _claim(claim_id: str, kind: str) -> Mapping[str, Any]:
    """The ledger's row, if the running lesson may settle it in this way."""
    claims = {row["id"]: row for row in ledger()["claims"]}
    check_known(claim_id, claims, "claim")
    claim, lesson = claims[claim_id], session.current_lesson()
    if claim["lesson"] != lesson:
        running = f'the running lesson is "{lesson}"' if lesson else "no lesson is running: call session.start first"
        raise ValueError(f'{claim_id} belongs to lesson "{claim["lesson"]}", but {running}.')
    if claim["kind"] != kind:
        raise ValueError(f'{claim_id} is of the kind "{claim["kind"]}" in the ledger, not "{kind}".')
    return claim


def _settle(claim: Mapping[str, Any], verdict: str, evidence: str, effects: tuple[Effect, ...] = ()) -> Verdict:
    smoke = session.budget() == "smoke"
    own = any(effect.own for effect in effects)
    settled = Verdict(claim, SMOKE if smoke else OWN if own else verdict, effects, evidence)
    if own:
        return settled
    record = {
        "verdict": settled.verdict,
        "measured": settled.measured,
        "effects": [{name: it for name, it in asdict(effect).items() if name != "own"} for effect in effects],
        "evidence": evidence,
        "rule": claim["rule"],
        "decide": claim.get("decide"),
        "budget": session.budget(),
        "device": str(pick_device()),
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
    }
    if smoke:
        _smoke[claim["id"]] = record
    else:
        _record(claim, record)
    return settled


def _record(claim: Mapping[str, Any], record: dict) -> None:
    """Write the claim's own file, then join the lesson's files into ``verdicts/<lesson>.json``.

    Each write is atomic. The joined file needs no lock: whoever replaces it last looks at the folder again afterwards.
    """
    folder = runs_dir() / "verdicts" / claim["lesson"]
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / f"{claim['id']}.json", record)
    joined = None
    while joined != (joined := records(claim["lesson"])):
        _write(folder.parent / f"{claim['lesson']}.json", joined)


def _write(path: Path, content: dict) -> None:
    write_whole(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
