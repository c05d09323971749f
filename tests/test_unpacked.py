"""A class opens the data at once: it is unpacked once, whole for everybody, and held in memory once."""

import hashlib
import multiprocessing
import os
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tdnn_helpers.core import data_dir
from tdnn_helpers.data import unpacked
from tdnn_helpers.data.sets import load
from tdnn_helpers.data.shipped import read_idx_gz, verified
from tdnn_helpers.data.unpacked import read_idx_shared

IMAGES = "FashionMNIST/raw/t10k-images-idx3-ubyte.gz"
LABELS = "FashionMNIST/raw/t10k-labels-idx1-ubyte.gz"
COPY = "unpacked/t10k-images-idx3-ubyte"
forks = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")


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


@forks
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_thirty_processes_at_once(folder, unpackings):
    """All thirty hold the data at the same time. It is unpacked once, and no page of it is anybody's own."""
    expected = hashlib.sha256(read_idx_gz(verified(IMAGES))).hexdigest()
    context = multiprocessing.get_context("fork")
    start, results, have_all = context.Event(), context.SimpleQueue(), context.Event()

    def student():
        start.wait()
        images = load("fashion-mnist", "test").images
        results.put((hashlib.sha256(images.numpy()).hexdigest(), private_kilobytes("unpacked")))
        have_all.wait(60)
        os._exit(0)

    students = [context.Process(target=student) for _ in range(30)]
    for one in students:
        one.start()
    start.set()
    found = [results.get() for _ in students]
    have_all.set()
    for one in students:
        one.join(60)
    assert [one.exitcode for one in students] == [0] * 30
    assert {digest for digest, _ in found} == {expected} and max(own for _, own in found) == 0
    assert unpackings() == 1
    assert sorted(path.suffix for path in (folder / "unpacked").iterdir()) == ["", ".lock"]


@pytest.mark.parametrize(
    "damage", [lambda b: b"", lambda b: b[:-1], lambda b: b[:5000] + b"\xff" + b[5001:], lambda b: b"no" * 9]
)
def test_a_damaged_copy_is_replaced(folder, unpackings, damage):
    expected = read_idx_shared(IMAGES).copy()
    copy = folder / COPY
    whole = copy.read_bytes()
    copy.unlink()
    copy.write_bytes(damage(whole))
    assert copy.read_bytes() != whole
    np.testing.assert_array_equal(read_idx_shared(IMAGES), expected)
    assert unpackings() == 2 and copy.read_bytes() == whole


@forks
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_process_killed_as_it_unpacks_holds_up_nobody(folder, monkeypatch):
    half = folder / f"{COPY}.part"

    def child():
        monkeypatch.setattr(unpacked, "_unpack", lambda packed, copy: half.write_bytes(b"half") and time.sleep(60))
        read_idx_shared(IMAGES)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    while not (half.exists() and half.stat().st_size):
        assert process.is_alive()
        time.sleep(0.01)
    process.kill()
    process.join()
    assert read_idx_shared(IMAGES).shape == (10_000, 28, 28)
    assert not half.exists()


def test_a_folder_that_takes_no_file(folder, unpackings):
    """A read-only medium, or a copy that somebody else owns: each process unpacks for itself."""
    (folder / "unpacked").write_text("a file in the way")
    images = read_idx_shared(IMAGES)
    assert images.shape == (10_000, 28, 28) and not isinstance(images, np.memmap) and unpackings() == 0


def failing(*_):
    raise OSError(28, "No space left on device, or it is read-only")


def test_a_read_only_copy_is_shared_too(folder, unpackings, monkeypatch):
    read_idx_shared(IMAGES)
    monkeypatch.setattr(unpacked, "one_at_a_time", failing)
    assert isinstance(read_idx_shared(IMAGES), np.memmap) and unpackings() == 1


def test_a_full_disk(folder, monkeypatch):
    monkeypatch.setattr(shutil, "copyfileobj", failing)
    assert read_idx_shared(IMAGES).shape == (10_000, 28, 28)
    assert not (folder / COPY).exists()


def test_a_damaged_packed_file_is_refused_although_a_copy_is_there(folder):
    read_idx_shared(IMAGES)
    (folder / IMAGES).write_bytes(b"damaged")
    with pytest.raises(ValueError, match="is damaged: expected 4,422,102 bytes, found 7"):
        load("fashion-mnist", "test")
