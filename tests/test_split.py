"""Splits: what goes in is checked, edits never touch the original, parts are stratified and keep groups together."""

import dataclasses
import pickle
from collections import Counter

import numpy as np
import pytest
import torch

from tdnn_helpers.data.split import Split

pytestmark = pytest.mark.usefixtures("random_state_is_left_alone")


def make(n=60, classes=3, channels=1, size=4, seed=0, **extra):
    """A small split whose image i is recognisable: extra["id"] is i, and so is its first pixel."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, channels, size, size), generator=generator, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(n) % 256
    targets = torch.randint(0, classes, (n,), generator=generator)
    targets[: n // 2] = torch.arange(n // 2) % classes  # no class is rare
    return Split(images, targets, [f"c{i}" for i in range(classes)], {"id": torch.arange(n), **extra}, "made")


def black(targets, classes="ab", **extra):
    """A split of which only the targets and further columns matter."""
    targets = torch.as_tensor(targets)
    images, number = torch.zeros(len(targets), 1, 1, 1, dtype=torch.uint8), torch.arange(len(targets))
    return Split(images, targets, classes, {"id": number} | {k: torch.as_tensor(v) for k, v in extra.items()})


def same(a: Split, b: Split) -> bool:
    one, other = ({"images": split.images, "targets": split.targets} | split.extra for split in (a, b))
    alike = (a.classes, a.name, one.keys()) == (b.classes, b.name, other.keys())
    return alike and all(torch.equal(one[column], other[column]) for column in one)


def ids(split: Split) -> list[int]:
    return split.extra["id"].tolist()


def groups(split: Split) -> set[int]:
    return set(split.extra["group"].tolist())


# ---- what goes in ----------------------------------------------------------------------------------------------------
def zeros(n=3, **change):
    images, targets = torch.zeros(n, 1, 2, 2, dtype=torch.uint8), torch.zeros(n).long()
    return Split(**{**dict(images=images, targets=targets, classes=("a", "b")), **change})


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (dict(images=torch.rand(3, 1, 2, 2)), TypeError, r"must be uint8.*float32 from 0\.\d+ to 0\.\d+: convert"),
        (dict(images=torch.zeros(0, 1, 2, 2)), TypeError, "must be uint8.*float32: convert"),
        (dict(images=torch.zeros(3, 2, 2, dtype=torch.uint8)), ValueError, r"N×C×H×W.*\(3, 2, 2\)"),
        (dict(targets=torch.zeros(4).long()), ValueError, "3 images but 4 targets"),
        (dict(extra={"group": torch.zeros(2)}), ValueError, "3 images but 2 group"),
        (dict(targets=torch.tensor([0, 2, 1])), ValueError, r"between 0 and 1 \(2 classes\), but they go from 0 to 2"),
        (dict(targets=torch.tensor([0, -1, 1])), ValueError, "from -1 to 1"),
        (dict(targets=torch.zeros(3).double()), TypeError, "int64 class indices or float32.*float64"),
        (dict(targets=torch.zeros(3).int()), TypeError, "int32"),
        (dict(images=np.zeros((3, 1, 2, 2), np.uint8)), TypeError, "images must be a torch tensor, not a ndarray"),
        (dict(targets=np.zeros(3, np.int64)), TypeError, "targets must be a torch tensor, not a ndarray"),
        (dict(targets=torch.zeros(3, 1).long()), ValueError, r"one dimension, but their shape is \(3, 1\)"),
        (dict(targets=torch.zeros(3)), ValueError, "values have no classes"),
    ],
)
def test_bad_input_gets_one_sentence(change, error, message):
    with pytest.raises(error, match=message):
        zeros(**change)


@pytest.mark.parametrize("targets", [torch.linspace(0, 1, 3), torch.zeros(3, 2)])
def test_regression_targets_are_values(targets):
    split = zeros(targets=targets, classes=())
    assert "regression" in repr(split)
    with pytest.raises(ValueError, match="no classes"):
        split.counts()
    with pytest.raises(ValueError, match="at least two classes"):
        split.with_label_noise(0.5, seed=0)
    values = make(40).with_targets(torch.arange(40.0))
    assert [len(part) for part in (*values.split(0.5, seed=0), values.take(7, seed=0))] == [20, 20, 7]


def test_frozen_and_pickled_whole():
    columns = {"id": torch.arange(60)}
    split = dataclasses.replace(make(), extra=columns)
    with pytest.raises(dataclasses.FrozenInstanceError):
        split.images = split.images
    with pytest.raises(TypeError):
        split.extra["new"] = split.targets
    columns["later"] = split.targets
    assert same(split, make()) and same(pickle.loads(pickle.dumps(split)), make())


EDITS = {
    "index": lambda s: s[[3, 1, 1]],
    "mask": lambda s: s[s.targets == 0],
    "slice": lambda s: s[10:20],
    "take": lambda s: s.take(10, seed=0),
    "per_class": lambda s: s.per_class(2, seed=0),
    "split": lambda s: s.split(0.5, seed=0)[0],
    "folds": lambda s: s.folds(3, seed=0)[0][0],
    "resize": lambda s: s.resize(2),
    "with_targets": lambda s: s.with_targets(torch.zeros(len(s)).long(), ["only"]),
    "with_label_noise": lambda s: s.with_label_noise(0.5, seed=0),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_edits_leave_the_original_alone_keep_the_rest_and_repeat_bit_for_bit(edit):
    split = make()
    edited = edit(split)
    assert same(split, make()) and not same(edited, split) and same(edited, edit(make()))
    assert edited.name == "made" and "id" in edited.extra


def test_indexing_takes_images_targets_and_columns_together():
    split = make()
    for indices in ([5, 0, 5], torch.tensor([5, 0, 5]), np.array([5, 0, 5])):
        part = split[indices]
        assert ids(part) == [5, 0, 5] == part.images[:, 0, 0, 0].tolist()
        assert torch.equal(part.targets, split.targets[[5, 0, 5]])
    assert ids(split[-2:]) == [58, 59] and len(split[[]]) == len(split[:0]) == 0
    assert "60 images" in repr(split) and "3 classes" in repr(split)


# ---- choosing images -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(5))
def test_parts_are_disjoint_complete_and_stratified_within_one_image(seed):
    split = make(200, classes=4, seed=seed)
    shares = (0.6, 0.25, 0.15)
    for parts in (split.split(0.6, 0.25, seed=seed), split.split(*shares, seed=seed)):
        assert sorted(sum(map(ids, parts), [])) == list(range(200))
        for part, share in zip(parts, shares, strict=True):
            assert all(abs(count - share * split.counts()[name]) <= 1 for name, count in part.counts().items())
            assert torch.equal(part.images, split.images[ids(part)])


def test_other_seed_other_parts_and_no_order_of_the_file():
    split = make(200)
    half = [ids(split.split(0.5, seed=seed)[0]) for seed in range(40)]
    times_chosen = Counter(i for part in half for i in part)
    assert len(times_chosen) == 200 and max(times_chosen.values()) < 40, "some image is always or never chosen"


def random_groups(seed):
    """Groups of 1 to 6 images, each of one class, in random order of images."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 7, size=60)
    group = np.repeat(rng.permutation(1000)[:60], sizes)
    target = np.repeat(rng.integers(0, 3, size=60), sizes)
    order = rng.permutation(len(group))
    return black(target[order], "abc", group=group[order])


@pytest.mark.parametrize("seed", range(25))
def test_groups_never_straddle(seed):
    split = random_groups(seed)
    largest = max(Counter(split.extra["group"].tolist()).values())
    for parts in (split.split(0.6, 0.2, seed=seed), split.split(0.7, seed=seed)):
        found = list(map(groups, parts))
        assert sum(map(len, found)) == len(set.union(*found)) == 60
        assert sum(map(len, parts)) == len(split)
    first = split.split(0.5, seed=seed)[0]
    for name, count in first.counts().items():  # as near as the largest group allows
        assert abs(count - 0.5 * split.counts()[name]) <= largest
    for train, val in split.folds(3, seed=seed):
        assert not groups(train) & groups(val)
        assert sorted(ids(train) + ids(val)) == list(range(len(split)))
    # It stays together even if its images have several classes.
    left, right = black(torch.arange(40) % 2, group=torch.arange(40) // 4).split(0.5, seed=seed)
    assert len(left) == len(right) == 20 and not groups(left) & groups(right)


@pytest.mark.parametrize("sizes", [(10, 1, 1), (6, 1, 1, 1, 1), (12, *[1] * 8), (8, 4, 4, 4)])
def test_a_large_group_does_not_leave_a_part_empty(sizes):
    n = sum(sizes)
    split = black(torch.zeros(n).long(), "a", group=np.repeat(np.arange(len(sizes)), sizes))
    for seed in range(40):
        assert min(map(len, split.split(0.8, seed=seed))) > 0
        held_out = [len(val) for _, val in split.folds(3, seed=seed)]
        assert min(held_out) > 0 and sum(held_out) == n and max(held_out) <= max(sizes[0], n // 3 + 1)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_folds_partition(k):
    split = make(101, classes=3)
    folds = split.folds(k, seed=2)
    assert len(folds) == k and sorted(sum((ids(val) for _, val in folds), [])) == list(range(101))
    for train, val in folds:
        assert sorted(ids(train) + ids(val)) == list(range(101))
        assert all(abs(count - split.counts()[name] / k) <= 1 for name, count in val.counts().items())


def test_take_keeps_the_proportions_to_the_nearest_image_and_per_class_takes_as_many_of_each():
    split = black([0] * 70 + [1] * 20 + [2] * 10, "abc")
    for n in (1, 9, 10, 33, 50, 100):
        taken = split.take(n, seed=n)
        assert len(taken) == n == len(set(ids(taken)))
        assert all(abs(count - share * n) <= 1 for count, share in zip(taken.counts().values(), (0.7, 0.2, 0.1)))
    assert set(split.per_class(6, seed=0).counts().values()) == {6}
    for draw in (split.take, split.per_class):
        assert ids(draw(6, seed=0)) != ids(draw(6, seed=1))
    with pytest.raises(ValueError, match='class "c" has only 10 images, but 11 of each'):
        split.per_class(11, seed=0)
    assert zeros(3).counts() == {"a": 3, "b": 0}, "empty classes are named too"


RARE = black([0] * 20 + [1] * 3, ("common", "rare"))
ONE_GROUP = RARE.with_extra(group=torch.arange(23).clamp(max=20))  # the three rare images are one
NO_PARTS = "above 0 and add up to at most 1"
NO_FRACTIONS = (), (0,), (-0.1, 0.5), (0.7, 0.4), (1.5,), (np.nan,)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        *((lambda f=f: make().split(*f, seed=0), NO_PARTS) for f in NO_FRACTIONS),
        (lambda: RARE.folds(4, seed=0), '"rare" has 3 images, too few for 4'),
        (lambda: RARE.split(0.9, seed=0), '"rare" has 3 images, too few for 2'),  # but one part is only a tenth
        (lambda: ONE_GROUP.split(0.5, seed=0), '"rare" has 1 groups, too few for 2'),
        (lambda: RARE.folds(1, seed=0), "at least 2 folds"),
        *((lambda n=n: make(100).take(n, seed=0), f"cannot take {n} images from 100") for n in (0, -1, 101)),
        *((lambda rate=rate: make().with_label_noise(rate, seed=0), "from 0 to 1") for rate in (-0.1, 1.1, 20)),
        (lambda: zeros(classes=("a",)).with_label_noise(0.5, seed=0), "two classes"),
        (lambda: make().resize(0), "at least 1 pixel"),
    ],
)
def test_parts_and_edits_that_cannot_be(call, words):
    assert RARE.split(0.7, seed=0)[1].counts()["rare"] == 1
    with pytest.raises(ValueError, match=words):
        call()


# ---- edits -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("rate", [0, 0.1, 0.333, 1])
def test_label_noise_changes_exactly_that_many_and_reaches_every_other_class_evenly(rate, classes):
    split = make(97, classes=classes)
    noisy = split.with_label_noise(rate, seed=1)
    changed = noisy.targets != split.targets
    assert int(changed.sum()) == round(rate * 97) and torch.equal(noisy.extra["flipped"], changed)
    counts = black(torch.full((3000,), 2), "abcd").with_label_noise(1.0, seed=0).counts()
    assert counts.pop("c") == 0
    assert all(900 < count < 1100 for count in counts.values())


def test_resize_grows_and_keeps():
    split, flat = make(5, size=4), Split(torch.full((1, 3, 4, 4), 77, dtype=torch.uint8), torch.tensor([0]), ("a",))
    assert torch.equal(split.resize(4).images, split.images) and (flat.resize(9).images == 77).all()
    grown = split.resize(8).images.int()
    assert grown.shape == (5, 1, 8, 8)
    assert torch.equal(grown[:, :, ::7, ::7], split.images[:, :, ::3, ::3].int())  # the corners stay


def test_one_seed_for_every_edit_draws_independent_images(digits):
    """with_label_noise, take, split and folds of one seed once shared a permutation: all flips fell into one part."""
    noisy = digits.with_label_noise(0.1, seed=0)
    drawn = noisy.take(400, seed=0), noisy.per_class(40, seed=0), *noisy.split(0.5, seed=0), *noisy.folds(2, seed=0)[0]
    for part in drawn:
        assert 0.05 < part.extra["flipped"].float().mean() < 0.15
