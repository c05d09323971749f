"""Splits: what goes in is checked, edits never touch the original, parts are stratified and keep groups together."""

import dataclasses
import pickle
import random
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from tdnn_helpers.data.sets import FASHION_CLASSES, NAMES, load
from tdnn_helpers.data.split import Split


def make(n=60, classes=3, channels=1, size=4, seed=0, **extra):
    """A small split whose image i is recognisable: extra["id"] is i, and so is its first pixel."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, channels, size, size), generator=generator, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(n) % 256
    targets = torch.randint(0, classes, (n,), generator=generator)
    targets[: n // 2] = torch.arange(n // 2) % classes  # no class is rare
    return Split(images, targets, [f"c{i}" for i in range(classes)], {"id": torch.arange(n), **extra}, "made")


def same(a: Split, b: Split) -> bool:
    return (
        torch.equal(a.images, b.images)
        and torch.equal(a.targets, b.targets)
        and (a.classes, a.name, a.extra.keys()) == (b.classes, b.name, b.extra.keys())
        and all(torch.equal(a.extra[key], b.extra[key]) for key in a.extra)
    )


def ids(split: Split) -> list[int]:
    return split.extra["id"].tolist()


@pytest.fixture(autouse=True)
def global_random_state_is_left_alone():
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    yield
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1] and (np.random.get_state()[1] == before[2]).all()


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


def test_regression_targets_are_values():
    for targets in (torch.rand(3, generator=torch.Generator()), torch.zeros(3, 2)):
        split = zeros(targets=targets, classes=())
        assert "regression" in repr(split)
        with pytest.raises(ValueError, match="no classes"):
            split.counts()
        with pytest.raises(ValueError, match="at least two classes"):
            split.with_label_noise(0.5, seed=0)
    parts = make(40).with_targets(torch.arange(40.0)).split(0.5, seed=0)
    assert [len(part) for part in parts] == [20, 20]
    assert len(make(40).with_targets(torch.arange(40.0)).take(7, seed=0)) == 7


def test_frozen():
    split = make()
    with pytest.raises(dataclasses.FrozenInstanceError):
        split.images = split.images
    with pytest.raises(TypeError):
        split.extra["new"] = split.targets
    columns = {"id": split.extra["id"]}
    copy = dataclasses.replace(split, extra=columns)
    columns["later"] = split.targets
    assert set(copy.extra) == {"id"}


def test_pickle_keeps_everything():
    assert same(pickle.loads(pickle.dumps(make())), make())


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
def test_edits_leave_the_original_alone_and_keep_the_rest(edit):
    split, untouched = make(), pickle.loads(pickle.dumps(make()))
    edited = edit(split)
    assert same(split, untouched)
    assert not same(edited, split)
    assert edited.name == "made" and "id" in edited.extra


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_edits_repeat_bit_for_bit(edit):
    assert same(edit(make()), edit(make()))


def test_indexing_takes_images_targets_and_columns_together():
    split = make()
    for indices in ([5, 0, 5], torch.tensor([5, 0, 5]), np.array([5, 0, 5])):
        part = split[indices]
        assert ids(part) == [5, 0, 5] and part.images[:, 0, 0, 0].tolist() == [5, 0, 5]
        assert torch.equal(part.targets, split.targets[[5, 0, 5]])
    assert ids(split[-2:]) == [58, 59]
    assert len(split[[]]) == 0 and len(split[:0]) == 0
    assert "60 images" in repr(split) and "3 classes" in repr(split)


# ---- choosing images -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_parts_are_disjoint_complete_and_stratified_within_one_image(seed):
    split = make(200, classes=4, seed=seed)
    shares = (0.6, 0.25, 0.15)
    for parts in (split.split(0.6, 0.25, seed=seed), split.split(*shares, seed=seed)):
        assert sorted(sum((ids(part) for part in parts), [])) == list(range(200))
        for part, share in zip(parts, shares, strict=True):
            for name, count in part.counts().items():
                assert abs(count - share * split.counts()[name]) <= 1
            for i, image in zip(ids(part), part.images, strict=True):
                assert torch.equal(image, split.images[i])


def test_other_seed_other_parts_and_no_order_of_the_file():
    split = make(200)
    first, second = split.split(0.5, seed=0)[0], split.split(0.5, seed=1)[0]
    assert set(ids(first)) != set(ids(second))
    half = [split.split(0.5, seed=seed)[0] for seed in range(40)]
    times_chosen = Counter(i for part in half for i in ids(part))
    assert len(times_chosen) == 200 and max(times_chosen.values()) < 40, "some image is always or never chosen"


def random_groups(seed):
    """Groups of 1 to 6 images, each of one class, in random order of images."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 7, size=60)
    group = np.repeat(rng.permutation(1000)[:60], sizes)
    target = np.repeat(rng.integers(0, 3, size=60), sizes)
    order = rng.permutation(len(group))
    images = torch.zeros(len(group), 1, 1, 1, dtype=torch.uint8)
    extra = {"group": torch.from_numpy(group[order]), "id": torch.arange(len(group))}
    return Split(images, torch.from_numpy(target[order]), ("a", "b", "c"), extra)


@pytest.mark.parametrize("seed", range(25))
def test_groups_never_straddle(seed):
    split = random_groups(seed)
    largest = max(Counter(split.extra["group"].tolist()).values())
    for parts in (split.split(0.6, 0.2, seed=seed), split.split(0.7, seed=seed)):
        groups = [set(part.extra["group"].tolist()) for part in parts]
        assert sum(map(len, groups)) == len(set.union(*groups)) == 60
        assert sum(map(len, parts)) == len(split)
    first = split.split(0.5, seed=seed)[0]
    for name, count in first.counts().items():  # as near as the largest group allows
        assert abs(count - 0.5 * split.counts()[name]) <= largest
    for train, val in split.folds(3, seed=seed):
        assert not set(train.extra["group"].tolist()) & set(val.extra["group"].tolist())
        assert sorted(ids(train) + ids(val)) == list(range(len(split)))


def test_a_group_stays_together_even_if_its_images_have_several_classes():
    group = torch.arange(40) // 4
    split = Split(torch.zeros(40, 1, 1, 1, dtype=torch.uint8), torch.arange(40) % 2, ("a", "b"), {"group": group})
    left, right = split.split(0.5, seed=0)
    assert len(left) == len(right) == 20
    assert not set(left.extra["group"].tolist()) & set(right.extra["group"].tolist())


@pytest.mark.parametrize("sizes", [(10, 1, 1), (6, 1, 1, 1, 1), (12, *[1] * 8), (8, 4, 4, 4)])
def test_a_large_group_does_not_leave_a_part_empty(sizes):
    group = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    images = torch.zeros(len(group), 1, 1, 1, dtype=torch.uint8)
    split = Split(images, torch.zeros(len(group)).long(), ("a",), {"group": group})
    for seed in range(40):
        assert min(map(len, split.split(0.8, seed=seed))) > 0
        held_out = [len(val) for _, val in split.folds(3, seed=seed)]
        assert min(held_out) > 0 and sum(held_out) == len(group) and max(held_out) <= max(sizes[0], len(group) // 3 + 1)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_folds_partition(k):
    split = make(101, classes=3)
    folds = split.folds(k, seed=2)
    assert len(folds) == k
    assert sorted(sum((ids(val) for _, val in folds), [])) == list(range(101))
    for train, val in folds:
        assert sorted(ids(train) + ids(val)) == list(range(101))
        for name, count in val.counts().items():
            assert abs(count - split.counts()[name] / k) <= 1


@pytest.mark.parametrize("fractions", [(), (0,), (-0.1, 0.5), (0.7, 0.4), (1.5,)])
def test_impossible_fractions(fractions):
    with pytest.raises(ValueError, match="above 0 and add up to at most 1"):
        make().split(*fractions, seed=0)


def test_a_class_too_small_for_every_part_is_named():
    images, targets = torch.zeros(23, 1, 1, 1, dtype=torch.uint8), torch.tensor([0] * 20 + [1] * 3)
    split = Split(images, targets, ("common", "rare"))
    with pytest.raises(ValueError, match='"rare" has 3 images, too few for 4'):
        split.folds(4, seed=0)
    with pytest.raises(ValueError, match='"rare" has 3 images, too few for 2'):  # two parts, but one is only a tenth
        split.split(0.9, seed=0)
    assert split.split(0.7, seed=0)[1].counts()["rare"] == 1
    grouped = dataclasses.replace(split, extra={"group": torch.cat([torch.arange(20), torch.full((3,), 99)])})
    with pytest.raises(ValueError, match='"rare" has 1 groups, too few for 2'):
        grouped.split(0.5, seed=0)
    with pytest.raises(ValueError, match="at least 2 folds"):
        split.folds(1, seed=0)


def test_take_keeps_the_proportions_to_the_nearest_image():
    targets = torch.tensor([0] * 70 + [1] * 20 + [2] * 10)
    split = Split(torch.zeros(100, 1, 1, 1, dtype=torch.uint8), targets, "abc", {"id": torch.arange(100)})
    for n in (1, 9, 10, 33, 50, 100):
        taken = split.take(n, seed=n)
        assert len(taken) == n == len(set(ids(taken)))
        for (_, count), share in zip(taken.counts().items(), (0.7, 0.2, 0.1), strict=True):
            assert abs(count - share * n) <= 1
    assert ids(split.take(10, seed=0)) != ids(split.take(10, seed=1))
    for n in (0, -1, 101):
        with pytest.raises(ValueError, match=f"cannot take {n} images from 100"):
            split.take(n, seed=0)


def test_per_class_takes_as_many_of_each():
    split = make(100, classes=4)
    assert set(split.per_class(6, seed=0).counts().values()) == {6}
    assert ids(split.per_class(6, seed=0)) != ids(split.per_class(6, seed=1))
    count = min(split.counts().values())
    with pytest.raises(ValueError, match=f'class "c\\d" has only {count} images, but {count + 1} of each'):
        split.per_class(count + 1, seed=0)


def test_counts_name_empty_classes_too():
    assert zeros(3).counts() == {"a": 3, "b": 0}


# ---- edits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("rate", [0, 0.1, 0.333, 1])
def test_label_noise_changes_exactly_that_many_and_never_to_the_same(rate, classes):
    split = make(97, classes=classes)
    noisy = split.with_label_noise(rate, seed=1)
    changed = noisy.targets != split.targets
    assert int(changed.sum()) == round(rate * 97)
    assert torch.equal(noisy.extra["flipped"], changed)
    assert noisy.targets.min() >= 0 and noisy.targets.max() < classes


def test_label_noise_reaches_every_other_class_evenly():
    split = Split(torch.zeros(3000, 1, 1, 1, dtype=torch.uint8), torch.full((3000,), 2), "abcd")
    counts = split.with_label_noise(1.0, seed=0).counts()
    assert counts.pop("c") == 0
    assert all(900 < count < 1100 for count in counts.values())


def test_bad_label_noise():
    for rate in (-0.1, 1.1, 20):
        with pytest.raises(ValueError, match="from 0 to 1"):
            make().with_label_noise(rate, seed=0)
    with pytest.raises(ValueError, match="two classes"):
        zeros(classes=("a",)).with_label_noise(0.5, seed=0)


@pytest.mark.parametrize(("size", "pixels"), [(8, 4), (9, 3), (8, 1), (10, 4), (7, 5)])
def test_shrinking_is_the_mean_of_the_pixels_below(size, pixels):
    split = make(20, channels=3, size=size)
    small = split.resize(pixels).images
    assert small.shape == (20, 3, pixels, pixels) and small.dtype == torch.uint8
    images = split.images.double().numpy()
    for i in range(pixels):
        for j in range(pixels):
            top, bottom = i * size // pixels, -(-(i + 1) * size // pixels)
            left, right = j * size // pixels, -(-(j + 1) * size // pixels)
            mean = images[:, :, top:bottom, left:right].mean(axis=(2, 3))
            assert np.abs(small[:, :, i, j].numpy() - mean).max() <= 0.5 + 1e-4


def test_resize_grows_keeps_and_refuses():
    split = make(5, size=4)
    assert torch.equal(split.resize(4).images, split.images)
    flat = Split(torch.full((1, 3, 4, 4), 77, dtype=torch.uint8), torch.tensor([0]), ("a",))
    assert (flat.resize(9).images == 77).all()
    grown = split.resize(8).images.int()
    assert grown.shape == (5, 1, 8, 8)
    assert torch.equal(grown[:, :, ::7, ::7], split.images[:, :, ::3, ::3].int())  # the corners stay
    with pytest.raises(ValueError, match="at least 1 pixel"):
        split.resize(0)


# ---- reading ---------------------------------------------------------------------------------------------------------


def test_unknown_names_are_named_with_the_nearest():
    with pytest.raises(ValueError, match='no data set or folder "fashon-mnist".*mean "fashion-mnist"') as caught:
        load("fashon-mnist")
    assert all(name in str(caught.value) for name in NAMES)
    with pytest.raises(ValueError, match='part is "train" or "test", not "val"'):
        load("digits", "val")
    with pytest.raises(ValueError, match='Did you mean "twemoji"'):
        load("emoji", design="twemoji2")


def test_digits():
    digits = load("digits")
    assert digits.images.shape == (1797, 1, 8, 8) and digits.images.max() == 255
    assert sum(digits.counts().values()) == 1797 and digits.classes == tuple("0123456789")
    assert load("digits", size=4).images.shape[-1] == 4


def test_fashion_mnist():
    test = load("fashion-mnist", "test")
    assert test.images.shape == (10_000, 1, 28, 28) and test.classes == FASHION_CLASSES
    assert set(test.counts().values()) == {1000}


def test_emoji_show_the_same_objects_in_every_design():
    noto, flat = load("emoji"), load("emoji", design="fluent-flat", size=32)
    assert noto.images.shape[1:] == (3, 64, 64) and flat.images.shape[1:] == (3, 32, 32)
    assert torch.equal(noto.targets, flat.targets) and torch.equal(noto.extra["group"], flat.extra["group"])
    assert (noto.images[:, :, 0, 0] == 255).all(1).float().mean() > 0.9, "the background is white"
    for c in set(noto.extra["group"].tolist()):
        assert len(noto.targets[noto.extra["group"] == c].unique()) == 1, "a family has one class"
    for part in noto.split(0.6, 0.2, seed=0):
        assert min(part.counts().values()) > 0


def save(path, size=(6, 4), colour=(255, 0, 0), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, **options)


def test_folder_of_images(tmp_path):
    save(tmp_path / "pets" / "dog" / "one.png", colour=(1, 2, 3))
    save(tmp_path / "pets" / "cat" / "2020" / "nested.PNG", colour=(4, 5, 6))
    save(tmp_path / "pets" / "cat" / "first.bmp", colour=(7, 8, 9))
    (tmp_path / "pets" / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "pets" / "cat" / "._first.bmp").write_bytes(b"what a Mac leaves in an archive")
    (tmp_path / "pets" / ".hidden").mkdir()
    save(tmp_path / "pets" / "cat" / ".ipynb_checkpoints" / "first-checkpoint.bmp")
    save(tmp_path / "pets" / "__MACOSX" / "cat" / "first.bmp")
    for source in (tmp_path / "pets", str(tmp_path / "pets")):
        split = load(source)
        assert split.classes == ("cat", "dog") and split.name == "pets"
        assert split.targets.tolist() == [0, 0, 1]
        assert split.images.shape == (3, 3, 4, 6) and split.images.dtype == torch.uint8
        assert split.images[:, :, 0, 0].tolist() == [[4, 5, 6], [7, 8, 9], [1, 2, 3]]


def test_folder_with_grey_transparent_and_palette_images(tmp_path):
    for mode in ("L", "RGBA", "P", "1"):
        path = tmp_path / "a" / f"{mode}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new(mode, (5, 5)).save(path)
    assert load(tmp_path).images.shape == (4, 3, 5, 5)


def test_photographs_are_turned_upright(tmp_path):
    image = Image.new("RGB", (6, 4), "black")
    image.paste("white", (0, 0, 6, 2))  # the upper half is white
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90° clockwise to see it upright
    (tmp_path / "a").mkdir()
    image.save(tmp_path / "a" / "photo.png", exif=exif)
    images = load(tmp_path).images
    assert images.shape == (1, 3, 6, 4)
    assert (images[..., 2:] == 255).all() and (images[..., :2] == 0).all()


def test_images_of_several_sizes_need_a_size(tmp_path):
    save(tmp_path / "a" / "1.png", size=(6, 4))
    save(tmp_path / "a" / "2.png", size=(5, 9))
    with pytest.raises(ValueError, match=r"2\.png\" is 5×9 pixels.*6×4.*size="):
        load(tmp_path)
    assert load(tmp_path, size=3).images.shape == (2, 3, 3, 3)


def test_the_centre_is_kept(tmp_path):
    image = Image.new("RGB", (30, 10), "black")
    image.paste("white", (10, 0, 20, 10))
    (tmp_path / "a").mkdir()
    image.save(tmp_path / "a" / "wide.png")
    assert (load(tmp_path, size=10).images == 255).all()


def test_unreadable_images_are_named(tmp_path):
    save(tmp_path / "a" / "good.png", size=(40, 40))
    whole = (tmp_path / "a" / "good.png").read_bytes()
    damages = {"text": b"not an image", "empty": b"", "cut": whole[: len(whole) - 25], "header": whole[:20]}
    for name, content in damages.items():
        path = tmp_path / "a" / f"{name}.png"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf'cannot read the image ".*{name}\.png".*unreadable="skip"'):
            load(tmp_path)
        path.unlink()
    assert len(load(tmp_path)) == 1


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
    with pytest.raises(ValueError, match='unreadable is "raise" or "skip", not "ignore"'):
        load(tmp_path, unreadable="ignore")


def test_transparent_pixels_become_white(tmp_path, capsys):
    (tmp_path / "a").mkdir()
    image = Image.new("RGBA", (3, 1), (10, 20, 30, 255))
    image.putpixel((1, 0), (10, 20, 30, 0))
    image.putpixel((2, 0), (10, 20, 30, 128))
    image.save(tmp_path / "a" / "1.png")
    Image.new("RGBA", (3, 1), (10, 20, 30, 255)).save(tmp_path / "a" / "2.png")  # could be transparent, but is not
    palette = Image.new("P", (3, 1), 1)
    palette.putpalette([0, 0, 0, 5, 6, 7])
    palette.save(tmp_path / "a" / "3.png", transparency=1)
    Image.new("LA", (3, 1), (9, 0)).save(tmp_path / "a" / "4.png")
    images = load(tmp_path).images
    assert images[0, :, 0].T.tolist() == [[10, 20, 30], [255, 255, 255], [132, 137, 142]]
    assert images[1, :, 0].T.tolist() == [[10, 20, 30]] * 3
    assert (images[2:] == 255).all()
    assert capsys.readouterr().out == "3 of 4 images have transparent pixels: they are white here.\n"
    save(tmp_path / "a" / "1.png", size=(3, 1))
    load(tmp_path)
    assert capsys.readouterr().out.startswith("2 of 4")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 257, 65535]], dtype=np.uint16), [0, 1, 255]),
        (np.array([[0, 257, 65535]], dtype=np.int32), [0, 1, 255]),  # what an old Pillow makes of 16 bits
        (np.array([[0, 1, 255]], dtype=np.int32), [0, 1, 255]),
        (np.array([[0, 0.5, 1]], dtype=np.float32), [0, 128, 255]),
        (np.array([[0, 100.4, 255]], dtype=np.float32), [0, 100, 255]),
    ],
)
def test_more_than_8_bits_are_scaled_and_never_cut_off(tmp_path, values, expected):
    (tmp_path / "a").mkdir()
    Image.fromarray(values).save(tmp_path / "a" / "1.tif")
    assert load(tmp_path).images[0, 0, 0].tolist() == expected


@pytest.mark.parametrize("values", [[-1.0, 0.5], [0.0, float("nan")], [0.0, 1e6]])
def test_values_of_an_unknown_range_are_refused(tmp_path, values):
    (tmp_path / "a").mkdir()
    Image.fromarray(np.array([values], dtype=np.float32)).save(tmp_path / "a" / "1.tif")
    with pytest.raises(ValueError, match=r"1\.tif.*save them as 8 or 16 bits, or as floats in \[0, 1\]"):
        load(tmp_path)


def test_a_folder_below_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    save(tmp_path / "pets" / "cat" / "1.png")
    assert load("~/pets").classes == ("cat",)


def test_empty_folders_are_named(tmp_path):
    with pytest.raises(ValueError, match="holds no folder"):
        load(tmp_path)
    save(tmp_path / "a" / "1.png")
    (tmp_path / "b").mkdir()
    with pytest.raises(ValueError, match='class "b" is empty'):
        load(tmp_path)
    with pytest.raises(ValueError, match="no data set or folder"):
        load(tmp_path / "gone")


def test_one_seed_for_every_edit_draws_independent_images():
    """with_label_noise, take, split and folds of one seed once shared a permutation: all flips fell into one part."""
    noisy = load("digits").with_label_noise(0.1, seed=0)
    parts = [
        noisy.take(400, seed=0),
        noisy.per_class(40, seed=0),
        *noisy.split(0.5, seed=0),
        noisy.folds(2, seed=0)[0][0],
    ]
    for part in parts:
        assert 0.05 < part.extra["flipped"].float().mean() < 0.15
