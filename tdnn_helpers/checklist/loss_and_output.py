"""Point 4: do output and loss fit together, is the loss at the start what it should be, can the network learn?"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import nn

from ..train.loop import predict
from ..train.objectives import Batch
from .case import Case, describe
from .findings import FINE, LOOK, NOT_CHECKED, WRONG, Finding, percent

LOGITS = "Give the loss plain logits: end the network in a linear layer; F.cross_entropy applies log-softmax itself."


def check_loss_and_output(case: Case) -> Iterator[Finding]:
    """Point 4: the outputs as they are, the loss and its gradient, the loss at the start, and one batch learned."""
    broken = [name for name, p in case.model.named_parameters() if not torch.isfinite(p).all()]
    if broken:
        yield Finding(
            WRONG,
            f"{len(broken)} parameter tensors hold NaN or infinite numbers (the first is {broken[0]}).",
            "Training diverged: lower the learning rate, look at the scale of the inputs (point 2), and start afresh.",
        )
        return
    if case.failure:
        yield Finding(WRONG, f"{case.failure[0].upper()}{case.failure[1:]}.", "Return one tensor of N×K finite logits.")
        return
    yield from _check_outputs(case)
    gradients = list(_check_gradients(case))
    yield from gradients
    if any(found.status == FINE for found in gradients):
        yield from _check_start(case)


def _check_outputs(case: Case) -> Iterator[Finding]:
    outputs, classes = case.outputs, case.classes
    width = outputs.shape[1]
    named = "1 output" if width == 1 else f"{width} outputs"
    if width != classes and not (width == 1 and classes == 2):
        yield Finding(
            WRONG if width < classes else LOOK,
            f"The model has {named}, but there are {classes} classes.",
            f"End in nn.Linear(…, {classes}): one logit per class.",
        )
        if width < classes:
            return
    both = torch.cat([outputs, _with_last_layer_turned(case)])
    if bool((both >= 0).all() and (both <= 1).all()):
        softmax = width > 1 and _are_probabilities(outputs)
        cause = " and each row adds up to 1: a softmax" if softmax else ": a sigmoid"
        evidence = f"All outputs lie in [0, 1]{cause} inside the model"
        best = _loss_of_the_truth(case, width, scale=1)
        if best is not None and best < 0.1:
            yield Finding(FINE, f"{evidence}, and the loss expects that.")
        else:
            floor = "" if best is None else f", and even a perfect answer then has a loss of {best:.2f}"
            yield Finding(WRONG, f"{evidence}{floor}.", LOGITS)
    elif bool((both >= 0).all()):
        yield Finding(LOOK, "No output can be negative: a ReLU after the last layer?", LOGITS)
    else:
        yield Finding(FINE, f"{named} from {outputs.min():.2g} to {outputs.max():.2g}.")
        best = [_loss_of_the_truth(case, width, scale) for scale in (1, 4, 16, 64)]
        floor = math.log(math.e + width - 1) - 1  # cross-entropy of the logits 1, 0, …, 0
        if width > 1 and None not in best and abs(min(best) - floor) < 0.01:
            evidence = f"Even a perfect answer has a loss of {min(best):.2f}: a softmax inside the loss?"
            yield Finding(WRONG, evidence, LOGITS)


def _check_gradients(case: Case) -> Iterator[Finding]:
    """One backward pass of a copy, in training mode."""
    model, batch = copy.deepcopy(case.awake).train(), case.batch(64)
    model.zero_grad(set_to_none=True)
    try:
        loss, _ = case.objective(model, batch)
    except Exception as error:
        advice = f"Cross-entropy needs N×{case.classes} logits and int64 labels."
        if case.outputs.shape[1] == 1:
            advice = (
                "One output needs F.binary_cross_entropy_with_logits and float targets; for F.cross_entropy give the "
                f"model {case.classes} outputs."
            )
        yield Finding(WRONG, f"The loss cannot be computed ({describe(error)}).", advice)
        return
    if not isinstance(loss, torch.Tensor):
        evidence = f"The loss of a batch is no tensor but a {type(loss).__name__}, which has no gradient."
        yield Finding(WRONG, evidence, "Return the tensor itself: .item() and float() cut the gradient off.")
        return
    if loss.ndim or not torch.isfinite(loss):
        evidence = f"The loss of a batch is {loss.detach().tolist()}."
        yield Finding(WRONG, evidence, "A loss is one finite number: the mean.")
        return
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not loss.requires_grad or not trainable:
        yield Finding(
            WRONG,
            "The loss has no gradient with respect to any parameter.",
            "Use a loss with a gradient (accuracy has none), unfreeze a layer, and look for detach, .data and no_grad.",
        )
        return
    loss.backward()
    if case.outputs.shape[1] == 1 and float(loss.detach()) == 0:
        evidence = "The loss of a single output is exactly 0: a softmax over one number is always 1."
        yield Finding(WRONG, evidence, "Use F.binary_cross_entropy_with_logits with float targets, or two outputs.")
        return
    cut = [name for name, p in trainable.items() if p.grad is None]
    silent = [n for n, p in trainable.items() if p.grad is not None and p.ndim > 1 and not p.grad.any()]
    bad = [n for n, p in trainable.items() if p.grad is not None and not torch.isfinite(p.grad).all()]
    for names, what, advice in (
        (cut, "get no gradient", "Look for detach, .data, no_grad or argmax after these layers; remove unused ones."),
        (silent, "get a gradient of exactly 0", "Dead ReLU units, a saturated output, or a later layer full of zeros."),
        (bad, "get a gradient that is NaN or infinite", "Look for a logarithm, root or division at 0 in the model."),
    ):
        if names:
            share = sum(trainable[n].numel() for n in names) / sum(p.numel() for p in trainable.values())
            yield Finding(
                WRONG if share >= 0.01 else LOOK,
                f"{len(names)} of {len(trainable)} trainable tensors ({percent(share, 1)} of the weights) {what}: "
                f"{', '.join(names[:3])}{', …' if len(names) > 3 else ''}.",
                advice,
            )
    if not cut + silent + bad:
        yield Finding(FINE, f"The gradient reaches all {len(trainable)} trainable tensors.")


def _check_start(case: Case) -> Iterator[Finding]:
    """A copy initialised anew: its loss before the first step, and whether it can learn one small batch by heart."""
    if case.fresh is None:
        yield Finding(NOT_CHECKED, "The loss at the start: no layer of the model can be initialised anew.")
        return
    model, batch = copy.deepcopy(case.fresh).train(), case.batch(min(512, case.batch_size))
    width = case.outputs.shape[1]
    with torch.no_grad():
        start = float(case.objective(model, batch)[0])
    uninformed = [_loss_of(case, answer.expand(len(batch.images), -1), batch) for answer in _uninformed(case, width)]
    if None not in uninformed and min(uninformed) > 0:
        know_nothing = uninformed[0]
        evidence = f"Loss of a new copy before training: {start:.3g}; equal outputs would give {know_nothing:.3g}."
        if start > 3 * know_nothing:
            advice = "The outputs are far too large at the start: scale the inputs (point 2) or the initial weights."
            yield Finding(WRONG, evidence, advice)
        elif start < 0.8 * min(uninformed):
            advice = "Does the input carry the label? Is the loss a mean over images, with the right sign?"
            yield Finding(WRONG, f"{evidence} Lower without training means a leak or a fault in the loss.", advice)
        else:
            yield Finding(LOOK if start > 1.5 * know_nothing + 0.3 else FINE, evidence)
    yield _check_one_batch(case)


def _are_probabilities(outputs: torch.Tensor) -> bool:
    return bool((outputs >= 0).all() and (outputs.sum(1) - 1).abs().max() < 1e-3)


def _uninformed(case: Case, width: int) -> list[torch.Tensor]:
    """What a model may answer that ignores the image: the same for all classes, then (where it fits) their shares."""
    shares = case.prior.clamp_min(1e-6)[None] if width == case.classes else None
    if _are_probabilities(case.outputs):
        equal = torch.full((1, width), 1 / width)
    else:
        equal = torch.zeros(1, width)
        shares = None if shares is None else shares.log()
    return [equal] if shares is None else [equal, shares]


def _check_one_batch(case: Case, *, steps: int = 100, seconds: float = 5.0) -> Finding:
    """Can a new copy learn 32 images by heart?"""
    for rate in (3e-3, 3e-4):  # a deep network without normalisation may need the smaller one
        losses = _learn(case, rate, steps, seconds)
        first, best = losses[0], min(losses)
        if best <= 0.6 * first:
            break
    evidence = f"{len(losses)} steps on 32 images bring the loss of that copy from {first:.3g} to {best:.3g}."
    if best <= 0.6 * first:
        return Finding(FINE, evidence)
    if len(losses) < steps and math.isfinite(losses[-1]):
        return Finding(NOT_CHECKED, f"{evidence} There was no time for more.", "Let it learn one small batch by heart.")
    advice = "A network that cannot learn 32 images by heart has a fault: look at output, loss, labels, learning rate."
    return Finding(LOOK if best <= 0.9 * first else WRONG, evidence, advice)


def _learn(case: Case, rate: float, steps: int, seconds: float) -> list[float]:
    """The losses of a new copy on one small batch with Adam, until it is learned or the time is up."""
    model, batch = copy.deepcopy(case.fresh).train(), case.batch(32)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=rate)
    losses, clock = [], time.perf_counter()
    for _ in range(steps):
        loss, _ = case.objective(model, batch)
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]) or losses[-1] < 0.25 * losses[0] or time.perf_counter() - clock > seconds:
            break
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return losses


# ---- what the objective says of given outputs ----------------------------------------------------------------------


class _Says(nn.Module):
    """A model that answers what it was told."""

    def __init__(self, outputs: torch.Tensor):
        super().__init__()
        self.outputs = outputs

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.outputs


@torch.no_grad()
def _loss_of(case: Case, outputs: torch.Tensor, batch: Batch) -> float | None:
    """The loss of these outputs, or None if the objective wants more from a model than its outputs."""
    try:
        return float(case.objective(_Says(outputs.to(case.device)), batch)[0])
    except Exception:
        return None


def _loss_of_the_truth(case: Case, width: int, scale: float) -> float | None:
    """The loss of the true answer: ``scale`` for the right class and 0 for all others."""
    batch = case.batch(64)
    truth = F.one_hot(batch.targets, width) if width > 1 else batch.targets[:, None]
    return _loss_of(case, scale * truth.float(), batch)


@torch.no_grad()
def _with_last_layer_turned(case: Case) -> torch.Tensor:
    """Outputs of a copy whose last layer is a hundred times as large, with the opposite sign: what then still lies in
    [0, 1], or is still positive, was squashed behind that layer."""
    model = copy.deepcopy(case.awake)
    layers = [module for module in model.modules() if getattr(getattr(module, "weight", None), "ndim", 0) >= 2]
    if layers:
        for p in layers[-1].parameters(recurse=False):
            p.mul_(-100)
    return predict(model, case.val_sample[:256], batch_size=case.batch_size, device=case.device)
