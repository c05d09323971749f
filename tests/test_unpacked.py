"""A class opens the data at once: it is unpacked once, whole for everybody, and held in memory once."""

import multiprocessing
import os
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import exit_codes, forked
from tdnn_helpers.core import data_dir
from tdnn_helpers.data import unpacked
from tdnn_helpers.data.sets import load
from tdnn_helpers.data.shipped import read_idx_gz, verified
from tdnn_helpers.data.unpacked import read_idx_shared

IMAGES = "FashionMNIST/raw/t10k-images-idx3-ubyte.gz"
LABELS = "FashionMNIST/raw/t10k-labels-idx1-ubyte.gz"
COPY = "unpacked/t10k-images-idx3-ubyte"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A data folder of its own, in which nothing has been unpacked."""
    for name in ("checksums.json", IMAGES, LABELS):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(data_dir() / name, tmp_path / name)
    monkeypatch.setenv("TDNN_DATA", str(tmp_path))
    return tmp_path


@pytest.fixture
def unpackings(monkeypatch, tmp_path_factory):
    """How often a file was unpacked, by all processes."""
    log, unpack = tmp_path_factory.mktemp("log") / "log", unpacked._unpack

    def logged(packed, copy):
        with log.open("a") as file:
            file.write("x")
        unpack(packed, copy)

    monkeypatch.setattr(unpacked, "_unpack", logged)
    return lambda: log.stat().st_size if log.exists() else 0


def test_the_shared_array_is_the_unpacked_one_and_writing_to_it_stays_private(folder, unpackings):
    expected = read_idx_gz(verified(IMAGES))
    first, second = read_idx_shared(IMAGES), read_idx_shared(IMAGES)
    assert first.shape == (10_000, 28, 28) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, expected)
    first[:] = 7
    np.testing.assert_array_equal(second, expected)
    np.testing.assert_array_equal(read_idx_shared(IMAGES), expected)
    assert unpackings() == 1 and torch.equal(load("fashion-mnist", "test").images[:, 0], torch.from_numpy(expected))


def private_kilobytes(place):
    """What this process has copied of a mapped file for itself (Linux)."""
    if not os.path.exists("/proc/self/smaps"):
        return 0
    parts = re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text())
    mapped = [part for part in parts if place in part.partition("\n")[0]]
    assert mapped
    return sum(int(re.search(r"Anonymous: +(\d+)", part)[1]) for part in mapped)


def test_thirty_processes_at_once(folder, unpackings):
    """All thirty hold the data at the same time. It is unpacked once, and no page of it is anybody's own."""
    expected = read_idx_gz(verified(IMAGES))
    together = multiprocessing.get_context("fork").Barrier(30, timeout=60)

    def student():
        together.wait()
        images = load("fashion-mnist", "test").images
        assert np.array_equal(images[:, 0], expected) and private_kilobytes("unpacked") == 0
        together.wait()

    assert exit_codes([forked(student) for _ in range(30)]) == [0] * 30 and unpackings() == 1
    assert sorted(path.suffix for path in (folder / "unpacked").iterdir()) == ["", ".lock"]


def test_a_damaged_copy_is_replaced(folder, unpackings):
    expected, copy = read_idx_shared(IMAGES).copy(), folder / COPY
    whole = copy.read_bytes()
    for times, damaged in enumerate((b"", whole[:-1], whole[:5000] + b"\xff" + whole[5001:], b"no" * 9), 2):
        copy.unlink()
        copy.write_bytes(damaged)
        assert damaged != whole
        np.testing.assert_array_equal(read_idx_shared(IMAGES), expected)
        assert unpackings() == times and copy.read_bytes() == whole


def test_a_process_killed_as_it_unpacks_holds_up_nobody(folder, monkeypatch):
    half = folder / f"{COPY}.part"

    def child():
        monkeypatch.setattr(unpacked, "_unpack", lambda packed, copy: half.write_bytes(b"half") and time.sleep(60))
        read_idx_shared(IMAGES)

    process = forked(child)
    while not (half.exists() and half.stat().st_size):
        assert process.is_alive()
        time.sleep(0.01)
    assert exit_codes([process], 0) == [None]
    process.join()
    assert read_idx_shared(IMAGES).shape == (10_000, 28, 28)
    assert not half.exists()


def test_a_folder_that_takes_no_file(folder, unpackings):
    """A read-only medium, or a copy that somebody else owns: each process unpacks for itself."""
    (folder / "unpacked").write_text("a file in the way")
    images = read_idx_shared(IMAGES)
    assert images.shape == (10_000, 28, 28) and not isinstance(images, np.memmap) and unpackings() == 0


def test_a_full_disk_and_then_a_read_only_copy_which_is_shared_too(folder, unpackings, monkeypatch):
    def failing(*_):
        raise OSError(28, "No space left on device, or it is read-only")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", failing)
        assert read_idx_shared(IMAGES).shape == (10_000, 28, 28) and not (folder / COPY).exists()
    read_idx_shared(IMAGES)
    monkeypatch.setattr(unpacked, "one_at_a_time", failing)
    assert isinstance(read_idx_shared(IMAGES), np.memmap) and unpackings() == 2


def test_a_damaged_packed_file_is_refused_although_a_copy_is_there(folder):
    read_idx_shared(IMAGES)
    (folder / IMAGES).write_bytes(b"damaged")
    with pytest.raises(ValueError, match="is damaged: expected 4,422,102 bytes, found 7"):
        load("fashion-mnist", "test")
