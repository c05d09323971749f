"""A digest of a function and of everything it refers to: equal in every process, different when anything differs.

Functions and classes of a notebook count by their code and, link by link, by the variables they read; data by its
content; what an installed package holds by its name and the package's version; what this package holds by its
definition and all that it reaches (:mod:`.definitions`), wherever it stands. What has no reliable digest raises an
error. Not seen: what a program changes *inside* an imported package, and a file that
another package reads for a function.
"""

from __future__ import annotations

import builtins
import copyreg
import dis
import functools
import hashlib
import importlib
import operator
import sys
import sysconfig
import types
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .definitions import OURS

PLAIN = (type(None), bool, int, float, complex, str, type(...), type(NotImplemented))
# A notebook function that uses one of these names reaches for what no digest of its code can see.
OUTSIDE = frozenset(
    "open input eval exec compile globals locals __import__ import_module environ getenv system popen Popen urlopen "
    "read_text read_bytes iterdir glob rglob listdir load loadtxt genfromtxt fromfile memmap imread read_csv".split()
)
REMEDY = "reads what lies outside of the program: read it before the comparison"
LOOKS_UP = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS", "LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM")
BUILT_IN = (
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.MethodWrapperType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)
# What a class holds besides what its author wrote; line numbers are among it.
BOOKKEEPING = frozenset(
    "__dict__ __weakref__ __module__ __doc__ __annotations__ __annotations_cache__ __annotate__ __annotate_func__ "
    "__firstlineno__ __static_attributes__ __type_params__ _abc_impl".split()
)


def digest(content) -> str:
    """The digest of bytes, or of an array of bytes."""
    return hashlib.blake2b(content, digest_size=20).hexdigest()


class Walk:
    """Feeds ``hash`` with a value and everything it refers to, the same way in every process.

    Pickled bytes would not do: they hold file names and line numbers, and depend on which equal strings are one object.
    """

    def __init__(self, contents: dict[int, tuple[Any, str]]):
        self.hash = hashlib.blake2b(digest_size=20)
        self.names: list[str] = []  # of the variables on the way to here
        # Both hold on to the object, so that its id is not given to another one meanwhile.
        self._seen: dict[int, tuple[Any, int]] = {}
        # Shared by the arms of one comparison: each block of data is read once. Not longer, because an edit through
        # NumPy or ``.data`` leaves no trace in a tensor's version counter.
        self._contents = contents

    def _put(self, *parts) -> None:
        for part in parts:
            part = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogatepass")
            self.hash.update(len(part).to_bytes(8, "big") + part)

    def _version_of(self, module: str) -> str:
        """What counts of an installed package besides a name in it."""
        version = _version(module)
        if version is None:
            raise TypeError(f'the module "{module}" has no version')
        return version

    def visit(self, thing) -> None:
        kind = type(thing)
        if kind in PLAIN:
            self._put(kind.__name__, repr(thing))
        elif kind is bytes:
            self._put("bytes", thing)
        elif kind is tuple:
            self._put("tuple", len(thing))
            for item in thing:
                self.visit(item)
        elif kind in (set, frozenset):
            walks = [type(self)(self._contents) for _ in thing]
            for walk, item in zip(walks, thing, strict=True):
                walk.visit(item)
            self._put(kind.__name__, len(thing), *sorted(walk.hash.digest() for walk in walks))
        elif kind is types.CodeType:
            self._code(thing)
        elif id(thing) in self._seen:
            self._put("seen", self._seen[id(thing)][1])
        else:
            self._seen[id(thing)] = thing, len(self._seen)
            self._compound(thing, kind)

    def _compound(self, thing, kind: type) -> None:
        if kind in (dict, types.MappingProxyType):
            self._put(kind.__name__, len(thing))
            for key, value in thing.items():
                self.visit(key)
                self.visit(value)
        elif kind is list:
            self._put("list")
            self.visit(tuple(thing))
        elif isinstance(thing, torch.Tensor):
            self._tensor(thing)
        elif kind is np.ndarray and not thing.dtype.hasobject:
            content = self._content(thing, lambda: np.ascontiguousarray(thing).reshape(-1).view(np.uint8))
            self._put("array", thing.shape, thing.strides, content)
            self.visit(thing.dtype)
        elif isinstance(thing, (torch.dtype, torch.layout, torch.memory_format)):
            self._put("torch", repr(thing))
        elif kind is types.ModuleType:
            self._put("module", *(_ours(thing.__name__) or (thing.__name__, self._version_of(thing.__name__))))
        elif isinstance(thing, (types.FunctionType, *BUILT_IN)) and thing.__name__ in OUTSIDE:
            raise TypeError(f'"{thing.__name__}" {REMEDY}')
        elif isinstance(thing, BUILT_IN):
            self._built_in(thing)
        elif isinstance(thing, (type, types.FunctionType)) and _is_in_place(thing):
            module, name = thing.__module__, thing.__qualname__
            self._put("by name", *(_ours(module, name) or (f"{module}.{name}", self._version_of(module))))
        elif kind is types.FunctionType:
            self._function(thing)
        elif isinstance(thing, type):
            self._put("class", thing.__qualname__)
            self.visit((type(thing), thing.__bases__))
            for name in sorted(vars(thing).keys() - BOOKKEEPING):
                self._named(name, vars(thing)[name])
        elif kind is types.MethodType or kind in (staticmethod, classmethod):
            self._put(kind.__name__)
            self.visit((thing.__func__, getattr(thing, "__self__", None)))
        elif kind is property:
            self._put("property")
            self.visit((thing.fget, thing.fset, thing.fdel))
        elif kind is functools._lru_cache_wrapper:
            self._put("cached")
            self.visit(thing.__wrapped__)
        else:
            self._instance(thing, kind)

    def _named(self, name: str, value) -> None:
        self.names.append(name)
        self._put("named", name)
        self.visit(value)
        self.names.pop()

    def _content(self, thing, array: Callable[[], np.ndarray]) -> str:
        if id(thing) not in self._contents:
            self._contents[id(thing)] = thing, digest(array())
        return self._contents[id(thing)][1]

    def _tensor(self, tensor: torch.Tensor) -> None:
        if tensor.layout != torch.strided or tensor.is_quantized:
            raise TypeError("a sparse or quantised tensor")

        def array() -> np.ndarray:
            plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
            return plain.reshape(-1).view(torch.uint8).numpy()

        form = (tensor.dtype, tuple(tensor.shape), tensor.stride(), self._device(tensor), tensor.requires_grad)
        self._put("tensor", form, self._content(tensor, array))
        self.visit((type(tensor), vars(tensor), tensor.grad if tensor.is_leaf else None))

    def _device(self, tensor: torch.Tensor) -> str:
        return tensor.device.type

    def _built_in(self, thing) -> None:
        owner = getattr(thing, "__objclass__", getattr(thing, "__self__", None))
        module = getattr(thing, "__module__", None) or getattr(owner, "__name__", None)
        self._put("built in", type(thing).__name__, thing.__qualname__)
        if owner is None or isinstance(owner, types.ModuleType):
            self._put(module, self._version_of(module) if module else "")
        else:
            self.visit(owner)

    def _function(self, function: types.FunctionType) -> None:
        code = function.__code__
        self._put("function")
        self.visit((self._body(function), function.__defaults__, function.__kwdefaults__, function.__dict__))
        names = self._reads(function)
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            self._named(name, cell.cell_contents)
        for name in sorted(names):
            for place, variables in ("global", function.__globals__), ("built in", vars(builtins)):
                if name in variables:
                    self._put(place)
                    self._named(name, self._part(function, name, variables[name]))
                    break

    @staticmethod
    def _is_own(function: types.FunctionType) -> bool:
        """Whether it is a notebook's, or of a file of the reader's."""
        return _version(function.__module__) is None

    def _body(self, function: types.FunctionType):
        """What says what a function does."""
        return function.__code__

    def _part(self, function: types.FunctionType, name: str, value):
        """What the function reads of a global variable."""
        return value

    def _reads(self, function: types.FunctionType) -> set[str]:
        """The global names that a function looks up; what it imports is visited."""
        own, names = self._is_own(function), set()
        for instruction in instructions(function.__code__):
            name = instruction.argval
            if instruction.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
                raise TypeError(f'it changes the global variable "{name}"')
            if own and instruction.opname in LOOKS_UP and name in OUTSIDE:
                raise TypeError(f'"{name}" {REMEDY}')
            if instruction.opname == "IMPORT_NAME":
                self._named(name, importlib.import_module(name))
            elif "GLOBAL" in instruction.opname or instruction.opname == "LOAD_NAME":
                names.add(name)
        return names

    def _code(self, code: types.CodeType) -> None:
        """Everything but the file name and the line numbers, which differ from kernel to kernel."""
        self._put("code", code.co_name, code.co_code, getattr(code, "co_exceptiontable", b""), code.co_flags)
        self._put(code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
        self.visit((code.co_consts, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars))

    def _instance(self, thing, kind: type) -> None:
        """Any other object, by what it would give to pickle."""
        reduced = copyreg.dispatch_table.get(kind, lambda it: it.__reduce_ex__(4))(thing)
        if isinstance(reduced, str):  # it says: "I am the one of that name in my module"
            module = getattr(thing, "__module__", None) or kind.__module__
            if operator.attrgetter(reduced)(sys.modules[module]) is not thing:
                raise TypeError(f"{reduced} is not the one in {module}")
            self._put("by name", module, reduced, self._version_of(module))
            return
        make, arguments, state, items, pairs, setter = (*reduced, *[None] * (6 - len(reduced)))
        self._put("instance")
        self.visit((make, arguments, state, tuple(items or ()), tuple(pairs or ()), setter))


def instructions(code: types.CodeType) -> Iterator[dis.Instruction]:
    """Those of a function and of the functions inside it."""
    yield from dis.get_instructions(code)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from instructions(constant)


def _is_in_place(thing) -> bool:
    """Whether an installed package, or this one, keeps a class or function under its own name."""
    module, name = thing.__module__, thing.__qualname__
    if _version(module) is None:
        return False
    in_c = isinstance(thing, type) and not thing.__flags__ & 1 << 9  # not a heap type: nobody makes two of the name
    try:
        return in_c or operator.attrgetter(name)(sys.modules[module]) is thing
    except (AttributeError, KeyError):
        return False


def _ours(module: str, name: str = "") -> tuple[str, str] | None:
    """The same for a definition or a whole module of this package, wherever it stands; None for any other."""
    top, _, inside = module.partition(".")
    if top != OURS.package.name:
        return None
    return name, OURS.of(inside, name.partition(".")[0]) if inside else OURS.all  # the face may give anything


@functools.cache
def _version(module: str | None) -> str | None:
    """The version of the installed package that a module belongs to; None for a notebook or a file of the reader's."""
    top = str(module).partition(".")[0]
    package = sys.modules.get(top)
    if top == OURS.package.name:
        return "of this course"
    if package is None or top in ("__main__", "__mp_main__"):
        return None
    if top in sys.builtin_module_names:
        return "of Python"
    file = Path(getattr(package, "__file__", None) or "")
    if {"site-packages", "dist-packages"} & set(file.parts):
        found = getattr(package, "__version__", None)
        return str(found) if found else metadata.version(top)
    folders = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
    return "of Python" if folders & set(file.parents) else None
