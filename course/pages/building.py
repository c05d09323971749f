"""Draws executed notebooks as a site that needs no network."""

import base64
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import nbformat

from .. import claims
from ..address import repository
from ..lesson import VERDICTS, lessons
from . import cheat_sheet, glossary, slides, teaching
from .drawing import TEMPLATES, TEXTS, draw, drawn, filled


def draw_claims(source: Path, headings: dict[str, list]) -> str:
    """CLAIMS.md of a folder's runs as HTML. Each claim's row in the first table has its id as an anchor, and its link
    leads to the part of the lesson that it names (`headings`: lesson → what `draw` found there)."""

    def to_part(link: re.Match) -> str:
        name, part = link[1], "-".join(re.findall(r"\w+", link[2] or ""))
        ids = [id for _, id, _ in headings.get(name, []) if part and (id == part or id.startswith(f"{part}-"))]
        return f'href="{name}.html{"#" + ids[0] if ids else ""}">{link[0].partition(">")[2]}'

    def embedded(link: re.Match) -> str:
        return f"](data:image/png;base64,{base64.b64encode(forests[link[1]]).decode('ascii')})"

    # On the site the lessons lie beside the page, as they do for the links of a notebook.
    forests = claims.pictures(claims.settled(source), source)
    text = re.sub(r"\]\(notebooks/verdicts/(\w+)\.png\)", embedded, claims.page(source))
    text = text.replace("](notebooks/", "](").replace("](README", "](../README")
    before, end, after = drawn(text).partition("</table>")
    before = re.sub(r"<td>(C\d{3})</td>", r'<td id="\1">\1</td>', before)
    return re.sub(r'href="(\w+)\.html">lesson \d+(?:, ([^<]+))?', to_part, before) + end + after


def draw_cheat_sheet(verdicts: dict[str, str]) -> str:
    """The cheat sheet as HTML: the advice that these verdicts (claim id → verdict) support."""
    return cheat_sheet.with_signs(drawn(cheat_sheet.page(verdicts, cheat_sheet.source())), verdicts)


def build(notebooks: Path, site: Path) -> None:
    """Draw the notebooks of a folder, as they are, as pages that need no network, into a folder whose old pages go."""
    course = lessons(notebooks)
    if not course:
        raise FileNotFoundError(f"There is no notebook in {notebooks}. Run `make site` for the committed ones.")
    site.mkdir(parents=True, exist_ok=True)
    for old in site.glob("*.html"):
        old.unlink()
    books = {lesson.path.stem: nbformat.read(lesson.path, as_version=4) for lesson in course}
    decks = {lesson.path.stem: deck for lesson in course if (deck := slides.page(books[lesson.path.stem], lesson))}
    guides = {name: found for name in books if (found := teaching.guide(name))}
    shared = {"course": course, "kinds": VERDICTS, "repository": repository(), "decks": decks, "guides": guides}

    def write(name: str, template: str, **values) -> None:
        (site / f"{name}.html").write_text(filled(template, **shared, **values), encoding="utf-8")

    there, found = {}, {}
    for before, lesson, after in zip([None, *course], course, [*course[1:], None], strict=False):
        name, notebook = lesson.path.stem, books[lesson.path.stem]
        body, found[name] = draw(notebook)
        there[lesson.number] = lesson, body
        contents = [heading for heading in found[name] if heading[0] in (2, 3)]
        write(name, "lesson.html", lesson=lesson, body=body, contents=contents, before=before, after=after)
        if name in guides:
            guide = drawn(guides[name].read_text(encoding="utf-8"))
            write(f"guide_{name}", "guide.html", lesson=lesson, body=guide, rows=teaching.slow_cells(notebook))
        if name in decks:
            (site / f"slides_{name}.html").write_text(decks[name], encoding="utf-8")
    for name, template in {"teaching": "teaching.html", "handbook": "text.html"}.items():
        body = drawn((TEXTS / f"{name}.md").read_text(encoding="utf-8"))
        write(name, template, kind=name, title=name.capitalize(), body=body)
    write("claims", "claims.html", kind="claims", title="What the paper claims", body=draw_claims(notebooks, found))
    whole = json.dumps(claims.whole(notebooks), indent=1, ensure_ascii=False)
    (site / "claims.json").write_text(whole, encoding="utf-8")
    committed = {claim: record["verdict"] for claim, record in claims.settled().items()}
    write("cheat_sheet", "text.html", kind="cheat_sheet", title="Cheat sheet", body=draw_cheat_sheet(committed))
    about, entries = glossary.entries()
    # Each entry with its lesson (None if that is missing) and the section to go to ("" is the top).
    ways = ((entry, *there.get(entry.lesson, (None, ""))) for entry in entries)
    explained = [(entry, lesson, glossary.section(entry, body) or "") for entry, lesson, body in ways]
    write("glossary", "glossary.html", about=about, entries=explained)
    write("index", "index.html", total=sum((lesson.verdicts for lesson in course), start=Counter()))
    shutil.copy(TEMPLATES / "style.css", site)
    print(f"The site: {site.resolve() / 'index.html'}")
