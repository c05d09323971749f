"""The slides of a lesson: the cells that carry the tag "slide", one slide each, in one HTML file that loads nothing.

Of a Markdown cell a slide shows the heading, the *Predict first* block, lists, tables and displayed formulas; of a code
cell its outputs, and its code only if it is tagged "slide-code" too.
"""

import re

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from ..lesson import Lesson
from .drawing import TEMPLATES, describe_figures, draw, filled, inline_markdown

HEADING = re.compile(r"^(#+) +(.+)$")
KEPT = re.compile(r"> ?\*\*Predict first|\$\$|\||(?:[^\n]*\n)?(?:- |\d+\. )")  # how a block that stays begins
BETWEEN = "<!-- the next slide -->"


def marked(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """The cells that become slides."""
    return [cell for cell in notebook.cells if "slide" in cell.metadata.get("tags", [])]


def cut(source: str) -> str:
    """What a slide keeps of a Markdown cell: its first heading, then the blocks after it that KEPT describes.

    What stands above the heading belongs to the part before. A cell without a heading keeps such blocks too.
    """
    source = re.sub(r"<details>.*?</details>|```.*?```|<!--.*?-->", "", source, flags=re.DOTALL)
    heading, blocks = "", []
    for block in re.split(r"\n\s*\n", re.sub(r"^(#+ .+)$", r"\n\1\n", source, flags=re.MULTILINE)):
        block = block.strip("\n")
        if found := HEADING.match(block):
            if not heading:
                heading, blocks = f"{'#' if len(found[1]) == 1 else '##'} {found[2]}", []
        elif KEPT.match(block):
            blocks.append(block)
    return "\n\n".join(filter(None, [heading, *blocks]))


def bodies(notebook: nbformat.NotebookNode) -> list[str]:
    """The HTML of each slide. Above what has no heading of the first or second level stands that of its part."""
    describe_figures(notebook)
    cells, parts, part = [], [], ""
    for cell in notebook.cells:
        prose, tags = cell.cell_type == "markdown", cell.metadata.get("tags", [])
        titles = [*filter(None, map(HEADING.match, cell.source.splitlines()))] if prose else []
        if "slide" in tags:
            parts.append("" if titles and len(titles[0][1]) < 3 else part)
            code, outputs = cell.source if "slide-code" in tags else "", cell.get("outputs", [])
            shown = new_markdown_cell(cut(cell.source)) if prose else new_code_cell(code, outputs=outputs)
            cells += [shown, new_markdown_cell(BETWEEN)]
        part = next((title[2] for title in reversed(titles) if len(title[1]) == 2), part)
    body, _ = draw(new_notebook(cells=cells))
    body = re.sub(r' ?<a [^>]*class="anchor".*?</a>', "", body)
    pieces = re.split(rf'<div class="text">{BETWEEN}\s*</div>', body)[:-1]
    return [
        (f'<p class="part">{inline_markdown(part)}</p>\n' if part else "") + piece.strip()
        for part, piece in zip(parts, pieces, strict=True)
    ]


def page(notebook: nbformat.NotebookNode, lesson: Lesson) -> str:
    """The file of slides of one lesson; "" if no cell is marked."""
    if not marked(notebook):
        return ""
    style = (TEMPLATES / "slides.css").read_text(encoding="utf-8")
    return filled("slides.html", lesson=lesson, style=style, slides=bodies(notebook))
