"""Names that a reader types: is there such a thing, and what did she mean?"""

from __future__ import annotations

import difflib


def nearest(word: str, choices) -> str:
    """A sentence that suggests the most similar choice, or an empty string: ``' Did you mean "emoji"?'``."""
    close = difflib.get_close_matches(str(word), [str(choice) for choice in choices], n=1, cutoff=0.5)
    return f' Did you mean "{close[0]}"?' if close else ""


def check_known(name: str, choices, kind: str) -> None:
    """Raise ValueError, with the most similar choice, if ``name`` is none of ``choices``."""
    if name not in set(choices):
        raise ValueError(f'there is no {kind} "{name}".{nearest(name, choices)}')
