"""Folds the cells that only draw, phrase or set up: in JupyterLab and VS Code, in Colab's form view, on the page.

Such a cell carries the tag "hide-input" or "setup", or holds nothing but imports and the call that opens the lesson.
Its first line is a title, which is what a reader sees of it: `# @title Figure`.
"""

import ast
import json
import re
import symtable
from collections.abc import Iterator
from pathlib import Path

FOLDED = {"cellView": "form", "jupyter": {"source_hidden": True}}  # Colab; JupyterLab and VS Code
TITLE = re.compile(r"# ?@title +(.+?)(?: *\{.*\})?$")  # Colab's own settings may stand behind it in braces
LONGEST = 60  # characters of a title that is made of a comment
RUNS = ("compare", "over_budgets", "sweep")
VERDICTS = ("judge", "exact", "reading")
IN_VIEW = (*RUNS, *VERDICTS, "fit", "tune")  # what no folded cell may call


def source_of(cell: dict) -> str:
    """The text of a cell, whether it is read as JSON or by nbformat."""
    return "".join(cell["source"])


def tree_of(source: str) -> ast.Module:
    """The code of a cell. What is not plain Python, which another rule refuses, counts as empty."""
    try:
        return ast.parse(source)
    except SyntaxError:
        return ast.Module([], [])


def called(node: ast.AST) -> str:
    """The name of a called function or method; "" if the node is no such call."""
    function = node.func if isinstance(node, ast.Call) else None
    return getattr(function, "id", "") or getattr(function, "attr", "")


def calls(source: str) -> list[str]:
    """The names of all functions and methods that a piece of code calls, once for each call."""
    return [name for node in ast.walk(tree_of(source)) if (name := called(node))]


def _opens(statement: ast.stmt) -> bool:
    """Is this `session = start(…)`?"""
    return isinstance(statement, ast.Assign) and called(statement.value) == "start"


def only_imports(source: str) -> bool:
    """Does a cell hold nothing but imports and the call that opens the lesson?"""
    body = tree_of(source).body
    return bool(body) and all(isinstance(part, (ast.Import, ast.ImportFrom)) or _opens(part) for part in body)


def is_hidden(cell: dict) -> bool:
    """Is this a cell that should be folded?"""
    if cell["cell_type"] != "code" or not source_of(cell).strip():
        return False
    return bool({"setup", "hide-input"} & {*cell["metadata"].get("tags", [])}) or only_imports(source_of(cell))


def is_folded(cell: dict) -> bool:
    """Does a cell carry all of what folds it?"""
    marks = {key: cell["metadata"].get(key) for key in FOLDED}
    return marks == FOLDED and bool(TITLE.match(source_of(cell).partition("\n")[0]))


def title(source: str) -> str:
    """The title in the first line of a cell; "" if it has none."""
    found = TITLE.match(source.partition("\n")[0])
    return found[1] if found else ""


def untitled(source: str) -> str:
    """The text of a cell without that line."""
    return source.partition("\n")[2] if title(source) else source


def titled(source: str, tags: list[str]) -> str:
    """The text of a cell with a title as its first line: the one that is there, or the first sentence of a comment that
    begins the cell, which moves there, or a word for what the cell does."""
    first, _, after = source.partition("\n")
    if TITLE.match(first):
        return source
    sentence, rest = re.fullmatch(r"(?:# *(.*?)(?:(?:\.|(?<=[?!]))(?: +(.+))?|$))?.*", first).groups()
    whole = rest or not after.startswith("#")  # else the sentence may go on in the next line
    if sentence and whole and len(sentence) <= LONGEST:
        return "\n".join([f"# @title {sentence}", *([f"# {rest}"] if rest else []), *([after] if after else [])])
    return f"# @title {_kind(source, tags)}\n{source}"


def _kind(source: str, tags: list[str]) -> str:
    if "setup" in tags:
        return "Setup"
    if only_imports(source):
        return "Imports"
    return next((word for name, word in {"show": "Figure", "say": "Summary"}.items() if name in calls(source)), "Code")


def fold(notebook: dict) -> None:
    """Folds, in place, each cell of a notebook that should be, and no other. A notebook as JSON, or of nbformat."""
    for cell in notebook["cells"]:
        marks = cell["metadata"]
        if is_hidden(cell):
            source = titled(source_of(cell), marks.get("tags", []))
            cell["source"] = source if isinstance(cell["source"], str) else source.splitlines(keepends=True)
            marks |= FOLDED
        elif "cellView" in marks or "source_hidden" in marks.get("jupyter", {}):
            marks.pop("cellView", None)
            others = {key: value for key, value in marks.pop("jupyter", {}).items() if key != "source_hidden"}
            marks |= {"jupyter": others} if others else {}
        in_order = dict(sorted(marks.items()))  # as nbformat writes them
        marks.clear()
        marks |= in_order


def rewrite(path: Path, change) -> bool:
    """Changes a notebook file by a function that changes its JSON in place. True if that made a difference; what the
    function leaves stays as it is, byte for byte."""
    before = path.read_bytes()
    notebook = json.loads(before)
    kept = json.dumps(notebook)
    change(notebook)
    if json.dumps(notebook) == kept:
        return False
    path.write_bytes((json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode())
    return True


def refusals(notebook: dict) -> Iterator[str]:
    """Why a cell must not be folded: it trains, compares or judges, or binds a name that a later cell in view uses.
    Imports and the session are no such names."""
    owner: dict[str, str] = {}  # a name → the folded cell that bound it last
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        source, where = source_of(cell), cell.get("id")
        statements = [_names(statement) for statement in tree_of(source).body]
        if is_hidden(cell):
            for name in sorted({*calls(source)} & {*IN_VIEW}):
                yield f"calls {name} in the folded cell {where}"
            owner |= {name: where for binds, changes, _, _ in statements for name in binds | changes}
            continue
        for binds, _, uses, imports in statements:
            for name in sorted(uses & set(owner)):
                yield f"uses {name} in cell {where}, which the folded cell {owner.pop(name)} binds"
            for name in binds | imports:
                owner.pop(name, None)


def _names(statement: ast.stmt) -> tuple[set[str], set[str], set[str], set[str]]:
    """The names that a statement binds, changes in part (`table["x"] = 1`), takes from before, and imports."""
    if _opens(statement):
        return set(), set(), set(), set()
    table = symtable.symtable(ast.unparse(statement), "cell", "exec")
    imports = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_imported()}
    binds = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned()} - imports
    uses = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced()} | _from_inside(table)
    changes = set()
    for part in ast.walk(statement):
        if isinstance(part, ast.AugAssign) and isinstance(part.target, ast.Name):
            uses.add(part.target.id)
        if isinstance(part, (ast.Subscript, ast.Attribute)) and isinstance(part.ctx, ast.Store):
            while isinstance(part, (ast.Subscript, ast.Attribute)):
                part = part.value
            changes |= {part.id} if isinstance(part, ast.Name) else set()
    simple = isinstance(statement, (ast.Assign, ast.AugAssign, ast.AnnAssign))
    return binds, changes, uses if simple else uses - binds, imports


def _from_inside(table: symtable.SymbolTable) -> set[str]:
    """The names outside that functions and comprehensions of a piece of code use."""
    found = set()
    for inner in table.get_children():
        found |= {name.get_name() for name in inner.get_symbols() if name.is_referenced() and name.is_global()}
        found |= _from_inside(inner)
    return found
