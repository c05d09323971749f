"""Is a result older than its code? A digest of a piece of code and of every definition of the package that it reaches.

One answer for recorded results, kept runs and frozen features. What counts is the text of the definitions, and which
definition a name stands for. Comments, docstrings, import statements and the file that a definition stands in don't
count, nor what only draws or checks answers, nor what is never reached: a moved file makes no result old. The checksums
of the data count for whatever reads them.
"""

from __future__ import annotations

import ast
import hashlib
import io
import tokenize
from collections.abc import Iterable, Iterator
from functools import cache, cached_property
from itertools import accumulate
from pathlib import Path

NO_RESULTS = frozenset({"figures", "exercises"})  # wings that cannot change a number
NO_WING = frozenset()
LISTING = "checksums.json"  # a definition that names this file reads the data
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
DEFINITIONS = (*FUNCTIONS, ast.Assign, ast.AnnAssign)


class Module:
    """A file of the package: ``definitions`` by name, ``imports`` as name → (module, name in it or ""), and the
    ``loose`` statements, which run on import."""

    def __init__(self, package: str, name: str, source: str, is_package: bool) -> None:
        self.package, self.name, self.source, self.is_package = package, name, source, is_package
        self.definitions: dict[str, list[ast.stmt]] = {}
        self.imports: dict[str, tuple[str, str]] = {}
        self.loose: list[ast.stmt] = []
        for node in ast.parse(source).body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                self.imports |= dict(self.imported(node))
            elif isinstance(node, DEFINITIONS):
                for bound in _names(node):
                    self.definitions.setdefault(bound, []).append(node)
            elif not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant):
                self.loose.append(node)
                for part in ast.walk(node):  # an import under a condition
                    if isinstance(part, (ast.Import, ast.ImportFrom)):
                        self.imports |= dict(self.imported(part))

    def imported(self, node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, tuple[str, str]]]:
        """What an import statement binds, if it comes from the package: name → (module of the package, name in it). The
        name of ``from … import *`` is the star with the module."""
        if isinstance(node, ast.Import):
            for alias in node.names:
                top, _, inside = alias.name.partition(".")
                if top == self.package:
                    yield (alias.asname, (inside, "")) if alias.asname else (top, ("", ""))
            return
        origin = node.module or ""
        if node.level:
            parts = self.name.split(".") if self.name else []
            above = parts[: len(parts) - node.level + self.is_package]
            origin = ".".join([*above, *filter(None, [node.module])])
        elif origin.partition(".")[0] == self.package:
            origin = origin.partition(".")[2]
        else:
            return
        for alias in node.names:
            star = alias.name == "*"
            yield f"* {origin}" if star else alias.asname or alias.name, (origin, "" if star else alias.name)

    @cache  # noqa: B019 (the modules live as long as the program)
    def text(self, node: ast.stmt) -> str:
        """A statement without what does not count."""
        first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
        return self.bare("\n".join(self.source.splitlines()[first - 1 : node.end_lineno]))

    def bare(self, source: str) -> str:
        """Python source without comments, docstrings, blank lines and imports of the package. A name that such an
        import changes stands in front."""
        lines, tree, renamed = source.splitlines(), ast.parse(source), set()
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                row, column = token.start
                lines[row - 1] = lines[row - 1][:column]
        code = [line.encode() for line in lines]  # the columns of a node count bytes
        for node in ast.walk(tree):
            gone = None
            if isinstance(node, (ast.Import, ast.ImportFrom)) and dict(self.imported(node)):
                gone = node
                renamed |= {f"{alias.name} as {alias.asname}" for alias in node.names if alias.asname}
            elif isinstance(node, (ast.Module, *FUNCTIONS)) and ast.get_docstring(node) is not None:
                gone = node.body[0]
            if gone is not None:  # nothing but the statement: another one may stand in the same line
                first, last = gone.lineno - 1, gone.end_lineno - 1
                rest = code[last][gone.end_col_offset :]
                for row in range(first, last + 1):
                    code[row] = code[row][: gone.col_offset] if row == first else b""
                code[last] = code[last] + b" " * (gone.end_col_offset - len(code[last])) + rest
        lines = [line.decode() for line in code]
        return "\n".join([*sorted(renamed), *(line.rstrip() for line in lines if line.strip())])


def _names(node: ast.stmt) -> Iterator[str]:
    """The names that a top-level definition binds."""
    if isinstance(node, FUNCTIONS):
        yield node.name
    else:
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            yield from (part.id for part in ast.walk(target) if isinstance(part, ast.Name))


class Definitions:
    """The definitions of a package, as its files are now: an editor may change them while the program goes on."""

    def __init__(self, package: Path) -> None:
        self.package = package
        self.files: dict[str, tuple[str, bool]] = {}  # dotted name inside the package → its source, is it a folder
        for path in package.rglob("*.py"):
            parts, is_package = path.relative_to(package).with_suffix("").parts, path.name == "__init__.py"
            name = ".".join(parts[:-1] if is_package else parts)
            self.files[name] = path.read_text(encoding="utf-8"), is_package
        listing = package.parent / "data" / LISTING
        self.data = listing.read_text(encoding="utf-8") if listing.exists() else ""
        self._modules: dict[str, Module] = {}

    @cached_property
    def all(self) -> str:
        """Twelve hexadecimal digits for every byte of every file."""
        return _hashed(f"{name} {source}" for name, (source, _) in self.files.items())

    def of_code(self, code: str) -> str:
        """Twelve hexadecimal digits for what the results of a piece of code follow from."""
        outside = Module(self.package.name, "", code, True)
        found = list(self._reached(ast.parse(code), outside))
        return self._digest(["\n".join([outside.bare(code), *self._bound(found)])], found)

    def of(self, module: str, name: str = "") -> str:
        """The same for one definition, or with ``name`` "" for a whole module; here every wing counts."""
        return self._digest([], self._way(module, name), NO_WING)

    def module(self, name: str) -> Module:
        if name not in self._modules:
            self._modules[name] = Module(self.package.name, name, *self.files[name])
        return self._modules[name]

    def _way(self, module: str, name: str) -> list[tuple[str, str]]:
        """From where a name is taken to where it is defined, over modules that pass it on; a name "" is the module."""
        way = [(module, name)]
        while name and module in self.files and name not in self.module(module).definitions:
            inside = f"{module}.{name}".strip(".")
            target = self.module(module).imports.get(name, (module, name))
            if target != (module, name):
                module, name = target
            elif inside in self.files:
                module, name = inside, ""
            elif not module and (wing := self._wing_with(name)):  # the package's lazily loaded face
                module = wing
            else:
                break
            way.append((module, name))
        return way

    def _wing_with(self, name: str) -> str:
        wings = [name for name, (_, is_package) in sorted(self.files.items()) if is_package and name.isidentifier()]
        found = (wing for wing in wings if name in self.module(wing).imports)
        return next(found, "session" if "session" in self.files and name in self.module("session").definitions else "")

    def _reached(self, node: ast.AST, module: Module) -> Iterator[tuple[str, str]]:
        """(module, name) for everything of the package that a piece of code names, and for each module on the way
        there; a name "" means the whole module."""
        known = dict(module.imports)
        for part in ast.walk(node):
            if isinstance(part, (ast.Import, ast.ImportFrom)):
                known |= dict(module.imported(part))
        yield from (target for name, target in known.items() if name.startswith("*"))
        inner = {id(part.value) for part in ast.walk(node) if isinstance(part, ast.Attribute)}
        for part in ast.walk(node):
            if id(part) in inner or not isinstance(part, (ast.Attribute, ast.Name)):
                continue  # of a chain a.b.c the whole counts
            chain = []
            while isinstance(part, ast.Attribute):
                chain.append(part.attr)
                part = part.value
            if isinstance(part, ast.Name) and part.id in known:
                way = self._way(*known[part.id])
                while chain and not way[-1][1]:  # a module: go on to what is taken of it
                    way[-1:] = self._way(way[-1][0], chain.pop())
                yield from way
            elif isinstance(part, ast.Name) and part.id in module.definitions and module.name in self.files:
                yield module.name, part.id

    def _counts(self, module: str, left_out: frozenset[str]) -> bool:
        return module in self.files and module.partition(".")[0] not in left_out

    def _bound(self, found: Iterable[tuple[str, str]], left_out: frozenset[str] = NO_RESULTS) -> list[str]:
        """What the names in a piece of code stand for: each name, with the text of its definition, hashed."""
        return sorted(
            {
                f"{name} is {_hashed([self.module(module).text(node)])}"
                for module, name in found
                if self._counts(module, left_out)
                for node in self.module(module).definitions.get(name, [])
            }
        )

    def _digest(self, texts: list[str], waiting: list[tuple[str, str]], left_out: frozenset[str] = NO_RESULTS) -> str:
        waiting, seen, entered = list(waiting), set(), set()
        while waiting:
            module, name = waiting.pop()
            if (module, name) in seen or not self._counts(module, left_out):
                continue
            seen.add((module, name))
            file = self.module(module)
            nodes = file.definitions.get(name, [])
            if not name:  # the whole module: all that it defines and all that it passes on
                nodes = [node for found in file.definitions.values() for node in found]
                waiting.extend(step for target in file.imports.values() for step in self._way(*target))
            for above in accumulate(module.split("."), "{}.{}".format):  # the folders that it stands in are run too
                if above in self.files and above not in entered:
                    entered.add(above)
                    texts.append(self._text(self.module(above).loose, self.module(above), waiting, left_out))
            texts.append(self._text(nodes, file, waiting, left_out))
        if any(f'"{LISTING}"' in text for text in texts):
            texts.append(self.data)
        return _hashed(set(texts))

    def _text(
        self, nodes: list[ast.stmt], file: Module, waiting: list[tuple[str, str]], left_out: frozenset[str]
    ) -> str:
        """What counts of these statements, in their order; what they reach is added to those that wait."""
        found = [step for node in nodes for step in self._reached(node, file)]
        waiting.extend(found)
        return "\n".join([*map(file.text, nodes), *self._bound(found, left_out)])


def _hashed(texts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(texts)).encode()).hexdigest()[:12]


# Of this package as it was imported, not as an editor may have left it since.
OURS = Definitions(Path(__file__).resolve().parent.parent)
