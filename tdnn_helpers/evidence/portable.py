"""A digest as in :mod:`.fingerprint` that is the same under every version of Python, torch and other packages, and on
every machine and device: a notebook's function counts by its source text instead of its bytecode (comments, docstrings
and blank lines don't count), an installed package by its name.

Two things are not portable. A value that was itself trained or resized elsewhere may differ in its last bits, and the
digest with it. And an object of an installed package counts by what it would give to pickle, which is the package's
affair.
"""

from __future__ import annotations
import __future__

import ast
import functools
import inspect
import linecache
import types
from itertools import pairwise

import numpy as np
import torch

from ..session import budget
from .definitions import OURS, Module
from .fingerprint import Walk, _version, instructions

NOTEBOOK = Module(OURS.package.name, "", "", True)  # it knows what is an import of this package
FUTURE = __future__.annotations.compiler_flag
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class PortableWalk(Walk):
    """Feeds ``hash`` with a value and everything it refers to, the same way on every machine."""

    def _version_of(self, module: str) -> str:
        super()._version_of(module)  # a TypeError for a module of nobody
        return ""

    def _device(self, tensor: torch.Tensor) -> str:
        return ""

    @staticmethod
    def _is_own(function: types.FunctionType) -> bool:
        # A package's decorator gives its own function the module and name of what it decorates.
        return _version(function.__globals__.get("__name__")) is None

    def _body(self, function: types.FunctionType):
        if self._is_own(function):
            return text_of(function, "".join(linecache.getlines(function.__code__.co_filename, function.__globals__)))
        package, _, module = function.__globals__["__name__"].partition(".")
        if package != OURS.package.name:
            return package, module, function.__code__.co_name
        return OURS.of(module, function.__qualname__.partition(".")[0]), text_of(function, OURS.module(module).source)

    def _reads(self, function: types.FunctionType) -> set[str]:
        # What the definition of a package reaches is in its digest, or is the package's affair.
        return super()._reads(function) if self._is_own(function) else set()

    def _part(self, function: types.FunctionType, name: str, value):
        """Of a namespace, such as the sizes of a lesson, the attributes that are looked up."""
        attributes = set()
        for one, after in pairwise(instructions(function.__code__)) if type(value) is types.SimpleNamespace else ():
            if one.argval == name and "GLOBAL" in one.opname:
                if after.opname not in ("LOAD_ATTR", "LOAD_METHOD"):
                    return value  # it is handed on as a whole
                attributes.add(after.argval)
        return {one: getattr(value, one) for one in sorted(attributes)} if attributes else value

    def _compound(self, thing, kind: type) -> None:
        if isinstance(thing, torch.device):
            self._put("device")
        elif isinstance(thing, np.dtype):
            self._put("dtype", thing.descr if thing.names else thing.str)
        elif isinstance(thing, np.generic):
            self._put("number", thing.dtype.str, repr(thing.item()))
        elif hasattr(thing, "to_csv") and not isinstance(thing, type):  # a table of pandas; its attrs don't count
            self._put("table", kind.__name__, thing.to_csv())
        elif isinstance(thing, torch.nn.Module):  # empty hooks are of a version of torch
            self._put("network")
            self.visit((kind, {name: it for name, it in sorted(vars(thing).items()) if name[0] != "_" or it}))
        else:
            super()._compound(thing, kind)


def surroundings(comparison: str) -> tuple[str, ...]:
    """What every run of a comparison depends on: its name, the budget, and how a run is seeded. (The checksums of the
    data folder in use count for the arms that read it.)"""
    return comparison, size(), OURS.of("core.randomness", "seed_everything")


def size() -> str:
    """The budget that a row is kept under. A smoke run reads the rows of a standard one."""
    return "standard" if (name := budget()) == "smoke" else name


def text_of(function: types.FunctionType, source: str) -> str:
    """The bare text of a function or lambda that was defined in this source. TypeError if it isn't found there."""
    return _text_of(function.__code__, source)


@functools.lru_cache(4096)  # each arm of each comparison asks for the same few
def _text_of(code: types.CodeType, source: str) -> str:
    kinds = ast.Lambda if code.co_name == "<lambda>" else FUNCTIONS
    texts = {
        _segment(source, node)
        for node in _defined(source).get(code.co_firstlineno, ())
        if isinstance(node, kinds) and (kinds is ast.Lambda or node.name == code.co_name)
    }
    if len(texts) > 1:  # several lambdas begin in this line
        texts = {text for text in texts if _compiles_to(text, code)}
    if len(texts) != 1:
        raise TypeError(f"{code.co_name} has no source text that can be told from others")
    return _bare(texts.pop())


@functools.lru_cache(64)
def _defined(source: str) -> dict[int, list[ast.AST]]:
    """Line → the functions and lambdas that begin in it."""
    found: dict[int, list[ast.AST]] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (*FUNCTIONS, ast.Lambda)):
            found.setdefault(_first_line(node), []).append(node)
    return found


def _first_line(node: ast.AST) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])


def _segment(source: str, node: ast.AST) -> str:
    if isinstance(node, ast.Lambda):
        return f"({ast.get_source_segment(source, node)})"
    return "\n".join(source.split("\n")[_first_line(node) - 1 : node.end_lineno])


def _bare(text: str) -> str:
    indent = text[: len(text) - len(text.lstrip())]
    lines = NOTEBOOK.bare(f"if 1:\n{text}" if indent else text).splitlines()
    return "\n".join(line.removeprefix(indent) for line in lines if line != "if 1:")


def _compiles_to(text: str, code: types.CodeType) -> bool:
    """Whether a lambda of this text has this code, here and now."""
    inside = f"def f({', '.join(code.co_freevars)}):\n return {text}" if code.co_flags & inspect.CO_NESTED else text
    found = [compile(inside, "", "exec", code.co_flags & FUTURE, dont_inherit=True)]
    while found and found[0].co_name != "<lambda>":
        found = [*(part for part in found[0].co_consts if isinstance(part, types.CodeType)), *found[1:]]
    return bool(found) and _strict(found[0]) == _strict(code)


def _strict(code: types.CodeType) -> bytes:
    walk = Walk({})
    walk.visit(code)
    return walk.hash.digest()
