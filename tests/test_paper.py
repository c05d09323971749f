"""The ledger against the paper's text: its key phrases are there, in the section that it names.

The text lies beside the project where it is developed. Elsewhere the digest says that the phrases are those that were
found."""

import hashlib
import json
import re
from pathlib import Path

import pytest

from tdnn_helpers.evidence.claims import ledger

PAPER = Path(__file__).resolve().parents[2] / "shared" / "paper.md"
MODES = {"can", "often", "advice", "practice", "reported", "fact"}
ROWS = [*ledger()["claims"], *ledger()["missing"]]


def plain(text):
    """Lower case, straight quotation marks and dashes, single spaces."""
    signs = str.maketrans({"“": '"', "”": '"', "’": "'", "‘": "'", "–": "-", "—": "-", "*": None})
    return re.sub(r"\s+", " ", text.translate(signs)).lower().strip()


def sections(text):
    """Section → its text. A Roman number, a letter below it, and in II-A the numbers of the list."""
    found, part, place = {}, "", ""
    for line in text.partition("## REFERENCES")[0].splitlines():
        if heading := re.match(r"#+ ([IVX]+)\. ", line):
            part = place = heading[1]
        elif heading := re.match(r"#+ ([A-E])\. ", line):
            place = f"{part}-{heading[1]}"
        elif (item := re.match(r"□ (\d)\. ", line)) and place.startswith("II-A"):
            place = f"II-A{item[1]}"
        found.setdefault(place, []).append(line)
    return {place: plain("\n".join(lines)) for place, lines in found.items()}


def test_phrases_are_short_and_those_that_were_found():
    assert all(len(row["quote"].split()) <= 8 and row["mode"] in MODES for row in ROWS)
    quotes = sorted((row["id"], row["section"], row["quote"]) for row in ROWS)
    digest = hashlib.sha256(json.dumps(quotes, ensure_ascii=False).encode()).hexdigest()[:16]
    assert digest == ledger()["quotes"], "look for the phrases in the paper, then renew the digest"


@pytest.mark.skipif(not PAPER.exists(), reason="the paper's text is not here")
def test_every_phrase_stands_in_its_section_of_the_paper():
    text = sections(PAPER.read_text(encoding="utf-8"))
    assert {row["id"] for row in ROWS if plain(row["quote"]) not in text[row["section"]]} == set()
    assert plain(ROWS[0]["quote"]) not in text[ROWS[-1]["section"]]  # it can fail


def test_what_was_read_again_is_well_formed():
    for row in ledger()["claims"]:
        if again := row.get("reread"):
            assert {"claim", "change", "why"} <= set(again) <= {"claim", "change", "why", "settle", "split"}, row["id"]
            assert again["change"] in ("wording", "rule", "drop") and ("settle" in again) == (again["change"] == "rule")
            same = again["claim"] == row["claim"]
            assert again["change"] == "rule" or same == (again["change"] == "drop"), row["id"]
            assert len(again["claim"].split()) <= 40 and again["claim"].endswith("."), row["id"]
    lessons = {row["lesson"] for row in ledger()["claims"]}
    for row in ledger()["missing"]:
        assert re.fullmatch(r"M\d\d", row["id"]) and row["lesson"] in lessons and row["settle"], row["id"]
        assert row["kind"] in ("experiment", "exact", "reading"), row["id"]
    for row in ledger()["repairs"]:
        assert row["reread"]["fate"] in ("keep", "reword", "drop", "remark"), row["id"]
        assert row["reread"]["theirs"] in ("yes", "partly", "no"), row["id"]
