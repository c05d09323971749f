"""The procedural microscope: what is in a picture is what its labels say."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage

from refusals import refused
from tdnn_helpers.data import blood_smear
from tdnn_helpers.data.blood_smear import make


def distance_to(centres, size):
    """N×size×size distances in pixels of every pixel from each image's centre (N×2, x and y)."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return torch.hypot(x - centres[:, 0, None, None], y - centres[:, 1, None, None])


def stained(split, channel, other, threshold):
    """Pixels in which one colour channel exceeds another by a threshold (in 1/255)."""
    images = split.images.int()
    return images[:, channel] - images[:, other] > threshold


def outside_white_cell(split):
    distance = distance_to(split.extra["white_cell"], split.images.shape[-1])
    return distance > 1.25 * split.extra["white_radius"][:, None, None]


def nuclei(split):
    """The dark pixels of each white cell, how many they are, and their mean squared distance from the centre as a
    share of the area: the less round, the larger."""
    masks = (split.images[:, 1] < 100) & ~outside_white_cell(split)
    area = masks.sum(dim=(1, 2)).float()
    return masks, area, (distance_to(split.extra["nucleus"], 128) ** 2 * masks).sum(dim=(1, 2)) / area**2


def test_shapes_types_and_ranges():
    split = make(21, size=40, seed=1)
    assert split.images.shape == (21, 3, 40, 40) and split.images.dtype == torch.uint8
    assert split.targets.shape == (21,) and split.targets.dtype == torch.int64
    assert split.classes == ("round nucleus", "lobed nucleus")
    assert split.images.max() > 200 and split.images.min() < 100  # a bright slide and a dark nucleus
    types = {"dye": torch.bool, "red_cells": torch.int64}
    types |= dict.fromkeys(("nucleus", "nucleus_radius", "white_cell", "white_radius"), torch.float32)
    assert {name: column.dtype for name, column in split.extra.items()} == types
    assert split.extra["nucleus"].shape == (21, 2)


def test_the_seed_decides_classes_are_balanced_and_the_global_state_is_left_alone():
    before = torch.get_rng_state()
    first, again, other = make(6, seed=3), make(6, seed=3), make(6, seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.images, again.images) and torch.equal(first.targets, again.targets)
    assert all(torch.equal(first.extra[name], again.extra[name]) for name in first.extra)
    assert not torch.equal(first.images, other.images)
    for n in (2, 7, 40):
        round_, lobed = torch.bincount(make(n, size=8).targets, minlength=2).tolist()
        assert round_ + lobed == n and abs(round_ - lobed) <= 1


@pytest.mark.parametrize(("p", "n"), [(0.0, 100), (0.8, 800), (1.0, 100)])
def test_dye_agrees_with_the_label_as_often_as_asked(p, n):
    split = make(n, size=8, dye=p, seed=2)
    agrees = (split.extra["dye"] == (split.targets == 1)).sum().item()
    assert abs(agrees - n * p) <= 4 * (n * p * (1 - p)) ** 0.5  # exact at 0 and 1, four deviations between
    assert not make(50, size=8, dye=None).extra["dye"].any()


@pytest.mark.parametrize("cell_size", [0.4, 0.7, 1.0])
def test_purple_is_in_the_background_exactly_when_there_is_dye(cell_size):
    split = make(100, dye=0.5, noise=0, cell_size=cell_size, seed=5)
    pixels, dye = (stained(split, 2, 1, 40) & outside_white_cell(split)).sum(dim=(1, 2)), split.extra["dye"]
    assert 30 < dye.sum() < 70
    assert (pixels[dye] >= 20).all() and (pixels[~dye] == 0).all()


def test_dye_changes_nothing_but_the_dye():
    plain, dyed = (make(80, dye=dye, cell_size=1, seed=6) for dye in (None, 1.0))  # crowded slides
    has_dye = dyed.extra["dye"]
    assert torch.equal(has_dye, dyed.targets == 1) and torch.equal(plain.targets, dyed.targets)
    changed = (plain.images != dyed.images).any(dim=1)
    assert not changed[~has_dye].any() and changed[has_dye].any(dim=2).any(dim=1).all()
    in_cell = distance_to(plain.extra["white_cell"], 64) < 0.8 * plain.extra["white_radius"][:, None, None]
    assert not (changed & in_cell).any()
    for name in ("red_cells", "nucleus", "white_cell"):
        assert torch.equal(plain.extra[name], dyed.extra[name])


def test_red_cells_can_be_counted():
    split = make(80, size=128, dye=None, noise=0, seed=7)
    counts = split.extra["red_cells"].numpy()
    assert counts.min() >= 1 and counts.max() <= blood_smear.RED_CELLS[1] and len(set(counts)) > 5
    red = (stained(split, 0, 1, 30) & outside_white_cell(split)).numpy()
    cell_area = np.pi * (blood_smear.RED_RADIUS * 0.7 * 128) ** 2
    right = []  # for pictures in which no two cells touch
    for mask, count in zip(red, counts, strict=True):
        labels, found = ndimage.label(ndimage.binary_fill_holes(mask))
        assert found <= count  # touching cells make one piece
        areas = np.bincount(labels.flat)[1:]
        if areas.max() < 1.25 * cell_area:
            right.append(found == count)
    assert len(right) >= 10 and np.mean(right) >= 0.8


def test_red_cells_are_placed_like_the_plain_loop():
    generator = torch.Generator().manual_seed(0)
    candidates = torch.rand(30, 14, 12, 2, generator=generator)
    wanted = torch.randint(6, 15, (30,), generator=generator)
    white, white_radius, radius = torch.rand(30, 2, generator=generator), torch.full((30,), 0.2), 0.1
    red, counts = blood_smear._place_red_cells(candidates, wanted, radius, white, white_radius)
    for i in range(30):
        placed = []
        for k in range(wanted[i]):
            for spot in candidates[i, k]:
                clear_of_white = (spot - white[i]).norm() > white_radius[i] + 0.75 * radius
                if clear_of_white and all((spot - other).norm() > 1.5 * radius for other in placed):
                    placed.append(spot)
                    break
        inside = red[i][(red[i] < 1).all(dim=1)]
        assert counts[i] == len(placed)
        torch.testing.assert_close(inside, torch.stack(placed))


def test_nucleus_lies_where_the_labels_say_and_only_its_shape_tells_its_kind():
    split = make(80, size=128, dye=None, noise=0, seed=9)
    (masks, area, spread), lobed = nuclei(split), split.targets == 1
    middle = torch.stack([mask.nonzero().float().mean(0).flip(0) for mask in masks])  # x and y
    assert (middle - split.extra["nucleus"]).norm(dim=1).max() < 1.5
    assert ((area / torch.pi).sqrt() / split.extra["nucleus_radius"] - 1).abs().max() < 0.12
    assert abs(area[lobed].mean() / area[~lobed].mean() - 1) < 0.06
    assert spread[lobed].min() > spread[~lobed].max()
    _, _, spread = nuclei(make(20, size=128, dye=None, noise=0, lobe_contrast=0, seed=9))  # both kinds round
    assert (spread * 2 * torch.pi - 1).abs().max() < 0.06  # a disc's mean squared radius is its area / 2 pi


@pytest.mark.parametrize("size", [8, 32, 128])
def test_another_size_shows_the_same_scene(size):
    reference, split = make(10, noise=0, seed=10), make(10, size=size, noise=0, seed=10)
    common = min(size, 64)
    a, b = (F.interpolate(s.images.float(), size=(common, common), mode="area").flatten(1) for s in (reference, split))
    assert torch.corrcoef(torch.cat([a, b]))[:10, 10:].diagonal().min() > 0.98
    scale = size / 64
    torch.testing.assert_close(split.extra["nucleus"] + 0.5, (reference.extra["nucleus"] + 0.5) * scale)
    torch.testing.assert_close(split.extra["white_radius"], reference.extra["white_radius"] * scale)


@pytest.mark.parametrize("size", [16, 64])
def test_noise_has_the_asked_deviation_at_every_size(size):
    clean, noisy = (make(40, size=size, noise=noise, seed=11).images.float() / 255 for noise in (0, 0.05))
    middle = (clean > 0.3) & (clean < 0.7)  # away from black and white, where noise is cut off
    assert abs((noisy - clean)[middle].std() - 0.05) < 0.003


test_bad_settings_are_named = refused(
    (lambda: make(1), "n is 1"),
    *((lambda size=size: make(4, size=size), "whole number of pixels from 8 to 256") for size in (7, 257, 32.5)),
    (lambda: make(4, dye=1.1), "dye is 1.1, but it must lie between 0 and 1"),
    (lambda: make(4, dye=-0.1), "dye is -0.1"),
    (lambda: make(4, dye=float("nan")), "dye is nan"),
    (lambda: make(4, lobe_contrast=2), "lobe_contrast is 2"),
    (lambda: make(4, noise=-1), "noise is -1"),
    (lambda: make(4, cell_size=0), "cell_size is 0"),
)
