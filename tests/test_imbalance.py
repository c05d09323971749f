"""Unequal classes: counts, weights and copies against naive loops and scikit-learn."""

from collections import Counter

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from refusals import refused
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
    def rows(n, seed):
        return set(imbalanced(split_of(40, 50), {"a": 20, "b": n}, seed=seed).extra["row"].tolist())

    assert rows(2, 3) < rows(9, 3) != rows(9, 4)


def test_weights_agree_with_scikit_learn_and_a_loop():
    split = split_of(90, 9, 30)
    weights = class_weights(split)
    theirs = compute_class_weight("balanced", classes=np.arange(3), y=split.targets.numpy())
    assert weights.dtype == torch.float32 and weights.numpy() == pytest.approx(theirs)
    totals = [sum(weights[target].item() for target in split.targets if target == c) for c in range(3)]
    assert totals == pytest.approx([129 / 3] * 3, rel=1e-5)
    assert class_weights(split_of(7, 7)).tolist() == [1, 1]


test_images_that_are_not_there_are_named = refused(
    (lambda: imbalanced(split_of(40, 50), {"a": 41}, seed=0), '"a" has 40 images; ask for 1 to 40, not 41'),
    (lambda: imbalanced(split_of(40, 50), {"a": 10, "b": 0}, seed=0), "ask for 1 to 50, not 0"),
    (lambda: imbalanced(split_of(40, 50), {"A": 10}, seed=0), 'there is no class "A"'),
    (lambda: imbalanced(split_of(40, 50), {}, seed=0), "at least one class"),
    (lambda: class_weights(split_of(5, 0, 4)), 'class "b" has no image'),
    (lambda: resampled(split_of(5, 0, 4), seed=0), 'class "b" has no image'),
)


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


def test_copies_and_their_augmentation_follow_the_seed():
    def noise(images, generator):
        return torch.rand(images.shape, generator=generator)

    first, again, other = (resampled(split_of(20, 3), seed=s, augment=noise) for s in (0, 0, 1))
    for column in (lambda split: split.extra["row"], lambda split: split.images):
        assert torch.equal(column(first), column(again)) and not torch.equal(column(first), column(other))


def test_only_copies_are_augmented_and_equal_classes_left_alone():
    split, equal = split_of(20, 3), split_of(6, 6)
    more, same = (resampled(part, seed=0, augment=lambda images, generator: 1 - images) for part in (split, equal))
    assert torch.equal(more.images[:23], split.images)
    rows = more.extra["row"][23:].to(torch.uint8)
    assert torch.equal(more.images[23:, 0, 0, 0], 255 - rows) and more.images.dtype == torch.uint8
    assert torch.equal(same.images, equal.images) and torch.equal(same.targets, equal.targets)
