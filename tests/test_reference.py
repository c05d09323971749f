"""The glossary and the cheat sheet: what they say is what the lessons and the recorded verdicts say."""

import re

import nbformat
import pytest

from course import NOTEBOOKS
from course.claims import settled
from course.lesson import lessons
from course.pages import cheat_sheet
from course.pages.building import draw_claims
from course.pages.drawing import TEXTS, draw
from course.pages.glossary import Entry, entries, section
from tdnn_helpers.evidence.claims import ledger

VERDICTS = {"C001": "holds here", "C002": "refuted exactly", "C003": "not shown at this scale"}


# --- glossary ---------------------------------------------------------------------------------------------------------


def test_the_glossary_is_complete_short_and_sorted():
    about, listed = entries()
    assert about and len(listed) >= 60
    terms = [entry.term.lower() for entry in listed]
    assert terms == sorted(set(terms)) and len({entry.id for entry in listed}) == len(listed)
    source = (TEXTS / "glossary.md").read_text(encoding="utf-8")
    assert len(listed) == source.count("\n- "), "an entry doesn't have the form - **term** (lesson): Meaning."
    long = [entry.term for entry in listed if len(re.findall(r"[.!?](?=\s|$)", entry.text)) > 2]
    assert long == [], "say it in one or two sentences"


def test_a_lesson_names_the_terms_that_it_introduces():
    """A lesson that isn't there yet names nothing, and its terms have no link."""
    bodies = {lesson.number: draw(nbformat.read(lesson.path, as_version=4))[0] for lesson in lessons()}
    there = [entry for entry in entries()[1] if entry.lesson in bodies]
    lost = [f"{entry.term} (lesson {entry.lesson})" for entry in there if section(entry, bodies[entry.lesson]) is None]
    assert lost == [], "course/pages/texts/glossary.md: give these terms the number of a lesson that uses them"


def test_an_entry_leads_to_the_section_that_introduces_it():
    entry = Entry("squared error, squared loss (MSE)", 1, "")
    assert entry.names == ["squared error", "squared loss", "MSE"] and entry.id == "squared-error-squared-loss-mse"
    body = (
        '<h1>All losses</h1><p>an opening</p><h2 id="a">One <a>#</a></h2><p>a <b>squared</b> loss</p><pre>x</pre>'
        '<h2 id="b">Squared\nErrors <a>#</a></h2><h2 id="exercises">Exercises <a>#</a></h2>'
        '<h2 id="c">The MSE <a>#</a></h2>'
    )
    assert section(entry, body) == "b"
    places = {"squared loss": "a", "opening": "", "MSE": "c", "x": None, "loss function": None}
    assert {term: section(Entry(term, 1, ""), body) for term in places} == places


# --- cheat sheet ------------------------------------------------------------------------------------------------------


def test_advice_is_printed_only_while_its_verdicts_stand():
    text = (
        "# Sheet\n\nAbout.\n\n## One\n\n- Do a\n  b. (C001 holds; C002 refuted)\n- Do c. (C003 holds or refuted)\n"
        "- Do d. (C001 holds; C004 not shown)\n\n## Two\n- Do e. (C003 refuted or not shown)\n\n"
        "## Three\n- Do f. (C001 refuted)\n"
    )
    shown = cheat_sheet.page(VERDICTS, text)
    assert [line for line in shown.splitlines() if line] == [
        *("# Sheet", "About.", "## One", "- Do a", "  b. (C001 holds; C002 refuted)"),
        *("## Two", "- Do e. (C003 refuted or not shown)"),
    ]
    for ground, words in (("", "names no verdict"), (" (C001 holds or refuted or not shown)", "any would do")):
        with pytest.raises(ValueError, match=words):
            cheat_sheet.page(VERDICTS, f"## One\n- Do g.{ground}\n")


def test_grounds_become_signs_with_links_to_the_claims():
    body = cheat_sheet.with_signs("<li>Do a. (C001 holds;\nC002 refuted)</li>", VERDICTS)
    assert body == (
        '<li>Do a. <span class="grounds"><a href="claims.html#C001">C001 ✓</a> '
        '<a href="claims.html#C002">C002 ✗</a></span></li>'
    )
    known = ledger()["claims"][0]["id"]
    assert f'<td id="{known}">{known}</td>' in draw_claims(NOTEBOOKS, {})


def test_the_sheet_follows_the_verdicts_of_the_committed_runs_and_holds_no_typed_measurement():
    verdicts = {claim: record["verdict"] for claim, record in settled().items()}
    advice = [found[0] for found in cheat_sheet.ADVICE.finditer(cheat_sheet.source())]
    lost = [line for line in advice if not cheat_sheet.supported(line, verdicts)]
    assert len(advice) >= 30
    assert lost == [], "course/pages/texts/cheat_sheet.md: these came out otherwise; rewrite the advice"
    # Shares, points and sizes belong to the runs. What stays: 100 %, the range 0–1, and a metric's name.
    text = re.sub(r"\(C\d{3} .*\)|100 %|0–1\b|F1\b", "", cheat_sheet.source())
    assert re.findall(r"\d[\d.,]*", text) == []
