"""Runs that survive being cut short: the file that ``fit`` writes as it trains, and from which it goes on.

A checkpoint holds everything that changes while a network trains (:class:`Run`) and the settings of the run in words.
It is tensors, numbers, strings, lists and dicts: reading one never runs code that somebody put into the file. The file
is replaced in one stroke, so that whoever reads it finds the old content or the new one, never half of each.
"""

from __future__ import annotations

import hashlib
import inspect
import io
import signal
import threading
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..core.places import write_whole
from ..data.split import Split
from .distributed import Team, in_all_processes
from .run import History, Run, stored_history

MAGIC = b"tdnn_helpers checkpoint 1\n"  # then the SHA-256 of the rest (32 bytes), then what torch.save writes


class Checkpoint:
    """The file of one run; with ``path`` None, nothing is written and nothing is read.

    Of the processes that train together, the first one writes and reads for all.

    As a context manager it holds Ctrl-C back until the step under way is done and saved. A second Ctrl-C does not wait.
    """

    def __init__(
        self,
        path: str | Path | None,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        splits: Mapping[str, Split | None],
        team: Team,
        **settings: Any,
    ):
        """``settings``: what else makes this run what it is. The optimizer comes before its schedule changes it."""
        self.path, self._team = None if path is None else Path(path), team
        self._saved_step, self._interrupted, self._warned = -1, False, False
        if team.size > 1:
            settings["processes"] = team.size
        if path is not None:
            self._settings = settings_in_words(model, optimizer, splits, **settings)

    def resume(self, run: Run) -> None:
        """Load the file into ``run``, if there is one.

        Raises:
            ValueError: the file is damaged, is no checkpoint, or belongs to a run with other settings.
        """
        if self.path is None:
            return
        state = self._team.from_first(self._read)
        if state is None:
            return
        try:
            run.load({**state, "random": state["random"][self._team.rank]})
        except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
            raise in_all_processes(
                ValueError(
                    f"the checkpoint {self.path} does not fit this version of torch or of the course ({error}). "
                    "Move it away to start anew."
                )
            ) from error
        self._saved_step = run.step

    def _read(self) -> dict[str, Any] | None:
        """The content of the file; None if there is no file yet, and then its folder is made."""
        if not self.path.exists():
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ValueError(f"no folder can be made for the checkpoint {self.path} ({error.strerror}).") from error
            return None
        state = read(self.path)
        there, here = state["settings"], self._settings
        names = [name for name in {**here, **there} if there.get(name) != here.get(name)]
        if names:
            parts = [f"{name} is {_short(there.get(name))} there and {_short(here.get(name))} here" for name in names]
            more = f" (and {len(parts) - 3} more)" if len(parts) > 3 else ""
            raise ValueError(
                f"the checkpoint {self.path} belongs to another run: {'; '.join(parts[:3])}{more}. "
                "Give the settings it was made with, or another file name."
            )
        return state

    def between_steps(self, run: Run, due: bool) -> None:
        """Save if a save is due. After Ctrl-C, save and raise KeyboardInterrupt."""
        if self.path is None:
            return
        interrupted = any(self._team.gather(self._interrupted))  # a signal reaches each process in a step of its own
        if (due or interrupted) and self._saved_step != run.step:
            self.save(run)
        if interrupted:
            said = f"after step {run.step}; the same call goes on from {self.path}."
            raise in_all_processes(KeyboardInterrupt(said))

    def save(self, run: Run) -> None:
        """Replace the file. If the disk refuses, warn once and train on: the file keeps its last content."""
        if self.path is None:
            return
        state = run.state()
        state["random"] = self._team.gather(state["random"])
        if self._team.rank > 0:
            self._saved_step = run.step
            return
        content = io.BytesIO()
        torch.save({"settings": self._settings, **state}, content)
        try:
            write(self.path, content.getvalue())
            self._saved_step = run.step
        except OSError as error:
            if not self._warned:
                holds = f"keeps step {self._saved_step}" if self._saved_step >= 0 else "does not exist yet"
                warnings.warn(
                    f"the checkpoint {self.path} could not be written at step {run.step} ({error.strerror}). Training "
                    f"goes on and tries again at every record; the file {holds}.",
                    RuntimeWarning,
                    stacklevel=3,
                )
            self._warned = True

    def __enter__(self) -> Checkpoint:
        self._previous = None
        in_main = threading.current_thread() is threading.main_thread()  # only there can a handler be set
        if self.path is not None and in_main and callable(signal.getsignal(signal.SIGINT)):
            self._previous = signal.signal(signal.SIGINT, self._note_interrupt)
        return self

    def __exit__(self, kind, error, traceback) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
        if error is None and self.path is not None and any(self._team.gather(self._interrupted)):
            raise in_all_processes(KeyboardInterrupt(f"at the end of the run, which {self.path} holds."))

    def _note_interrupt(self, number, frame) -> None:
        if self._interrupted:
            self._previous(number, frame)
        self._interrupted = True


def write(path: Path, content: bytes) -> None:
    """Write a checkpoint in one stroke."""
    write_whole(path, MAGIC + hashlib.sha256(content).digest() + content, alone=True)


def read(path: str | Path) -> dict[str, Any]:
    """What a checkpoint holds, its tensors on the CPU, read without running any code of the file.

    Raises:
        ValueError: the file cannot be read, is damaged, or is not a checkpoint of ``fit``.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"the checkpoint {path} cannot be read ({error.strerror}).") from error
    start = len(MAGIC) + 32
    if content[: len(MAGIC)] != MAGIC:
        raise ValueError(f"{path} is not a checkpoint of fit, or its beginning is damaged. Give another file name.")
    if hashlib.sha256(content[start:]).digest() != content[len(MAGIC) : start]:
        raise ValueError(f"the checkpoint {path} is damaged: cut short or altered. Move it away to start anew.")
    try:
        state = torch.load(io.BytesIO(content[start:]), map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile file decides what torch trips over
        raise ValueError(
            f"the checkpoint {path} holds more than tensors and plain values, and was not loaded. Move it away."
        ) from error
    if not isinstance(state, dict) or not {"settings", "history"} <= state.keys():
        raise ValueError(f"{path} is not a checkpoint of fit: parts of a run are missing. Give another file name.")
    return state


def read_history(path: str | Path) -> History:
    """The history in a checkpoint, for example after Ctrl-C. ValueError as :func:`read`."""
    return stored_history(read(path))


# ---- the settings of a run in words --------------------------------------------------------------------------------


def settings_in_words(
    model: nn.Module, optimizer: torch.optim.Optimizer, splits: Mapping[str, Split | None], **settings: Any
) -> dict[str, str]:
    """What makes a run what it is, by name. Of functions: their names and the values bound to them (arguments of a
    partial, defaults, closures, attributes of an instance), not their code. Of the model: names, types and shapes. Of
    the splits: shapes and a SHA-256 of images and targets."""
    words = {name: _words(value) for name, value in settings.items()}
    words["optimizer"] = _words(type(optimizer))
    for i, group in enumerate(optimizer.param_groups):
        place = f" of parameter group {i}" if len(optimizer.param_groups) > 1 else ""
        words |= {f"{name}{place}": _words(value) for name, value in group.items() if name != "params"}
        words[f"number of parameters{place}"] = str(len(group["params"]))
    words |= {f'weight "{name}"': _shape(value) for name, value in model.state_dict().items()}
    for name, split in splits.items():
        words[f"the split {name}"] = "None" if split is None else _split_words(split)
    return words


def _split_words(split: Split) -> str:
    digest = hashlib.sha256()
    for column in (split.images, split.targets):
        digest.update(column.cpu().contiguous().numpy())
    shapes = f"images {_shape(split.images)}, targets {_shape(split.targets)}, {len(split.classes)} classes"
    return f"{shapes}, SHA-256 {digest.hexdigest()[:16]}"


def _shape(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {'×'.join(map(str, tensor.shape)) or 'scalar'}"


def _words(value: Any, depth: int = 4) -> str:
    """A setting in words that are the same in every process (no address in memory). ``depth`` ends functions that are
    bound to themselves."""
    if isinstance(value, torch.Tensor):
        body = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        return f"{_shape(value)}, SHA-256 {hashlib.sha256(body).hexdigest()[:16]}"
    if value is None or isinstance(value, (bool, int, float, str, np.generic, torch.dtype)):
        return str(value)
    if isinstance(value, (tuple, list)):
        return f"({', '.join(_words(item, depth - 1) for item in value)})" if depth else "(…)"
    if isinstance(value, Mapping):
        items = (f"{key}={_words(item, depth - 1)}" for key, item in value.items())
        return f"{{{', '.join(items)}}}" if depth else "{…}"
    bound: dict[str, Any] = {}
    if isinstance(value, partial):
        bound = {**{str(i): item for i, item in enumerate(value.args)}, **value.keywords}
        value = value.func
    elif inspect.isfunction(value):
        bound = _defaults(value) | _closed_over(value)
    elif not hasattr(value, "__qualname__"):
        bound = getattr(value, "__dict__", {})
    named = value if hasattr(value, "__qualname__") else type(value)
    # A checkpoint goes on when a file of this package has moved.
    module = __package__.partition(".")[0] if _is_ours(named.__module__) else named.__module__
    name = f"{module}.{named.__qualname__}"
    if not (bound and depth):
        return name
    return f"{name}({', '.join(f'{key}={_words(item, depth - 1)}' for key, item in bound.items())})"


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == __package__.partition(".")[0]


def _defaults(function: Callable) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {one.name: one.default for one in parameters if one.default is not one.empty}


def _closed_over(function: Callable) -> dict[str, Any]:
    filled = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            filled[name] = cell.cell_contents
        except ValueError:  # not bound yet
            continue
    return filled


def _short(words: str | None, length: int = 160) -> str:
    words = words or "absent"
    return words if len(words) <= length else words[: length - 1] + "…"
