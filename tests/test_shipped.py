"""The data files: the right values, and one clear sentence for every way in which a file can be wrong."""

import gzip
import json
import os
import shutil
import struct

import numpy as np
import pytest
import torchvision

from tdnn_helpers.core import data_dir
from tdnn_helpers.data import shipped as files

RAW = "FashionMNIST/raw"
LABELS = f"{RAW}/t10k-labels-idx1-ubyte.gz"


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A data folder of its own, with the smallest file and the list of checksums."""
    (tmp_path / RAW).mkdir(parents=True)
    for name in ("checksums.json", LABELS):
        shutil.copy(data_dir() / name, tmp_path / name)
    monkeypatch.setenv("TDNN_DATA", str(tmp_path))
    return tmp_path


def idx(values: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


@pytest.mark.parametrize("name", json.loads((data_dir() / "checksums.json").read_text()))
def test_every_listed_file_is_whole(name):
    assert files.verified(name) == data_dir() / name


def test_one_altered_byte_is_found_and_both_checksums_are_named(copy):
    good = files.verified(LABELS)
    content = bytearray(good.read_bytes())
    content[1000] ^= 1
    good.write_bytes(content)
    os.utime(good, ns=(0, 0))
    expected = json.loads((copy / "checksums.json").read_text())[LABELS]["sha256"]
    with pytest.raises(ValueError, match="is damaged: expected SHA-256") as error:
        files.verified(LABELS)
    assert expected in str(error.value) and "t10k-labels" in str(error.value) and "git checkout" in str(error.value)


def test_a_truncated_file_is_found_by_its_size(copy):
    path = copy / LABELS
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ValueError, match="expected 5,148 bytes, found 3,000"):
        files.verified(LABELS)


def test_missing_files_are_named(copy):
    (copy / LABELS).unlink()
    with pytest.raises(FileNotFoundError, match="t10k-labels-idx1-ubyte.gz is missing"):
        files.verified(LABELS)
    (copy / "checksums.json").unlink()
    with pytest.raises(FileNotFoundError, match="TDNN_DATA"):
        files.verified(LABELS)


def test_an_unlisted_file_is_refused(copy):
    (copy / "other.gz").write_bytes(b"x")
    with pytest.raises(ValueError, match='"other.gz" is not a data file'):
        files.verified("other.gz")


def test_a_file_is_hashed_once_until_it_changes(copy, monkeypatch):
    sums = []
    real = files.hashlib.sha256
    monkeypatch.setattr(files.hashlib, "sha256", lambda content: sums.append(len(content)) or real(content))
    files.verified(LABELS)
    files.verified(LABELS)
    assert sums == [5148]
    os.utime(copy / LABELS, ns=(0, 0))
    files.verified(LABELS)
    assert sums == [5148, 5148]


def test_idx_reads_what_was_written(tmp_path):
    values = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(idx(values)))
    read = files.read_idx_gz(path)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, values)
    read[0] = 0  # the array is the reader's own


@pytest.mark.parametrize(
    "content, message",
    [
        (b"not gzip at all", "is not a gzip file"),
        (gzip.compress(idx(np.zeros(500, np.uint8)), mtime=0)[:-12], "is cut short"),
        (gzip.compress(idx(np.zeros(500, np.uint8))[:-1], mtime=0), "its header promises 500 bytes .* but 499 follow"),
        (gzip.compress(idx(np.zeros((5, 5), np.uint8))[:7], mtime=0), "cut short within its header"),
        (gzip.compress(b"\x00\x00\x0d\x01\x00\x00\x00\x00", mtime=0), "does not hold unsigned bytes"),
        (gzip.compress(b"hello, world", mtime=0), "does not hold unsigned bytes"),
        (gzip.compress(b"", mtime=0), "does not hold unsigned bytes"),
    ],
)
def test_bad_idx_files_are_refused(tmp_path, content, message):
    path = tmp_path / "bad.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        files.read_idx_gz(path)
    assert "bad.gz" in str(error.value)


def test_fashion_mnist_has_its_published_shape_and_balance():
    images = files.read_idx_gz(files.verified(f"{RAW}/t10k-images-idx3-ubyte.gz"))
    labels = files.read_idx_gz(files.verified(LABELS))
    assert images.shape == (10_000, 28, 28)
    np.testing.assert_array_equal(np.bincount(labels), [1000] * 10)
    assert (images.min(), images.max()) == (0, 255)
    train = files.read_idx_gz(files.verified(f"{RAW}/train-labels-idx1-ubyte.gz"))
    np.testing.assert_array_equal(np.bincount(train), [6000] * 10)


def test_torchvision_accepts_the_same_files_without_a_download(tmp_path, monkeypatch):
    (tmp_path / RAW).mkdir(parents=True)
    for path in (data_dir() / RAW).glob("*.gz"):
        (tmp_path / RAW / path.name).symlink_to(path.resolve())

    def no_network(*_, **__):
        raise AssertionError("torchvision found a file missing or its MD5 wrong, and wanted the network")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    test = torchvision.datasets.FashionMNIST(root=str(tmp_path), train=False, download=True)
    ours = files.read_idx_gz(files.verified(f"{RAW}/t10k-images-idx3-ubyte.gz"))
    np.testing.assert_array_equal(test.data.numpy(), ours)


def test_the_four_designs_show_the_same_objects():
    drawings = {}
    for design in files.DESIGNS:
        images, rows = files.read_emoji(design)
        assert images.shape == (len(rows), 64, 64, 4) and images.dtype == np.uint8
        assert [row["index"] for row in rows] == list(range(len(rows)))
        assert images[..., 3].any(axis=(1, 2)).all(), "an empty tile"
        assert not images[..., :3][images[..., 3] == 0].any(), "colour under a transparent pixel"
        drawings[design] = images
    apple = next(row["index"] for row in rows if row["name"] == "green apple")
    for images in drawings.values():  # an index slip in one atlas would show another colour here
        red, green, blue, _ = images[apple][images[apple, ..., 3] == 255].mean(axis=0)
        assert green > red and green > blue
    assert not np.array_equal(drawings["noto"], drawings["twemoji"])


def test_emoji_classes_and_families():
    _, rows = files.read_emoji("noto")
    classes = [row["class"] for row in rows]
    counts = {name: classes.count(name) for name in dict.fromkeys(classes)}
    assert counts == dict(faces=127, people=259, animals=129, food=128, travel=131, objects=261, symbols=223)
    class_of_family = {row["family"]: row["class"] for row in rows}
    assert all(class_of_family[row["family"]] == row["class"] for row in rows), "a family in two classes"
    farmers = {row["family"] for row in rows if row["name"] in ("farmer", "man farmer", "woman farmer")}
    assert len(farmers) == 1
    assert len({row["codepoints"] for row in rows}) == len(rows)


def test_an_unknown_design_suggests_the_nearest():
    with pytest.raises(ValueError, match='no emoji design "fluent-3": .*Did you mean "fluent-3d"'):
        files.read_emoji("fluent-3")
