"""A settled claim as a reader sees it: a card with the claim, its number and a word; the rest folds out."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SMOKE = "not judged on a smoke run"
OWN = "your own run, not recorded"
SYMBOLS = {  # a symbol and a word for each verdict, so that no meaning hangs on a colour
    "holds": "✓",
    "holds here": "✓",
    "holds exactly": "✓",
    "refuted": "✗",
    "refuted here": "✗",
    "refuted exactly": "✗",
    "depends on the budget": "◐",
    "depends on the data": "◐",
    "depends on the protocol": "◐",
    "not shown": "○",
    "not shown at this scale": "○",
    "by reading: right": "§",
    "by reading: right then, dated now": "§",
    "by reading: not so": "§",
    "settled by reading": "§",
    "cannot be tested as stated": "∅",
    SMOKE: "–",
    OWN: "–",
    "open": "…",
}
FRAME = (
    "border:1px solid currentColor;border-left-width:6px;border-radius:6px;padding:.6em 1em;margin:.5em 0;"
    "max-width:52em;line-height:1.5;background:transparent;color:inherit"
)  # no colour of its own: text and border follow the page, so the card is legible in light and in dark


@dataclass(frozen=True)
class Verdict:
    """A settled claim: its row of the ledger, one of the verdicts of :data:`SYMBOLS`, the measured effects in words,
    and ``evidence``: where their intervals must lie, or what was calculated or read.

    Of the second edition, ``said`` tells the verdicts along the axis of the rule. ``own`` is the reason why no verdict
    is recorded, ``revised`` whether the rule is younger than its runs, ``banked`` whether all of them were banked.
    """

    claim: Mapping[str, Any]
    verdict: str
    evidence: str = ""
    measured: tuple[str, ...] = ()
    said: str = ""
    own: str = ""
    revised: bool = False
    banked: bool = False

    @property
    def _second(self) -> bool:
        return self.claim.get("edition") == 2

    def _lines(self) -> list[tuple[str, str]]:
        if self._second:
            rule = "Rule, revised after these runs were made" if self.revised else "Rule, written before the runs"
            made = "all runs are from the evidence bank" if self.banked else "" if self.own else "runs were made here"
        else:
            rule, made = "Rule, written before the run", ""
        lines = [
            (f"The paper says ({self.claim['section']})", self.claim["claim"]),
            ("Found", self.said),
            ("Why it is not recorded", self.own),
            (rule, self.claim["rule"]),
            *(("Measured", text) for text in self.measured),
            ("Holds if" if self.measured else "Evidence", self.evidence),
            ("Made", made),
        ]
        return [(label, text) for label, text in lines if text]

    def __repr__(self) -> str:
        lines = [f"{SYMBOLS[self.verdict]} {self.claim['id']}: {self.verdict}"]
        return "\n".join(lines + [f"  {label}: {text}" for label, text in self._lines()])

    def _repr_html_(self) -> str:
        rows = []
        for label, text in self._lines():
            kind = ' class="rule"' if label.startswith("Rule") else ""  # slides leave it out
            rows.append(f"<div{kind}><b>{html.escape(label)}:</b> {html.escape(text)}</div>")
        if self._second:
            shown = [row for row, (label, _) in zip(rows, self._lines()) if not label.startswith(FOLDED)]
            folded = [row for row in rows if row not in shown]
            rows = [*shown, f"<details><summary>Rule, parts and origin</summary>{''.join(folded)}</details>"]
        return (
            f'<div role="note" style="{FRAME}">'
            f'<div style="font-size:1.15em"><b><span aria-hidden="true">{SYMBOLS[self.verdict]}</span> '
            f"{html.escape(self.claim['id'])}: {html.escape(self.verdict)}</b></div>{''.join(rows)}</div>"
        )


FOLDED = ("Rule", "Measured", "Holds if", "Made")
