"""The table of all claims: what the ledger says, and what the committed run of each lesson recorded.

Nothing of it is written by hand.
"""

import json
import re
from collections import Counter
from pathlib import Path

import jinja2
import nbformat

from tdnn_helpers.evidence.claims import SYMBOLS, by_todays_rule, ledger

from . import NOTEBOOKS
from .lesson import verdicts_of


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
    return re.sub(r"(?<![\w.])-(?=\d)", "−", re.sub(r"\b0e\+00\b", "0", text))


def page(folder: Path = NOTEBOOKS) -> str:
    """CLAIMS.md as Markdown: a count, a table of all claims, and the statements of the paper that need repair."""
    records, where, known = settled(folder), {}, {claim["id"]: claim for claim in ledger()["claims"]}
    for path in sorted(folder.glob("*.ipynb")):
        where |= places(nbformat.read(path, as_version=4))

    rows, counts, larger = [], Counter(), []
    for name, claim in known.items():
        counts[records[name]["verdict"] if name in records else "open"] += 1
        part = where.get(name, "").lower()
        place = f"lesson {int(claim['lesson'][:2])}" + f", {part}" * bool(part)
        rows.append(_row(claim, records.get(name), f"[{place}](notebooks/{claim['lesson']}.ipynb)"))
    for path in sorted((folder / "verdicts" / "full").glob("*.json")):
        for name, record in json.loads(path.read_text(encoding="utf-8")).items():
            machine = f"{record['device']}, torch {record['versions']['torch']}"
            machine += "; judged by an earlier version of the rule" * (not by_todays_rule(record, known[name]))
            larger.append(_row(known[name], record, _cell(machine)))

    total = " · ".join(f"{SYMBOLS[name]} {name}: {counts[name]}" for name in SYMBOLS if name in counts)
    text = Path(__file__).with_name("claims.md.j2").read_text(encoding="utf-8")
    template = jinja2.Environment(trim_blocks=True).from_string(text)
    again = [claim | claim["reread"] for claim in known.values() if "reread" in claim]
    kinds = Counter(claim["change"] for claim in again)
    return template.render(
        rows=rows, total=total, larger=larger, repairs=ledger()["repairs"], again=again,
        missing=ledger().get("missing", []), same=len(rows) - len(again), kinds=kinds, cell=_cell,
    )  # fmt: skip


def _row(claim: dict, record: dict | None, last: str) -> list[str]:
    verdict = record["verdict"] if record else "open"
    measured = evidence(record) if record and verdict != "open" else ""
    texts = (claim["id"], claim["section"], claim["claim"], measured, f"{SYMBOLS[verdict]} {verdict}{_fate(claim)}")
    return [*map(_cell, texts), last]


def _fate(claim: dict) -> str:
    """What a second reading of the paper says of the verdict."""
    change = claim.get("reread", {}).get("change")
    return {"rule": "; to be measured again", "drop": "; the paper does not say it"}.get(change, "")


def _cell(text: str) -> str:
    """Text for a cell of a Markdown table: a bar would end the cell, a star or a < would start markup."""
    return re.sub(r"([|*<_`])", r"\\\1", " ".join(text.split()))
