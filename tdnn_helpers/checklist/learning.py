"""Point 5: what the curves say, and what the features in front of the last layer are worth."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch

from ..measures.embedding import knn_accuracy, standardise
from ..train.loop import evaluate
from .case import Case, interval, percent
from .report import FINE, LOOK, NOT_CHECKED, WRONG, Note


def learning(case: Case) -> Iterator[Note]:
    """Point 5: the curves of the history, train against validation accuracy, and the learned features."""
    curves = list(_curves(case))
    yield from curves
    if case.failure:
        yield Note(NOT_CHECKED, f"Features were not judged: {case.failure}.")
        return
    yield from _gap(case)
    yield from _features(case)


def _curves(case: Case) -> Iterator[Note]:
    train, val = case.curve("train"), case.curve("val")
    diverged = getattr(case.history, "diverged_at", None) is not None
    if not len(train) and not diverged:
        yield Note(NOT_CHECKED, "No history was given, so the curves were not judged.")
        return
    if diverged or not np.isfinite([*train, *val]).all():
        yield Note(
            WRONG,
            "The loss became NaN or infinite during training.",
            "Lower the learning rate, look at the scale of the inputs, and clip the gradient if it still happens.",
        )
        return
    evidence = f"Training loss {train[0]:.3g} → {train[-1]:.3g}" + (
        f", validation loss {val[0]:.3g} → {val[-1]:.3g}" if len(val) else ""
    )
    if train[-1] > 0.95 * case.prior_entropy and train[-1] > 0.9 * train[0]:
        yield Note(
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
            yield Note(FINE, f"{evidence} The model has its best weights back.")
        else:
            yield Note(
                WRONG if rise > 0.5 else LOOK,
                evidence,
                "Keep the weights of the lowest validation loss (fit(…, patience=)), or regularise: augmentation, "
                "weight decay, more data.",
            )
    elif _still_falling(train) and (not len(val) or _still_falling(val)) and train[-1] > 0.1 * case.prior_entropy:
        falling = percent(1 - train[-1] / train[-2])
        yield Note(LOOK, f"{evidence}: still falling by {falling} a record.", "Train for longer.")
    else:
        yield Note(FINE, f"{evidence}.")


def _still_falling(values: np.ndarray) -> bool:
    return len(values) >= 3 and values[-1] < 0.85 * values[-2]


def _loss_now(case: Case) -> float:
    """The loss of the given model on the validation sample; infinite where it cannot be computed."""
    try:
        return evaluate(
            case.model,
            case.val_sample,
            objective=case.objective,
            batch_size=case.batch_size,
            device=case.device,
        )["loss"]
    except Exception:
        return math.inf


def _gap(case: Case) -> Iterator[Note]:
    train, val, n = float(case.correct(case.few).float().mean()), case.accuracy, len(case.val_sample)
    evidence = f"Accuracy now: {percent(train, 1)} on training images, {percent(val, 1)} on validation images."
    if not case.knows_something:
        yield Note(
            LOOK,
            f"{evidence} That is no better than naming the most frequent class: the model is untrained, or failed.",
            "Train it, then run the checklist again.",
        )
    elif train - interval(val, n)[1] > 0.05 and train - val > 0.1:
        yield Note(LOOK, f"{evidence} The gap is large.", "Over-fitting, or two populations: see points 6 and 7.")
    else:
        yield Note(FINE, evidence)


def _features(case: Case) -> Iterator[Note]:
    try:
        raw = case.features_of(case.model, case.few)
    except ValueError as error:
        yield Note(NOT_CHECKED, f"Features were not judged: {error}")
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
    if interval(learned, n)[1] < interval(max(others), n)[0]:
        yield Note(
            LOOK,
            evidence,
            "What it learned is worth less than no learning: train it (longer), or look for a fault in points 2 to 4.",
        )
    elif case.fresh is not None and learned <= untrained:
        yield Note(
            LOOK, f"{evidence} Training has added nothing that neighbours can see.", "Compare with a simpler model."
        )
    else:
        yield Note(FINE, evidence)
    dead = float((raw.amax(0) == raw.amin(0)).float().mean())
    if dead > 0.5:
        yield Note(
            WRONG if dead > 0.95 else LOOK,
            f"{percent(dead)} of the {raw.shape[1]} penultimate features are the same for all images.",
            "Dead units: lower the learning rate, scale the inputs, or add a normalisation layer.",
        )
