"""What ``fit`` does again and again: forward, backward and update on one batch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch

from .distributed import Team
from .objectives import Batch, Objective
from .run import Run


@dataclass(frozen=True)
class Step:
    """One step, as a function of the positions of its images (int64 B, on the device); it returns the mean loss and
    the means of the metrics, and over how many images: an augmentation may make two views of each. ``batch_at`` makes
    a batch from positions, ``objective`` comes from ``Team.averaging``."""

    run: Run
    batch_at: Callable[[torch.Tensor], Batch]
    objective: Objective
    team: Team
    precision: torch.dtype

    def __call__(self, positions: torch.Tensor) -> tuple[dict[str, torch.Tensor], int]:
        done = self.backward(positions)
        self.update()
        return done

    def backward(self, positions: torch.Tensor) -> tuple[dict[str, torch.Tensor], int]:
        """Loss, metrics, and the gradients of all parameters."""
        batch = self.batch_at(positions)
        place, share = self.team.part(len(batch.images))
        with self._mixed():
            loss, metrics = self.objective(self.run.model, batch.part(place))
        self.run.optimizer.zero_grad(set_to_none=True)
        self.run.scaler.scale(loss * (share * self.team.size)).backward()  # the mean over processes is that over images
        self.team.check_gradients(self.run.model)
        return self.team.mean({"loss": loss, **metrics}, share), len(batch.images)

    def update(self) -> None:
        """A step of the optimizer."""
        self.run.scaler.step(self.run.optimizer)
        self.run.scaler.update()

    def attempt(self, positions: torch.Tensor) -> None:
        """Forward and backward on a copy of the network: does so large a batch fit into memory?"""
        with self._mixed():
            self.objective(copy.deepcopy(self.run.model), self.batch_at(positions))[0].backward()

    def _mixed(self):
        device, precision = self.run.losses.device, self.precision
        return torch.autocast(device.type, precision) if precision != torch.float32 else nullcontext()
