"""Effects and their intervals: against known numbers, and by how often they cover the truth."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tdnn_helpers.evidence.effects import (
    Effect,
    difference,
    from_runs,
    mean_interval,
    rate_difference,
    share_interval,
)


def tidy(rows, metric="accuracy", split="test"):
    frame = pd.DataFrame(rows, columns=["arm", "seed", "step", "value"])
    return frame.assign(split=split, metric=metric, seconds=1.0)


def test_mean_interval_agrees_with_a_textbook_value_and_with_scipy():
    effect = mean_interval([1, 2, 3, 4, 5], unit="pp", what="gain")
    half = 2.7764451 * math.sqrt(2.5 / 5)  # t(0.975, 4 degrees of freedom) from a table
    assert (effect.mean, effect.n, effect.unit, effect.what) == (3.0, 5, "pp", "gain")
    assert (effect.low, effect.high) == pytest.approx((3 - half, 3 + half))
    values = np.random.default_rng(0).normal(2, 3, 11)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    effect = mean_interval(values)
    assert (effect.low, effect.high) == pytest.approx((expected.low, expected.high))


def test_mean_interval_covers_the_truth_95_percent_of_the_time():
    repeats = 4000
    samples = np.random.default_rng(1).normal(0.7, 2.0, (repeats, 5))
    covered = sum(effect.low <= 0.7 <= effect.high for effect in map(mean_interval, samples))
    low, high = stats.binom.interval(0.9999, repeats, 0.95)
    assert low <= covered <= high


@pytest.mark.parametrize(
    "make, numbers, why",
    [
        *((mean_interval, [values], "at least 2 repeats") for values in ([], [1.0], [[1.0, 2.0], [3.0, 4.0]])),
        *((mean_interval, [[1.0, bad, 2.0]], "rate_difference") for bad in (math.nan, math.inf)),
        *((Effect, [*ends, 5], "low ≤ mean ≤ high") for ends in ((1, 2, 3), (math.nan, 0, 1), (0, -math.inf, 1))),
        *((rate_difference, pair, "of one length") for pair in ([[1], [0]], [[1, 0], [1]], [[[1, 0]], [[0, 1]]])),
        *((rate_difference, [[1, bad], [0, 0]], "0 or 1") for bad in (0.5, math.nan)),
    ],
)
def test_numbers_that_have_no_interval_are_refused(make, numbers, why):
    with pytest.raises(ValueError, match=why):
        make(*numbers)


def test_effects_read_like_a_sentence_and_have_bars():
    assert str(Effect(3.21, 2.12, 4.3, 5, "pp")) == "+3.2 pp [2.1, 4.3], n = 5"
    assert str(Effect(-0.0321, -0.05, -0.0142, 8)) == "−0.032 [−0.050, −0.014], n = 8"
    assert str(Effect(80, 55, 100, 10, "pp", dropped=1)) == "+80 pp [55, 100], n = 10, 1 pair dropped"
    assert str(Effect(-0.001, -1.5, 1.498, 3, dropped=2)) == "0.0 [−1.5, 1.5], n = 3, 2 pairs dropped"
    assert str(Effect(0, 0, 0, 5)) == "0.0 [0.0, 0.0], n = 5"
    assert Effect(3.0, 2.0, 5.0, 5).bars == [[1.0], [2.0]]


def test_difference_pairs_by_seed_and_takes_the_last_step_in_any_row_order():
    rows = []
    for seed, gain in enumerate((0.01, 0.03, 0.02)):
        base = 0.5 + 0.1 * seed  # seeds differ far more than arms: only pairing gives a narrow interval
        rows += [("a", seed, 10, 0.9), ("a", seed, 200, base + gain), ("b", seed, 10, 0.1), ("b", seed, 200, base)]
    frame = pd.concat([tidy(rows), tidy(rows, metric="loss"), tidy(rows, split="val"), tidy([("c", 0, 200, 0.0)])])
    effect = difference(frame.sample(frac=1, random_state=0), "a", "b", "accuracy", scale=100, unit="pp")
    expected = mean_interval([1, 3, 2])
    assert (effect.mean, effect.low, effect.high) == pytest.approx((expected.mean, expected.low, expected.high))
    assert (effect.n, effect.dropped, effect.unit, effect.what) == (3, 0, "pp", "a − b, test accuracy")
    assert difference(frame, "b", "a", "accuracy").mean == pytest.approx(-0.02)


def test_difference_drops_and_counts_pairs_without_a_result():
    rows = [("a", seed, 0, 0.6) for seed in range(4)] + [("b", seed, 0, 0.5) for seed in (1, 2, 3, 4)]
    rows += [("b", 3, 1, math.nan)]  # seed 3 failed after its first record; seeds 0 and 4 ran in one arm only
    effect = difference(tidy(rows), "a", "b", "accuracy")
    assert (effect.n, effect.dropped, effect.mean) == (2, 3, pytest.approx(0.1))
    assert "3 pairs dropped" in str(effect)


def test_difference_explains_what_does_not_fit():
    frame = tidy([(arm, seed, 0, 0.5) for arm in ("z-score", "raw") for seed in (0, 1)])
    apart = tidy([("a", 0, 0, 0.5), ("a", 1, 0, 0.5), ("b", 5, 0, 0.5), ("b", 6, 0, 0.5)])
    for runs, *asked, why in (
        (frame, "zscore", "raw", "accuracy", 'no arm "zscore".*"z-score"'),
        (frame, "z-score", "raw", "accuracy", "tset", 'no split "tset".*"test"'),
        (frame, "z-score", "raw", "acuracy", 'no test metric "acuracy".*"accuracy"'),
        (pd.concat([frame, frame]), "z-score", "raw", "accuracy", "occurs twice"),
        (apart, "a", "b", "accuracy", r"share 0 seed.*\[0, 1\] and \[5, 6\]"),
    ):
        with pytest.raises(ValueError, match=why):
            difference(runs, *asked)


def paired_outcomes(both, only_a, only_b, neither):
    return [1] * (both + only_a) + [0] * (only_b + neither), [1] * both + [0] * only_a + [1] * only_b + [0] * neither


def test_rate_difference_against_a_calculation_by_hand():
    effect = rate_difference(*paired_outcomes(both=1, only_a=6, only_b=1, neither=2), what="dead")
    a, b = 7 / 12, 2 / 12  # (6 + 1) / (10 + 2) and (1 + 1) / (10 + 2)
    half = 1.959964 * math.sqrt((a + b - (a - b) ** 2) / 12)
    assert effect.mean == pytest.approx(50) and (effect.n, effect.unit, effect.what) == (10, "pp", "dead")
    assert (effect.low, effect.high) == pytest.approx((100 * (a - b - half), 100 * (a - b + half)), abs=1e-4)


def test_rate_difference_keeps_a_width_and_stays_in_range():
    same = rate_difference([False] * 10, [False] * 10)
    assert same.mean == 0 and same.low == pytest.approx(-same.high) and same.high > 10
    opposite = rate_difference([True] * 10, [False] * 10)
    assert opposite.mean == opposite.high == 100 and 0 < opposite.low < 90
    mirrored = rate_difference([False] * 10, [True] * 10)
    assert (mirrored.low, mirrored.high) == pytest.approx((-opposite.high, -opposite.low))


@pytest.mark.parametrize("n", [10, 20])
@pytest.mark.parametrize("a, b", [(0, 0), (0.1, 0.1), (0.3, 0.1), (0.5, 0.1), (0.6, 0), (0.45, 0.45), (0.9, 0.02)])
def test_rate_difference_covers_the_truth_at_least_93_percent_of_the_time(n, a, b):
    """Not simulated but summed over every possible outcome of n pairs."""
    covered = 0.0
    for only_a, only_b in itertools.product(range(n + 1), repeat=2):
        if only_a + only_b <= n:
            effect = rate_difference(*paired_outcomes(0, only_a, only_b, n - only_a - only_b))
            if effect.low <= 100 * (a - b) <= effect.high:
                covered += stats.multinomial.pmf([only_a, only_b, n - only_a - only_b], n, [a, b, 1 - a - b])
    assert covered >= 0.93


def test_a_share_covers_the_truth_95_percent_of_the_time_on_average():
    """Of ten repeats, exactly: over all shares, since one share's cover jumps with it."""
    counts = np.arange(11)
    effects = [share_interval([True] * k + [False] * (10 - k)) for k in counts]
    truths = np.linspace(0.02, 0.98, 97)
    covered = [
        sum(stats.binom.pmf(k, 10, p) for k, one in zip(counts, effects) if one.low <= 100 * p <= one.high)
        for p in truths
    ]
    assert 0.93 <= np.mean(covered) <= 0.97 and min(covered) > 0.8
    assert (effects[0].low, effects[10].high) == (0, 100) and effects[0].high == pytest.approx(
        27.75, abs=0.01
    )  # Wilson
    for wrong in ([], [0.5], [[1, 0]]):
        with pytest.raises(ValueError, match="0 or 1"):
            share_interval(wrong)


def test_an_effect_gives_the_p_value_of_students_test():
    gaps = np.random.default_rng(0).normal(0.4, 1, 12)
    effect = mean_interval(gaps)
    for than in (0.0, 0.3, -2.0):
        assert effect.p(than) == pytest.approx(stats.ttest_1samp(gaps, than).pvalue)
    assert mean_interval([1, 1, 1]).p(0) == 0 and mean_interval([1, 1, 1]).p(1) == 1


def test_an_effect_says_which_runs_it_is_of():
    rows = [(arm, seed, 1, "test", "accuracy", seed + (arm == "a"), 0.0, "bank") for arm in "abc" for seed in (3, 5, 9)]
    runs = pd.DataFrame(rows, columns="arm seed step split metric value seconds made".split())
    runs.attrs = {"own": False, "revised": True}
    effect = difference(runs, "a", "b", "accuracy")
    assert (effect.seeds, effect.arms, effect.banked, effect.revised, effect.own) == (
        (3, 5, 9),
        ("a", "b"),
        True,
        True,
        False,
    )
    mine = from_runs(mean_interval([1, 2]), runs.assign(made=["here", *runs["made"][1:]]))
    assert mine.arms == ("a", "b", "c") and not mine.banked
