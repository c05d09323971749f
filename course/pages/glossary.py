"""The glossary: reads glossary.md, and finds the section of a lesson that introduces a term.

An entry of glossary.md is one list item, `- <a id="term-other-short"></a>**term, other (short)** (3): What it means.`,
where 3 is the number of the lesson that introduces the term, which has three names here, and the id is its anchor on
GitHub. A lesson that is not there leaves its terms without a link.
"""

import html
import re
from dataclasses import dataclass

from .drawing import TEXTS

ENTRY = re.compile(
    r'^- <a id="[^"]+"></a>\*\*(?P<term>.+?)\*\* \((?P<lesson>\d+)\): (?P<text>.+(?:\n  .+)*)$', re.MULTILINE
)


@dataclass(frozen=True)
class Entry:
    """One term, the number of its lesson, and its meaning as Markdown."""

    term: str
    lesson: int
    text: str

    @property
    def id(self) -> str:
        """The entry's anchor on the page."""
        return "-".join(re.findall(r"\w+", self.term.lower()))

    @property
    def names(self) -> list[str]:
        """The names that a lesson may use: "mean, average (avg)" has three."""
        return [name for name in re.split(r", | \(|\)", self.term) if name]


def entries() -> tuple[str, list[Entry]]:
    """What glossary.md says of itself, and its entries in alphabetical order."""
    text = (TEXTS / "glossary.md").read_text(encoding="utf-8")
    found = [Entry(m["term"], int(m["lesson"]), " ".join(m["text"].split())) for m in ENTRY.finditer(text)]
    about = text.partition("\n")[2].partition("\n- ")[0].strip()
    return about, sorted(found, key=lambda entry: entry.term.lower())


def section(entry: Entry, body: str) -> str | None:
    """The id of the section of a drawn lesson that introduces the term: before the exercises the first with the term in
    its heading, else the first that names it, else "" for the opening, else a later section; None if there is none."""
    name = "|".join(re.escape(name) for name in entry.names)
    named = re.compile(rf"(?<!\w)(?:{name})(?:s|es)?(?!\w)", re.IGNORECASE)
    opening, *parts = re.split(r'<h[23] id="([^"]+)">', body)
    texts = dict(zip(parts[::2], map(_words, parts[1::2]), strict=True))
    places = list(texts)
    early = places[: places.index("exercises")] if "exercises" in places else places
    order = [place for place in early if named.search(texts[place].partition(" #")[0])]
    order += [place for place in early if named.search(texts[place])]
    order += [""] if named.search(_words(opening)) else []
    order += [place for place in places if named.search(texts[place])]
    return order[0] if order else None


def _words(body: str) -> str:
    """The prose of HTML, without tags and code cells. A heading ends with the "#" of its link."""
    return " ".join(html.unescape(re.sub(r"<pre.*?</pre>|<[^>]+>", " ", body, flags=re.DOTALL)).split())
