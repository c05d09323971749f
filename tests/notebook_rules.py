"""What every notebook of the course must be. A rule takes a notebook and its file name, and returns its complaints."""

import ast
import inspect
import re
from pathlib import Path

import nbformat
from nbconvert.filters.markdown_mistune import MarkdownWithMath

from course import NOTEBOOKS, ROOT, folding
from course.address import badge, setup_cell
from course.folding import FOLDED, is_folded, is_hidden, titled
from course.form import form_of
from course.lesson import cost, edition, measurement
from course.pages.drawing import Renderer
from course.stale import digest, stamp
from tdnn_helpers.evidence.definitions import Definitions

NOW = Definitions(ROOT / "tdnn_helpers")
LONGEST_CELL = 50  # lines, so that a cell fits a laptop's screen
LARGEST_NOTEBOOK = 600_000  # bytes; GitHub stops drawing large notebooks


def _cells(notebook, kind):
    return [cell for cell in notebook.cells if cell.cell_type == kind]


def _outputs(notebook):
    """(where, output, its data) for each output."""
    found = ((f"in cell {cell.get('id')}", output) for cell in _cells(notebook, "code") for output in cell.outputs)
    return [(where, output, output.get("data", {})) for where, output in found]


def _markdown(notebook) -> str:
    """All prose, without fenced code, in which a # is a comment and a $ may be anything."""
    return re.sub(r"```.*?```", "", "\n\n".join(cell.source for cell in _cells(notebook, "markdown")), flags=re.DOTALL)


def missing_links(text: str, folder: Path) -> list[str]:
    """The local links and pictures of a Markdown text that do not exist, seen from `folder`: files, and the headings of
    Markdown files."""
    links = re.findall(r"\]\(([^)\s]+)\)|(?:href|src)=\"([^\"]+)\"", text)
    local = {link for pair in links for link in pair if link and not re.match(r"[a-z]+:|#", link)}
    return sorted(link for link in local if not _exists(*link.partition("#")[::2], folder))


def _exists(file: str, heading: str, folder: Path) -> bool:
    path = folder / file
    if not heading or path.suffix != ".md" or not path.exists():
        return path.exists()
    titles = re.findall(r"^#+ +(.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return heading in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}  # as GitHub does


def valid_notebook(notebook, name):
    """Notebook format 4.5, with cell ids that are valid and unique."""
    ids = [cell.get("id") for cell in notebook.cells]
    lonely = sorted({str(cell_id) for cell_id in ids if cell_id is None or ids.count(cell_id) > 1})
    if lonely:  # by hand, because nbformat's validation repairs ids silently
        yield f"has cells without an id of their own ({', '.join(lonely)})"
        return
    try:
        nbformat.validate(notebook, version=4, version_minor=5)
    except nbformat.ValidationError as error:
        yield f"is not a valid notebook of format 4.5: {error.message}"


def python3_kernel(notebook, name):
    """A kernel name of somebody's own machine opens nowhere else."""
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        yield "does not name the kernel python3"


def no_error_outputs(notebook, name):
    """No error, and no warning either: it would show paths of the machine that ran the lesson."""
    for where, output, _ in _outputs(notebook):
        if output.output_type == "error":
            yield f"shows an error: {output.ename} {where}"
        if output.get("name") == "stderr":
            yield f"shows a warning {where}: {output.text.strip()[:80]}"


def no_widget_state(notebook, name):
    """GitHub refuses to draw a notebook with widget state, and a page cannot draw a widget view."""
    if "widgets" in notebook.metadata:
        yield "carries widget state in its metadata"
    yield from (f"carries a widget view {where}" for where, _, data in _outputs(notebook) if "widget" in " ".join(data))


def short_cells(notebook, name):
    for lines in (cell.source.splitlines() for cell in _cells(notebook, "code")):
        if len(lines) > LONGEST_CELL:
            yield f"has a code cell of {len(lines)} lines ({lines[0]})"


def heading_order(notebook, name):
    """One title, first, and no level skipped on the way down."""
    levels = [len(marks) for marks in re.findall(r"^(#{1,6}) ", _markdown(notebook), re.MULTILINE)]
    if levels.count(1) != 1 or levels[0] != 1:
        yield "does not have exactly one first-level heading, at the top"
    for before, after in zip(levels, levels[1:], strict=False):
        if after > before + 1:
            yield f"jumps from heading level {before} to {after}"


def plain_python(notebook, name):
    """No !shell and no %magic: nbval passes a cell whose magic failed, and the rest of the cell never runs."""
    for cell in _cells(notebook, "code"):
        try:
            ast.parse(cell.source)
        except SyntaxError as error:
            yield f"has a cell that is not plain Python: {(error.text or '').strip()}"


def no_typed_results(notebook, name):
    """A measured number is printed by the run: prose that holds one is wrong after the next run."""
    prose = re.sub(r"\$\$.*?\$\$|\$[^$\n]+\$|`[^`]*`", "", _markdown(notebook), flags=re.DOTALL)
    typed = r"\d+\.\d+ ?(?:%|nats|seconds)|\d ?pp\b|\[[−-]?\d+\.\d+, ?[−-]?\d+\.\d+\]|± ?\d+\.\d+"
    yield from (f"has a result that was typed by hand: {found}" for found in re.findall(typed, prose))


def same_setup(notebook, name):
    code = _cells(notebook, "code")
    # A first edition may lack the title.
    if not code or titled(code[0].source, []) != setup_cell() or "setup" not in code[0].metadata.get("tags", []):
        yield 'does not open with the setup cell, tagged "setup" (python -m course setup prints it)'


def starts_its_own_lesson(notebook, name):
    """The name ties a lesson's verdicts to its page."""
    if f'start("{Path(name).stem}"' not in "\n".join(cell.source for cell in _cells(notebook, "code")):
        yield f'never calls start("{Path(name).stem}")'


def colab_badge(notebook, name):
    if badge(name) not in _markdown(notebook):
        yield f"does not carry its own Colab badge: {badge(name)}"


def says_its_time(notebook, name):
    """The first cell tells what the lesson costs: the measurement in the metadata, in words."""
    told = re.findall(r"<!-- time -->(.*?)<!-- /time -->", notebook.cells[0].source)
    measured = cost(measurement(notebook))
    if told != [measured]:
        yield f"does not tell its measured time at the top: <!-- time -->{measured}<!-- /time -->"


def results_are_of_this_code(notebook, name):
    """What is recorded was measured by the code that stands here: neither the notebook nor the package has changed."""
    if measurement(notebook) and stamp(notebook) != digest(notebook, NOW):
        yield f"shows results that are older than its code: make claims LESSONS={Path(name).stem}"


def experiments_fill_the_bank(notebook, name):
    """A comparison that goes to the bank stands in a cell with the tag "experiment", since only these are run to make
    rows; and where there are such cells, one of them has such a comparison."""
    tagged, banked = set(), set()
    for cell in _cells(notebook, "code"):
        calls = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call)]
        if any(
            getattr(call.func, "id", "") in ("compare", "over_budgets", "sweep", "tune")
            and any(word.arg == "bank" for word in call.keywords)
            for call in calls
        ):
            banked.add(cell.get("id"))
        if "experiment" in cell.metadata.get("tags", []):
            tagged.add(cell.get("id"))
    for cell in sorted(banked - tagged):
        yield f'a comparison goes to the bank from cell {cell}, which lacks the tag "experiment"'
    if tagged and not banked:
        yield 'cells have the tag "experiment", but no comparison goes to the bank'


def png_figures_with_alt_text(notebook, name):
    for where, output, data in _outputs(notebook):
        if any(kind.startswith("image/") and kind != "image/png" or kind == "application/pdf" for kind in data):
            yield f"has a figure that is no PNG {where}"
        if re.search(r"<(img|svg|canvas|iframe)\b", data.get("text/html", "")):
            yield f"has a picture inside an HTML output {where}"
        if "image/png" in data and not output.metadata.get("image/png", {}).get("alt", "").strip():
            yield f"has a figure without alternative text {where}"


def figures_are_explained(notebook, name):
    """A figure is followed by words: Markdown from the same cell, or the next cell."""
    for cell, after in zip(notebook.cells, [*notebook.cells[1:], None], strict=True):
        shown = {kind for output in cell.get("outputs", []) for kind in output.get("data", {})}
        if "image/png" in shown and "text/markdown" not in shown and (not after or after.cell_type != "markdown"):
            yield f"has a figure with no words after it in cell {cell.get('id')}"


def small_file(notebook, name):
    size = len(nbformat.writes(notebook).encode())
    if size > LARGEST_NOTEBOOK:
        yield f"is {size / 1000:.0f} kB large; the limit is {LARGEST_NOTEBOOK / 1000:.0f} kB"


def links_exist(notebook, name):
    yield from (f"links to {link}, which does not exist" for link in missing_links(_markdown(notebook), NOTEBOOKS))


def drawable_formulas(notebook, name):
    """Every formula has a form that the site can draw."""
    said = [data.get("text/markdown", "") for _, _, data in _outputs(notebook)]
    for text in [cell.source for cell in _cells(notebook, "markdown")] + said:
        try:
            MarkdownWithMath(renderer=Renderer([])).render(text)
        except ValueError as error:
            yield str(error)


def folded_everywhere(notebook, name):
    """A cell is folded in JupyterLab, VS Code, Colab and on the page, or nowhere. First editions may be neither."""
    for cell in notebook.cells if edition(notebook) > 1 else ():
        if is_hidden(cell) != is_folded(cell) or not is_hidden(cell) and {*FOLDED} & {*cell.metadata}:
            yield f"is folded in some places only in cell {cell.get('id')}: python -m course fold {Path(name).stem}"


def folds_no_idea(notebook, name):
    """What trains, compares or judges is in view, and what a later cell uses too."""
    yield from folding.refusals(notebook) if edition(notebook) > 1 else ()


def reads_well(notebook, name):
    """Little code in view, many words, one idea a cell; `python -m course form` says it of first editions too."""
    yield from (sentence for _, sentence in form_of(notebook).complaints if edition(notebook) > 1)


RULES = tuple(rule for rule in list(vars().values()) if inspect.isgeneratorfunction(rule))
