"""The paper's seven-point checklist (section II-A) as diagnostics for any classifier and any pair of splits.

Each point is a generator of notes in a module of its own; :func:`checklist` runs them and sums them up. The thresholds
are meant to raise few false alarms: "wrong" is a fault, "look" is a thing to judge with your own eyes.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable

import torch
from torch import nn

from ..core.device import pick_device
from ..core.randomness import untouched_random_state
from ..data.split import Split
from ..train.loop import Objective, classification
from . import inputs, labels, learning, loss_and_output, validation
from .case import Case
from .report import Finding, Note, Report

__all__ = ["Finding", "Note", "Report", "checklist"]


def checklist(
    model: nn.Module,
    train: Split,
    val: Split,
    *,
    history=None,
    objective: Objective = classification,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
    external: Split | None = None,
    seed: int = 0,
) -> Report:
    """Run the seven points on a classifier and its data: seconds for a few thousand small images on one CPU core.

    The given model is not trained and not changed, nor are its mode, its gradients and the caller's random state: all
    that needs a step is done on copies. Of large splits a random sample is examined (5,000 and 2,000 images), except
    for duplicates and counts.

    Args:
        model: takes float32 images in [0, 1], N×C×H×W, and gives N×K logits. Outputs that are something else (one
            number, probabilities) are diagnosed.
        train, val: what the model was (or will be) trained on, and what choices are made on.
        history: how training went: a :class:`~tdnn_helpers.train.History`, its frame, or a mapping such as
            ``{"train loss": [...], "val loss": [...]}``.
        objective: what is minimised, as in :func:`tdnn_helpers.train.fit`.
        loss: instead of an objective, a plain function (outputs, targets) → scalar, such as ``F.cross_entropy``.
        external: images from another source (another hospital, camera, year) with the same classes.
        seed: of the samples and of the copies that are initialised anew.

    Returns:
        A :class:`Report`: print it, or end a notebook cell with it.

    Raises:
        ValueError: a split for regression, an empty split, splits of different image shapes, fewer than two classes.
    """
    _check({"train": train, "val": val, **({"external": external} if external is not None else {})})
    clock = time.perf_counter()
    objective = objective if loss is None else _from_loss(loss)
    with untouched_random_state():
        private = copy.deepcopy(model).to(pick_device()).eval()
        case = Case(private, train, val, external, history, objective, seed)
        suspects, label_notes = labels.labels(case)
        notes = {
            1: inputs.representation(case),
            2: inputs.normalisation(case),
            3: label_notes,
            4: loss_and_output.loss_and_output(case),
            5: learning.learning(case),
            6: validation.tuning(case),
            7: validation.external(case),
        }
        findings = [Finding.of(point, found) for point, found in notes.items()]
    return Report(findings, suspects, time.perf_counter() - clock)


def _check(splits: dict[str, Split]) -> None:
    shape = splits["train"].images.shape[1:]
    for name, split in splits.items():
        if not split.classes:
            raise ValueError(f"the checklist needs class labels, but {name} holds regression targets.")
        if len(split.classes) < 2:
            raise ValueError(f"{name} has one class only: there is nothing to tell apart.")
        if not len(split):
            raise ValueError(f"{name} is empty.")
        if split.images.shape[1:] != shape:
            raise ValueError(
                f"the images of {name} are {tuple(split.images.shape[1:])}, but those of train are {tuple(shape)}: "
                "bring them to one size and one number of channels first."
            )


def _from_loss(loss) -> Objective:
    return lambda model, batch: (loss(model(batch.images), batch.targets), {})
