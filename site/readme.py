"""Writes the README's table of lessons between its two markers: `python site/readme.py`."""

import re

from lessons import VERDICTS, lessons
from setup_cell import ROOT, badge

MARKED = re.compile(r"(<!-- lessons -->\n).*?(<!-- /lessons -->)", re.DOTALL)


def lesson_table() -> str:
    """The table as Markdown: one row a lesson, with its last measured time and its verdicts."""
    rows = ["| lesson | measured | claims: hold / refuted / not shown / by reading | |", "|---|---|---|---|"]
    for lesson in lessons():
        counts = " / ".join(str(lesson.verdicts[verdict]) for verdict in VERDICTS) if lesson.verdicts else "–"
        name = lesson.path.name
        rows.append(f"| [{lesson.title}](notebooks/{name}) | {lesson.cost} | {counts} | {badge(name)} |")
    return "\n".join(rows) + "\n"


def with_table(text: str) -> str:
    """The README's text with its table of lessons renewed."""
    return MARKED.sub(lambda found: found[1] + lesson_table() + found[2], text)


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(with_table(readme.read_text(encoding="utf-8")), encoding="utf-8")
