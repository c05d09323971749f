"""Intervals over seeds and images: against plain loops, and by how often they hold the truth."""

import numpy as np
import pytest
from scipy import stats

from tdnn_helpers.evidence.effects import mean_interval
from tdnn_helpers.evidence.several import detectable, holm, sign_flip
from tdnn_helpers.evidence.two_way import crossed, resplit

REPEATS = 700


def naive_variance(table):
    """Components of a two-way table by loops, for those that come out positive."""
    seeds, images = table.shape
    mean = sum(table.flat) / table.size
    rows = [sum(row) / images for row in table]
    columns = [sum(column) / seeds for column in table.T]
    a = images * sum((row - mean) ** 2 for row in rows) / (seeds - 1)
    b = seeds * sum((column - mean) ** 2 for column in columns) / (images - 1)
    rest = sum((table[s, i] - rows[s] - columns[i] + mean) ** 2 for s in range(seeds) for i in range(images))
    rest /= (seeds - 1) * (images - 1)
    of_seed, of_image = (a - rest) / images, (b - rest) / seeds
    assert of_seed > 0 and of_image > 0
    variance = of_seed / seeds + of_image / images + rest / (seeds * images)
    freedom = (seeds - 1, images - 1, (seeds - 1) * (images - 1))
    parts = (a**2 / freedom[0], b**2 / freedom[1], rest**2 / freedom[2])
    return variance, (a + b - rest) ** 2 / sum(parts)


def test_two_way_interval_agrees_with_loops():
    random = np.random.default_rng(0)
    table = 1 + random.normal(0, 1, (6, 1)) + random.normal(0, 1, (1, 30)) + random.normal(0, 1, (6, 30))
    variance, freedom = naive_variance(table)
    half = stats.t.ppf(0.975, freedom) * variance**0.5
    effect = crossed(table, "pp", "gain")
    assert (effect.mean, effect.low, effect.high) == pytest.approx((table.mean(), *(table.mean() + [-half, half])))
    assert (effect.n, effect.unit, effect.what) == (6, "pp", "gain")
    assert crossed(table, groups=range(30)).low == pytest.approx(effect.low)
    same = crossed(np.repeat(table, 4, axis=1), groups=np.repeat(np.arange(30), 4))  # each object seen four times
    assert (same.low, same.high) == pytest.approx((effect.low, effect.high))


def test_one_random_factor_leaves_students_interval():
    seeds = np.array([1.0, 2.0, 4.0, 3.0])
    effect, expected = crossed(np.tile(seeds[:, None], 9)), mean_interval(seeds)
    assert (effect.low, effect.high) == pytest.approx((expected.low, expected.high))
    images = np.arange(8.0)
    effect, expected = crossed(np.tile(images, (5, 1))), mean_interval(images)
    assert (effect.low, effect.high) == pytest.approx((expected.low, expected.high)) and effect.n == 5


def covers(make, truth):
    held = sum(effect.low <= truth <= effect.high for effect in (make() for _ in range(REPEATS)))
    return held / REPEATS


@pytest.mark.parametrize(
    ("seed", "image", "rest"), [(0.05, 0.3, 0.5), (0.01, 0.3, 0.5), (0.1, 0.05, 0.5), (0.02, 0.3, 0.3)]
)
def test_ten_seeds_and_two_hundred_images_hold_the_truth(seed, image, rest):
    random = np.random.default_rng(1)

    def make():
        shape = (10, 200)
        parts = [scale * random.standard_normal(size) for scale, size in ((seed, (10, 1)), (image, (1, 200)))]
        return crossed(0.3 + parts[0] + parts[1] + rest * random.standard_normal(shape))

    assert 0.93 <= covers(make, 0.3) <= 0.97


def test_few_objects_seen_often_hold_the_truth_and_images_taken_for_objects_do_not():
    random = np.random.default_rng(2)

    def table():
        groups = np.repeat(np.arange(30), 1 + random.poisson(7, 30))
        of_object, of_both = 0.3 * random.standard_normal(30), 0.1 * random.standard_normal((10, 30))
        noise = 0.05 * random.standard_normal((10, 1)) + 0.4 * random.standard_normal((10, len(groups)))
        return 0.2 + (of_object + of_both)[:, groups] + noise, groups

    def make():
        gaps, groups = table()
        return crossed(gaps, groups=groups)

    assert 0.93 <= covers(make, 0.2) <= 0.97
    assert covers(lambda: crossed(table()[0]), 0.2) < 0.8


def test_resplit_is_cautious_where_students_interval_is_far_too_narrow():
    """The mean of a test part, over ten random halves of the same 40 numbers; the truth is the mean of all numbers."""
    random = np.random.default_rng(3)

    def splits():
        numbers = random.standard_normal(40)
        return [random.permutation(numbers)[:20].mean() for _ in range(10)]

    assert covers(lambda: mean_interval(splits()), 0.0) < 0.6
    assert covers(lambda: resplit(splits(), 20, 20), 0.0) >= 0.93
    effect = resplit([1.0, 2.0, 3.0], 30, 10)
    half = stats.t.ppf(0.975, 2) * (1 / 3 + 10 / 30) ** 0.5
    assert (effect.low, effect.high, effect.n) == pytest.approx((2 - half, 2 + half, 3))


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == pytest.approx([1.0, 1.0]) and holm([0.2]) == pytest.approx([0.2])


def test_sign_flip_agrees_with_scipy():
    random = np.random.default_rng(4)
    for n in (1, 5, 9):
        gaps = random.normal(0.5, 1, n)
        if n > 1:
            expected = stats.permutation_test((gaps,), np.mean, permutation_type="samples", n_resamples=np.inf)
            assert sign_flip(gaps) == pytest.approx(expected.pvalue)
        assert sign_flip(np.abs(gaps) + 0.1) == 2 / 2**n
    assert sign_flip([0.1, 0.2, -0.3]) == 1 and sign_flip([0, 0]) == 1


def test_the_smallest_effect_that_would_have_been_shown():
    """Simulated: an effect of that size is shown in four of five experiments."""
    random = np.random.default_rng(5)
    size = detectable(-1.0, 1.0, 10) / (1.0 / stats.t.ppf(0.975, 9)) / 10**0.5  # in units of one pair's deviation
    samples = random.normal(size, 1, (4000, 10))
    half = stats.t.ppf(0.975, 9) * samples.std(axis=1, ddof=1) / 10**0.5
    assert (samples.mean(1) > half).mean() == pytest.approx(0.8, abs=0.02)
    assert detectable(-1, 1, 10, power=0.9) > detectable(-1, 1, 10) > 1


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda: crossed([[1.0, 2.0]]), "2 seeds × 2 images"),
        (lambda: crossed([[1.0, np.nan], [1, 2]]), "finite"),
        (lambda: crossed(np.ones((2, 3)), groups=[1, 2]), "each of the 3 images"),
        (lambda: crossed(np.ones((2, 3)), groups=[1, 1, 1]), "a sample of one"),
        (lambda: resplit([1, 2], 0, 5), "hold objects"),
        (lambda: holm([0.5, 1.2]), "between 0 and 1"),
        (lambda: sign_flip([]), "1 to 20"),
        (lambda: sign_flip(np.ones(21)), "1 to 20"),
        (lambda: detectable(1.0, 1.0, 5), "with a width"),
    ],
)
def test_what_has_no_answer_is_refused(call, why):
    with pytest.raises(ValueError, match=why):
        call()
