"""Numbers as a table: three or more of them are read better so than in a sentence."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import pandas as pd


class Table:
    """A table that a notebook shows, as HTML and as text. ``frame`` holds its cells as text."""

    def __init__(self, frame: pd.DataFrame, caption: str) -> None:
        self.frame, self.caption = frame, caption

    def __repr__(self) -> str:
        return "\n".join([*([self.caption] if self.caption else []), self.frame.to_string()])

    def _repr_html_(self) -> str:
        body = self.frame.to_html(border=0, classes="dataframe")
        caption = f'<caption style="text-align:left;caption-side:top">{html.escape(self.caption)}</caption>'
        return body.replace("\n  <thead>", f"\n  {caption}\n  <thead>", 1) if self.caption else body


def table(
    rows: pd.DataFrame | Mapping[str, Any] | Sequence[Mapping[str, Any]], caption: str = "", *, digits: int = 1
) -> Table:
    """A table of numbers, effects and words, each written in one way.

    Args:
        rows: a DataFrame; or name of a row → {column: value}, or → one value; or a list of such rows.
        caption: what the numbers are, with their unit.
        digits: after the decimal point of a float. An :class:`~tdnn_helpers.evidence.effects.Effect` has its own.

    Raises ValueError for a table without rows.
    """
    if isinstance(rows, Mapping):
        one = {name: row if isinstance(row, Mapping) else {"": row} for name, row in rows.items()}
        rows = pd.DataFrame(list(one.values()), index=list(one), dtype=object)
    frame = pd.DataFrame(rows)
    if frame.empty:
        raise ValueError("a table needs at least one row.")
    return Table(frame.astype(object).map(lambda value: _written(value, digits)), caption)


def _written(value: Any, digits: int) -> str:
    if not isinstance(value, Real):
        return str(value)
    if math.isnan(value):
        return "–"
    return (f"{value:,}" if isinstance(value, Integral) else f"{value:,.{digits}f}").replace("-", "−")
