"""What a rule of the ledger makes of effects: a verdict, and a sentence that says where it comes from.

Claims of the first edition have one group of effects and the verdicts "holds here", "refuted here" and "not shown at
this scale". Claims of the second edition have a group at each budget (or size, or protocol), and:

- "holds": the interval lies wholly on the claimed side; "refuted": wholly on the other side, beyond the smallest effect
  of interest; "not shown": neither, with the smallest effect that the run would have shown;
- "depends on the …": not the same everywhere along the axis.

A statement that something *can* be so is never refuted by a case in which it isn't.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from .effects import LEVEL, Effect
from .several import detectable, holm

HOLDS, REFUTED, NOT_SHOWN = "holds", "refuted", "not shown"
AXES = ("budget", "data", "protocol")
Rule = Mapping[str, Any]


@dataclass(frozen=True)
class Decision:
    """``verdict``; ``where`` the intervals must lie for it to hold; ``at``: key → verdict there (empty for a claim of
    the first edition); ``said``: the verdicts along the axis in a sentence."""

    verdict: str
    where: str
    at: Mapping[Hashable, str]
    said: str = ""


def each_part(rule: Rule, name: str) -> list:
    """An entry of ``decide`` that may be one for all parts or one for each, as a list with one for each part."""
    given = rule.get(name)
    return given if isinstance(given, list) and name != "arms" else [given] * rule["parts"]


def check_effects(claim: Mapping[str, Any], effects: Sequence[Effect], place: str = "") -> None:
    """ValueError if these are not as many effects, or not in the units, as the rule says."""
    claim_id, units = claim["id"], each_part(claim["decide"], "unit")
    if len(effects) != len(units):
        many = f"{len(units)} effect{'s' * (len(units) > 1)}"
        raise ValueError(f"{claim_id} is decided by {many}{place}, not by {len(effects)}.")
    for number, (effect, unit) in enumerate(zip(effects, units), start=1):
        if effect.unit != unit:
            raise ValueError(f'effect {number} of {claim_id} is in "{effect.unit}", but its rule is in "{unit}".')


def strange(rule: Rule, effects: Sequence[Effect], seeds: Sequence[int] | None) -> str:
    """Why these are not the runs that the rule declares, such as "2 seeds instead of 10"; "" if they are."""
    arms = rule.get("arms") or [None] * rule["parts"]
    for effect, counted, declared in zip(effects, each_part(rule, "repeats"), arms):
        many = effect.n + effect.dropped
        if effect.own:
            return "its arms were changed"
        if seeds and not counted and many != len(seeds):
            return f"it comes from {many} seeds instead of {len(seeds)}"
        if seeds and not counted and effect.seeds and set(effect.seeds) != set(seeds):
            return f"it comes from other seeds than {', '.join(map(str, seeds))}"
        if declared and effect.arms and set(effect.arms) != set(declared):
            return f"it compares {' and '.join(effect.arms)} instead of {' and '.join(declared)}"
    return ""


def first_edition(rule: Rule, effects: Sequence[Effect]) -> Decision:
    """All intervals where the claim says: it holds here. One wholly outside: it is refuted here."""
    limits = [_limits(rule, part) for part in range(rule["parts"])]
    holds = all(low < effect.low and effect.high < high for effect, (low, high) in zip(effects, limits))
    refuted = any(effect.high < low or high < effect.low for effect, (low, high) in zip(effects, limits))
    verdict = "holds here" if holds else "refuted here" if refuted else "not shown at this scale"
    return Decision(verdict, _where(rule), {})


def second_edition(rule: Rule, mode: str, found: Mapping[Hashable, Sequence[Effect]]) -> Decision:
    """The verdict at each key of ``rule["at"]``, and what they say together."""
    at = {key: _at_one(rule, mode, effects) for key, effects in found.items()}
    words = set(at.values())
    verdict = words.pop() if len(words) == 1 else f"depends on the {rule['axis']}"
    return Decision(verdict, _where(rule), at, _along(rule, at, found))


def would_have_shown(effect: Effect) -> float:
    """The smallest effect that as many pairs with this scatter show in four of five cases, in the effect's unit."""
    if effect.low == effect.high:
        return 0.0
    return detectable(effect.low, effect.high, min(effect.freedom, 1e6) + 1)


def _limits(rule: Rule, part: int) -> tuple[float, float]:
    if "within" in rule:
        return -rule["within"], rule["within"]
    than = each_part(rule, "than")[part]
    return (than, math.inf) if each_part(rule, "expect")[part] == "above" else (-math.inf, than)


def _where(rule: Rule) -> str:
    units = " or ".join(dict.fromkeys(each_part(rule, "unit")))  # each part may have its own
    if "within" in rule:
        return f"the 95 % interval lies wholly within ±{rule['within']:g} {units}".rstrip()
    sides = dict.fromkeys(zip(each_part(rule, "expect"), each_part(rule, "than")))
    limits = " or ".join(f"{expect} {than:g}" for expect, than in sides).replace("-", "−")
    if rule.get("needs") == "one":
        return f"one 95 % interval, widened for {rule['parts']} parts, lies wholly {limits} {units}".rstrip()
    return f"each 95 % interval lies wholly {limits} {units}".rstrip()


def _at_one(rule: Rule, mode: str, effects: Sequence[Effect]) -> str:
    inside, beyond, p_values = [], [], []
    for part, (effect, smallest) in enumerate(zip(effects, each_part(rule, "smallest"))):
        low, high = _limits(rule, part)
        inside.append(low < effect.low and effect.high < high)
        beyond.append(effect.high < low - smallest or high + smallest < effect.low)
        p_values.append(effect.p(each_part(rule, "than")[part]) if "within" not in rule else 0.0)
    if rule.get("needs") == "one":
        inside = [one and p < 1 - LEVEL for one, p in zip(inside, holm(p_values))]
        holds, refuted = any(inside), all(beyond)
    else:
        holds, refuted = all(inside), any(beyond)
    return HOLDS if holds else REFUTED if refuted and mode != "can" else NOT_SHOWN


def _along(rule: Rule, at: Mapping[Hashable, str], found: Mapping[Hashable, Sequence[Effect]]) -> str:
    """Such as "not shown at 150 (it would have shown 1.2 pp); holds at 500 and 1,500 updates"."""
    said = []
    for word, keys in groupby(at, key=at.get):
        keys = list(keys)
        *others, last = map(name_of, keys)
        names = f"{', '.join(others)} and {last}" if others else last
        text = f"{word} at {names}"
        if word == NOT_SHOWN:
            worst = max((effect for key in keys for effect in found[key]), key=would_have_shown)
            text += f" (would have shown {would_have_shown(worst):.2g} {worst.unit} or more)".replace("  ", " ")
        said.append(text)
    if isinstance(rule["at"][0], (int, float)):
        said += _crossings(list(at), found)
    return "; ".join(said)


def _crossings(keys: list, found: Mapping[Hashable, Sequence[Effect]]) -> list[str]:
    turns = [
        f"the mean changes its sign between {name_of(one)} and {name_of(other)}"
        for one, other in zip(keys, keys[1:])
        if any(before.mean * after.mean < 0 for before, after in zip(found[one], found[other]))
    ]
    return list(dict.fromkeys(turns))


def name_of(key: Hashable) -> str:
    """A key of a rule in words: 1500 is "1,500"."""
    return f"{key:,}" if isinstance(key, (int, float)) else str(key)
