"""What the checks of every lesson share: the two verdicts they raise, and reading a reader's numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from ..core.choices import nearest


class NotAnswered(Exception):
    """The stub is still as it was."""


class NotYet(Exception):
    """The answer is wrong; the message is one sentence that helps."""


def expect(holds: bool, otherwise: str) -> None:
    """Raise NotYet with the sentence ``otherwise`` unless the condition holds."""
    if not holds:
        raise NotYet(otherwise)


def given(value: Any) -> Any:
    """The value itself. Raises NotAnswered if it is None, ``...``, an empty text, or a container of only those."""
    if _is_blank(value):
        raise NotAnswered
    return value


def _is_blank(value: Any) -> bool:
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, (tuple, list, dict)):
        return len(value) > 0 and all(map(_is_blank, value.values() if isinstance(value, dict) else value))
    return value is None or value is ...


def array(value: Any) -> np.ndarray:
    """A tensor, an array, a list or a number as a float64 array; NotYet if it is none of these."""
    try:
        if isinstance(value, torch.Tensor):
            value = value.detach().cpu().numpy()
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise NotYet(f"Return numbers (a tensor, an array or a float), not a {type(value).__name__}.") from None


def number(value: Any) -> float:
    """A float, or the one element of a tensor or array; NotYet for anything else."""
    one = array(value)
    expect(one.size == 1, f"Return one number; yours has the shape {one.shape}.")
    return float(one.reshape(()))


def numbers(answer: Any, *names: str) -> tuple[float, ...]:
    """One finite float for each of ``names``, from a tuple, list, array or dictionary in this order; NotYet if not."""
    wanted = f"Give {('two', 'three', 'four')[len(names) - 2]} numbers: {', '.join(names)}."
    try:
        values = tuple(map(float, answer.values() if isinstance(answer, dict) else answer))
    except (TypeError, ValueError):
        raise NotYet(wanted) from None
    expect(len(values) == len(names) and all(map(math.isfinite, values)), wanted)
    return values


def pair(value: Any, of: str) -> tuple[Any, Any]:
    """The two parts of a tuple or list; NotYet otherwise. ``of`` says what they are."""
    expect(isinstance(value, (tuple, list)) and len(value) == 2, f"Return two {of}: `return train, test`.")
    return value[0], value[1]


def filled(answer: Any, keys: Iterable[str]) -> None:
    """NotYet unless the answer is a dictionary with a value under each of ``keys``, and nothing else."""
    empty = _empty(answer, list(keys))
    expect(not empty, f"Still empty: {'; '.join(empty)}.")


def agrees(answer: Mapping[str, Any], right: Mapping[str, Any]) -> None:
    """NotYet unless the answer has the value of ``right`` under each of its keys; it says how many are wrong, and which
    is the first."""
    wrong = [key for key, value in right.items() if answer[key] != value]
    expect(not wrong, f"{len(wrong)} of {len(right)} are not right yet. Look again at: {', '.join(wrong[:1])}")


def all_answered(answer: Any, points: Mapping[str, str]) -> str:
    """The plan of an open exercise: an answer to every one of ``points``, point → how to find out. Only a reader can
    judge the answers: a complete plan gets the sentence that says when one stands. NotYet names what is missing.
    """
    empty = _empty(answer, list(points))
    lines = "\n".join(f"• {point}: {points[point]}" for point in empty or points)
    expect(not empty, f"Still empty, {len(empty)} of {len(points)}. To find out:\n{lines}")
    return f"All points have an answer. Only you can judge them; one stands when you have done this:\n{lines}"


def _empty(answer: Any, keys: list[str]) -> list[str]:
    """The keys without an answer. NotYet if the answer is no dictionary, or has another key."""
    expect(isinstance(answer, dict), f"Give a dictionary with the keys: {'; '.join(keys)}.")
    for key in answer:
        expect(key in keys, f'"{key}" is none of the keys.{nearest(str(key), keys)}')
    return [key for key in keys if _is_blank(answer.get(key)) or _holds_nothing(answer[key])]


def _holds_nothing(value: Any) -> bool:
    return isinstance(value, (tuple, list, dict)) and not value
