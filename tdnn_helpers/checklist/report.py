"""What the checklist hands back: one finding a point, as text, as a quiet HTML table, and as a DataFrame."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

FINE, NOT_CHECKED, LOOK, WRONG = "fine", "not checked", "look", "wrong"
STATUSES = (
    FINE,
    NOT_CHECKED,
    LOOK,
    WRONG,
)  # a point is fine only if all of it was checked; the last is the most urgent
SYMBOLS = {FINE: "✓", NOT_CHECKED: "○", LOOK: "△", WRONG: "✗"}
TITLES = {
    1: "Input representation",
    2: "Normalisation",
    3: "Labels",
    4: "Loss and output",
    5: "Curves and learned features",
    6: "Tuning and validation",
    7: "Internal against external validation",
}


class Note(NamedTuple):
    """One thing that was measured: how bad it is, what was seen (with its numbers), and what to do about it."""

    status: str
    evidence: str
    advice: str = ""


@dataclass(frozen=True)
class Finding:
    """One of the seven points: ``status`` is that of its worst note; ``evidence`` and ``advice`` start with it."""

    point: int
    title: str
    status: str
    evidence: str
    advice: str

    @classmethod
    def of(cls, point: int, notes: Iterable[Note]) -> Finding:
        """Sum up the notes of one point (at least one)."""
        notes = sorted(notes, key=lambda note: -STATUSES.index(note.status))  # stable: equals keep their order
        return cls(
            point,
            TITLES[point],
            notes[0].status,
            " ".join(note.evidence for note in notes),
            " ".join(dict.fromkeys(note.advice for note in notes if note.advice)),
        )


@dataclass(frozen=True)
class Report:
    """The seven findings. ``suspects`` are positions in the training split whose label looks wrong, the worst first;
    ``seconds`` is what the checks took. Print it, or end a notebook cell with it."""

    findings: list[Finding]
    suspects: list[int]
    seconds: float

    @property
    def worst(self) -> str:
        """The most urgent status of all: "wrong", "look", "not checked" or "fine"."""
        return max((finding.status for finding in self.findings), key=STATUSES.index)

    def __getitem__(self, point: int) -> Finding:
        """The finding of one point, 1 to 7."""
        return {finding.point: finding for finding in self.findings}[point]

    def frame(self):
        """A DataFrame with the columns point, title, status, evidence, advice."""
        import pandas as pd

        return pd.DataFrame([vars(finding) for finding in self.findings])

    @property
    def summary(self) -> str:
        """One line: how many points are wrong, to look at, fine and not checked."""
        counts = {status: sum(finding.status == status for finding in self.findings) for status in reversed(STATUSES)}
        return ", ".join(f"{n} {status}" for status, n in counts.items() if n) + f" ({self.seconds:.0f} s)"

    def __str__(self) -> str:
        lines = []
        for finding in self.findings:
            lines.append(f"{SYMBOLS[finding.status]} {finding.point} {finding.title}: {finding.status}")
            lines += textwrap.wrap(finding.evidence, 116, initial_indent="    ", subsequent_indent="    ")
            lines += textwrap.wrap(finding.advice, 116, initial_indent="  → ", subsequent_indent="    ")
        return "\n".join([*lines, self.summary])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        # No colour of its own: text and lines follow the page, so the table is legible in light and in dark.
        style = "text-align:left;vertical-align:top;padding:.35em .7em;border-bottom:1px solid currentColor"
        cell = f'<td style="{style};background:transparent">'
        head = "".join(f'<th scope="col" style="{style}">{name}</th>' for name in ("Point", "Status", "Seen", "To do"))
        body = ""
        for finding in self.findings:
            status = f'<span aria-hidden="true">{SYMBOLS[finding.status]}</span>&nbsp;{finding.status}'
            weight = "bold" if finding.status in (LOOK, WRONG) else "normal"
            body += (
                f'<tr style="background:transparent">{cell}{finding.point} {html.escape(finding.title)}</td>'
                f'{cell}<span style="font-weight:{weight};white-space:nowrap">{status}</span></td>'
                f"{cell}{html.escape(finding.evidence)}</td>{cell}{html.escape(finding.advice)}</td></tr>"
            )
        return (
            '<table style="border-collapse:collapse;color:inherit;background:transparent;max-width:70em">'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{html.escape(self.summary)}</p>"
        )
