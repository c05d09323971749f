"""Links the terms of the glossary where a lesson first uses them.

The link is the address of glossary.md in the repository, `…/glossary.md#term "What it means."`: it leads somewhere in
JupyterLab, in VS Code and on Colab, where no page of the site is near. Its title tells the meaning to whoever points at
it, even with no internet. On the site it leads to the glossary's page. A term that a lesson explains itself stands in
bold or italics there, and needs no link.
"""

import re
from functools import cache

from ..folding import source_of
from .drawing import address_of
from .glossary import Entry, entries

# What is no prose: code, formulas, comments, headings, tags, addresses, and the list of references.
NO_PROSE = re.compile(
    r"^ *```.*?^ *```|`[^`\n]+`|\$\$.*?\$\$|\$[^$\n]+\$|<!--.*?-->|<summary>.*?</summary>|<[^>\n]+>"
    r"|^## References$(?:(?!^## ).)*|^#+ [^\n]*",
    re.DOTALL | re.MULTILINE,
)
LINK = r'!?\[(?P<words>(?:!?\[[^\]]*\]\([^)]*\)|[^\[\]])*)\]\((?P<to>[^)\s]*)(?: "[^"]*")?\)'
MARKED = re.compile(r"(\*\*|\*)(?=\S)([^*\n]+?)(?<=\S)\1")


def hidden(text: str, pattern: re.Pattern) -> str:
    """The text with blanks in place of what a pattern finds: every position stays."""
    return pattern.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


def linked(words: str, entry: Entry) -> str:
    """Words of a lesson as a link to an entry of the glossary, with its first sentence as the title."""
    sentence = re.split(r"(?<=[.!?])\s", entry.text)[0].replace('"', "'").replace("*", "").replace("`", "")
    return f'[{words}]({address_of("glossary.md")}#{entry.id} "{sentence}")'


@cache
def _names() -> dict[str, Entry]:
    """A pattern for each name in the glossary → its entry, the longest name first."""
    names = {name: entry for entry in entries()[1] for name in entry.names}
    ordered = sorted(names, key=len, reverse=True)
    return {r"[\s-]+".join(map(re.escape, re.split("[ -]", name))) + "(?:s|es)?": names[name] for name in ordered}


@cache
def _pattern() -> re.Pattern:
    return re.compile(rf"{LINK}|(?<![\w-])(?:{'|'.join(_names())})(?![\w-])", re.IGNORECASE)


def _entry(found: re.Match) -> Entry | None:
    """The entry that a term or a link stands for; None for a link to something else."""
    if found["to"] is None:
        return next(entry for name, entry in _names().items() if re.fullmatch(name, found[0], re.IGNORECASE))
    to, _, fragment = found["to"].partition("#")
    known = {entry.id: entry for entry in _names().values()}
    return known.get(fragment) if to == address_of("glossary.md") else None


def link(notebook: dict) -> list[str]:
    """Links, in place, each term of the glossary where the prose of a notebook first uses it, and renews the titles of
    such links. Returns the terms for which that changed something. A notebook as JSON, or of nbformat."""
    met, changed = set(), []
    for cell in notebook["cells"]:
        if cell["cell_type"] != "markdown":
            continue
        source, new, done = source_of(cell), "", 0
        explained = {found.span(2) for found in MARKED.finditer(source)}
        for found in _pattern().finditer(hidden(source, NO_PROSE)):
            entry, first, last = _entry(found), *found.span()
            if entry is None or found["to"] is None and entry in met:
                continue
            words = source[first:last] if found["to"] is None else source[slice(*found.span("words"))]
            if found["to"] is not None or (first, last) not in explained:
                text = linked(words, entry)
                changed += [entry.term] if text != source[first:last] else []
                new, done = new + source[done:first] + text, last
            met.add(entry)
        source = new + source[done:]
        cell["source"] = source if isinstance(cell["source"], str) else source.splitlines(keepends=True)
    return changed
