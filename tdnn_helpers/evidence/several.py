"""What one interval does not say: several tests at once, few repeats, and what a run could have shown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .effects import LEVEL


def holm(p_values: Sequence[float]) -> np.ndarray:
    """p-values adjusted for their number (Holm, Scandinavian Journal of Statistics 6, 1979), in the order given.

    Where one of several parts suffices, take the smallest adjusted p. Where all must hold, no adjustment is needed.
    Raises ValueError for a value outside of [0, 1].
    """
    p = np.asarray(p_values, dtype=float)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("a p-value lies between 0 and 1.")
    order = np.argsort(p, kind="stable")
    adjusted = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
    return adjusted[np.argsort(order, kind="stable")]


def sign_flip(gaps: Sequence[float]) -> float:
    """The exact two-sided p-value of paired differences: how often would their mean be as far from 0 if each had either
    sign? All 2ⁿ signs are tried, so at most 20 pairs. The smallest p that n pairs can give is 2 / 2ⁿ: 0.06 for five.

    Raises ValueError for more than 20 pairs, none, or a value that is not finite.
    """
    gaps = np.asarray(gaps, dtype=float)
    if not 1 <= gaps.size <= 20 or gaps.ndim != 1 or not np.isfinite(gaps).all():
        raise ValueError(f"1 to 20 finite paired differences are needed, not shape {gaps.shape}.")
    sums = np.zeros(1)
    for gap in gaps:
        sums = np.concatenate([sums + gap, sums - gap])
    scale = np.abs(gaps).sum()
    return float((np.abs(sums) >= abs(gaps.sum()) - 1e-9 * scale).mean())


def detectable(low: float, high: float, n: float, power: float = 0.8) -> float:
    """The smallest true effect that ``n`` pairs with an interval this wide would have shown with this probability: the
    interval of Student's t wholly on one side of 0. In the unit of the interval.

    "Not shown" says little without it. Raises ValueError for fewer than two pairs or an interval without width.
    """
    from scipy.optimize import brentq
    from scipy.stats import nct, t

    if n < 2 or not low < high:
        raise ValueError("an interval with a width, from at least two pairs, is needed.")
    limit = t.ppf((1 + LEVEL) / 2, n - 1)
    standard_error = (high - low) / 2 / limit
    shift = brentq(lambda delta: nct.sf(limit, n - 1, delta) - power, 0, 100)
    return float(shift * standard_error)
