"""Batched augmentation equals a loop over single images, and its draws come from the generator alone."""

import pytest
import torch

from tdnn_helpers.data.augment import blur, brightness_contrast, chain, colour, crop, erase, flip, noise, shift

ALL = {
    "flip": flip,
    "shift": shift(2),
    "brightness and contrast": brightness_contrast(0.4),
    "crop": crop(0.3),
    "colour": colour(0.4),
    "noise": noise(0.2),
    "blur": blur,
    "erase": erase(0.5),
    "chain": chain(flip, shift(1)),
}


@pytest.fixture
def images():
    return torch.rand(64, 3, 6, 9, generator=torch.Generator().manual_seed(1))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("augment", ALL.values(), ids=ALL)
def test_same_generator_same_result_and_nothing_else_is_touched(augment, images):
    original, state = images.clone(), torch.get_rng_state()
    first = augment(images, seeded(0))
    assert torch.equal(first, augment(images, seeded(0)))
    assert not torch.equal(first, augment(images, seeded(1)))
    assert torch.equal(images, original), "the images that went in were changed"
    assert torch.equal(torch.get_rng_state(), state), "the global random state was used"
    assert first.shape == images.shape and first.dtype == torch.float32
    assert first.min() >= 0 and first.max() <= 1


@pytest.mark.parametrize("augment", ALL.values(), ids=ALL)
def test_each_image_gets_its_own_draw(augment):
    one = torch.rand(1, 3, 6, 9, generator=seeded(2))
    out = augment(one.expand(40, -1, -1, -1), seeded(3))
    assert not all(torch.equal(out[0], other) for other in out)


def test_flip_equals_a_loop_over_images(images):
    chosen = torch.rand(len(images), generator=seeded(7)) < 0.5
    expected = torch.stack(
        [torch.stack([row.flip(0) for row in image.flatten(0, 1)]).view_as(image) if c else image
         for image, c in zip(images, chosen, strict=True)]
    )  # fmt: skip
    assert torch.equal(flip(images, seeded(7)), expected)
    assert 0 < chosen.sum() < len(images)


@pytest.mark.parametrize("fill", [0.0, 0.5])
@pytest.mark.parametrize("pixels", [0, 1, 3])
def test_shift_equals_a_loop_over_images(images, pixels, fill):
    """Every output is one of the (2p+1)² shifted images, found pixel by pixel; over the batch, many of them occur."""
    _, channels, height, width = images.shape
    offsets = set()
    for image, out in zip(images, shift(pixels, fill)(images, seeded(5)), strict=True):
        matches = []
        for down in range(-pixels, pixels + 1):
            for right in range(-pixels, pixels + 1):
                moved = torch.full_like(image, fill)
                for y in range(height):
                    for x in range(width):
                        if 0 <= y + down < height and 0 <= x + right < width:
                            moved[:, y, x] = image[:, y + down, x + right]
                if torch.equal(moved, out):
                    matches.append((down, right))
        assert len(matches) == 1
        offsets.update(matches)
    possible = (2 * pixels + 1) ** 2
    assert len(offsets) >= min(possible, 25)
    assert {down for down, _ in offsets} == {right for _, right in offsets} == set(range(-pixels, pixels + 1))


def test_brightness_contrast_equals_a_loop_over_images(images):
    strength = 0.3
    draws = torch.rand(2, len(images), 1, 1, 1, generator=seeded(9)) * 2 - 1
    for i, out in enumerate(brightness_contrast(strength)(images, seeded(9))):
        contrast, brightness = 1 + strength * draws[0, i].item(), strength * draws[1, i].item()
        middle = images[i].mean()
        expected = (middle + (images[i] - middle) * contrast + brightness).clamp(0, 1)
        assert torch.allclose(out, expected, atol=1e-6)
        assert abs(contrast - 1) <= strength and abs(brightness) <= strength
    assert torch.allclose(brightness_contrast(0.0)(images, seeded(9)), images, atol=1e-6)


def test_crop_equals_sampling_by_hand(images):
    """Each pixel of the result is read, by hand, from a place of the square that the draws describe."""
    draws = torch.rand(3, len(images), generator=seeded(6))
    out = crop(0.25)(images, seeded(6))
    _, channels, height, width = images.shape
    sides = (0.25 + 0.75 * draws[0]).sqrt()
    assert 0.5 <= sides.min() and sides.max() <= 1
    for i in (0, 17, 40):
        side, right, down = sides[i], *(draws[1:, i] * (1 - sides[i]))
        for y, x in ((0, 0), (3, 4), (5, 8)):
            row = ((down + side * (y + 0.5) / height) * height - 0.5).clamp(0, height - 1)
            column = ((right + side * (x + 0.5) / width) * width - 0.5).clamp(0, width - 1)
            top, left = int(row), int(column)
            bottom, rightmost = min(top + 1, height - 1), min(left + 1, width - 1)
            fy, fx = row - top, column - left
            expected = (
                images[i, :, top, left] * (1 - fy) * (1 - fx) + images[i, :, top, rightmost] * (1 - fy) * fx
                + images[i, :, bottom, left] * fy * (1 - fx) + images[i, :, bottom, rightmost] * fy * fx
            )  # fmt: skip
            assert torch.allclose(out[i, :, y, x], expected, atol=1e-4)
    assert torch.allclose(crop(1.0)(images, seeded(6)), images, atol=1e-5)


def test_colour_equals_a_loop_over_channels(images):
    draws = torch.rand(len(images), 3, 1, 1, generator=seeded(8)) * 2 - 1
    out = colour(0.5)(images, seeded(8))
    for i in range(len(images)):
        for c in range(3):
            assert torch.equal(out[i, c], (images[i, c] * (1 + 0.5 * draws[i, c])).clamp(0, 1))


def test_noise_has_a_deviation_of_its_own_for_each_image():
    grey = torch.full((300, 1, 20, 20), 0.5)
    deviations = noise(0.1)(grey, seeded(1)).std(dim=(1, 2, 3))
    assert deviations.min() < 0.01 and 0.09 < deviations.max() < 0.11
    assert deviations.mean() == pytest.approx(0.05, abs=0.005)


def test_blur_mixes_with_the_mean_of_the_neighbours(images):
    shares = torch.rand(len(images), 1, 1, 1, generator=seeded(2))
    out = blur(images, seeded(2))
    kernel = [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
    for i in (0, 31):
        soft = sum(kernel[a][b] / 16 * images[i, 1, 2 + a, 3 + b] for a in range(3) for b in range(3))
        expected = images[i, 1, 3, 4] * (1 - shares[i]) + soft * shares[i]
        assert out[i, 1, 3, 4] == pytest.approx(expected.item(), abs=1e-6)
    flat = torch.full((4, 3, 5, 5), 0.3)
    assert torch.allclose(blur(flat, seeded(2)), flat)


def test_erase_covers_a_square_with_one_grey():
    white = torch.ones(200, 3, 10, 14)
    out = erase(0.4)(white, seeded(3))
    sizes = set()
    for image in out:
        covered = image != 1
        assert torch.equal(covered[0], covered[1]) and torch.equal(covered[0], covered[2])
        if covered.any():
            rows, columns = covered[0].any(1).sum(), covered[0].any(0).sum()
            assert covered[0].sum() == rows * columns and len(image[covered].unique()) == 1
            sizes.add((int(rows), int(columns)))
    assert max(sizes) == (4, 4) and (2, 4) in sizes


def test_chain_applies_in_order_from_one_generator(images):
    generator = seeded(4)
    expected = shift(2)(flip(images, generator), generator)
    assert torch.equal(chain(flip, shift(2))(images, seeded(4)), expected)
    assert torch.equal(chain()(images, seeded(4)), images)
