"""Draws Markdown and executed notebooks as HTML that needs no network.

Mathematics becomes MathML, which browsers draw themselves; figures are embedded; nothing is loaded from anywhere.
"""

import html
import posixpath
import re
from pathlib import Path

import jinja2
import nbformat
from markupsafe import Markup
from nbconvert import TemplateExporter
from nbconvert.filters import Highlight2HTML
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from traitlets.config import Config

from .. import NOTEBOOKS
from ..address import ref, repository
from ..cleaning import clean
from ..folding import title, untitled
from .maths import mathml

HERE = Path(__file__).resolve().parent
TEMPLATES, TEXTS = HERE / "templates", HERE / "texts"


def address_of(text: str) -> str:
    """Where one of the texts of the course is read by somebody who has neither the site nor the files."""
    return f"{repository()}/blob/{ref()}/course/pages/texts/{text}"


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
        url = url.removeprefix(address_of(""))  # a text of the course has its page here
        if not re.match(r"[a-z]+:|#|/", url):
            page, mark, fragment = url.partition("#")
            if page.endswith(".ipynb") and "/" not in page or (TEXTS / page).is_file():
                url = f"{Path(page).stem}.html{mark}{fragment}"
            else:
                url = f"{repository()}/blob/{ref()}/{posixpath.normpath(f'notebooks/{page}')}{mark}{fragment}"
        return super().link(text, url, title)

    def _html_embed_images(self, html: str) -> str:
        # nbconvert's own would close an open <details> at once, and leave its content outside.
        return re.sub(r'(<img\b[^>]*\bsrc=")([^"]+)', lambda m: m[1] + (self._src_to_base64(m[2]) or m[2]), html)

    def image(self, text: str, url: str, title: str | None = None) -> str:
        if re.match(r"https?:|//", url):  # a page asks nobody for a picture: a badge becomes its words
            return f'<span class="badge">{text}</span>'
        return super().image(text, url, title)


class PageExporter(TemplateExporter):
    """A notebook's body as HTML, without scripts, styles or links to anything outside the page.

    nbconvert's own HTMLExporter would parse each page again with BeautifulSoup, for what the template has done already.
    """

    headings: list

    def default_filters(self):
        yield from super().default_filters()
        yield "highlight_code", Highlight2HTML(pygments_lexer="python", parent=self)
        yield "markdown2html", self.markdown2html
        yield from {"title": title, "untitled": untitled}.items()

    @jinja2.pass_context
    def markdown2html(self, context, source: str) -> str:
        attachments = context.get("cell", {}).get("attachments", {})
        renderer = Renderer(self.headings, attachments=attachments, embed_images=True, path=str(NOTEBOOKS))
        return MarkdownWithMath(renderer=renderer).render(source)

    @property
    def default_config(self):
        kinds = ["text/html", "text/markdown", "image/png", "text/latex", "text/plain"]
        return Config({"NbConvertBase": {"display_data_priority": kinds}})


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
    template = (TEMPLATES / "body.html.j2").read_text(encoding="utf-8")
    exporter = PageExporter(template_name="basic", raw_template=template)
    exporter.headings = []
    body, _ = exporter.from_notebook_node(notebook)
    return body, exporter.headings


def drawn(markdown: str) -> str:
    """Markdown that stands in no notebook, as HTML."""
    return MarkdownWithMath(renderer=Renderer([])).render(markdown)


def inline_markdown(text: str) -> Markup:
    """One paragraph of Markdown as HTML without its <p>."""
    return Markup(re.sub(r"</?p>", "", drawn(text)).strip())


def filled(template: str, **values) -> str:
    """A whole page: one of the templates with these values."""
    return _PAGES.get_template(template).render(**values)


_FOLDER = jinja2.FileSystemLoader(TEMPLATES)
_PAGES = jinja2.Environment(loader=_FOLDER, autoescape=True, trim_blocks=True, lstrip_blocks=True)
_PAGES.filters["markdown"] = inline_markdown
