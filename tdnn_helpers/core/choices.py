"""Names: is there such a thing, and what did a reader mean? And a list of them, cut short."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

MOST_NAMED = 12  # of a longer list only the most similar choice is named


def nearest(word: str, choices: Iterable) -> str:
    """A sentence that suggests the most similar choice, or an empty string: ``' Did you mean "emoji"?'``."""
    close = difflib.get_close_matches(str(word), [str(choice) for choice in choices], n=1, cutoff=0.5)
    return f' Did you mean "{close[0]}"?' if close else ""


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first names of a list, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def check_known(name: str, choices: Iterable, kind: str) -> None:
    """Raise ValueError, with the most similar choice and with all of a short list, if ``name`` is none of them."""
    choices = list(choices)
    if name not in choices:
        named = f" Use one of {', '.join(map(str, choices))}." if 0 < len(choices) <= MOST_NAMED else ""
        raise ValueError(f'there is no {kind} "{name}".{nearest(name, choices)}{named}')
