"""One exercise is one block: ``@exercise`` over its solution, and below it the mistakes that readers make."""

from __future__ import annotations

import ast
import copy
import dis
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import torch

from ..evidence.fingerprint import instructions
from .answers import (
    NotYet,
    agrees,
    all_answered,
    array,
    distance,
    expect,
    filled,
    is_number,
    nearest_known,
    number,
    numbers,
    parts,
    short,
    where_wrong,
)


@dataclass(eq=False)
class Exercise:
    """One exercise. Called like a function, it is its solution.

    ``solution`` is what the reader can unfold; the stub is made from its first lines. ``value`` is the stub's
    right-hand side where the answer is a value and not a function; ``solution()`` then returns the right one. In a
    value that begins with ``{}`` the keys of the solution are put in, each with None.
    ``right`` says why a right answer is right.

    An answer is compared with ``reference`` (the solution, if there is none) on ``cases``, tuples of arguments or a
    function that makes them: it may be off by the share ``within`` of the largest right number. ``read`` is applied
    to what is compared, ``returns`` names several results. ``otherwise`` is the sentence for a wrong answer that no
    mistake explains, or a function (got, right, *arguments) that makes it. A sentence that begins with no capital
    follows the case, what it should give and what the answer gave.

    ``gradient`` names an argument: the result's gradient with respect to it must be right, too, unless the result is
    of NumPy. ``check(answer)`` tries what no comparison shows: it raises NotYet, and may return the sentence of a right
    answer. ``write_it`` names the functions of a library that do the whole task, which a right answer must not use.
    An exercise with ``points`` (point → how to find out) asks for a text to each; it is ``open``: only its reader can
    judge it, so it is never "right".
    """

    id: str
    title: str
    solution: Callable
    hint: str
    hint2: str
    right: str = ""
    value: str = ""
    cases: Iterable[tuple] | Callable[[], Iterable[tuple]] = ()
    reference: Callable | None = None
    within: float = 1e-4
    read: Callable[[Any], Any] = lambda result: result
    returns: str = ""
    otherwise: str | Callable[..., str] = ""
    check: Callable[[Any], str | None] | None = None
    gradient: str = ""
    write_it: tuple[str, ...] = ()
    points: Mapping[str, str] = field(default_factory=dict)
    open: bool = False
    known: list[tuple[Any, str]] = field(default_factory=list, init=False)
    parts: dict[str, tuple[str, tuple[tuple[Any, str], ...]]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if self.points:
            self.open, self.value = True, _stub_of_dict(self.points, '""')
        elif self.value.startswith("{}"):
            self.value = _stub_of_dict(self.solution(), "None") + self.value[2:]

    def __call__(self, *args: Any) -> Any:
        return self.solution(*args)

    def mistakes(self, *known: tuple[Any, str]) -> None:
        """Add mistakes, each with its sentence: a function like the answer, or a whole value."""
        self.known += known

    def part(self, name: str, *known: Any) -> None:
        """Name the next part of a value. It is a number, or stands under the key ``name``.

        known: its wrong values, each with a sentence. A text before them is the sentence for any other wrong value;
        without it that is the exercise's ``otherwise``.
        """
        otherwise, known = (known[0], known[1:]) if known and isinstance(known[0], str) else (self.otherwise, known)
        self.parts[name] = (otherwise, known)

    def verdict(self, answer: Any) -> str:
        """The sentence that says why a right answer is right. NotYet for a wrong one."""
        if self.points:
            return all_answered(answer, self.points)
        if self.value and (self.parts or not self.check):
            self._compare_value(answer)
        elif self.cases:
            self._compare_results(answer)
        return (self.check and self.check(answer)) or self.right

    def source(self) -> str:
        """The text of the solution, without what stands above its ``def``."""
        module = inspect.getsource(inspect.getmodule(self.solution))
        functions = [node for node in ast.walk(ast.parse(module)) if isinstance(node, ast.FunctionDef)]
        return ast.get_source_segment(module, next(f for f in functions if f.name == self.solution.__name__))

    def _compare_value(self, answer: Any) -> None:
        right = self.solution()
        if isinstance(right, dict):
            filled(answer, right)
            got = {key: self.read(answer[key]) for key in right}
        else:
            got = dict(zip(self.parts, map(self.read, numbers(answer, *self.parts)), strict=True))
            right = dict(zip(self.parts, right, strict=True))
        for mistake, sentence in self.known:
            expect(got != mistake, sentence)
        for name, (otherwise, known) in self.parts.items():
            one = number(got[name]) if is_number(right[name]) else got[name]
            sentence = nearest_known(one, right[name], known, self.within)
            expect(sentence is not None, f"{name}: {short(one)} is not it; {otherwise}")
            expect(not sentence, f"{name}: {sentence}")
        agrees(got, {key: value for key, value in right.items() if key not in self.parts})

    def _compare_results(self, answer: Any) -> None:
        names = inspect.signature(self.solution).parameters
        for args in self.cases() if callable(self.cases) else self.cases:

            def result(function: Callable, args: tuple = args) -> Any:
                return self.read(function(*copy.deepcopy(args)))  # what one function changes, the next must not see

            truth = result(self.reference or self.solution)
            right, got = parts(truth, truth), parts(result(answer), truth, self.returns)
            n = next((n for n in range(len(right)) if distance(got[n], right[n]) > self.within), None)
            if n is None:
                self._compare_gradients(answer, args)
                continue
            known = [(parts(result(mistake), truth)[n], sentence) for mistake, sentence in self.known]
            sentence = nearest_known(got[n], right[n], known, self.within) or self.otherwise
            if callable(sentence):
                sentence = sentence(*(one[0] if len(one) == 1 else one for one in (got, right)), *args)
            if not sentence[0].isupper():
                of = self.returns.split(", ")[n] if self.returns and len(right) > 1 else ""
                sentence = f"{where_wrong(dict(zip(names, args, strict=True)), got[n], right[n], of)}: {sentence}"
            raise NotYet(sentence)

    def _compare_gradients(self, answer: Callable, args: tuple) -> None:
        if not self.gradient or isinstance(answer(*copy.deepcopy(args)), (np.ndarray, np.generic)):
            return
        place = list(inspect.signature(self.solution).parameters).index(self.gradient)
        fresh = copy.deepcopy(args), copy.deepcopy(args)
        inputs = [each[place].requires_grad_() for each in fresh]
        results = [function(*each) for function, each in zip((answer, self.solution), fresh, strict=True)]
        reached = isinstance(results[0], torch.Tensor) and results[0].requires_grad
        expect(reached, f"The value is right, but it is cut off from `{self.gradient}`: no gradient reaches it.")
        got, right = (array(torch.autograd.grad(one.sum(), x)[0]) for one, x in zip(results, inputs, strict=True))
        wrong = distance(got, right) > self.within
        why = "." if np.isfinite(got).all() else ": a number on the way overflows."
        expect(not wrong, f"The value is right, but not its gradient. {where_wrong({}, got, right)}{why}")


def exercise(id_and_title: str, **options: Any) -> Callable[[Callable], Exercise]:
    """Make the function below it the solution of an exercise; ``options`` are the fields of :class:`Exercise`."""
    id, _, title = id_and_title.partition(" ")
    return lambda solution: Exercise(id, title, solution, **options)


def _stub_of_dict(keys: Iterable[str], blank: str) -> str:
    return "{\n" + "".join(f'    "{key}": {blank},\n' for key in keys) + "}"


def names_in(answer: Any) -> set[str]:
    """The names that an answer uses: those in the code of its function, and in the reader's functions that it names.

    What stands behind a variable (an alias, a default, a partial) counts by its own name, and an object by its class. A
    function of a library is not read.
    """
    names, read, waiting = set(), set(), [answer]
    while waiting:
        one = waiting.pop()
        if isinstance(one, functools.partial):
            waiting += [one.func, *one.args, *one.keywords.values()]
            continue
        if inspect.isroutine(one):
            one = inspect.unwrap(getattr(one, "__func__", one))  # of a method, and without decorators
        if not isinstance(one, FunctionType) or _is_of_a_library(one):
            named = isinstance(one, type) or inspect.isroutine(one)
            names.add(getattr(one, "__name__", "") if named else type(one).__name__)
        elif one not in read:
            read.add(one)
            waiting += [cell.cell_contents for cell in one.__closure__ or ()]
            waiting += [*(one.__defaults__ or ()), *(one.__kwdefaults__ or {}).values()]
            for step in instructions(one.__code__):
                if step.opname == "LOAD_GLOBAL" and step.argval in one.__globals__:
                    waiting.append(one.__globals__[step.argval])
                elif step.opcode in dis.hasname:
                    names.add(step.argval)
    return names


def _is_of_a_library(function: FunctionType) -> bool:
    """Is it of an installed package or of this one? The answers in these exercises count as a reader's."""
    module = str(function.__module__)
    if module.partition(".")[0] == __name__.partition(".")[0]:
        return not module.startswith(__package__)
    return bool({"site-packages", "dist-packages"} & set(Path(function.__code__.co_filename).parts))
