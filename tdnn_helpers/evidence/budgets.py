"""The budget as an axis: one comparison with ever more updates (or images, or pixels), and the effect at each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from .bank import Answers
from .comparison import Arm, compare
from .effects import Effect

if TYPE_CHECKING:
    import pandas as pd


def over_budgets(
    arms_at: Callable[[float], Mapping[str, Arm]],
    budgets: Sequence[float],
    seeds: int | Iterable[int] = 10,
    *,
    bank: str,
    claims: Iterable[str] = (),
) -> pd.DataFrame:
    """Run ``arms_at(budget)`` with every seed at each budget: the frame of :func:`~tdnn_helpers.evidence.compare` with
    one more column, budget.

    Each budget is a comparison of its own in the evidence bank, ``"<bank> at <budget>"``. Where a reader changed an
    arm, only the first budget runs, the smallest.

    Args:
        arms_at: budget → arms; every budget has arms of the same names.
        budgets: rising numbers, such as updates.
        seeds, claims: as for ``compare``.

    Raises ValueError if the budgets don't rise, and whatever ``compare`` raises.
    """
    import pandas as pd

    budgets, seeds = list(budgets), seeds if isinstance(seeds, int) else list(seeds)
    if not budgets or sorted(set(budgets)) != budgets:
        raise ValueError(f"the budgets must be numbers that rise, not {budgets}.")
    parts: list[pd.DataFrame] = []
    for budget in budgets:
        if not parts or not parts[0].attrs["own"]:
            name = f"{bank} at {budget:g}"
            part = compare(arms_at(budget), seeds, bank=name, claims=claims, twin=not parts)
            parts.append(part.assign(budget=budget))
    runs = pd.concat(parts, ignore_index=True)
    runs.attrs = {
        "failures": [failure for part in parts for failure in part.attrs["failures"]],
        "answers": Answers(
            {(b, *job): it for b, part in zip(budgets, parts) for job, it in part.attrs["answers"].items()}
        ),
        "own": parts[0].attrs["own"],
        "revised": any(part.attrs["revised"] for part in parts),
        "twin": parts[0].attrs["twin"],
    }
    return runs


def at_budget(runs: pd.DataFrame, budget: float) -> pd.DataFrame:
    """The runs of one budget, as ``compare`` gave them. ValueError for a budget that was not run."""
    if budget not in (known := runs["budget"].unique()):
        raise ValueError(f"nothing was run at {budget:g}, only at {', '.join(f'{one:g}' for one in known)}.")
    part = runs[runs["budget"] == budget].drop(columns="budget")
    answers = {(arm, seed): it for (one, arm, seed), it in runs.attrs["answers"].items() if one == budget}
    part.attrs = runs.attrs | {"answers": Answers(answers)}
    return part


def each_budget(runs: pd.DataFrame, effect: Callable[[pd.DataFrame], Effect]) -> dict[float, Effect]:
    """budget → the effect that this function finds in the runs of that budget."""
    return {float(budget): effect(at_budget(runs, budget)) for budget in runs["budget"].unique()}
