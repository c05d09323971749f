"""Comparisons along a budget, and effects over seeds and test images."""

import numpy as np
import pytest
import torch

from tdnn_helpers.evidence.bank import packed, read, unpacked
from tdnn_helpers.evidence.budgets import at_budget, each_budget, over_budgets
from tdnn_helpers.evidence.comparison import compare
from tdnn_helpers.evidence.effects import difference
from tdnn_helpers.evidence.two_way import crossed, over_images
from tdnn_helpers.train.run import History

LESSON = "01_checklist"  # of the empty bank


pytestmark = pytest.mark.usefixtures("empty_bank")


def answering(strength, budget):
    """An arm whose answers follow from the seed; a larger budget makes them better."""

    def arm(seed):
        random = np.random.default_rng([seed, strength])
        right = torch.from_numpy(random.random(30) < min(1, 0.1 * strength + budget / 1000))
        return {"test right": right, "test accuracy": right.float().mean()}

    return arm


def arms_at(budget):
    return {"weak": answering(1, budget), "strong": answering(4, budget)}


def test_packed_answers_come_back():
    for count in (1, 8, 13, 1000):
        answers = np.random.default_rng(count).random(count) < 0.5
        np.testing.assert_array_equal(unpacked(packed(answers)), answers)


def test_a_history_keeps_answers_and_their_mean():
    history = History().record("test", right=torch.tensor([True, False, True, True]), loss=0.5)
    assert history.last("test", "right") == 0.75 and history.answers["test right"].tolist() == [True, False, True, True]
    assert list(history.answers) == ["test right"]


def test_each_budget_is_a_comparison_of_its_own_and_comes_back_from_the_bank(monkeypatch):
    monkeypatch.setenv("TDNN_EVIDENCE", "make")
    over_budgets(arms_at, (100, 500), 4, bank="answers")
    monkeypatch.delenv("TDNN_EVIDENCE")
    assert {row["comparison"] for row in read(LESSON)} == {"answers at 100", "answers at 500"}
    runs = over_budgets(arms_at, (100, 500), 4, bank="answers")
    assert set(runs["made"]) == {"bank"} and runs.attrs["own"] is False and runs.attrs["twin"]["same"]
    found = each_budget(runs, lambda part: difference(part, "strong", "weak", "accuracy", scale=100, unit="pp"))
    assert list(found) == [100, 500] and found[100].seeds == (0, 1, 2, 3) and found[100].banked
    alone = compare(arms_at(500), 4, workers=1)
    assert found[500].mean == pytest.approx(difference(alone, "strong", "weak", "accuracy", scale=100).mean)
    assert at_budget(runs, 500).attrs["answers"] == alone.attrs["answers"]
    with pytest.raises(ValueError, match="only at 100, 500"):
        at_budget(runs, 150)
    with pytest.raises(ValueError, match="that rise"):
        over_budgets(arms_at, (500, 100), 4, bank="answers")


def test_a_changed_arm_runs_at_the_smallest_budget_only(monkeypatch, capsys):
    monkeypatch.setenv("TDNN_EVIDENCE", "make")
    over_budgets(arms_at, (100, 500), 4, bank="answers")
    monkeypatch.delenv("TDNN_EVIDENCE")
    runs = over_budgets(lambda b: arms_at(b) | {"strong": answering(5, b)}, (100, 500), 4, bank="answers")
    assert runs.attrs["own"] and set(runs["budget"]) == {100} and set(runs["seed"]) == {0, 1, 2}
    assert "your own run" in capsys.readouterr().out
    assert over_images(at_budget(runs, 100), "strong", "weak").own


def test_effects_over_images_take_the_answers_of_both_arms(monkeypatch):
    runs = compare(arms_at(100), 6, workers=1)
    tables = {arm: np.array([unpacked(runs.attrs["answers"][arm, seed]["test right"]) for seed in range(6)]) for arm in
              ("weak", "strong")}  # fmt: skip
    effect = over_images(runs, "strong", "weak")
    direct = crossed(100.0 * tables["strong"] - 100.0 * tables["weak"], "pp")
    assert all(getattr(effect, name) == getattr(direct, name) for name in ("mean", "low", "high", "freedom"))
    assert effect.what == "strong − weak, test accuracy" and effect.arms == ("strong", "weak") and effect.n == 6
    kept = compare(arms_at(100), 6, workers=1)  # from the store
    assert kept.attrs["answers"] == runs.attrs["answers"]
    with pytest.raises(ValueError, match='no arm "strang"'):
        over_images(runs, "strang", "weak")
    with pytest.raises(ValueError, match='share 0 seed\\(s\\) with answers "test left"'):
        over_images(runs, "strong", "weak", "test left")


def test_a_step_in_pandas_copies_no_answers():
    runs = compare(arms_at(100), 2, workers=1)
    assert runs[runs["seed"] == 0]["value"].attrs["answers"] is runs.attrs["answers"]
