"""Does a lesson read well? Counts its code in view and its words, and names what makes it hard to read.

A line of code in view is a line of a cell that is not folded, without blank lines, comments and docstrings; a line
longer than 88 characters counts as the lines that it wraps into. Words are those of text cells, without code blocks,
formulas, addresses and the references; what a run says does not count.
"""

import ast
import copy
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from .folding import RUNS, VERDICTS, called, calls, is_hidden, source_of, tree_of
from .lesson import edition
from .pages import terms

MOST_LINES, MOST_CELLS, LONGEST_CELL = 350, 30, 20  # of code in view
FEWEST_WORDS = 6  # of prose for each line of code in view
WIDTH = 88  # characters of a line on a laptop's screen
MOST_NUMBERS = 2  # in one sentence
PRIVATE = {"known", "asked", "exam", "humble", "rest"}  # words that mean something special to whoever wrote them
PRIVATE_PROSE = {
    r"\b(humble\w*|exams?)\b|[`*](known|asked|rest)[`*]": "a word with a meaning of its own",
    r"without a network": 'write "no internet needed"',
}
NO_TEXT = {"show", "show_images"}  # calls whose f-strings are alternative texts and labels


@dataclass(frozen=True)
class Form:
    """What is counted in a lesson; `complaints` are (kind, sentence), of the kinds in COLUMNS."""

    edition: int
    lines: int
    cells: int
    words: int
    complaints: tuple[tuple[str, str], ...]

    def count(self, kind: str) -> int:
        """How many complaints there are of one kind."""
        return sum(one == kind for one, _ in self.complaints)

    @property
    def words_per_line(self) -> float:
        """Words of prose for each line of code in view; infinite without code."""
        return self.words / self.lines if self.lines else math.inf


def code_lines(source: str) -> int:
    """The lines of a piece of code, without blank lines, comments and docstrings, wrapped at WIDTH."""
    apart = set()
    for node in ast.walk(tree_of(source)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node) is not None:
            apart |= {*range(node.body[0].lineno, node.body[0].end_lineno + 1)}
    lines = (line for number, line in enumerate(source.splitlines(), 1) if number not in apart)
    return sum(math.ceil(len(line) / WIDTH) for line in lines if not re.match(r"\s*(#|$)", line))


def prose(notebook: dict) -> str:
    """The text cells, without what is no prose; of a link its words stay."""
    text = "\n\n".join(source_of(cell) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    text = re.sub(r"^## References$(?:(?!^## ).)*", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"```.*?```|\$\$.*?\$\$|\$[^$\n]+\$|<!--.*?-->|<[^>\n]+>", " ", text, flags=re.DOTALL)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)  # pictures and badges
    return re.sub(rf"(?<!!){terms.LINK}", r"\g<words>", text)


def _numbers(part: ast.expr) -> int:
    """How many numbers a part of an f-string shows: those with a format of a number, lengths and roundings. A row that
    is joined in a loop counts as too many."""
    if not isinstance(part, ast.FormattedValue):
        return 0
    style = "".join(one.value for one in getattr(part.format_spec, "values", []) if isinstance(one, ast.Constant))
    if re.search(r"[,_]$|[bcdeEfFgGnoxX%]$", style) or called(part.value) in ("len", "round", "int", "sum"):
        return 1
    inner = [sum(map(_numbers, node.values)) for node in ast.walk(part.value) if isinstance(node, ast.JoinedStr)]
    looped = [node for node in ast.walk(part.value) if called(node) == "join" and any(_in_loop(node))]
    return MOST_NUMBERS + 1 if looped and any(inner) else sum(inner)


def _in_loop(join: ast.Call) -> Iterator[ast.JoinedStr]:
    """The f-strings that a call of `join` strings together."""
    for loop in join.args:
        if isinstance(loop, (ast.GeneratorExp, ast.ListComp)) and isinstance(loop.elt, ast.JoinedStr):
            yield loop.elt


def crowded(node: ast.AST) -> Iterator[str]:
    """The sentences of f-strings that hold more than MOST_NUMBERS numbers. Rows of a table, alternative texts and error
    messages are no such sentences."""
    if isinstance(node, (ast.Raise, ast.Assert)) or called(node) in NO_TEXT:
        return
    if called(node) == "join" and any(sum(map(_numbers, text.values)) for text in _in_loop(node)):
        sentence = "".join(_shown(part) for text in _in_loop(node) for part in text.values)
        if _is_sentence(sentence):
            yield f"{sentence}, and so on"
    elif isinstance(node, ast.JoinedStr):
        sentence, numbers = "", 0
        for part in [*node.values, ast.Constant("\n")]:
            pieces = re.split(r"(?<=[.!?])\s+|\n+", _shown(part))
            for piece in pieces[:-1]:
                if numbers > MOST_NUMBERS and _is_sentence(sentence + piece):
                    yield " ".join((sentence + piece).split())
                sentence, numbers = "", 0
            sentence, numbers = sentence + pieces[-1], numbers + _numbers(part)
    else:
        for child in ast.iter_child_nodes(node):
            yield from crowded(child)


def _shown(part: ast.expr) -> str:
    return part.value if isinstance(part, ast.Constant) else "…"


def _is_sentence(text: str) -> bool:
    return "|" not in text and re.search(r"[^\W\d_]{2}", text) is not None


def _private_names(tree: ast.Module) -> Iterator[str]:
    """The names that code gives to things, and that hold one of the private words."""
    for node in ast.walk(tree):
        stored = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        name = node.id if stored else getattr(node, "arg" if isinstance(node, ast.arg) else "name", "")
        if PRIVATE & {*str(name).lower().split("_")} and not isinstance(node, ast.alias):
            yield name


def _of_cell(cell: dict) -> Iterator[tuple[str, str]]:
    source, where = source_of(cell), f"in cell {cell.get('id')}"
    tree = tree_of(source)
    lines = 0 if is_hidden(cell) else code_lines(source)
    if lines > LONGEST_CELL:
        yield "long", f"shows {lines} lines of code {where}; {LONGEST_CELL} at most"
    for sentence in crowded(tree):
        yield "numbers", f"says too many numbers at once {where}, make them a table or a figure: {sentence}"
    for name in sorted({*_private_names(tree)}):
        yield "names", f"calls something {name} {where}: take the standard name"
    for kind in (RUNS, VERDICTS):
        found = [name for name in calls(source) if name in kind]
        if len(found) > 1:
            yield "ideas", f"calls {' and '.join(found)} {where}: one idea a cell"


def form_of(notebook: dict) -> Form:
    """Counts and complaints of a notebook, as JSON or of nbformat."""
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    shown = [lines for cell in code if not is_hidden(cell) and (lines := code_lines(source_of(cell)))]
    text = prose(notebook)
    words = len(re.findall(r"[^\W\d_][\w'’-]*", text))
    found = []
    if sum(shown) > MOST_LINES:
        found.append(("lines", f"shows {sum(shown)} lines of code; {MOST_LINES} at most"))
    if len(shown) > MOST_CELLS:
        found.append(("cells", f"shows {len(shown)} cells of code; {MOST_CELLS} at most"))
    if words < FEWEST_WORDS * sum(shown):
        ratio = words / sum(shown)
        found.append(("words", f"has {ratio:.1f} words of prose for each line of code; {FEWEST_WORDS} at least"))
    found += [complaint for cell in code for complaint in _of_cell(cell)]
    for term in terms.link(copy.deepcopy(notebook)):
        found.append(("terms", f'does not link "{term}" where it first occurs: python -m course link'))
    for pattern, reason in PRIVATE_PROSE.items():
        for match in re.finditer(pattern, text, re.IGNORECASE):
            found.append(("names", f'writes "{match[0]}": {reason}'))
    return Form(edition(notebook), sum(shown), len(shown), words, tuple(found))


COLUMNS = ("lines", "cells", "long", "words", "numbers", "terms", "names", "ideas")


def table(forms: dict[str, Form]) -> str:
    """A row for each lesson: its edition, lines and cells of code in view, cells that are too long, words for each
    line, then how many complaints there are about sentences full of numbers, terms, private names, and ideas.
    """
    width = max(map(len, ["lesson", *forms]))
    rows = [f"{'lesson':{width}} edition  " + "  ".join(COLUMNS)]
    for name, one in forms.items():
        counts = {kind: str(one.count(kind)) for kind in COLUMNS}
        counts |= {"lines": str(one.lines), "cells": str(one.cells), "words": f"{one.words_per_line:.1f}"}
        rows.append(f"{name:{width}} {one.edition:7}  " + "  ".join(counts[kind].rjust(len(kind)) for kind in COLUMNS))
    return "\n".join(rows)
