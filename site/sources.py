"""What a lesson's results follow from: a digest of its code and of every definition of tdnn_helpers that it reaches.
`python site/sources.py` says which lessons have results that are older than their code.

A recorded result is older than its code if the digest has changed since. Comments and docstrings do not count, nor what
only draws or checks answers, nor a definition that the lesson never reaches: a new room makes no old lesson stale.
"""

import ast
import hashlib
import io
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import nbformat

from setup_cell import ROOT

PACKAGE = ROOT / "tdnn_helpers"
NO_RESULTS = ("plots", "widgets", "display", "exercises")  # rooms that cannot change a number
DEFINITIONS = (ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)


def bare(source: str) -> str:
    """Python source without comments, docstrings and blank lines."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node) is not None:
            text = node.body[0]
            lines[text.lineno - 1 : text.end_lineno] = [""] * (text.end_lineno - text.lineno + 1)
    return "\n".join(line.rstrip() for line in lines if line.strip())


class Module:
    """A file of the package: ``definitions`` by name, ``imports`` as name → (module, name in it or ""), and the
    ``loose`` statements, which run on import."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.source = name, path.read_text(encoding="utf-8")
        self.is_package = path.name == "__init__.py"
        self.definitions: dict[str, list[ast.stmt]] = {}
        self.imports: dict[str, tuple[str, str]] = {}
        self.loose: list[ast.stmt] = []
        for node in ast.parse(self.source).body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                self.imports |= dict(imported(node, self))
            elif isinstance(node, DEFINITIONS):
                for name in names(node):
                    self.definitions.setdefault(name, []).append(node)
            elif not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant):
                self.loose.append(node)

    def text(self, node: ast.stmt) -> str:
        first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
        return bare("\n".join(self.source.splitlines()[first - 1 : node.end_lineno]))


def names(node: ast.stmt) -> Iterator[str]:
    """The names that a top-level definition binds."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        yield node.name
    else:
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            yield from (part.id for part in ast.walk(target) if isinstance(part, ast.Name))


def imported(node: ast.Import | ast.ImportFrom, module: Module | None) -> Iterator[tuple[str, tuple[str, str]]]:
    """What an import statement binds, if it comes from the package: name → (module of the package, name in it)."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.name.partition(".")[0] == PACKAGE.name:
                yield alias.asname or alias.name, (alias.name.partition(".")[2], "")
        return
    origin = node.module or ""
    if node.level and module:
        parts = module.name.split(".") if module.name else []
        kept = parts[: len(parts) - node.level + module.is_package]
        origin = ".".join([*kept, *filter(None, [node.module])])
    elif origin.partition(".")[0] == PACKAGE.name:
        origin = origin.partition(".")[2]
    else:
        return
    for alias in node.names:
        inside = f"{origin}.{alias.name}".strip(".")
        yield alias.asname or alias.name, (inside, "") if inside in modules() else (origin, alias.name)


@cache
def modules() -> dict[str, Path]:
    """Every module of the package: dotted name inside it → file."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def parsed(name: str) -> Module:
    return Module(name, modules()[name])


def reached(node: ast.AST, module: Module | None) -> Iterator[tuple[str, str]]:
    """(module, name) for everything of the package that a piece of code names; a name "" means the whole module."""
    known = dict(module.imports) if module else {}
    for part in ast.walk(node):
        if isinstance(part, (ast.Import, ast.ImportFrom)):
            known |= dict(imported(part, module))
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
            target = known.get(part.value.id)
            if target and not target[1]:
                yield target[0], part.attr
        elif isinstance(part, ast.Name):
            if part.id in known and known[part.id][1]:
                yield known[part.id]
            elif module and part.id in module.definitions:
                yield module.name, part.id


def digest(notebook: nbformat.NotebookNode) -> str:
    """Twelve hexadecimal digits for what the results of a notebook follow from. The setup cell, which holds the
    repository's address, does not count."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    code = "\n".join(cell.source for cell in cells if "setup" not in cell.metadata.get("tags", []))
    waiting = list(reached(ast.parse(code), None))
    texts, seen, entered = [bare(code)], set(), set()
    while waiting:
        name, part = waiting.pop()
        if (name, part) in seen or name.partition(".")[0] in NO_RESULTS or name not in modules():
            continue
        seen.add((name, part))
        module = parsed(name)
        if part in module.imports:  # passed on from another module
            waiting.append(module.imports[part])
        nodes = module.definitions.get(part, [])
        if name not in entered:
            entered.add(name)
            nodes = [*nodes, *module.loose]
        for node in nodes:
            texts.append(f"{name}: {module.text(node)}")
            waiting.extend(reached(node, module))
    return hashlib.sha256("\n".join(sorted(set(texts))).encode()).hexdigest()[:12]


if __name__ == "__main__":
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        recorded, now = notebook.metadata.get("tdnn", {}).get("source"), digest(notebook)
        print(path.stem, "is up to date" if recorded == now else f"is older than its code ({recorded} → {now})")
