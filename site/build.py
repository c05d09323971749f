"""Draws executed notebooks as a site that needs no network: `python site/build.py NOTEBOOKS SITE`.

Mathematics becomes MathML, which browsers draw themselves; figures are embedded; nothing is loaded from anywhere.
"""

import html
import posixpath
import re
import shutil
import sys
from collections import Counter
from pathlib import Path

import jinja2
import nbformat
from markupsafe import Markup
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

import cheat_sheet
import glossary
from claims_page import page as claims_page
from claims_page import settled
from clean import clean
from lessons import VERDICTS, Lesson, lessons
from maths import mathml
from setup_cell import ROOT, repository

HERE = Path(__file__).resolve().parent


class Renderer(IPythonRenderer):
    """Markdown to HTML. Collects the page's headings in `headings` as (level, id, HTML)."""

    def __init__(self, headings: list, **options) -> None:
        super().__init__(escape=False, **options)
        self.headings = headings

    def inline_math(self, body: str) -> str:
        return mathml(body, "inline")

    def table(self, text: str) -> str:
        # A table that is wider than the page scrolls by itself, with the arrow keys too.
        return f'<div class="wide" tabindex="0"><table>\n{text}</table></div>\n'

    def block_math(self, body: str) -> str:
        return f'<div class="formula" tabindex="0">{mathml(body, "block")}</div>'

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(rf"\begin{{{name}}}{body}\end{{{name}}}")

    def heading(self, text: str, level: int, **attrs) -> str:
        words = re.findall(r"\w+", html.unescape(re.sub(r"<math.*?</math>|<[^>]+>", " ", text)).lower())
        name = base = "-".join(words) or "section"
        taken = {known for _, known, _ in self.headings}
        number = 2
        while name in taken:
            name, number = f"{base}-{number}", number + 1
        self.headings.append((level, name, re.sub(r"</?a\b[^>]*>", "", text)))
        anchor = f'<a class="anchor" href="#{name}" aria-label="Link to this section">#</a>'
        return f'<h{level} id="{name}">{text} {anchor}</h{level}>\n'

    def link(self, text: str, url: str, title: str | None = None) -> str:
        if not re.match(r"[a-z]+:|#|/", url):
            page, mark, fragment = url.partition("#")
            if page.endswith(".ipynb") and "/" not in page:
                url = f"{page.removesuffix('.ipynb')}.html{mark}{fragment}"
            else:
                url = f"{repository()}/blob/main/{posixpath.normpath(f'notebooks/{page}')}{mark}{fragment}"
        return super().link(text, url, title)

    def _html_embed_images(self, html: str) -> str:
        # nbconvert's own would close an open <details> at once, and leave its content outside.
        return re.sub(r'(<img\b[^>]*\bsrc=")([^"]+)', lambda m: m[1] + (self._src_to_base64(m[2]) or m[2]), html)

    def image(self, text: str, url: str, title: str | None = None) -> str:
        if re.match(r"https?:|//", url):  # a page asks nobody for a picture: a badge becomes its words
            return f'<span class="badge">{text}</span>'
        return super().image(text, url, title)


class PageExporter(HTMLExporter):
    """A notebook's body as HTML, without scripts, styles or links to anything outside the page."""

    headings: list

    @jinja2.pass_context
    def markdown2html(self, context, source: str) -> str:
        renderer = Renderer(
            self.headings,
            attachments=context.get("cell", {}).get("attachments", {}),
            embed_images=True,
            path=str(ROOT / "notebooks"),
        )
        return MarkdownWithMath(renderer=renderer).render(source)

    @property
    def default_config(self):
        config = super().default_config
        config.NbConvertBase.display_data_priority = [
            "text/html",
            "text/markdown",
            "image/png",
            "text/latex",
            "text/plain",
        ]
        return config


def describe_figures(notebook: nbformat.NotebookNode) -> None:
    """Gives every figure without alternative text the heading above it, in place."""
    heading = "Figure"
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for found in re.finditer(r"^#+ +(.+)$", cell.source, re.MULTILINE):
                heading = f"Figure: {found[1].strip()}"
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output.metadata.setdefault("image/png", {}).setdefault("alt", heading)


def draw(notebook: nbformat.NotebookNode) -> tuple[str, list[tuple[int, str, str]]]:
    """The notebook's body as HTML, and its headings as (level, id, HTML)."""
    clean(notebook)
    describe_figures(notebook)
    exporter = PageExporter(template_name="basic", raw_template=(HERE / "body.html.j2").read_text(encoding="utf-8"))
    exporter.headings = []
    body, _ = exporter.from_notebook_node(notebook)
    return body, exporter.headings


def drawn(markdown: str) -> str:
    """Markdown that stands in no notebook, as HTML."""
    return MarkdownWithMath(renderer=Renderer([])).render(markdown)


def inline_markdown(text: str) -> str:
    """One paragraph of Markdown as HTML without its <p>."""
    return re.sub(r"</?p>", "", drawn(text)).strip()


def draw_claims(source: Path) -> str:
    """CLAIMS.md of a folder's runs as HTML. Each claim's row has its id as an anchor."""
    # On the site the lessons lie beside the page, as they do for the links of a notebook.
    text = claims_page(source).replace("](notebooks/", "](").replace("](README", "](../README")
    return re.sub(r"<td>(C\d{3})</td>", r'<td id="\1">\1</td>', drawn(text))


def draw_cheat_sheet(verdicts: dict[str, str]) -> str:
    """The cheat sheet as HTML: the advice that these verdicts (claim id → verdict) support."""
    return cheat_sheet.with_signs(drawn(cheat_sheet.page(verdicts)), verdicts)


def explained(course: list[Lesson], bodies: dict[int, str]) -> list[tuple[glossary.Entry, Lesson | None, str]]:
    """The glossary's entries, each with its lesson (None if missing) and the section to go to ("" is the top)."""
    there = {lesson.number: lesson for lesson in course}
    return [
        (entry, there.get(entry.lesson), glossary.section(entry, bodies.get(entry.lesson, "")) or "")
        for entry in glossary.entries()[1]
    ]


def build(source: Path, site: Path) -> None:
    """Draws all notebooks of `source`, with an index page, into the folder `site`. Pages that lay there go.

    Raises FileNotFoundError if `source` holds no notebook.
    """
    course = lessons(source)
    if not course:
        raise FileNotFoundError(f"There is no notebook in {source}. Run `make course` first.")
    site.mkdir(parents=True, exist_ok=True)
    for old in site.glob("*.html"):
        old.unlink()
    loader = jinja2.FileSystemLoader(HERE)
    templates = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    templates.filters["markdown"] = lambda text: Markup(inline_markdown(text))
    shared = {"course": course, "kinds": VERDICTS, "repository": repository()}

    def write(name: str, template: str, **values) -> None:
        text = templates.get_template(template).render(**shared, **values)
        (site / f"{name}.html").write_text(text, encoding="utf-8")

    bodies = {}
    for position, lesson in enumerate(course):
        body, headings = draw(nbformat.read(lesson.path, as_version=4))
        bodies[lesson.number] = body
        write(
            lesson.path.stem,
            "lesson.html",
            lesson=lesson,
            body=body,
            contents=[heading for heading in headings if heading[0] in (2, 3)],
            before=course[position - 1] if position else None,
            after=course[position + 1] if position + 1 < len(course) else None,
        )
    write("claims", "text.html", kind="claims", title="What the paper claims", body=draw_claims(source))
    committed = {claim: record["verdict"] for claim, record in settled().items()}
    write("cheat_sheet", "text.html", kind="cheat_sheet", title="Cheat sheet", body=draw_cheat_sheet(committed))
    write("glossary", "glossary.html", about=glossary.entries()[0], entries=explained(course, bodies))
    write("index", "index.html", total=sum((lesson.verdicts for lesson in course), start=Counter()))
    shutil.copy(HERE / "style.css", site)
    print(f"The site: {site / 'index.html'}")


if __name__ == "__main__":
    build(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
