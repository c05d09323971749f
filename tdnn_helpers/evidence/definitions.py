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

NO_RESULTS = ("figures", "exercises")  # wings that cannot change a number
LISTING = "checksums.json"  # a definition that names this file reads the data
DEFINITIONS = (ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)


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

    def imported(self, node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, tuple[str, str]]]:
        """What an import statement binds, if it comes from the package: name → (module of the package, name in it)."""
        if isinstance(node, ast.Import):
            for alias in node.names:
                top, _, inside = alias.name.partition(".")
                if top == self.package:
                    yield alias.asname or alias.name, (inside, "")
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
            yield alias.asname or alias.name, (origin, alias.name)

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
        for node in ast.walk(tree):
            gone = None
            if isinstance(node, (ast.Import, ast.ImportFrom)) and dict(self.imported(node)):
                gone = node
                renamed |= {f"{alias.name} as {alias.asname}" for alias in node.names if alias.asname}
            elif isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node) is not None:
                gone = node.body[0]
            if gone is not None:
                lines[gone.lineno - 1 : gone.end_lineno] = [""] * (gone.end_lineno - gone.lineno + 1)
        return "\n".join([*sorted(renamed), *(line.rstrip() for line in lines if line.strip())])


def _names(node: ast.stmt) -> Iterator[str]:
    """The names that a top-level definition binds."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
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
        self._data = listing.read_text(encoding="utf-8") if listing.exists() else ""
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
        """The same for one definition of the package, or with ``name`` "" for a whole module."""
        return self._digest([], self._way(module, name))

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
        wings = [wing for wing, (_, is_package) in sorted(self.files.items()) if is_package and wing.isidentifier()]
        return next((wing for wing in wings if name in self.module(wing).imports), "")

    def _reached(self, node: ast.AST, module: Module) -> Iterator[tuple[str, str]]:
        """(module, name) for everything of the package that a piece of code names, and for each module on the way
        there; a name "" means the whole module."""
        known = dict(module.imports)
        for part in ast.walk(node):
            if isinstance(part, (ast.Import, ast.ImportFrom)):
                known |= dict(module.imported(part))
        for part in ast.walk(node):
            if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id in known:
                origin, name = self._way(*known[part.value.id])[-1]
                if not name:
                    yield from self._way(origin, part.attr)
            elif isinstance(part, ast.Name):
                if part.id in known and (way := self._way(*known[part.id]))[-1][1]:
                    yield from way
                elif part.id in module.definitions and module.name in self.files:
                    yield module.name, part.id

    def _counts(self, module: str) -> bool:
        return module in self.files and module.partition(".")[0] not in NO_RESULTS

    def _bound(self, found: Iterable[tuple[str, str]]) -> list[str]:
        """What the names in a piece of code stand for: each name, with the text of its definition, hashed."""
        return sorted(
            {
                f"{name} is {_hashed([self.module(module).text(node)])}"
                for module, name in found
                if self._counts(module)
                for node in self.module(module).definitions.get(name, [])
            }
        )

    def _digest(self, texts: list[str], waiting: list[tuple[str, str]]) -> str:
        waiting, seen, entered = list(waiting), set(), set()
        while waiting:
            module, name = waiting.pop()
            if (module, name) in seen or not self._counts(module):
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
                    texts.extend(self._texts(self.module(above).loose, self.module(above), waiting))
            texts.extend(self._texts(nodes, file, waiting))
        if any(f'"{LISTING}"' in text for text in texts):
            texts.append(self._data)
        return _hashed(set(texts))

    def _texts(self, nodes: list[ast.stmt], file: Module, waiting: list[tuple[str, str]]) -> Iterator[str]:
        """What counts of these statements; what they reach is added to those that wait."""
        for node in nodes:
            found = list(self._reached(node, file))
            waiting.extend(found)
            yield "\n".join([file.text(node), *self._bound(found)])


def _hashed(texts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(texts)).encode()).hexdigest()[:12]


# Of this package as it was imported, not as an editor may have left it since.
OURS = Definitions(Path(__file__).resolve().parent.parent)
