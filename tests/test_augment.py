"""Batched augmentation equals a loop over single images, and its draws come from the generator alone."""

import pytest
import torch

from tdnn_helpers.data.augment import brightness_contrast, chain, colour, crop, flip, noise, shift

IMAGES = torch.rand(64, 3, 6, 9, generator=torch.Generator().manual_seed(1))
ALL = {
    "flip": flip,
    "shift": shift(2),
    "brightness and contrast": brightness_contrast(0.4),
    "crop": crop(0.3),
    "colour": colour(0.4),
    "noise": noise(0.2),
    "chain": chain(flip, shift(1)),
}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("augment", ALL.values(), ids=ALL)
def test_each_image_gets_its_own_draw_from_the_generator_and_nothing_else_is_touched(augment):
    images, state = IMAGES.clone(), torch.get_rng_state()
    first = augment(images, seeded(0))
    assert torch.equal(first, augment(images, seeded(0)))
    assert not torch.equal(first, augment(images, seeded(1)))
    assert torch.equal(images, IMAGES), "the images that went in were changed"
    assert torch.equal(torch.get_rng_state(), state), "the global random state was used"
    assert first.shape == images.shape and first.dtype == torch.float32
    assert first.min() >= 0 and first.max() <= 1
    copies = augment(IMAGES[:1].expand(40, -1, -1, -1), seeded(3))
    assert not all(torch.equal(copies[0], other) for other in copies)


def test_flip_equals_a_loop_over_images_and_chain_applies_in_order_from_one_generator():
    chosen = torch.rand(64, generator=seeded(7)) < 0.5
    mirrored = IMAGES[..., list(range(8, -1, -1))]
    expected = [there if c else image for image, there, c in zip(IMAGES, mirrored, chosen, strict=True)]
    assert torch.equal(flip(IMAGES, seeded(7)), torch.stack(expected))
    assert 0 < chosen.sum() < 64
    generator = seeded(4)
    expected = shift(2)(flip(IMAGES, generator), generator)
    assert torch.equal(chain(flip, shift(2))(IMAGES, seeded(4)), expected)
    assert torch.equal(chain()(IMAGES, seeded(4)), IMAGES)


@pytest.mark.parametrize("fill", [0.0, 0.5])
@pytest.mark.parametrize("pixels", [0, 1, 3])
def test_shift_equals_a_loop_over_images(pixels, fill):
    """Every output is one of the (2p+1)² windows of the framed image; over the batch, many of them occur."""
    steps, offsets = range(2 * pixels + 1), set()
    for image, out in zip(IMAGES, shift(pixels, fill)(IMAGES, seeded(5)), strict=True):
        framed = torch.full((3, 6 + 2 * pixels, 9 + 2 * pixels), fill)
        framed[:, pixels : pixels + 6, pixels : pixels + 9] = image
        matches = [(y, x) for y in steps for x in steps if torch.equal(framed[:, y : y + 6, x : x + 9], out)]
        assert len(matches) == 1
        offsets.update(matches)
    assert len(offsets) >= min(len(steps) ** 2, 25)
    assert {down for down, _ in offsets} == {right for _, right in offsets} == set(steps)


def test_brightness_contrast_equals_a_loop_over_images_and_colour_one_over_channels():
    draws, factors = (torch.rand(*shape, 1, 1, generator=seeded(9)) * 2 - 1 for shape in ((2, 64, 1), (64, 3)))
    changed, coloured = brightness_contrast(0.3)(IMAGES, seeded(9)), colour(0.5)(IMAGES, seeded(9))
    for i, image in enumerate(IMAGES):
        contrast, brightness, middle = 1 + 0.3 * draws[0, i], 0.3 * draws[1, i], image.mean()
        assert torch.allclose(changed[i], (middle + (image - middle) * contrast + brightness).clamp(0, 1), atol=1e-6)
        for c in range(3):
            assert torch.equal(coloured[i, c], (image[c] * (1 + 0.5 * factors[i, c])).clamp(0, 1))
    assert torch.allclose(brightness_contrast(0.0)(IMAGES, seeded(9)), IMAGES, atol=1e-6)


def test_crop_equals_sampling_by_hand():
    """Each pixel of the result is read, by hand, from a place of the square that the draws describe."""
    draws = torch.rand(3, 64, generator=seeded(6))
    out = crop(0.25)(IMAGES, seeded(6))
    sides = (0.25 + 0.75 * draws[0]).sqrt()
    assert 0.5 <= sides.min() and sides.max() <= 1
    for i in (0, 17, 40):
        side, right, down = sides[i], *(draws[1:, i] * (1 - sides[i]))
        for y, x in ((0, 0), (3, 4), (5, 8)):
            row = ((down + side * (y + 0.5) / 6) * 6 - 0.5).clamp(0, 5)
            column = ((right + side * (x + 0.5) / 9) * 9 - 0.5).clamp(0, 8)
            top, left = int(row), int(column)
            fy, fx = row - top, column - left
            rows = IMAGES[i, :, top] * (1 - fy) + IMAGES[i, :, min(top + 1, 5)] * fy
            assert torch.allclose(out[i, :, y, x], rows[:, left] * (1 - fx) + rows[:, min(left + 1, 8)] * fx, atol=1e-4)
    assert torch.allclose(crop(1.0)(IMAGES, seeded(6)), IMAGES, atol=1e-5)


def test_noise_has_a_deviation_of_its_own_for_each_image():
    grey = torch.full((300, 1, 20, 20), 0.5)
    deviations = noise(0.1)(grey, seeded(1)).std(dim=(1, 2, 3))
    assert deviations.min() < 0.01 and 0.09 < deviations.max() < 0.11
    assert deviations.mean() == pytest.approx(0.05, abs=0.005)
