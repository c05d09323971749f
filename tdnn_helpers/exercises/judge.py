"""What the checks of every lesson share: the two verdicts they raise, and reading a reader's numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ..session import nearest


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


def pair(value: Any, of: str) -> tuple[Any, Any]:
    """The two parts of a tuple or list; NotYet otherwise. ``of`` says what they are."""
    expect(isinstance(value, (tuple, list)) and len(value) == 2, f"Return two {of}: `return train, test`.")
    return value[0], value[1]


def all_answered(answer: Any, points: Mapping[str, str]) -> str:
    """The plan of an open exercise: an answer to every one of ``points``, point → how to find out. Only a reader can
    judge the answers: a complete plan gets the sentence that says when one stands. NotYet names what is missing.
    """
    expect(isinstance(answer, dict), f"Give a dictionary with the keys {', '.join(points)}.")
    for point in answer:
        expect(point in points, f'"{point}" is none of the points.{nearest(str(point), points)}')
    empty = [point for point in points if answer.get(point) in (None, ...) or not str(answer[point]).strip()]
    lines = "\n".join(f"• {point}: {points[point]}" for point in empty or points)
    expect(not empty, f"Still empty, {len(empty)} of {len(points)}. To find out:\n{lines}")
    return f"All points have an answer. Only you can judge them; one stands when you have done this:\n{lines}"
