"""Larger sets of real images, by name, for readers with internet: no lesson needs them.

A set is downloaded once, checked, and kept as arrays in ``downloaded/`` beside the data; the archive itself is removed.
Each address with its size and SHA-256 stands in one table, :data:`SOURCES`. Without internet, put an archive that you
got elsewhere into that folder under the name that the message gives: it is checked in the same way, and stays.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import os
import pickle
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from ..core.places import data_dir, one_at_a_time
from ..core.progress_bars import progress

Arrays = dict[str, np.ndarray]
CHUNK = 1 << 20  # bytes
PATIENCE = 60  # seconds without a byte before a download is given up
CELLS = ("platelet", "red cell", "white cell")  # of BCCD, in this order
_CELL_OF = {"Platelets": 0, "RBC": 1, "WBC": 2}


class Source(NamedTuple):
    """Where a set comes from."""

    address: str
    file: str  # the name of the archive
    bytes: int
    sha256: str
    classes: tuple[str, ...]
    arrays: Callable[[Path], Arrays]  # what is kept of the archive
    digest: Callable[[Path], str]  # what ``sha256`` is the SHA-256 of: as a rule the archive


def arrays(name: str) -> Mapping[str, np.ndarray]:
    """The arrays of one set, each read when it is asked for. The first call downloads it, and says the size first.

    "cifar-10", "stl-10" and "bloodmnist" hold "train_images" and "test_images" (uint8 N×3×H×W) and "train_labels" and
    "test_labels" (int64 N). "bccd": see :func:`smears`.

    Raises:
        ConnectionError: the set is not here yet and its host cannot be reached.
        ValueError: what arrived is not the published file.
        OSError: the folder cannot be written.
    """
    kept = data_dir() / "downloaded" / f"{name}.npz"
    if not kept.is_file():
        kept.parent.mkdir(exist_ok=True)
        with one_at_a_time(kept):
            if not kept.is_file():  # another process may have been first
                _fetch(name, SOURCES[name], kept)
    return np.load(kept)


def smears() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The stained blood smears of BCCD and the boxes around their cells.

    Returns:
        (photographs, uint8 N×480×640×3; boxes, int64 M×6, each row the number of the smear, the kind of cell (an index
        into :data:`CELLS`) and left, top, right, bottom in pixels; whether each smear is one of the test images, bool
        N). N is 364. Two of the boxes are as good as empty, and a cell at the edge of a smear is cut.

    Raises:
        as :func:`arrays`.
    """
    bccd = arrays("bccd")
    files, ends = bccd["files"].tobytes(), bccd["ends"].tolist()
    images = [Image.open(io.BytesIO(files[start:end])) for start, end in zip([0, *ends], ends)]
    return np.stack([np.asarray(image.convert("RGB")) for image in images]), bccd["boxes"], bccd["test"]


# ---- the download ----------------------------------------------------------------------------------------------------


def _fetch(name: str, source: Source, kept: Path) -> None:
    archive = kept.parent / source.file
    here = archive.is_file()
    if not here:
        _download(name, source, archive)
    try:
        found = source.digest(archive)
        if found != source.sha256:
            raise ValueError(
                f'"{name}" is not the published set: {archive.name} should have the SHA-256 {source.sha256}, but has '
                f"{found}. " + (f"Remove {archive} and try again." if here else "Try again.")
            )
        draft = kept.with_suffix(".part")
        with draft.open("wb") as file:
            np.savez(file, **source.arrays(archive))
        os.replace(draft, kept)
    finally:
        if not here:
            archive.unlink()


def _download(name: str, source: Source, archive: Path) -> None:
    """Put the archive there in one stroke."""
    megabytes = f"{source.bytes / 1e6:,.0f} MB"
    print(f"{name}: {megabytes} are downloaded once, from {source.address}")
    draft = archive.with_name(archive.name + ".part")
    try:
        with (
            urllib.request.urlopen(source.address, timeout=PATIENCE) as answer,
            draft.open("wb") as file,
            progress(source.bytes // CHUNK, f"{name}, MB") as bar,
        ):
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                bar.update()
            if answer.length:  # bytes that were promised: a connection that breaks off looks like an end
                raise ConnectionError("the connection broke off")
        os.replace(draft, archive)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise ConnectionError(
            f'"{name}" is not on this machine, and its download ({megabytes}) failed ({error}): connect to the '
            f"internet and try again, or get {source.address} elsewhere and put it here as {archive}."
        ) from error
    finally:
        draft.unlink(missing_ok=True)


def _of_file(archive: Path) -> str:
    whole = hashlib.sha256()
    with archive.open("rb") as file:
        while chunk := file.read(CHUNK):
            whole.update(chunk)
    return whole.hexdigest()


# ---- what is kept ----------------------------------------------------------------------------------------------------


def _cifar_10(archive: Path) -> Arrays:
    """Python pickles in a tar; they run no foreign code, for the archive has the published SHA-256."""
    with tarfile.open(archive) as tar:

        def batch(name: str) -> tuple[np.ndarray, np.ndarray]:
            content = pickle.load(tar.extractfile(f"cifar-10-batches-py/{name}"), encoding="bytes")
            return content[b"data"].reshape(-1, 3, 32, 32), np.array(content[b"labels"], dtype=np.int64)

        train = [batch(f"data_batch_{i}") for i in range(1, 6)]
        test = batch("test_batch")
    images, labels = (np.concatenate(column) for column in zip(*train))
    return dict(train_images=images, train_labels=labels, test_images=test[0], test_labels=test[1])


def _stl_10(archive: Path) -> Arrays:
    """The labelled images only: nine tenths of the archive have none."""
    kept = {}
    with tarfile.open(archive, "r|gz") as tar:  # a stream: the archive is unpacked once, from front to back
        for member in tar:
            part, _, kind = Path(member.name).stem.partition("_")
            if part not in ("train", "test") or kind not in ("X", "y"):
                continue
            content = np.frombuffer(tar.extractfile(member).read(), dtype=np.uint8)
            if kind == "X":  # each channel is stored column by column
                kept[f"{part}_images"] = content.reshape(-1, 3, 96, 96).swapaxes(2, 3)
            else:  # 1 to 10
                kept[f"{part}_labels"] = content.astype(np.int64) - 1
    return kept


def _bloodmnist(archive: Path) -> Arrays:
    """Its validation images join the training images: a reader splits those."""
    with np.load(archive) as parts:

        def joined(*names: str) -> tuple[np.ndarray, np.ndarray]:
            images = np.concatenate([parts[f"{name}_images"] for name in names]).transpose(0, 3, 1, 2)
            return images, np.concatenate([parts[f"{name}_labels"][:, 0] for name in names]).astype(np.int64)

        train, test = joined("train", "val"), joined("test")
    return dict(train_images=train[0], train_labels=train[1], test_images=test[0], test_labels=test[1])


def _bccd(archive: Path) -> Arrays:
    """The JPEG files one after the other, where each ends, the boxes as in :func:`smears`, and which smears are for
    testing."""
    content = _bccd_files(archive)
    names = sorted(Path(path).stem for path in content if path.endswith(".jpg"))
    files = [content[f"JPEGImages/{name}.jpg"] for name in names]
    boxes = []
    for number, name in enumerate(names):
        for cell in ElementTree.fromstring(content[f"Annotations/{name}.xml"]).iter("object"):
            corners = [int(cell.findtext(f"bndbox/{corner}")) for corner in ("xmin", "ymin", "xmax", "ymax")]
            boxes.append([number, _CELL_OF[cell.findtext("name")], *corners])
    test = set(content["ImageSets/Main/test.txt"].decode().split())
    return dict(
        files=np.frombuffer(b"".join(files), dtype=np.uint8),
        ends=np.cumsum([len(file) for file in files]),
        boxes=np.array(boxes, dtype=np.int64),
        test=np.array([name in test for name in names]),
    )


def _bccd_files(archive: Path) -> dict[str, bytes]:
    """The content of each file in the folder BCCD, by its path there."""
    with zipfile.ZipFile(archive) as packed:
        paths = {path.partition("/BCCD/")[2]: path for path in packed.namelist() if not path.endswith("/")}
        return {short: packed.read(path) for short, path in sorted(paths.items()) if short}


def _of_bccd_files(archive: Path) -> str:
    """GitHub makes this archive anew when it is asked for, and may pack it otherwise next year: what counts is what is
    inside."""
    whole = hashlib.sha256()
    for path, content in _bccd_files(archive).items():
        whole.update(path.encode() + b"\0" + hashlib.sha256(content).digest())
    return whole.hexdigest()


SOURCES = {
    "cifar-10": Source(
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        "cifar-10-python.tar.gz",
        170_498_071,
        "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        _cifar_10,
        _of_file,
    ),
    "stl-10": Source(
        "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
        "stl10_binary.tar.gz",
        2_640_397_119,
        "f31fd99273a1acb8609c8db427cebb1de3f71de77758cdc0e22956e1289b9866",
        ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"),
        _stl_10,
        _of_file,
    ),
    "bloodmnist": Source(
        "https://zenodo.org/records/10519652/files/bloodmnist.npz?download=1",
        "bloodmnist-28.npz",
        35_461_855,
        "062023e186f537e26b3c21ea3b2614ddfc475e8a14825dfd20663bbb7e37bddc",
        (
            "basophil",
            "eosinophil",
            "erythroblast",
            "immature granulocyte",
            "lymphocyte",
            "monocyte",
            "neutrophil",
            "platelet",
        ),
        _bloodmnist,
        _of_file,
    ),
    "bccd": Source(
        "https://github.com/Shenggan/BCCD_Dataset/archive/d272fb14cdff6e473fafeeeba32aba5f560e9e43.zip",
        "bccd.zip",
        7_979_020,
        "9358971741c3024a99b84f230651fabb7f0d28dad10b752e0732c9798b99391a",
        CELLS,
        _bccd,
        _of_bccd_files,
    ),
}
