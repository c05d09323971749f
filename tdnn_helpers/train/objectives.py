"""What a network is trained for: functions of (model, batch) that give a mean loss and the means of named metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn


class Batch(NamedTuple):
    """What an objective sees: ``images`` float32 B×C×H×W in [0, 1] and ``targets`` on the training device, ``indices``
    int64 B (positions in the split, on the same device), and the number of ``classes`` of the split."""

    images: torch.Tensor
    targets: torch.Tensor
    indices: torch.Tensor
    classes: int

    def part(self, place: slice) -> Batch:
        """Some of its images."""
        return Batch(self.images[place], self.targets[place], self.indices[place], self.classes)


Objective = Callable[[nn.Module, Batch], tuple[torch.Tensor, dict[str, torch.Tensor]]]


def classification(model: nn.Module, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Mean cross-entropy of the logits (in nats) and the accuracy (0 to 1).

    Raises ValueError if the model does not give one row per image and at least one column per class, or if the targets
    are values.
    """
    if batch.targets.dtype != torch.int64:
        raise ValueError("these targets are values and not classes: give objective=regression.")
    logits = model(batch.images)
    if not isinstance(logits, torch.Tensor):
        raise ValueError(f"the model returns a {type(logits).__name__}, but it must return a tensor of logits.")
    if logits.ndim != 2 or len(logits) != len(batch.images) or logits.shape[1] < batch.classes:
        raise ValueError(
            f"the model's output has shape {tuple(logits.shape)}, but {len(batch.images)} images of {batch.classes} "
            f"classes need ({len(batch.images)}, {batch.classes}): one logit per class."
        )
    loss = F.cross_entropy(logits.float(), batch.targets)
    return loss, {"accuracy": (logits.argmax(1) == batch.targets).float().mean()}


def regression(model: nn.Module, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Mean squared error and mean absolute error, both in units of the targets. Output and targets of one shape."""
    output = model(batch.images)
    if output.ndim == batch.targets.ndim + 1 and output.shape[-1] == 1:
        output = output.squeeze(-1)
    if output.shape != batch.targets.shape:
        raise ValueError(
            f"the model's output has shape {tuple(output.shape)}, but the targets have {tuple(batch.targets.shape)}."
        )
    error = output.float() - batch.targets
    return error.square().mean(), {"absolute error": error.abs().mean()}
