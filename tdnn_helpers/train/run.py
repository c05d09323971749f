"""What a training run leaves behind (:class:`History`) and what it needs to go on (:class:`Run`)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from ..core.randomness import random_states, set_random_states

_PLACE = ("step", "seen", "checked", "since_best", "best_loss", "best_weights", "totals", "rates", "finished")


@dataclass
class History:
    """What a run left behind. ``rows`` are (step, split, metric, value, seconds since the start); ``step_losses`` holds
    the training loss of every single step; ``diverged_at`` is the step of the first loss that was not finite;
    ``answers`` holds what was recorded of each image: {"test right": booleans of shape (N,)}."""

    rows: list[tuple[int, str, str, float, float]] = field(default_factory=list)
    step_losses: list[float] = field(default_factory=list)
    diverged_at: int | None = None
    best_step: int | None = None
    seconds: float = 0.0
    answers: dict[str, torch.Tensor] = field(default_factory=dict)

    def record(self, split: str, **metrics: float | torch.Tensor) -> History:
        """Add metrics measured after the last step, for example ``history.record("test", **evaluate(model, test))``.

        Booleans of shape (N,), one for each image, such as ``right=predict(model, test).argmax(1) == test.targets``,
        are kept in ``answers``, and their mean is the metric.
        """
        step = len(self.step_losses)
        for name, value in metrics.items():
            if isinstance(value, torch.Tensor) and value.dtype == torch.bool and value.ndim:
                self.answers[f"{split} {name}"] = value = value.cpu()
                value = value.float().mean()
            self.rows.append((step, split, name, float(value), self.seconds))
        return self

    def frame(self):
        """A tidy DataFrame with the columns step, split, metric, value, seconds."""
        import pandas as pd

        return pd.DataFrame(self.rows, columns=["step", "split", "metric", "value", "seconds"])

    def last(self, split: str, metric: str) -> float:
        """The last value of a metric; KeyError if it was never recorded."""
        for _, row_split, name, value, _ in reversed(self.rows):
            if (row_split, name) == (split, metric):
                return value
        raise KeyError(f'no "{metric}" was recorded for "{split}".')


@dataclass
class Run:
    """Everything that changes while a network trains. What is constant follows from the call of ``fit``; the order of
    the images follows from the seed and ``step``, the number of steps done."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: Any
    scaler: torch.amp.GradScaler
    augment_generator: torch.Generator
    history: History
    losses: torch.Tensor  # float32, one for every step of the whole run
    rates: list[float] = field(default_factory=list)  # the learning rate of every step done
    totals: dict[str, torch.Tensor] = field(default_factory=dict)  # sums over the images since the last record
    seen: int = 0  # images since the last record
    checked: int = 0  # steps whose losses are known to be finite
    step: int = 0
    since_best: int = 0  # records since the lowest validation loss
    best_loss: float = float("inf")
    best_weights: dict[str, torch.Tensor] | None = None
    finished: bool = False
    started: float = field(default_factory=time.perf_counter)

    @torch.no_grad()  # a sum that carried gradients would keep every batch of the epoch in memory
    def add(self, measured: Mapping[str, Any], images: int) -> None:
        """A step is done: its mean loss and metrics over this many images. The schedule moves on."""
        self.rates.append(float(self.optimizer.param_groups[0]["lr"]))
        self.scheduler.step()
        self.losses[self.step] = measured["loss"]
        for name, value in measured.items():
            self.totals[name] = self.totals.get(name, 0) + value * images
        self.seen += images
        self.step += 1

    def diverged(self) -> bool:
        """Whether a loss since the last look is not finite; the run then ends at the first such step."""
        finite = torch.isfinite(self.losses[self.checked : self.step])
        if finite.all():
            self.checked = self.step
            return False
        self.history.diverged_at = self.step = self.checked + 1 + int((~finite).nonzero()[0])
        return True

    def record_train(self) -> None:
        """The means of loss and metrics over the images since the last record."""
        self.history.step_losses = self.losses[: self.step].tolist()
        self.history.seconds = self.seconds()
        self.history.record("train", **{name: float(total) / self.seen for name, total in self.totals.items()})
        self.totals, self.seen = {}, 0

    def record_val(self, measured: Mapping[str, float], patience: int | None) -> bool:
        """The same on validation images; whether there were ``patience`` records without a lower loss."""
        self.history.record("val", **measured)
        if measured["loss"] < self.best_loss:
            self.best_loss, self.history.best_step, self.since_best = measured["loss"], self.step, 0
            if patience is not None:
                self.best_weights = {name: value.clone() for name, value in self.model.state_dict().items()}
            return False
        self.since_best += 1
        return patience is not None and self.since_best >= patience

    def seconds(self) -> float:
        """Seconds of training, without the time between an interruption and its resumption."""
        return time.perf_counter() - self.started

    def state(self) -> dict[str, Any]:
        """Everything above as plain values, with the random state of torch; a finished run keeps its time.

        TypeError if the state of the model, the optimizer or the schedule holds anything else.
        """
        parts = {"model": self.model, "optimizer": self.optimizer, "schedule": self.scheduler, "scaler": self.scaler}
        seconds = self.history.seconds if self.finished else self.seconds()
        return {
            **{name: _plain(part.state_dict(), name) for name, part in parts.items()},
            **{name: _plain(getattr(self, name), name) for name in _PLACE},
            # A slice alone would be saved with the whole tensor behind it.
            "history": {**vars(self.history), "step_losses": self.losses[: self.step].clone(), "seconds": seconds},
            "augment generator": self.augment_generator.get_state(),
            "random": random_states(self.losses.device),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state` gave; the random state of torch is set as well."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        for name in _PLACE:
            setattr(self, name, state[name])
        self.losses[: self.step] = state["history"]["step_losses"].to(self.losses.device)
        vars(self.history).update(vars(stored_history(state)))
        self.augment_generator.set_state(state["augment generator"])
        set_random_states(state["random"], self.losses.device)
        self.started = time.perf_counter() - self.history.seconds


def stored_history(state: Mapping[str, Any]) -> History:
    """The history in what :meth:`Run.state` gave, with the losses up to its last step."""
    return History(**{**state["history"], "step_losses": state["history"]["step_losses"].tolist()})


def _plain(value: Any, owner: str) -> Any:
    """Tensors, numbers, strings, lists, tuples and dicts as they are, NumPy's numbers as Python's; else TypeError."""
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str, torch.Tensor)):
        return value
    if isinstance(value, tuple):
        return tuple(_plain(item, owner) for item in value)
    if isinstance(value, list):
        return [_plain(item, owner) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item, owner) for key, item in value.items()}
    raise TypeError(
        f"a checkpoint holds plain values only, but the state of the {owner} holds a value of type "
        f"{type(value).__name__}: use another one, or train without a checkpoint."
    )
