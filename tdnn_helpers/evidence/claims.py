"""How a claim of the paper is settled: a rule written before the run, an effect with its interval, a verdict, a record.

``ledger.json`` beside this file holds every claim in the course's own words, with the rule that decides it: in prose,
and as data that :func:`judge` obeys (:mod:`.rules`). The effects themselves come from
:mod:`tdnn_helpers.evidence.effects`, the card that a reader sees from :mod:`.verdict`.
"""

from __future__ import annotations

import html
import json
import platform
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from .. import session
from ..core.choices import check_known
from ..core.device import pick_device
from ..core.places import runs_dir, write_whole
from .effects import Effect
from .rules import check_effects, first_edition, name_of, second_edition, strange
from .verdict import OWN, SMOKE, SYMBOLS, Verdict

if TYPE_CHECKING:
    import pandas as pd

DIRECTIONS = ("right", "right then, dated now", "not so")


@cache
def ledger() -> dict[str, list[dict[str, Any]]]:
    """``{"claims": [...], "repairs": [...], …}``: claims have id, section, claim, kind, lesson, rule; repairs have id,
    section, statement, repair, lesson, shown_by. ``quote`` is the paper's key phrase, ``mode`` the kind of statement
    (can, often, advice, practice, reported, fact). ``reread`` holds what a second reading changes, and "missing" what
    no claim holds yet: both wait for the second edition of the lessons. A claim with ``edition`` 2 is there; ``first``
    holds its claim, rule and verdict of the first edition, and why they changed.

    A claim of the kind "experiment" also has ``decide``, its rule as data:

    - ``expect`` ("above" or "below") and ``than``, or ``within`` (± this much of zero): where each interval must lie;
    - ``parts``: how many effects decide; ``unit``: theirs, one for all or a list with one for each part;
    - ``smallest``: the smallest effect of interest in this unit, or null (like ``unit``, for all or for each);
    - ``budgets``: at which a verdict may be recorded; ``seeds``: that decide at the standard budget;
    - ``repeats``, if what an interval counts is not the seeds: its name (like ``unit``, for all or for each).

    Of the second edition also, each for all parts or for each where that makes sense:

    - ``at``: the keys of the axis, rising budgets or sizes, or names of protocols; ``axis``: "budget", "data" or
      "protocol", for a verdict that depends on it;
    - ``needs``: "all" parts or "one" of them (then p-values are adjusted by Holm's method);
    - ``again``: seeds of the second set of runs, and ``again_at`` if those are not made at every key;
    - ``arms``: the arms that each part compares, one list for each part.
    """
    return json.loads(Path(__file__).with_name("ledger.json").read_text(encoding="utf-8"))


def judge(
    claim_id: str,
    *effects: Effect | Mapping[Hashable, Effect | Sequence[Effect]],
    again: Mapping[Hashable, Effect | Sequence[Effect]] | None = None,
) -> Verdict:
    """Settle an experimental claim by the rule that the ledger holds for it (``decide`` of :func:`ledger`).

    Args:
        effects: of a claim of the first edition, as many as its rule has parts. Of the second edition, one mapping:
            each key of the rule's ``at`` (a budget, a size, a protocol) → its effect, or a list of one for each part.
        again: the same from the rule's second set of seeds, where it has one.

    Only the runs that the rule declares get its verdict. From other seeds, or from arms that a reader changed, it is
    "your own run, not recorded". :mod:`tdnn_helpers.evidence.rules` says what the verdicts mean.

    Raises ValueError for a claim that is unknown, of another lesson, or not of the kind "experiment"; and, on a smoke
    run too, for effects of another number or unit than the rule's, other keys, a budget that the rule doesn't allow,
    and an effect of the second edition that doesn't know its runs.
    """
    claim = _claim(claim_id, "experiment")
    if (budget := session.budget()) not in ("smoke", *claim["decide"]["budgets"]):
        allowed = " or ".join(claim["decide"]["budgets"])
        raise ValueError(f'{claim_id} is decided at the budget {allowed}; a run at "{budget}" records no verdict.')
    return _judged_first(claim, effects) if claim.get("edition") != 2 else _judged_second(claim, effects, again)


def _judged_first(claim: Mapping[str, Any], effects: Sequence[Effect]) -> Verdict:
    rule = claim["decide"]
    check_effects(claim, effects)
    decision = first_edition(rule, effects)
    own = strange(rule, effects, rule.get("seeds") if session.budget() == "standard" else None)
    measured = [f"{effect.what}: {effect}".removeprefix(": ") for effect in effects]
    return _settle(claim, decision.verdict, decision.where, measured, own, effects=[*map(asdict_of, effects)])


def _judged_second(claim: Mapping[str, Any], given: Sequence, again: Mapping | None) -> Verdict:
    rule, claim_id = claim["decide"], claim["id"]
    if len(given) != 1 or not isinstance(given[0], Mapping):
        raise ValueError(f"{claim_id} is decided by one mapping, from {', '.join(map(str, rule['at']))} to effects.")
    if ("again" in rule) != (again is not None):
        raise ValueError(f"the rule of {claim_id} {'asks' if 'again' in rule else 'does not ask'} for runs again.")
    first = _groups(claim, given[0], rule["at"], rule["seeds"])
    second = _groups(claim, again, rule.get("again_at", rule["at"]), rule["again"]) if again is not None else None
    own = first.own or (second.own if second else "")
    if not own and (lost := [key for key in rule["at"] if key not in first.effects]):
        own = f"nothing was run at {', '.join(map(str, lost))}"
    decision = second_edition(rule, claim["mode"], first.effects)
    said = decision.said
    same = None
    if second and not own:
        other = second_edition(rule, claim["mode"], second.effects)
        same = all(decision.at[key] == word for key, word in other.at.items())
        said += "; again: same" if same else f"; again: otherwise ({other.said})"
    shown = {key: [f"{one.what}: {one}".removeprefix(": ") for one in group] for key, group in first.effects.items()}
    measured = [f"{name_of(key)}: {text}" for key, texts in shown.items() for text in texts]
    groups = {"effects": first.effects, "again": second.effects if second else {}}
    kept = {name: {str(key): [*map(asdict_of, es)] for key, es in group.items()} for name, group in groups.items()}
    flat = [effect for group in groups.values() for effects in group.values() for effect in effects]
    banked = all(effect.banked for effect in flat)
    details = {"said": said, "same_again": same, "revised": any(effect.revised for effect in flat), "banked": banked}
    return _settle(claim, decision.verdict, decision.where, measured, own, **kept, **details)


class _Groups(NamedTuple):
    effects: dict[Hashable, list[Effect]]
    own: str  # why these are not the runs of the rule


def _groups(claim: Mapping[str, Any], given: Mapping, at: Sequence, seeds: Sequence[int]) -> _Groups:
    """key → list of effects, in the order of the rule, and why they are not the runs that it declares."""
    if other := [key for key in given if key not in at]:
        raise ValueError(f"{claim['id']} is decided at {', '.join(map(str, at))}, not at {other[0]}.")
    found = {key: [given[key]] if isinstance(given[key], Effect) else [*given[key]] for key in at if key in given}
    own = ""
    for key, effects in found.items():
        check_effects(claim, effects, f" at {key}")
        if any(not effect.seeds for effect in effects):
            raise ValueError(f"an effect of {claim['id']} doesn't know its runs: hand it on through from_runs.")
        own = own or strange(claim["decide"], effects, seeds)
    if missing := [key for key in at if key not in found]:
        if not own:
            raise ValueError(f"{claim['id']} also needs effects at {', '.join(map(str, missing))}.")
    return _Groups(found, own)


def asdict_of(effect: Effect) -> dict[str, Any]:
    """An effect as a record keeps it: without what is plain."""
    plain = {"own": False, "banked": False, "revised": False, "seeds": (), "arms": (), "freedom": effect.n - 1}
    return {name: value for name, value in asdict(effect).items() if name not in plain or value != plain[name]}


def exact(claim_id: str, passed: bool, evidence: str, *, refutes: bool = False) -> Verdict:
    """Settle a claim that needs no statistics. ``passed``: the check of the ledger's rule came out as the lesson says.

    A check that passed shows "holds exactly"; with ``refutes=True`` it shows the opposite of the claim: "refuted
    exactly". Raises AssertionError when the check failed, on smoke runs too, and ValueError as :func:`judge` does.
    """
    claim = _claim(claim_id, "exact")
    if not passed:
        raise AssertionError(f"the check of {claim_id} ({claim['claim']}) failed: {evidence}")
    return _settle(claim, "refuted exactly" if refutes else "holds exactly", evidence)


def reading(claim_id: str, sentence: str, source: str, direction: str | None = None) -> Verdict:
    """Settle a claim from the literature: what is known, in one sentence, and where it is written.

    ``direction``: "right", "right then, dated now" or "not so"; only a claim of the first edition may do without.
    """
    claim = _claim(claim_id, "reading")
    if direction is not None:
        check_known(direction, DIRECTIONS, "direction")
    elif claim.get("edition") == 2:
        raise ValueError(f"{claim_id} is settled by reading in a direction: {', '.join(DIRECTIONS)}.")
    verdict = "settled by reading" if direction is None else f"by reading: {direction}"
    return _settle(claim, verdict, f"{sentence} Source: {source}")


def records(lesson: str) -> dict[str, dict]:
    """The recorded verdicts of a lesson, ``{claim id: {"verdict": ..., ...}}``, sorted by id."""
    folder = runs_dir() / "verdicts" / lesson
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("C*.json"))}


def effects_of(record: Mapping[str, Any], part: str = "effects") -> dict[str, list[Effect]]:
    """The effects in a record: key → one for each part of the rule (of the first edition, all are at "")."""
    found = record.get(part, {})
    groups = found if isinstance(found, dict) else {"": found}
    tuples = ("seeds", "arms")
    return {
        key: [Effect(**{name: tuple(it) if name in tuples else it for name, it in one.items()}) for one in group]
        for key, group in groups.items()
    }


def by_todays_rule(record: Mapping[str, Any], claim: Mapping[str, Any]) -> bool:
    """Whether a record was settled by the rule that the ledger holds now, in prose and as data.

    Of a record that does not hold the data of its rule, the effects tell: the ledger's must make the same of them.
    """
    if record.get("rule") != claim["rule"]:
        return False
    if "decide" in record or not record["effects"]:
        return record.get("decide") == claim.get("decide")
    try:
        effects = effects_of(record)[""]
        check_effects(claim, effects)
    except ValueError:
        return False
    decision = first_edition(claim["decide"], effects)
    known = not strange(claim["decide"], effects, claim["decide"].get("seeds"))
    return known and (decision.verdict, decision.where) == (record["verdict"], record["evidence"])


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


def _settle(
    claim: Mapping[str, Any],
    verdict: str,
    evidence: str,
    measured: Sequence[str] = (),
    own: str = "",
    *,
    effects: list | dict = (),
    again: dict | None = None,
    **details,
) -> Verdict:
    """The card of a claim; and its record, unless it is a reader's own run or a smoke run.

    ``effects``, ``again``: as the record keeps them; ``details``: what else it keeps of a claim of the second edition.
    """
    smoke = session.budget() == "smoke" and not details.get("banked")
    shown = {name: details[name] for name in ("said", "revised", "banked") if name in details}
    settled = Verdict(claim, OWN if own else SMOKE if smoke else verdict, evidence, tuple(measured), own=own, **shown)
    if own:
        return settled
    record = {
        "verdict": settled.verdict,
        "measured": list(measured),
        "effects": effects or [],
        **({"again": again} if again else {}),
        **details,
        "evidence": evidence,
        "rule": claim["rule"],
        "decide": claim.get("decide"),
        "budget": session.budget(),
        "device": str(pick_device()),
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
    }
    if session.budget() == "smoke":
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
