"""The data files: the right values, and one clear sentence for every way in which a file can be wrong."""

import gzip
import importlib
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
SUMS = json.loads((data_dir() / "checksums.json").read_text())


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A data folder of its own, with the smallest file, the list of checksums and a file that is not in it."""
    (tmp_path / RAW).mkdir(parents=True)
    for name in ("checksums.json", LABELS):
        shutil.copy(data_dir() / name, tmp_path / name)
    (tmp_path / "other.gz").write_bytes(b"x")
    monkeypatch.setenv("TDNN_DATA", str(tmp_path))
    return tmp_path


def idx(values: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


@pytest.mark.parametrize("name", SUMS)
def test_every_listed_file_is_whole(name):
    assert files.verified(name) == data_dir() / name


def test_a_file_is_hashed_once_until_it_changes_and_one_altered_byte_is_found(copy, monkeypatch):
    sums, real, path = [], files.hashlib.sha256, copy / LABELS
    monkeypatch.setattr(files.hashlib, "sha256", lambda content: sums.append(len(content)) or real(content))
    files.verified(LABELS)
    files.verified(LABELS)
    assert sums == [5148]
    os.utime(path, ns=(0, 0))
    files.verified(LABELS)
    assert sums == [5148, 5148]
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    words = "t10k-labels.* is damaged: expected SHA-256 (.*), found .*git checkout"
    with pytest.raises(ValueError, match=words) as error:
        files.verified(LABELS)
    assert SUMS[LABELS]["sha256"] in str(error.value)


@pytest.mark.parametrize(
    ("name", "change", "error", "words"),
    [
        (LABELS, lambda data: os.truncate(data / LABELS, 3000), ValueError, "expected 5,148 bytes, found 3,000"),
        (LABELS, lambda data: (data / LABELS).unlink(), FileNotFoundError, "t10k-labels-idx1-ubyte.gz is missing"),
        (LABELS, lambda data: (data / "checksums.json").unlink(), FileNotFoundError, "TDNN_DATA"),
        ("other.gz", lambda data: None, ValueError, '"other.gz" is not a data file'),
    ],
)
def test_files_that_are_not_as_listed_are_named(copy, name, change, error, words):
    change(copy)
    with pytest.raises(error, match=words):
        files.verified(name)


def test_idx_reads_what_was_written(tmp_path):
    values, path = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4), tmp_path / "images.gz"
    path.write_bytes(gzip.compress(idx(values)))
    read = files.read_idx_gz(path)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, values)
    read[0] = 0  # the array is the reader's own


WHOLE = idx(np.zeros(500, np.uint8))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not gzip at all", "is not a gzip file"),
        (gzip.compress(WHOLE, mtime=0)[:-12], "is cut short"),
        (gzip.compress(WHOLE[:-1], mtime=0), "its header promises 500 bytes .* but 499 follow"),
        (gzip.compress(WHOLE[:7], mtime=0), "cut short within its header"),
        (gzip.compress(b"\x00\x00\x0d\x01\x00\x00\x00\x00", mtime=0), "does not hold unsigned bytes"),
        (gzip.compress(b"hello, world", mtime=0), "does not hold unsigned bytes"),
        (gzip.compress(b"", mtime=0), "does not hold unsigned bytes"),
    ],
)
def test_bad_idx_files_are_refused(tmp_path, content, message):
    path = tmp_path / "bad.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"bad.gz.*{message}"):
        files.read_idx_gz(path)


def test_fashion_mnist_is_the_published_set_which_torchvision_accepts_without_a_download(tmp_path, monkeypatch):
    images, labels, trained = (
        files.read_idx_gz(files.verified(f"{RAW}/{name}-ubyte.gz"))
        for name in ("t10k-images-idx3", "t10k-labels-idx1", "train-labels-idx1")
    )
    assert images.shape == (10_000, 28, 28) and (images.min(), images.max()) == (0, 255)
    assert np.bincount(labels).tolist() == [1000] * 10 and np.bincount(trained).tolist() == [6000] * 10

    (tmp_path / RAW).mkdir(parents=True)
    for path in (data_dir() / RAW).glob("*.gz"):
        (tmp_path / RAW / path.name).symlink_to(path.resolve())

    def no_network(*_, **__):
        raise AssertionError("torchvision found a file missing or its MD5 wrong, and wanted the network")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    theirs = torchvision.datasets.FashionMNIST(root=str(tmp_path), train=False, download=True)
    np.testing.assert_array_equal(theirs.data.numpy(), images)


def test_the_four_designs_show_the_same_objects_and_a_family_has_one_class():
    drawings = {}
    for design in files.DESIGNS:
        images, rows = files.read_emoji(design)
        assert images.shape == (len(rows), 64, 64, 4) and images.dtype == np.uint8
        assert [row["index"] for row in rows] == list(range(len(rows)))
        assert images[..., 3].any(axis=(1, 2)).all(), "an empty tile"
        assert not images[..., :3][images[..., 3] == 0].any(), "colour under a transparent pixel"
        drawings[design] = images
        apple = next(image for image, row in zip(images, rows) if row["name"] == "green apple")
        red, green, blue, _ = apple[apple[..., 3] == 255].mean(axis=0)
        assert green > red and green > blue, "an index slip in one atlas would show another colour"
    assert not np.array_equal(drawings["noto"], drawings["twemoji"])
    with pytest.raises(ValueError, match='no emoji design "fluent-3". Did you mean "fluent-3d"'):
        files.read_emoji("fluent-3")
    classes = [row["class"] for row in rows]
    counts = {name: classes.count(name) for name in dict.fromkeys(classes)}
    assert counts == dict(faces=127, people=259, animals=129, food=128, travel=131, objects=261, symbols=223)
    class_of_family = {row["family"]: row["class"] for row in rows}
    assert all(class_of_family[row["family"]] == row["class"] for row in rows), "a family in two classes"
    farmers = {row["family"] for row in rows if row["name"] in ("farmer", "man farmer", "woman farmer")}
    assert len(farmers) == 1
    assert len({row["codepoints"] for row in rows}) == len(rows)


def test_the_photographs_are_those_that_their_program_lists(monkeypatch):
    monkeypatch.syspath_prepend(str(data_dir()))
    program = importlib.import_module("build_photographs")
    images, rows = files.read_photographs()
    assert images.shape == (len(rows), 64, 64, 4) and not images[..., :3][images[..., 3] == 0].any()
    listed = [
        (f"{folder}/{name}.png", kind, program.FAMILY_OF.get(name))
        for kind, folders in program.KEPT.items()
        for folder, names in folders.items()
        for name in names.split()
    ]
    assert [(row["file"], row["class"]) for row in rows] == [(file, kind) for file, kind, _ in listed]
    assert all(family in (None, row["family_name"]) for row, (_, _, family) in zip(rows, listed))
    assert set(program.FAMILY_OF) <= {file.split("/")[-1][:-4] for file, _, _ in listed}, "a family of nothing"
    tomato = next(image for image, row in zip(images, rows) if row["name"] == "tomato")
    red, green, blue, _ = tomato[tomato[..., 3] == 255].mean(axis=0)
    assert red > 2 * green and red > 2 * blue, "an index slip would show another colour"
