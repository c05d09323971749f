"""Data sets by name, and folders of images as people have them: odd modes, sizes, hidden and broken files."""

import numpy as np
import pytest
import torch
from PIL import Image

from tdnn_helpers.data.sets import FASHION_CLASSES, NAMES, load

pytestmark = pytest.mark.usefixtures("random_state_is_left_alone")


def test_digits_and_fashion_mnist(digits):
    assert digits.images.shape == (1797, 1, 8, 8) and digits.images.max() == 255
    assert sum(digits.counts().values()) == 1797 and digits.classes == tuple("0123456789")
    assert load("digits", size=4).images.shape[-1] == 4
    test = load("fashion-mnist", "test")
    assert test.images.shape == (10_000, 1, 28, 28) and test.classes == FASHION_CLASSES
    assert set(test.counts().values()) == {1000}


def test_emoji_show_the_same_objects_in_every_design():
    noto, flat = load("emoji"), load("emoji", design="fluent-flat", size=32)
    assert noto.images.shape[1:] == (3, 64, 64) and flat.images.shape[1:] == (3, 32, 32)
    assert torch.equal(noto.targets, flat.targets) and torch.equal(noto.extra["group"], flat.extra["group"])
    assert (noto.images[:, :, 0, 0] == 255).all(1).float().mean() > 0.9, "the background is white"
    pairs = torch.stack([noto.extra["group"], noto.targets]).unique(dim=1)
    assert len(pairs[0]) == len(pairs[0].unique()), "a family has one class"
    for part in noto.split(0.6, 0.2, seed=0):
        assert min(part.counts().values()) > 0


def test_photographs_have_the_classes_of_the_emoji_and_their_look():
    emoji, photographs = load("emoji"), load("photographs")
    assert photographs.classes == emoji.classes and photographs.images.shape == (202, 3, 64, 64)
    assert photographs.counts() == dict(animals=109, faces=0, food=42, objects=37, people=0, symbols=0, travel=14)
    assert (photographs.images[:, :, 0] == 255).all(), "a white margin"
    pairs = torch.stack([photographs.extra["group"], photographs.targets]).unique(dim=1)
    assert len(pairs[0]) == len(pairs[0].unique()) == 148, "a family has one class"
    assert photographs.extra["group"].bincount().max() == 6, "the coins"


def save(path, image=None, size=(6, 4), colour=(255, 0, 0), **options):
    """An image in a folder that is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (image or Image.new("RGB", size, colour)).save(path, **options)


@pytest.mark.parametrize("kind", [lambda path: path, str, lambda path: f"~/{path.name}"])
def test_folder_of_images(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    pets = tmp_path / "pets"
    save(pets / "dog" / "one.png", colour=(1, 2, 3))
    save(pets / "cat" / "2020" / "nested.PNG", colour=(4, 5, 6))
    save(pets / "cat" / "first.bmp", colour=(7, 8, 9))
    (pets / "cat" / "notes.txt").write_text("no image")
    (pets / "cat" / "._first.bmp").write_bytes(b"what a Mac leaves in an archive")
    (pets / ".hidden").mkdir()
    save(pets / "cat" / ".ipynb_checkpoints" / "first-checkpoint.bmp")
    save(pets / "__MACOSX" / "cat" / "first.bmp")
    split = load(kind(pets))
    assert split.classes == ("cat", "dog") and split.name == "pets"
    assert split.targets.tolist() == [0, 0, 1]
    assert split.images.shape == (3, 3, 4, 6) and split.images.dtype == torch.uint8
    assert split.images[:, :, 0, 0].tolist() == [[4, 5, 6], [7, 8, 9], [1, 2, 3]]


def test_grey_transparent_and_palette_images_get_three_channels_and_photographs_are_turned_upright(tmp_path):
    for mode in ("L", "RGBA", "P", "1"):
        save(tmp_path / "modes" / "a" / f"{mode}.png", Image.new(mode, (5, 5)))
    assert load(tmp_path / "modes").images.shape == (4, 3, 5, 5)
    image, exif = Image.new("RGB", (6, 4), "black"), Image.Exif()
    image.paste("white", (0, 0, 6, 2))  # the upper half is white
    exif[0x0112] = 6  # the camera was turned: rotate by 90° clockwise to see it upright
    save(tmp_path / "turned" / "a" / "photo.png", image, exif=exif)
    images = load(tmp_path / "turned").images
    assert images.shape == (1, 3, 6, 4)
    assert (images[..., 2:] == 255).all() and (images[..., :2] == 0).all()


def test_images_of_several_sizes_need_a_size_and_keep_their_centre(tmp_path):
    save(tmp_path / "a" / "1.png", size=(6, 4))
    save(tmp_path / "a" / "2.png", size=(5, 9))
    with pytest.raises(ValueError, match=r"2\.png\" is 5×9 pixels.*6×4.*size="):
        load(tmp_path)
    wide = Image.new("RGB", (30, 10), "black")
    wide.paste("white", (10, 0, 20, 10))
    save(tmp_path / "a" / "3.png", wide)
    assert load(tmp_path, size=3).images.shape == (3, 3, 3, 3)
    assert (load(tmp_path, size=10).images[2] == 255).all()


def test_unreadable_images_are_named(tmp_path):
    save(tmp_path / "a" / "good.png", size=(40, 40))
    assert len(load(tmp_path)) == 1
    whole = (tmp_path / "a" / "good.png").read_bytes()
    for damaged in (b"not an image", b"", whole[:-25], whole[:20]):
        (tmp_path / "a" / "bad.png").write_bytes(damaged)
        with pytest.raises(ValueError, match=r'cannot read the image ".*bad\.png".*unreadable="skip"'):
            load(tmp_path)


def test_unreadable_images_are_left_out_on_request_counted_and_named(tmp_path):
    for i in range(3):
        save(tmp_path / "a" / f"{i}.png", colour=(i, 0, 0))
    save(tmp_path / "b" / "fine.png", colour=(9, 0, 0))
    (tmp_path / "a" / "1.png").write_bytes(b"not an image")
    with pytest.warns(UserWarning) as said:
        split = load(tmp_path, unreadable="skip")
    assert [str(one.message) for one in said] == ["1 images cannot be read and are left out: a/1.png."]
    assert said[0].filename == __file__
    assert split.images[:, 0, 0, 0].tolist() == [0, 2, 9] and split.targets.tolist() == [0, 0, 1]
    for i in range(3, 12):
        (tmp_path / "a" / f"x{i:02}.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.warns(UserWarning, match="^10 images .*: a/1.png, a/x03.jpg, .*, a/x06.jpg and 5 more.$"):
        assert len(load(tmp_path, unreadable="skip")) == 3
    (tmp_path / "b" / "fine.png").write_bytes(b"")
    with pytest.raises(ValueError, match='class "b" is empty: .* holds no image that can be read'):
        load(tmp_path, unreadable="skip")


def test_transparent_pixels_become_white(tmp_path, capsys):
    image = Image.new("RGBA", (3, 1), (10, 20, 30, 255))
    save(tmp_path / "a" / "2.png", image)  # could be transparent, but is not
    image.putpixel((1, 0), (10, 20, 30, 0))
    image.putpixel((2, 0), (10, 20, 30, 128))
    save(tmp_path / "a" / "1.png", image)
    palette = Image.new("P", (3, 1), 1)
    palette.putpalette([0, 0, 0, 5, 6, 7])
    save(tmp_path / "a" / "3.png", palette, transparency=1)
    save(tmp_path / "a" / "4.png", Image.new("LA", (3, 1), (9, 0)))
    images = load(tmp_path).images
    assert images[0, :, 0].T.tolist() == [[10, 20, 30], [255, 255, 255], [132, 137, 142]]
    assert images[1, :, 0].T.tolist() == [[10, 20, 30]] * 3
    assert (images[2:] == 255).all()
    assert capsys.readouterr().out == "3 of 4 images have transparent pixels: they are white here.\n"
    save(tmp_path / "a" / "1.png", size=(3, 1))
    load(tmp_path)
    assert capsys.readouterr().out.startswith("2 of 4")


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([0, 257, 65535], np.uint16, [0, 1, 255]),
        ([0, 257, 65535], np.int32, [0, 1, 255]),  # what an old Pillow makes of 16 bits
        ([0, 1, 255], np.int32, [0, 1, 255]),
        ([0, 0.5, 1], np.float32, [0, 128, 255]),
        ([0, 100.4, 255], np.float32, [0, 100, 255]),
        *((values, np.float32, None) for values in ([-1.0, 0.5], [0.0, float("nan")], [0.0, 1e6])),  # of no known range
    ],
)
def test_more_than_8_bits_are_scaled_never_cut_off_and_else_refused(tmp_path, values, kind, expected):
    save(tmp_path / "a" / "1.tif", Image.fromarray(np.array([values], dtype=kind)))
    if expected:
        assert load(tmp_path).images[0, 0, 0].tolist() == expected
    else:
        with pytest.raises(ValueError, match=r"1\.tif.*save them as 8 or 16 bits, or as floats in \[0, 1\]"):
            load(tmp_path)


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        ("fashon-mnist", {}, f'no data set or folder "fashon-mnist".*mean "fashion-mnist".*{", ".join(NAMES)}'),
        ("digits", {"part": "val"}, 'part is "train" or "test", not "val"'),
        ("emoji", {"design": "twemoji2"}, 'Did you mean "twemoji"'),
        ("pets", {}, "holds no folder"),
        ("other pets", {}, 'class "b" is empty'),
        ("pets/gone", {}, "no data set or folder"),
        ("pets", {"unreadable": "ignore"}, 'unreadable is "raise" or "skip", not "ignore"'),
    ],
)
def test_what_is_not_there_is_named(tmp_path, monkeypatch, source, options, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pets").mkdir()
    save(tmp_path / "other pets" / "a" / "1.png")
    (tmp_path / "other pets" / "b").mkdir()
    with pytest.raises(ValueError, match=words):
        load(source, **options)
