"""Calibration: of all answers that a network is 80 % sure of, are 80 % right? (Guo and others, ICML 2017.)

Probabilities are float N×K with rows that sum to 1, targets int64 N. The *confidence* of an answer is its largest
probability.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    import pandas as pd


def reliability(probabilities: torch.Tensor, targets: torch.Tensor, *, bins: int = 15) -> pd.DataFrame:
    """The reliability table: one row for each of ``bins`` equally wide bins of confidence.

    Columns: low and high (the bin, low < confidence ≤ high), count, and the mean confidence and the accuracy (0 to 1)
    of the answers in it (NaN where there are none).

    Raises ValueError for shapes that do not fit, no images, or rows that do not sum to 1 (logits, for example).
    """
    import pandas as pd

    if probabilities.ndim != 2 or targets.shape != probabilities.shape[:1] or not len(targets):
        raise ValueError(
            f"probabilities must be N×K and targets N, at least one, not {tuple(probabilities.shape)} and "
            f"{tuple(targets.shape)}."
        )
    if (
        not torch.isfinite(probabilities).all()
        or float((probabilities.sum(1) - 1).abs().max()) > 1e-3
        or float(probabilities.min()) < 0
    ):
        raise ValueError("each row must be probabilities that sum to 1: take the softmax of logits first.")
    confidence, answers = (part.cpu().double().numpy() for part in probabilities.max(1))
    right = answers == targets.cpu().numpy()
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence) - 1, 0, bins - 1)  # searchsorted: low < confidence ≤ high
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):  # 0 / 0 in a bin without answers is NaN, as promised
        means = [np.bincount(place, values, bins) / count for values in (confidence, right)]
    return pd.DataFrame(
        {"low": edges[:-1], "high": edges[1:], "count": count, "confidence": means[0], "accuracy": means[1]}
    )


def expected_calibration_error(probabilities: torch.Tensor, targets: torch.Tensor) -> float:
    """The mean distance (0 to 1) between confidence and accuracy over 15 bins, weighted by their answers.

    Naeini and others, AAAI 2015. It depends on the number of bins, and few images make it larger than it is. Errors as
    :func:`reliability`.
    """
    table = reliability(probabilities, targets)
    return float((table["count"] * (table["accuracy"] - table["confidence"]).abs()).sum() / table["count"].sum())


def fit_temperature(logits: torch.Tensor, targets: torch.Tensor) -> float:
    """The temperature T for which softmax(logits / T) has the lowest cross-entropy. Give it *validation* logits N×K.

    Above 1 the network was too sure of itself. No answer changes, only how sure it is (Guo and others, section 4.2).
    Raises ValueError if no temperature is best: with every answer right a smaller one is always better, and a larger
    one if the true classes have no higher logits than the others.
    """
    from scipy.optimize import minimize_scalar

    logits, targets = logits.double(), targets.to(logits.device)
    advantage = float((logits.gather(1, targets[:, None])[:, 0] - logits.mean(1)).mean())
    if bool((logits.argmax(1) == targets).all()) or advantage <= 0:
        raise ValueError(
            f"no temperature is best for these {len(targets)} answers, because all are right or they are no better "
            "than a guess: take more validation images, ones that the network was not trained on."
        )

    def loss(log_temperature: float) -> float:
        return float(F.cross_entropy(logits / np.exp(log_temperature), targets))

    return float(np.exp(minimize_scalar(loss, bounds=(-7, 7), method="bounded").x))  # 0.001 to 1,100
