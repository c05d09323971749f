"""What is generated inside a Markdown file: the text between <!-- mark --> and <!-- /mark -->."""

import re

from . import ROOT
from .address import badge
from .lesson import VERDICTS, lessons


def marked(text: str, mark: str, content: str) -> str:
    """The text with new content between the two marks. Raises ValueError if they are not there."""
    start, end = f"<!-- {mark} -->\n", f"<!-- /{mark} -->"
    if not re.search(f"{start}.*{end}", text, re.DOTALL):
        raise ValueError(f"There is no place for {mark}: put {start.strip()} and {end} on lines where it belongs.")
    before, _, rest = text.partition(start)
    return f"{before}{start}{content}\n{end}{rest.partition(end)[2]}"


def with_table(text: str) -> str:
    """The README's text with its table of lessons renewed: a row each, with its last measured time and its verdicts."""
    kinds = [kind for kind in VERDICTS if any(lesson.verdicts[kind] for lesson in lessons())]
    rows = [f"| lesson | measured | claims: {' / '.join(kinds)} | |", "|---|---|---|---|"]
    for lesson in lessons():
        counts = " / ".join(str(lesson.verdicts[verdict]) for verdict in kinds) if lesson.verdicts else "–"
        name = lesson.path.name
        rows.append(f"| [{lesson.title}](notebooks/{name}) | {lesson.cost} | {counts} | {badge(name)} |")
    return marked(text, "lessons", "\n".join(rows))


def write() -> None:
    """Write the README's table of lessons."""
    path = ROOT / "README.md"
    path.write_text(with_table(path.read_text(encoding="utf-8")), encoding="utf-8")
