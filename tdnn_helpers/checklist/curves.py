"""Point 5: what the curves say, and what the features in front of the last layer are worth."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch

from ..evidence.effects import wilson
from ..measures.embedding import knn_accuracy, standardise
from ..train.loop import evaluate
from .case import Case
from .findings import FINE, LOOK, NOT_CHECKED, WRONG, Finding, percent


def check_learning(case: Case) -> Iterator[Finding]:
    """Point 5: the curves of the history, train against validation accuracy, and the learned features."""
    yield from _check_curves(case)
    if case.failure:
        yield Finding(NOT_CHECKED, f"Features were not judged: {case.failure}.")
        return
    yield _check_gap(case)
    yield from _check_features(case)


def _check_curves(case: Case) -> Iterator[Finding]:
    train, val = case.curve("train"), case.curve("val")
    diverged = getattr(case.history, "diverged_at", None) is not None
    if not len(train) and not diverged:
        yield Finding(NOT_CHECKED, "No history was given, so the curves were not judged.")
        return
    if diverged or not np.isfinite([*train, *val]).all():
        advice = "Lower the learning rate, look at the scale of the inputs, and clip the gradient if it still happens."
        yield Finding(WRONG, "The loss became NaN or infinite during training.", advice)
        return
    evidence = f"Training loss {train[0]:.3g} → {train[-1]:.3g}"
    if len(val):
        evidence += f", validation loss {val[0]:.3g} → {val[-1]:.3g}"
    if train[-1] > 0.95 * case.prior_entropy and train[-1] > 0.9 * train[0]:
        yield Finding(
            WRONG if len(train) >= 3 else LOOK,
            f"{evidence}: it has not learned (the class shares alone give {case.prior_entropy:.3g}).",
            "First make it learn one small batch by heart (point 4), then try learning rates ten times lower and "
            "higher.",
        )
        return
    best = int(val.argmin()) if len(val) else 0
    if len(val) >= 3 and val[-1] > 1.1 * val[best] and train[-1] < train[min(best, len(train) - 1)]:
        rise = val[-1] / val[best] - 1
        evidence += (
            f": since record {best + 1} of {len(val)} the validation loss has risen by {percent(rise)} while the "
            "training loss fell (over-fitting)."
        )
        if _loss_now(case) < 1.05 * val[best]:
            yield Finding(FINE, f"{evidence} The model has its best weights back.")
        else:
            yield Finding(
                WRONG if rise > 0.5 else LOOK,
                evidence,
                "Keep the weights of the lowest validation loss (fit(…, patience=)), or regularise: augmentation, "
                "weight decay, more data.",
            )
    elif _still_falling(train) and (not len(val) or _still_falling(val)) and train[-1] > 0.1 * case.prior_entropy:
        falling = percent(1 - train[-1] / train[-2])
        yield Finding(LOOK, f"{evidence}: still falling by {falling} a record.", "Train for longer.")
    else:
        yield Finding(FINE, f"{evidence}.")


def _still_falling(values: np.ndarray) -> bool:
    return len(values) >= 3 and values[-1] < 0.85 * values[-2]


def _loss_now(case: Case) -> float:
    """The loss of the given model on the validation sample; infinite where it cannot be computed."""
    try:
        settings = dict(objective=case.objective, batch_size=case.batch_size, device=case.device)
        return evaluate(case.model, case.val_sample, **settings)["loss"]
    except Exception:
        return math.inf


def _check_gap(case: Case) -> Finding:
    train, val, n = float(case.correct(case.few).float().mean()), case.accuracy, len(case.val_sample)
    evidence = f"Accuracy now: {percent(train, 1)} on training images, {percent(val, 1)} on validation images."
    if not case.knows_something:
        evidence += " That is no better than naming the most frequent class: the model is untrained, or failed."
        return Finding(LOOK, evidence, "Train it, then run the checklist again.")
    if train - wilson(val, n)[1] > 0.05 and train - val > 0.1:
        return Finding(LOOK, f"{evidence} The gap is large.", "Over-fitting, or two populations: see points 6 and 7.")
    return Finding(FINE, evidence)


def _check_features(case: Case) -> Iterator[Finding]:
    """What the penultimate features are worth to neighbours, beside raw pixels and an untrained copy; dead units."""
    try:
        raw = case.features_of(case.model, case.few)
    except ValueError as error:
        yield Finding(NOT_CHECKED, f"Features were not judged: {error}")
        return

    def worth(train: torch.Tensor, val: torch.Tensor) -> float:
        return knn_accuracy(train, case.few.targets, val, case.val_sample.targets)

    learned = worth(*standardise(raw, case.features_of(case.model, case.val_sample)))
    pixels = worth(case.pixels[0][case.few_places], case.pixels[1])
    others, text = [pixels], f"raw pixels {percent(pixels)}"
    if case.fresh is not None:
        case.fresh.eval()
        new = (case.features_of(case.fresh, part) for part in (case.few, case.val_sample))
        untrained = worth(*standardise(*new))
        others, text = [pixels, untrained], f"{text}, an untrained copy {percent(untrained)}"
    evidence = f"5 nearest neighbours by penultimate features: {percent(learned)} ({text})."
    n = len(case.val_sample)
    if wilson(learned, n)[1] < wilson(max(others), n)[0]:
        advice = (
            "What it learned is worth less than no learning: train it (longer), or look for a fault in points 2 to 4."
        )
        yield Finding(LOOK, evidence, advice)
    elif case.fresh is not None and learned <= untrained:
        evidence += " Training has added nothing that neighbours can see."
        yield Finding(LOOK, evidence, "Compare with a simpler model.")
    else:
        yield Finding(FINE, evidence)
    dead = float((raw.amax(0) == raw.amin(0)).float().mean())
    if dead > 0.5:
        yield Finding(
            WRONG if dead > 0.95 else LOOK,
            f"{percent(dead)} of the {raw.shape[1]} penultimate features are the same for all images.",
            "Dead units: lower the learning rate, scale the inputs, or add a normalisation layer.",
        )
