"""Helpers of the course *Training Deep Networks from Zero to Hero*.

``from tdnn_helpers import compare, fit, load, small_cnn`` takes a name from the wing that it lives in. A wing is loaded
when a name of it is asked for. From the ground up: :mod:`core`, :mod:`session`, :mod:`data`, :mod:`models`,
:mod:`train`, :mod:`evidence`, :mod:`measures`, :mod:`methods`, :mod:`figures`, :mod:`exercises`, :mod:`checklist`; each
imports only from those before it. The checklist, an application of all of them, is imported by its own name.
"""

import ast
from functools import cache
from importlib import import_module, resources

WINGS = ("session", "core", "data", "models", "train", "evidence", "measures", "methods", "figures", "exercises")


@cache
def _faces() -> dict[str, str]:
    """Each name that a wing hands on → the wing, read from the text of its face, so that nothing is loaded for it."""
    found = {"start": "session"}
    for wing in WINGS[1:]:
        face = resources.files(__name__) / wing / "__init__.py"
        for node in ast.parse(face.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and node.level == 1:
                found |= {alias.name: wing for alias in node.names}
    return found


def __getattr__(name: str):
    if name not in _faces():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_faces()[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_faces()])
