"""What a folder's check hands back: one page, in a notebook and as an HTML file that needs nothing else."""

from __future__ import annotations

import base64
import html
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ...core.places import write_whole
from ..report import FINE, LOOK, NOT_CHECKED, STATUSES, SYMBOLS, WRONG, Report

NAMED = 50  # files of one finding that the page names; all are in ``finding.files``

STYLE = """
.tdnn-page{max-width:68em;line-height:1.4;color:inherit}
.tdnn-page table{border-collapse:collapse;color:inherit;background:transparent;width:100%}
.tdnn-page th,.tdnn-page td{text-align:left!important;vertical-align:top;padding:.3em .6em;background:transparent;
border-bottom:1px solid currentColor;overflow-wrap:anywhere;white-space:normal}
.tdnn-page td:first-child,.tdnn-page .status{overflow-wrap:normal}
.tdnn-page .status{white-space:nowrap}
.tdnn-page figure{display:inline-block;margin:.6em 1em .4em 0;vertical-align:top;max-width:min(32em,100%)}
.tdnn-page figure img{max-width:100%;height:auto;background:#fff}
.tdnn-page figcaption{font-size:.9em}
.tdnn-page summary{cursor:pointer}
"""
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>:root{{color-scheme:light dark}}
body{{font:15px/1.4 system-ui,sans-serif;margin:1.5em auto;padding:0 1em;max-width:68em;background:#fff;color:#1a1a1a}}
@media (prefers-color-scheme:dark){{body{{background:#161616;color:#e8e8e8}}}}
@media print{{body{{font-size:9pt;margin:0}}}}</style></head>
<body>{body}</body></html>
"""


class Seen(NamedTuple):
    """One thing that was measured: how bad it is, what was seen, how sure that is, what to do, and which files."""

    status: str
    evidence: str
    sure: str = "exact"
    advice: str = ""
    files: tuple[str, ...] = ()


class Picture(NamedTuple):
    """A figure as PNG bytes; ``alt`` says in words what it shows, ``caption`` how to read it."""

    png: bytes
    alt: str
    caption: str


@dataclass(frozen=True)
class FolderFinding:
    """One question about the folder: ``status`` is that of its worst note, and the texts start with that note.

    ``files`` are the images to look at, relative to the folder, the worst first.
    """

    title: str
    status: str
    evidence: str
    sure: str
    advice: str
    files: tuple[str, ...]

    @classmethod
    def of(cls, title: str, seen: Iterable[Seen]) -> FolderFinding:
        """Sum up what was seen (at least one note)."""
        seen = sorted(seen, key=lambda one: -STATUSES.index(one.status))  # stable: equals keep their order

        def joined(texts: Iterable[str]) -> str:
            return " ".join(dict.fromkeys(text for text in texts if text))

        return cls(
            title,
            seen[0].status,
            joined(one.evidence for one in seen),
            joined(one.sure[0].upper() + one.sure[1:].rstrip(".") + "." for one in seen if one.sure),
            joined(one.advice for one in seen),
            tuple(dict.fromkeys(name for one in seen for name in one.files)),
        )


@dataclass(frozen=True)
class FolderReport:
    """What is wrong with a folder and a model, how sure that is, and what to do.

    Attributes:
        name: of the folder.
        about: one sentence on what was examined.
        findings: about the folder, by title: "Files", "Pixels", "Resolution", "Classes", "Copies", "Labels" and
            "Shortcuts".
        points: the seven points of the paper on the model that was trained, a :class:`~tdnn_helpers.checklist.Report`.
        pictures: the figures of the page.
        model, history: the network after its brief training, and how that went (None with ``epochs=0``).
        seconds: what everything took.
    """

    name: str
    about: str
    findings: dict[str, FolderFinding]
    points: Report
    pictures: tuple[Picture, ...]
    model: object
    history: object
    seconds: float

    def __getitem__(self, title: str) -> FolderFinding:
        return self.findings[title]

    @property
    def worst(self) -> str:
        """The most urgent status of all: "wrong", "look", "not checked" or "fine"."""
        statuses = [finding.status for finding in (*self.findings.values(), *self.points.findings)]
        return max(statuses, key=STATUSES.index)

    @property
    def verdict(self) -> str:
        """One or two sentences: what is wrong, and what is to be looked at."""
        named = {status: [] for status in STATUSES}
        for finding in self.findings.values():
            named[finding.status].append(finding.title)
        for finding in self.points.findings:
            named[finding.status].append(f"{finding.point} {finding.title}")
        wrong, look = (", ".join(named[status]) for status in (WRONG, LOOK))
        first = f"Wrong: {wrong}." if wrong else "Nothing serious was found."
        return first + (f" Look at: {look}." if look else "")

    def frame(self):
        """A DataFrame with the columns title, status, evidence, sure, advice, files; the seven points follow."""
        import pandas as pd

        columns = ["title", "status", "evidence", "sure", "advice", "files"]
        rows = [vars(finding) for finding in self.findings.values()]
        rows += [vars(finding) | {"title": f"{finding.point} {finding.title}"} for finding in self.points.findings]
        return pd.DataFrame(rows).reindex(columns=columns)

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.about}", self.verdict, ""]
        for finding in self._worst_first():
            lines.append(f"{SYMBOLS[finding.status]} {finding.title}: {finding.status}")
            lines += textwrap.wrap(finding.evidence, 116, initial_indent="    ", subsequent_indent="    ")
            lines += textwrap.wrap(finding.sure, 116, initial_indent="  ± ", subsequent_indent="    ")
            lines += textwrap.wrap(finding.advice, 116, initial_indent="  → ", subsequent_indent="    ")
        return "\n".join([*lines, "", "The seven points of the checklist:", str(self.points)])

    __repr__ = __str__

    def save(self, path: str | Path) -> Path:
        """Write the page as one HTML file: no request to anywhere, figures inside, light and dark. The file is there as
        a whole or not at all. OSError if it cannot be written."""
        path = Path(path).expanduser()
        page = PAGE.format(title=html.escape(f"Checklist of {self.name}"), body=self._repr_html_(heading="h1"))
        write_whole(path, page.encode())
        return path

    def _worst_first(self) -> list[FolderFinding]:
        return sorted(self.findings.values(), key=lambda finding: -STATUSES.index(finding.status))

    def _repr_html_(self, heading: str = "h3") -> str:
        head = "".join(f'<th scope="col">{name}</th>' for name in ("Question", "Status", "Seen", "How sure", "To do"))
        body = "".join(map(_row, self._worst_first()))
        pictures = "".join(
            f'<figure><img alt="{html.escape(one.alt)}" src="data:image/png;base64,'
            f'{base64.b64encode(one.png).decode("ascii")}"><figcaption>{html.escape(one.caption)}</figcaption></figure>'
            for one in self.pictures
        )
        urgent = any(finding.status in (LOOK, WRONG) for finding in self.points.findings)
        return (
            f'<div class="tdnn-page"><style>{STYLE}</style><{heading}>Checklist of {html.escape(self.name)}</{heading}>'
            f"<p><strong>{html.escape(self.verdict)}</strong><br>{html.escape(self.about)} ({self.seconds:.0f} s)</p>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{pictures}"
            f"<details{' open' if urgent else ''}><summary>The seven points of the checklist, on the network that was "
            f"trained here</summary>{self.points._repr_html_()}</details></div>"
        )


def _row(finding: FolderFinding) -> str:
    weight = "bold" if finding.status in (LOOK, WRONG) else "normal"
    files = ""
    if finding.files:
        more = len(finding.files) - NAMED
        named = html.escape(", ".join(finding.files[:NAMED])) + (f" and {more:,} more" if more > 0 else "")
        files = f"<details><summary>{len(finding.files):,} files</summary>{named}</details>"
    texts = [html.escape(finding.evidence) + files, html.escape(finding.sure), html.escape(finding.advice)]
    return (
        f"<tr><td>{html.escape(finding.title)}</td>"
        f'<td class="status" style="font-weight:{weight}"><span aria-hidden="true">{SYMBOLS[finding.status]}</span>'
        f"&nbsp;{finding.status}</td>{''.join(f'<td>{text}</td>' for text in texts)}</tr>"
    )


__all__ = ["FINE", "LOOK", "NOT_CHECKED", "WRONG", "FolderFinding", "FolderReport", "Picture", "Seen"]
