"""Unequal classes: counts, weights and copies against naive loops and scikit-learn."""

from collections import Counter

import numpy as np
import pytest
import torch

from tdnn_helpers.data.imbalance import class_weights, imbalanced, resampled
from tdnn_helpers.data.split import Split


def split_of(*counts):
    """A split with these many images of each class; every pixel of an image is its row number."""
    targets = torch.cat([torch.full((n,), index) for index, n in enumerate(counts)])
    targets = targets[torch.randperm(len(targets), generator=torch.Generator().manual_seed(1))]
    rows = torch.arange(len(targets))
    images = rows.to(torch.uint8)[:, None, None, None].expand(-1, 1, 3, 3).contiguous()
    return Split(images, targets, tuple("abcdef"[: len(counts)]), extra={"row": rows}, name="letters")


def test_imbalanced_has_the_counts_and_the_right_images():
    split = split_of(40, 50, 60)
    part = imbalanced(split, {"c": 30, "a": 3}, seed=0)
    assert part.classes == ("c", "a") and part.counts() == {"c": 30, "a": 3}
    for image, target, row in zip(part.images, part.targets, part.extra["row"], strict=True):
        assert part.classes[target] == split.classes[split.targets[row]]
        assert (image == row).all()
    assert len(set(part.extra["row"].tolist())) == 33


def test_fewer_images_are_a_part_of_more():
    rows = {n: set(imbalanced(split_of(40, 50), {"a": 20, "b": n}, seed=3).extra["row"].tolist()) for n in (2, 9)}
    assert rows[2] < rows[9]
    assert rows[9] != set(imbalanced(split_of(40, 50), {"a": 20, "b": 9}, seed=4).extra["row"].tolist())


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"a": 41}, 'class "a" has 40 images; ask for 1 to 40, not 41'),
        ({"a": 10, "b": 0}, "ask for 1 to 50, not 0"),
        ({"A": 10}, 'there is no class "A"'),
        ({}, "at least one class"),
    ],
)
def test_imbalanced_refuses(counts, message):
    with pytest.raises(ValueError, match=message):
        imbalanced(split_of(40, 50), counts, seed=0)


def test_weights_agree_with_scikit_learn_and_a_loop():
    from sklearn.utils.class_weight import compute_class_weight

    split = split_of(90, 9, 30)
    weights = class_weights(split)
    theirs = compute_class_weight("balanced", classes=np.arange(3), y=split.targets.numpy())
    assert weights.dtype == torch.float32 and weights.numpy() == pytest.approx(theirs)
    totals = Counter()
    for target in split.targets.tolist():
        totals[target] += weights[target].item()
    assert [totals[c] for c in range(3)] == pytest.approx([129 / 3] * 3, rel=1e-5)


def test_equal_classes_have_weight_one():
    assert class_weights(split_of(7, 7)).tolist() == [1, 1]


@pytest.mark.parametrize("use", [class_weights, lambda split: resampled(split, seed=0)])
def test_a_class_without_images_is_named(use):
    with pytest.raises(ValueError, match='class "b" has no image'):
        use(split_of(5, 0, 4))


def test_resampled_has_all_originals_first_and_even_copies():
    split = split_of(20, 3, 7)
    more = resampled(split, seed=0)
    assert more.counts() == {"a": 20, "b": 20, "c": 20} and more.name == "letters"
    assert torch.equal(more.images[:30], split.images) and torch.equal(more.targets[:30], split.targets)
    times = Counter(more.extra["row"].tolist())
    for index, allowed in ((0, {1}), (1, {6, 7}), (2, {2, 3})):
        assert {times[row] for row in (split.targets == index).nonzero()[:, 0].tolist()} <= allowed
    for image, target, row in zip(more.images, more.targets, more.extra["row"], strict=True):
        assert (image == row).all() and target == split.targets[row]


def test_resampled_follows_its_seed():
    split = split_of(20, 3)
    first, again, other = (resampled(split, seed=seed).extra["row"] for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_only_copies_are_augmented():
    split = split_of(20, 3)
    more = resampled(split, seed=0, augment=lambda images, generator: 1 - images)
    assert torch.equal(more.images[:23], split.images)
    rows = more.extra["row"][23:].to(torch.uint8)
    assert torch.equal(more.images[23:, 0, 0, 0], 255 - rows) and more.images.dtype == torch.uint8


def test_augmentation_draws_from_the_seed():
    def noise(images, generator):
        return torch.rand(images.shape, generator=generator)

    first, again, other = (resampled(split_of(20, 3), seed=s, augment=noise).images for s in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_equal_classes_are_left_alone():
    split = split_of(6, 6)
    more = resampled(split, seed=0, augment=lambda images, generator: 1 - images)
    assert torch.equal(more.images, split.images) and torch.equal(more.targets, split.targets)
