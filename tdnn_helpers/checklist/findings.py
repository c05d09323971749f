"""What the checklist hands back: findings, and the report of them as text, as an HTML page and as a DataFrame."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from ..core.choices import listed
from ..core.places import write_whole
from ..figures import cards
from ..train.run import History

FINE, NOT_CHECKED, LOOK, WRONG = "fine", "not checked", "look", "wrong"
# The last is the most urgent; a question is fine only if all of it was checked.
STATUSES = (FINE, NOT_CHECKED, LOOK, WRONG)
SYMBOLS = {FINE: "✓", NOT_CHECKED: "○", LOOK: "△", WRONG: "✗"}
NAMED = 50  # files of one finding that the page names; all are in ``finding.files``
POINT_COLUMNS = "Point", "Status", "Seen", "To do"
FOLDER_COLUMNS = "Question", "Status", "Seen", "How sure", "To do"

STYLE = """
.tdnn-page{max-width:68em;line-height:1.4;color:inherit}
.tdnn-page table{width:100%}
.tdnn-page td{overflow-wrap:anywhere;white-space:normal}
.tdnn-page td:first-child{overflow-wrap:normal}
.tdnn-page figure{display:inline-block;margin:.6em 1em .4em 0;vertical-align:top;max-width:min(32em,100%)}
.tdnn-page figure img{max-width:100%;height:auto;background:#fff}
.tdnn-page figcaption{font-size:.9em}
.tdnn-page summary{cursor:pointer}
"""


def percent(rate: float, decimals: int = 0) -> str:
    return f"{100 * rate:.{decimals}f} %"


@dataclass(frozen=True)
class Finding:
    """How bad it is, what was seen (with its numbers), what to do about it, how sure it is, and which files show it.

    A check yields one for each thing that it measures, without a title; :meth:`of` sums them up.
    """

    status: str
    evidence: str
    advice: str = ""
    sure: str = ""
    files: tuple[str, ...] = ()
    title: str = ""

    @classmethod
    def of(cls, title: str, parts: Iterable[Finding]) -> Finding:
        """One question, from its parts (at least one): the status is that of the worst, and the texts start with it."""
        parts = sorted(parts, key=_urgency, reverse=True)  # stable: equals keep their order

        def joined(texts: Iterable[str]) -> str:
            return " ".join(dict.fromkeys(text for text in texts if text))

        return cls(
            parts[0].status,
            joined(part.evidence for part in parts),
            joined(part.advice for part in parts),
            joined(part.sure[0].upper() + part.sure[1:].rstrip(".") + "." for part in parts if part.sure),
            tuple(dict.fromkeys(name for part in parts for name in part.files)),
            title,
        )


def _urgency(finding: Finding) -> int:
    return STATUSES.index(finding.status)


@dataclass(frozen=True)
class Report:
    """What is wrong, how sure that is, and what to do. Print it, end a notebook cell with it, or :meth:`save` it.

    Attributes:
        findings: on a model, the seven points of the paper ("1 Input representation", …); on a folder, "Files",
            "Pixels", "Resolution", "Classes", "Copies", "Labels" and "Shortcuts".
        seconds: what the checks took.
        suspects: positions in the training split whose label looks wrong, the worst first.
        name, about: of a folder, and one sentence on what was examined.
        pictures: the figures of the page.
        points: on a folder, the report on the network that was trained.
        model, history: that network after its brief training, and how that went (None with ``epochs=0``).
    """

    findings: tuple[Finding, ...]
    seconds: float
    suspects: list[int] = field(default_factory=list)
    name: str = ""
    about: str = ""
    pictures: tuple[cards.Picture, ...] = ()
    points: Report | None = None
    model: nn.Module | None = None
    history: History | None = None

    def __getitem__(self, question: int | str) -> Finding:
        """The finding of a point, 1 to 7, or the one with a title."""
        by_number = isinstance(question, int)
        return {one.title.split()[0] if by_number else one.title: one for one in self.all}[str(question)]

    @property
    def all(self) -> tuple[Finding, ...]:
        """The findings; on a folder, those of the seven points follow."""
        return (*self.findings, *(self.points.findings if self.points else ()))

    @property
    def worst(self) -> str:
        """The most urgent status of all: "wrong", "look", "not checked" or "fine"."""
        return max(self.all, key=_urgency).status

    @property
    def summary(self) -> str:
        """One line: how many findings are wrong, to look at, fine and not checked."""
        counts = {status: sum(one.status == status for one in self.findings) for status in reversed(STATUSES)}
        return ", ".join(f"{n} {status}" for status, n in counts.items() if n) + f" ({self.seconds:.0f} s)"

    @property
    def verdict(self) -> str:
        """One or two sentences: what is wrong, and what is to be looked at."""
        wrong, look = (", ".join(one.title for one in self.all if one.status == status) for status in (WRONG, LOOK))
        return (f"Wrong: {wrong}." if wrong else "Nothing serious was found.") + (f" Look at: {look}." if look else "")

    def frame(self):
        """A DataFrame with the columns title, status, evidence, sure, advice, files."""
        import pandas as pd

        return pd.DataFrame([vars(one) for one in self.all])[["title", "status", "evidence", "sure", "advice", "files"]]

    def save(self, path: str | Path) -> Path:
        """Write the page as one HTML file: no request to anywhere, figures inside, light and dark. The file is there as
        a whole or not at all. OSError if it cannot be written."""
        path = Path(path).expanduser()
        page = cards.page(f"Checklist of {self.name}".removesuffix(" of "), self._repr_html_(heading="h1"))
        write_whole(path, page.encode())
        return path

    def _in_order(self) -> list[Finding]:
        """The seven points in their order, those of a folder with the worst first."""
        return sorted(self.findings, key=_urgency, reverse=True) if self.points else list(self.findings)

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.about}", self.verdict, ""] if self.points else []
        for one in self._in_order():
            lines.append(f"{SYMBOLS[one.status]} {one.title}: {one.status}")
            for mark, text in (("    ", one.evidence), ("  ± ", one.sure), ("  → ", one.advice)):
                lines += textwrap.wrap(text, 116, initial_indent=mark, subsequent_indent="    ")
        lines += ["", "The seven points of the checklist:", str(self.points)] if self.points else [self.summary]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self, heading: str = "h3") -> str:
        columns = FOLDER_COLUMNS if self.points else POINT_COLUMNS
        table = cards.table(columns, [[_cells(one)[name] for name in columns] for one in self._in_order()])
        if not self.points:
            return f"{table}<p>{html.escape(self.summary)}</p>"
        points = cards.fold(
            "The seven points of the checklist, on the network that was trained here",
            self.points._repr_html_(),
            unfolded=self.points.worst in (LOOK, WRONG),
        )
        return (
            f'<div class="tdnn-page"><style>{STYLE}</style><{heading}>Checklist of {html.escape(self.name)}</{heading}>'
            f"<p><strong>{html.escape(self.verdict)}</strong><br>{html.escape(self.about)} ({self.seconds:.0f} s)</p>"
            f"{table}{''.join(map(cards.figure, self.pictures))}{points}</div>"
        )


def _cells(one: Finding) -> dict[str, str]:
    """A row of the table."""
    named = html.escape(listed(one.files, NAMED))
    return {
        "Point": html.escape(one.title),
        "Question": html.escape(one.title),
        "Status": cards.badge(SYMBOLS[one.status], one.status, urgent=one.status in (LOOK, WRONG)),
        "Seen": html.escape(one.evidence) + (cards.fold(f"{len(one.files):,} files", named) if one.files else ""),
        "How sure": html.escape(one.sure),
        "To do": html.escape(one.advice),
    }
