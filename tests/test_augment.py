"""Batched augmentation equals a loop over single images, and its draws come from the generator alone."""

import pytest
import torch

from tdnn_helpers.augment import brightness_contrast, chain, flip, shift

ALL = {
    "flip": flip,
    "shift": shift(2),
    "brightness and contrast": brightness_contrast(0.4),
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


def test_chain_applies_in_order_from_one_generator(images):
    generator = seeded(4)
    expected = shift(2)(flip(images, generator), generator)
    assert torch.equal(chain(flip, shift(2))(images, seeded(4)), expected)
    assert torch.equal(chain()(images, seeded(4)), images)
