"""The paper's seven-point checklist (section II-A) as diagnostics for any classifier and any pair of splits.

Each point is made of generators of findings; :func:`check_model` runs them and sums them up. The thresholds are meant
to raise few false alarms: "wrong" is a fault, "look" is a thing to judge with your own eyes.
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
from ..train.objectives import Objective, classification
from .case import Case
from .curves import check_learning
from .findings import Finding, Report
from .inputs import check_normalisation, check_representation
from .labels import check_balance, check_conflicts, suspect_labels
from .loss_and_output import check_loss_and_output
from .validation import check_external, check_validation

__all__ = ["Finding", "Report", "check_model"]


def check_model(
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
        A :class:`Report`: print it, end a notebook cell with it, or ``.save("report.html")``.

    Raises:
        ValueError: a split for regression, an empty split, splits of different image shapes, fewer than two classes; a
            history of another kind.
    """
    _refuse_unfit({"train": train, "val": val, **({"external": external} if external is not None else {})})
    clock = time.perf_counter()
    objective = objective if loss is None else lambda model, batch: (loss(model(batch.images), batch.targets), {})
    with untouched_random_state():
        private = copy.deepcopy(model).to(pick_device()).eval()
        case = Case(private, train, val, external, history, objective, seed)
        suspects, contradicted = suspect_labels(case)
        points = {
            "1 Input representation": check_representation(case),
            "2 Normalisation": check_normalisation(case),
            "3 Labels": [contradicted, *check_conflicts(case), *check_balance(case)],
            "4 Loss and output": check_loss_and_output(case),
            "5 Curves and learned features": check_learning(case),
            "6 Tuning and validation": check_validation(case),
            "7 Internal against external validation": check_external(case),
        }
        findings = tuple(Finding.of(title, found) for title, found in points.items())
    return Report(findings, time.perf_counter() - clock, suspects)


def _refuse_unfit(splits: dict[str, Split]) -> None:
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
