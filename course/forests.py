"""One picture a lesson: every measured effect beside what its rule asks for."""

import hashlib
import io
import json
from collections.abc import Mapping

import matplotlib
import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

from tdnn_helpers.evidence.claims import effects_of
from tdnn_helpers.evidence.effects import Effect
from tdnn_helpers.evidence.rules import each_part
from tdnn_helpers.evidence.verdict import SYMBOLS
from tdnn_helpers.figures.forests import SHADE
from tdnn_helpers.session import set_figure_style

from .lesson import kind_of

LOOKS = {  # kind of verdict → colour and marker
    "holds": ("#0173b2", "o"),
    "refuted": ("#d55e00", "X"),
    "depends": ("#cc78bc", "D"),
    "not shown": ("#949494", "s"),
}
NOTE = "Description"  # where a PNG keeps the digest of what it shows


def lines_of(claim: Mapping, record: Mapping) -> list[tuple[str, Effect]]:
    """(label, effect) for each interval that decides a claim, such that the claimed side is on the right, its threshold
    is at 0, and 1 is the smallest effect of interest; nothing of a rule without one, or without a side."""
    rule, lines = claim["decide"], []
    if "within" in rule:
        return []
    for key, group in effects_of(record).items():
        for part, effect in enumerate(group):
            side, than, scale = (each_part(rule, name)[part] for name in ("expect", "than", "smallest"))
            if not scale:
                continue
            side = {"above": 1, "below": -1}[side]
            low, mean, high = sorted(side * (value - than) / scale for value in (effect.low, effect.mean, effect.high))
            name = f"{claim['id']}{f' at {key}' if key else ''}"
            lines.append((name, Effect(mean, low, high, effect.n, what=effect.what)))
    return lines


def digest(claims: list[Mapping], records: Mapping[str, Mapping]) -> str:
    """Of all that the picture of a lesson shows."""
    shown = [(claim["id"], "reread" in claim, records[claim["id"]]["verdict"]) for claim in claims]
    lines = [(name, effect.mean, effect.low, effect.high) for claim in claims
             for name, effect in lines_of(claim, records[claim["id"]])]  # fmt: skip
    return hashlib.sha256(json.dumps([shown, lines]).encode()).hexdigest()[:16]


def draw(claims: list[Mapping], records: Mapping[str, Mapping]) -> Figure:
    """The forest of a lesson's measured claims, of which one at least has lines."""
    rows = [(claim, *line) for claim in claims for line in lines_of(claim, records[claim["id"]])]
    with matplotlib.rc_context():
        set_figure_style()
        figure, axis = plt.subplots(figsize=(7.6, 0.9 + 0.2 * len(rows)), layout="constrained")
        axis.axvspan(-1, 1, **SHADE)
        axis.axvline(0, color="#555555", linewidth=1)
        for place, (claim, _, effect) in enumerate(rows):
            colour, marker = LOOKS[kind_of(records[claim["id"]]["verdict"])]
            filled = {} if "reread" in claim else {"markerfacecolor": colour}
            bars = [[effect.mean - effect.low], [effect.high - effect.mean]]
            style = dict(color=colour, marker=marker, markersize=5, capsize=2, markerfacecolor="white") | filled
            axis.errorbar([effect.mean], [place], xerr=bars, **style)
        signs = (SYMBOLS[records[claim["id"]]["verdict"]] for claim, *_ in rows)
        axis.set_yticks(range(len(rows)), [f"{name} {sign}" for (_, name, _), sign in zip(rows, signs)])
        axis.set_xscale("asinh")
        axis.set_xticks([-100, -10, -1, 0, 1, 10, 100], ["−100", "−10", "−1", "0", "1", "10", "100"])
        axis.minorticks_off()
        axis.tick_params(axis="y", labelsize=7.5)
        axis.set(ylim=(len(rows) - 0.4, -0.6))
        axis.set_xlabel("against the claim  ←  in smallest effects of interest  →  for the claim", fontsize=9)
        axis.grid(axis="y", visible=False)
    return figure


def picture(claims: list[Mapping], records: Mapping[str, Mapping]) -> bytes:
    """The forest as PNG, with the digest of what it shows in it."""
    figure = draw(claims, records)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, metadata={NOTE: digest(claims, records), "Software": None})
    plt.close(figure)
    return buffer.getvalue()


def shown_by(png: bytes) -> str | None:
    """The digest of what a picture shows."""
    return Image.open(io.BytesIO(png)).info.get(NOTE)
