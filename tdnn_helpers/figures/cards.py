"""HTML for reports: a table, a text that folds out, a figure, a page that needs nothing else.

No colour of its own, except on a page that stands alone: text and lines follow the page around them, so they are
legible in light and in dark.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from typing import NamedTuple

CELL = "text-align:left;vertical-align:top;padding:.35em .7em;border-bottom:1px solid currentColor"
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>:root{{color-scheme:light dark}}
body{{font:15px/1.4 system-ui,sans-serif;margin:1.5em auto;padding:0 1em;max-width:68em;background:#fff;color:#1a1a1a}}
@media (prefers-color-scheme:dark){{body{{background:#161616;color:#e8e8e8}}}}
@media print{{body{{font-size:9pt;margin:0}}}}</style></head>
<body>{body}</body></html>
"""


class Picture(NamedTuple):
    """A figure as PNG bytes; ``alt`` says in words what it shows, ``caption`` how to read it."""

    png: bytes
    alt: str
    caption: str


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with a head of plain texts and rows of HTML cells."""
    head = "".join(f'<th scope="col" style="{CELL}">{html.escape(name)}</th>' for name in columns)
    cell = f'<td style="{CELL};background:transparent">'
    body = "".join(
        f'<tr style="background:transparent">{"".join(f"{cell}{content}</td>" for content in row)}</tr>' for row in rows
    )
    return (
        '<table style="border-collapse:collapse;color:inherit;background:transparent;max-width:70em">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def badge(symbol: str, word: str, *, urgent: bool) -> str:
    """A status: its symbol, which a screen reader skips, and its word."""
    weight = "bold" if urgent else "normal"
    return (
        f'<span style="font-weight:{weight};white-space:nowrap"><span aria-hidden="true">{symbol}</span>'
        f"&nbsp;{html.escape(word)}</span>"
    )


def fold(summary: str, content: str, *, unfolded: bool = False) -> str:
    """HTML content that a click on the plain text ``summary`` shows."""
    return f"<details{' open' * unfolded}><summary>{html.escape(summary)}</summary>{content}</details>"


def figure(picture: Picture) -> str:
    """The picture with its caption; its bytes are in the page."""
    source = f"data:image/png;base64,{base64.b64encode(picture.png).decode('ascii')}"
    caption = html.escape(picture.caption)
    return f'<figure><img alt="{html.escape(picture.alt)}" src="{source}"><figcaption>{caption}</figcaption></figure>'


def page(title: str, body: str) -> str:
    """An HTML file, light or dark as the reader's system is, that asks nobody for anything."""
    return PAGE.format(title=html.escape(title), body=body)
