"""Exercises that check themselves.

A lesson's cell holds a stub and ends with ``check("1.2", my_standardise)``. The reader edits the stub, runs the cell,
and is told whether the answer is right; two hints and a solution fold out below. A new lesson adds one module,
``lesson_NN.py``. Each exercise in it is one block, made with :func:`blocks.exercise`: the solution with its text,
the cases it is compared on, the hints, and the mistakes; its id starts with the lesson's number.
"""

from __future__ import annotations

import html
import importlib
import inspect
import pkgutil
import re
import textwrap
import traceback
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from ..core.choices import nearest
from ..core.randomness import untouched_random_state
from ..figures import cards
from .answers import NotAnswered, NotYet, expect, given
from .blocks import Exercise, names_in

__all__ = ["Exercise", "Feedback", "all_exercises", "check", "stub"]


@dataclass(frozen=True)
class Feedback:
    """What :func:`check` found: ``status`` is "right", "not yet" or "not answered yet"; ``sentence`` says more.

    An open exercise, which only its reader can judge, is "complete" and never "right".
    """

    exercise: Exercise
    status: str
    sentence: str

    def __repr__(self) -> str:
        return (
            f"Exercise {self.exercise.id}, {self.exercise.title}: {self.status}.\n{self.sentence}\n"
            "(In a notebook, two hints and a solution fold out here.)"
        )

    def _repr_html_(self) -> str:
        # The colours of text and page are the reader's own; only the bar at the side is ours, and it reads on both.
        marks = {"right": ("✓", "#029e73"), "not yet": ("✗", "#d55e00"), "complete": ("●", "#808080")}
        mark, colour = marks.get(self.status, ("○", "#808080"))
        solution = html.escape(self.exercise.source())
        folded = cards.fold("Hint 1", f"<p>{_prose(self.exercise.hint)}</p>")
        folded += cards.fold("Hint 2", f"<p>{_prose(self.exercise.hint2)}</p>")
        folded += cards.fold("Solution", f'<pre style="overflow-x:auto;white-space:pre"><code>{solution}</code></pre>')
        return (
            f'<div style="border-left:4px solid {colour};padding:0.2em 1em;max-width:50em">'
            f"<p><strong>{mark} Exercise {self.exercise.id}, {_prose(self.exercise.title)}: {self.status}.</strong> "
            f"{_prose(self.sentence)}</p>{folded}</div>"
        )


@contextmanager
def _in_float32():
    """The numbers of an exercise are float32, whatever type a reader has made the usual one."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@_in_float32()
def check(id: str, answer: Any) -> Feedback:
    """Check an answer. Shown by the notebook when it is the last line of a cell.

    Never raises for a wrong, empty or failing answer. Raises ValueError if there is no exercise ``id``.
    """
    exercise = _find(id)
    try:
        watched = _watched(answer) if inspect.isroutine(answer) else given(answer)
        with untouched_random_state(), torch.enable_grad():
            sentence = exercise.verdict(watched)
        used = sorted(names_in(answer) & set(exercise.write_it))
        expect(not used, f"You call `{', '.join(used)}`, which does the whole task; write it yourself from its parts.")
        return Feedback(exercise, "complete" if exercise.open else "right", sentence)
    except NotAnswered:
        sentence = "Write your answer in this cell and run it again."
        if inspect.isroutine(answer):
            sentence += " Your function must `return` it."
        return Feedback(exercise, "not answered yet", sentence)
    except NotYet as wrong:
        return Feedback(exercise, "not yet", str(wrong))
    except (Exception, SystemExit) as error:
        return Feedback(exercise, "not yet", _failure(error, answer))


def stub(id: str) -> str:
    """The cell that a lesson shows for an exercise, made from its solution so that the two cannot differ."""
    exercise = _find(id)
    if exercise.value:
        return f'answer = {exercise.value}\n\ncheck("{id}", answer)'
    name = f"my_{exercise.solution.__name__}"
    doc = inspect.getdoc(exercise.solution)
    doc = f'"""{doc}\n"""' if "\n" in doc else f'"""{doc}"""'
    body = textwrap.indent(f"{doc}\nreturn ...  # your answer", "    ")
    return f'def {name}{inspect.signature(exercise.solution)}:\n{body}\n\n\ncheck("{id}", {name})'


@cache
@_in_float32()
def all_exercises() -> dict[str, Exercise]:
    """Every exercise of the course by id, in order."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name.startswith("lesson_"))
    lessons = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return {one.id: one for lesson in lessons for one in vars(lesson).values() if isinstance(one, Exercise)}


def _watched(answer: Callable) -> Callable:
    """The reader's function; what it returns must not be blank, and NotImplementedError counts as blank."""

    def call(*args: Any) -> Any:
        try:
            return given(answer(*args))
        except NotImplementedError as error:
            raise NotAnswered from error

    return call


def _find(id: str) -> Exercise:
    if id not in all_exercises():
        raise ValueError(
            f'There is no exercise "{id}".{nearest(id, all_exercises())} There are: {", ".join(all_exercises())}.'
        )
    return all_exercises()[id]


def _failure(error: BaseException, answer: Any) -> str:
    """One sentence for an answer that raised, with the line if it was raised inside the reader's function."""
    source = answer.__code__.co_filename if inspect.isfunction(answer) else None
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == source]
    where = f" in line {lines[-1]} of the cell" if lines else ""
    try:
        said = str(error)
    except Exception:  # whatever a reader's exception does
        said = "it says nothing"
    return f"Your answer raised {type(error).__name__}{where}: {said}"


def _prose(text: str) -> str:
    """Plain text as HTML; `code` between backticks, line breaks kept."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False)).replace("\n", "<br>")
