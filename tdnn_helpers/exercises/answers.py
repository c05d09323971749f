"""What every exercise shares: the verdicts a check raises, reading a reader's answer, and comparing it with others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

import numpy as np
import torch

from ..core.choices import nearest

COUNT = ("no", "one", "two", "three", "four", "five")


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
    wanted = f"Give {COUNT[len(names)]} numbers: {', '.join(names)}."
    try:
        values = tuple(map(float, answer.values() if isinstance(answer, dict) else answer))
    except (TypeError, ValueError):
        raise NotYet(wanted) from None
    expect(len(values) == len(names) and all(map(math.isfinite, values)), wanted)
    return values


def parts(value: Any, right: Any, names: str = "") -> list[np.ndarray]:
    """The parts of an answer as arrays, one for each part of ``right``; several single numbers are one array. NotYet
    if the answer has other parts or shapes, or is no numbers. ``names`` says what to return, as code.
    """
    if not isinstance(right, tuple):
        wanted, got = array(right), array(value)
        if wanted.ndim == 0:
            return [np.asarray(number(value))]
        expect(got.shape == wanted.shape, f"The shape must be {wanted.shape}; yours is {got.shape}.")
        return [got]
    single = all(array(one).ndim == 0 for one in right)
    kind = "numbers" if single else "tensors" if isinstance(right[0], torch.Tensor) else "arrays"
    wanted = f"Return {COUNT[len(right)]} {kind}" + (f": `return {names}`." if names else ".")
    expect(isinstance(value, (tuple, list)) and len(value) == len(right), wanted)
    found = [part for one, other in zip(value, right, strict=True) for part in parts(one, other)]
    return [np.stack(found)] if single else found


def nearest_known(got: Any, right: Any, mistakes: Iterable[tuple[Any, str]], within: float) -> str | None:
    """Which known answer ``got`` is: an empty text for the right one, else the sentence of the nearest mistake.

    None if no known answer is near, that is, closer than the share ``within`` of its largest number.
    """
    distances = [(distance(got, known), sentence) for known, sentence in ((right, ""), *mistakes)]
    closest, sentence = min(distances, key=lambda known: known[0])  # of equally near ones the first: the right one
    return sentence if closest <= within else None


def distance(got: Any, known: Any) -> float:
    """The largest difference, as a share of the largest known number; words and truth values are equal or not."""
    if not all(isinstance(one, np.ndarray) or is_number(one) for one in (got, known)):
        return 0.0 if got == known else math.inf
    got, known = np.asarray(got), np.asarray(known)
    if got.shape != known.shape or not np.array_equal(np.isnan(got), np.isnan(known)):
        return math.inf
    same = (got == known) | np.isnan(got)  # also where both are infinite
    if same.all():
        return 0.0
    finite = np.abs(known[np.isfinite(known)])
    return float(np.abs(got[~same] - known[~same]).max() / max(1e-6, *finite.flat))


def is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def short(value: Any) -> str:
    """A number, a word, or up to eight numbers, as text; an empty text for anything larger."""
    if isinstance(value, (str, bool, int)):
        return repr(value)
    if isinstance(value, (float, np.floating)):
        return f"{value:.5g}"
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return short(value.tolist()) if value.ndim < 2 else ""
    few = isinstance(value, (list, tuple)) and len(value) <= 8 and all(map(short, value))
    return f"[{', '.join(map(short, value))}]" if few else ""


def where_wrong(given: Mapping[str, Any], got: np.ndarray, right: np.ndarray, of: str = "") -> str:
    """The numbers put in, what should come out, and what came out; of a large answer the number that is farthest off.
    The array ``got`` has the shape of ``right``; ``of`` is its name, where there are several.
    """
    shown = ", ".join(f"{name} = {short(value)}" for name, value in given.items() if short(value))
    what = of and f"`{of}`" or "it"
    if not short(right):
        place = np.unravel_index(np.abs(got - right).argmax(), right.shape)
        what = f"the number at {short([int(one) for one in place])}{of and f' of `{of}`'}"
        got, right = got[place], right[place]
    return f"{f'With {shown}' if shown else 'On our numbers'} {what} should be {short(right)}; yours is {short(got)}"


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
