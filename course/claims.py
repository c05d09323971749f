"""The table of all claims: what the ledger says, and what the committed run of each lesson recorded.

Nothing of it is written by hand.
"""

import json
import re
from collections import Counter
from pathlib import Path

import jinja2
import nbformat

from tdnn_helpers.evidence.claims import by_todays_rule, effects_of, ledger
from tdnn_helpers.evidence.rules import each_part, would_have_shown
from tdnn_helpers.evidence.several import holm
from tdnn_helpers.evidence.verdict import SYMBOLS

from . import NOTEBOOKS, forests
from .lesson import VERDICTS, kind_of, verdicts_of

KINDS = {"exact": "Calculated", "experiment": "Measured", "reading": "Read"}


def places(notebook: nbformat.NotebookNode) -> dict[str, str]:
    """claim id → the heading under which the lesson settles it (without what follows its "·")."""
    found, heading = {}, ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for title in re.findall(r"^## +(.+)$", cell.source, re.MULTILINE):
                heading = title.partition(" · ")[0].strip()
        else:
            for claim in re.findall(r"\b(?:judge|exact|reading)\(\s*\"(C\d{3})\"", cell.source):
                found.setdefault(claim, heading)
    return found


def settled(folder: Path = NOTEBOOKS) -> dict[str, dict]:
    """claim id → the record of its verdict, for each claim that was judged by the rule that the ledger holds today."""
    records = {}
    for path in sorted(folder.glob("*.ipynb")):
        records |= verdicts_of(path)
    found = ((claim, records.get(claim["id"], {})) for claim in ledger()["claims"])
    return {claim["id"]: record for claim, record in found if by_todays_rule(record, claim)}


def evidence(record: dict) -> str:
    """What was measured and from where on it counts; of a claim without measurements, what was calculated or read."""
    measured = "; ".join(record["measured"])
    text = f"{measured}. Holds if {record['evidence']}" if measured else record["evidence"]
    if record.get("said"):
        text = f"{record['said'][0].upper()}{record['said'][1:]}. {text}"
    elif kind_of(record["verdict"]) == "not shown":
        least = max((would_have_shown(one), one.unit) for one in effects_of(record)[""])
        text += f". Would have shown an effect of {least[0]:.2g} {least[1]} or more".rstrip()
    return re.sub(r"(?<![\w.])-(?=\d)", "−", re.sub(r"\b0e\+00\b", "0", text))


def page(folder: Path = NOTEBOOKS) -> str:
    """CLAIMS.md as Markdown: a count, a table of all claims, and the statements of the paper that need repair."""
    records, where, known = settled(folder), {}, {claim["id"]: claim for claim in ledger()["claims"]}
    for path in sorted(folder.glob("*.ipynb")):
        where |= places(nbformat.read(path, as_version=4))

    rows, counts, larger = [], {kind: Counter() for kind in KINDS}, []
    for name, claim in known.items():
        counts[claim["kind"]][kind_of(records[name]["verdict"]) if name in records else "open"] += 1
        part = where.get(name, "").lower()
        place = f"lesson {int(claim['lesson'][:2])}" + f", {part}" * bool(part)
        rows.append(_row(claim, records.get(name), f"[{place}](notebooks/{claim['lesson']}.ipynb)"))
    for path in sorted((folder / "verdicts" / "full").glob("*.json")):
        for name, record in json.loads(path.read_text(encoding="utf-8")).items():
            machine = f"{record['device']}, torch {record['versions']['torch']}"
            machine += "; judged by an earlier version of the rule" * (not by_todays_rule(record, known[name]))
            larger.append(_row(known[name], record, _cell(machine)))

    totals = {
        KINDS[kind]: f"{sum(found.values())} ({', '.join(f'{kind} {found[kind]}' for kind in order if found[kind])})"
        for order in [(*VERDICTS, "open")]
        for kind, found in counts.items()
    }
    text = Path(__file__).with_name("claims.md.j2").read_text(encoding="utf-8")
    template = jinja2.Environment(trim_blocks=True).from_string(text)
    again = [claim | claim["reread"] for claim in known.values() if "reread" in claim]
    second = [claim | {"now": records.get(claim["id"], {}).get("verdict", "open")} for claim in known.values()
              if claim.get("edition") == 2]  # fmt: skip
    adjusted = adjusted_p(records)
    weak = [name for name, p in adjusted.items() if p >= 0.05]
    return template.render(
        rows=rows, totals=totals, larger=larger, repairs=ledger()["repairs"], again=again, second=second,
        missing=ledger().get("missing", []), kinds=Counter(claim["change"] for claim in again), cell=_cell,
        adjusted=adjusted, weak=weak, pictures=list(drawn(records)),
    )  # fmt: skip


def adjusted_p(records: dict[str, dict]) -> dict[str, float]:
    """claim id → p-value of each measured claim that holds or is refuted, adjusted for their number (Holm): that the
    effect lies on the threshold of its rule. Where several parts or budgets must all be so, the largest counts."""
    found = {}
    for claim in ledger()["claims"]:
        record = records.get(claim["id"])
        if claim["kind"] == "experiment" and record and kind_of(record["verdict"]) in ("holds", "refuted"):
            groups = effects_of(record).values()
            values = [_p_values(claim["decide"], group, kind_of(record["verdict"])) for group in groups]
            if claim["decide"].get("needs") == "one":
                found[claim["id"]] = max(min(holm(group)) for group in values)
            else:  # what is refuted by one part is so by its smallest
                refuted = record["verdict"] == "refuted here"
                found[claim["id"]] = max((min if refuted else max)(group) for group in values)
    return dict(zip(found, map(float, holm(list(found.values()))), strict=True))


def _p_values(rule: dict, effects: list, kind: str) -> list[float]:
    if "within" in rule:
        ends = [(effect.p(-rule["within"]), effect.p(rule["within"])) for effect in effects]
        return [max(pair) if kind == "holds" else min(pair) for pair in ends]
    return [effect.p(than) for effect, than in zip(effects, each_part(rule, "than"), strict=True)]


def drawn(records: dict[str, dict]) -> dict[str, list[dict]]:
    """lesson → its measured claims, for each lesson that has a forest."""
    lessons: dict[str, list[dict]] = {}
    for claim in ledger()["claims"]:
        if claim["kind"] == "experiment" and claim["id"] in records:
            lessons.setdefault(claim["lesson"], []).append(claim)
    return {
        lesson: rows
        for lesson, rows in sorted(lessons.items())
        if any(forests.lines_of(claim, records[claim["id"]]) for claim in rows)
    }


def pictures(records: dict[str, dict], folder: Path = NOTEBOOKS) -> dict[str, bytes]:
    """lesson → the forest of its measured claims, as PNG. The one that lies in ``folder`` is taken while it shows what
    the records say."""
    found = {}
    for lesson, rows in drawn(records).items():
        path = folder / "verdicts" / f"{lesson}.png"
        old = path.read_bytes() if path.exists() else None
        current = old and forests.shown_by(old) == forests.digest(rows, records)
        found[lesson] = old if current else forests.picture(rows, records)
    return found


def whole(folder: Path = NOTEBOOKS) -> list[dict]:
    """The ledger's claims with what is recorded of each: verdict, effects, and the adjusted p-value."""
    records = settled(folder)
    adjusted = adjusted_p(records)
    return [
        claim | {"record": records.get(claim["id"]), "adjusted_p": adjusted.get(claim["id"])}
        for claim in ledger()["claims"]
    ]


def write(folder: Path = NOTEBOOKS) -> None:
    """Write CLAIMS.md, and the forests that it shows."""
    for lesson, png in pictures(settled(folder), folder).items():
        (folder / "verdicts" / f"{lesson}.png").write_bytes(png)
    (folder.parent / "CLAIMS.md").write_text(page(folder), encoding="utf-8")


def _row(claim: dict, record: dict | None, last: str) -> list[str]:
    verdict = record["verdict"] if record else "open"
    measured = evidence(record) if record and verdict != "open" else ""
    sign = f"{SYMBOLS[verdict]} {verdict.removesuffix(' here').removesuffix(' at this scale')}"
    texts = (claim["id"], claim["section"], claim["claim"], measured, f"{sign}{_fate(claim)}")
    return [*map(_cell, texts), last]


def _fate(claim: dict) -> str:
    """What a second reading of the paper says of the verdict."""
    change = claim.get("reread", {}).get("change")
    return {"rule": "; to be measured again", "drop": "; the paper does not say it"}.get(change, "")


def _cell(text: str) -> str:
    """Text for a cell of a Markdown table: a bar would end the cell, a star or a < would start markup."""
    return re.sub(r"([|*<_`])", r"\\\1", " ".join(text.split()))
