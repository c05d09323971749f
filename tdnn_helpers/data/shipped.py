"""Read the data files that come with the course, after checking that they are whole.

Every file is listed with its size and SHA-256 in ``data/checksums.json``. A damaged file is refused with one sentence
that says which file, what was expected and what to do; it never becomes a strange training curve.
"""

from __future__ import annotations

import csv
import functools
import gzip
import hashlib
import json
import math
import mmap
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..core.choices import check_known
from ..core.places import data_dir

DESIGNS = ("noto", "twemoji", "fluent-flat", "fluent-3d")
TILE = 64  # pixels a side of one picture in an atlas
_REMEDY = "Restore it with `git checkout -- data` or rebuild it as data/README.md says."


def verified(path_relative_to_data: str) -> Path:
    """The full path of a data file whose size and SHA-256 are those in ``checksums.json``.

    A file is hashed once in a process, and again only if its size or time of change differs.

    Raises:
        FileNotFoundError: the file, or ``checksums.json``, is not there.
        ValueError: the file is damaged, or not listed in ``checksums.json``.
    """
    root = data_dir()
    expected = checksums(root).get(path_relative_to_data)
    if expected is None:
        raise ValueError(
            f'"{path_relative_to_data}" is not a data file of this course: {root / "checksums.json"} does not list it.'
        )
    path = root / path_relative_to_data
    if not path.is_file():
        raise FileNotFoundError(f"The data file {path} is missing. {_REMEDY}")
    status = path.stat()
    if status.st_size != expected["bytes"]:
        raise ValueError(
            f"The data file {path} is damaged: expected {expected['bytes']:,} bytes, "
            f"found {status.st_size:,}. {_REMEDY}"
        )
    found = sha256(path, status.st_size, status.st_mtime_ns)
    if found != expected["sha256"]:
        raise ValueError(
            f"The data file {path} is damaged: expected SHA-256 {expected['sha256']}, found {found}. {_REMEDY}"
        )
    return path


def checksums(root: Path) -> dict[str, dict]:
    """``checksums.json``: file → {"bytes": its size, "sha256": …}, and "unpacked" with the same of what a .gz holds."""
    listing = root / "checksums.json"
    if not listing.is_file():
        raise FileNotFoundError(
            f"There is no {listing}: set the environment variable TDNN_DATA to the data folder of the course."
        )
    try:
        return json.loads(listing.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{listing} is not valid JSON ({error}). Restore it with `git checkout -- data`.") from error


@functools.cache
def sha256(path: Path, size: int, modified: int) -> str:
    """SHA-256 of a file that is not empty. Its size and time of change are there to be part of the cache's key."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return hashlib.sha256(content).hexdigest()


def read_idx_gz(path: str | Path) -> np.ndarray:
    """Read one gzipped file of bytes in the IDX format of MNIST and its relatives.

    The header is two zero bytes, the type of the values (8: unsigned byte), the number of dimensions, then each
    dimension as a big-endian 32-bit integer; the values follow.

    Returns:
        uint8 array: N×28×28 for the images of Fashion-MNIST (0 background to 255), N for its labels (0 to 9).

    Raises:
        ValueError: the file is not gzip, is cut short, or does not hold such an array.
    """
    path = Path(path)
    try:
        content = gzip.decompress(path.read_bytes())
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is cut short or is not a gzip file ({error}). {_REMEDY}") from error
    return parse_idx(np.frombuffer(content, dtype=np.uint8), path).copy()


def parse_idx(content: np.ndarray, path: Path) -> np.ndarray:
    """The array in the bytes of an IDX file (uint8, one dimension), as a view. ``path`` is for the messages."""
    header = content[:64].tobytes()
    if len(header) < 4 or header[:3] != b"\x00\x00\x08":
        raise ValueError(f"{path} does not hold unsigned bytes in the IDX format of MNIST; is it another file?")
    start = 4 + 4 * header[3]
    if len(header) < start:
        raise ValueError(f"{path} is cut short within its header. {_REMEDY}")
    shape = struct.unpack(f">{header[3]}I", header[4:start])
    if len(content) - start != math.prod(shape):
        raise ValueError(
            f"{path} is cut short or too long: its header promises {math.prod(shape):,} bytes (shape {shape}), "
            f"but {len(content) - start:,} follow. {_REMEDY}"
        )
    return content[start:].reshape(shape)


def read_emoji(design: str) -> tuple[np.ndarray, list[dict]]:
    """Read one design of the emoji set. Image i shows the same object in all four designs.

    Returns:
        uint8 array N×64×64×4, RGBA 0 to 255, colours not multiplied by alpha and 0 where alpha is 0; and N rows of
        ``emoji.csv``: "index" (int), "codepoints" (Unicode, hexadecimal), "name", "class", "family" (int, unique over
        all classes: variants of one emoji share it) and "family_name".

    Raises:
        ValueError: an unknown design, or a damaged file.
        FileNotFoundError: a file is missing.
    """
    check_known(design, DESIGNS, "emoji design")
    rows = _rows("emoji/emoji.csv")
    return _tiles(f"emoji/{design}.webp", len(rows)), rows


def read_photographs() -> tuple[np.ndarray, list[dict]]:
    """Read the cut-out photographs.

    Returns:
        As :func:`read_emoji`: uint8 array N×64×64×4, and N rows of ``photographs.csv``: "index" (int), "file" (in the
        package that they come from), "name", "class", "family" (int: several photographs of one kind of thing share
        it) and "family_name".

    Raises:
        ValueError: a damaged file.
        FileNotFoundError: a file is missing.
    """
    rows = _rows("photographs/photographs.csv")
    return _tiles("photographs/photographs.webp", len(rows)), rows


def _rows(table: str) -> list[dict]:
    with verified(table).open(encoding="utf-8", newline="") as file:
        return [{**row, "index": int(row["index"]), "family": int(row["family"])} for row in csv.DictReader(file)]


def _tiles(atlas: str, n: int) -> np.ndarray:
    """The first ``n`` pictures of a sheet: uint8 n×64×64×4."""
    path = verified(atlas)
    try:
        sheet = np.asarray(Image.open(path).convert("RGBA"))
    except UnidentifiedImageError as error:
        raise ValueError(f"{path} is not an image that this Pillow can read; it needs WebP support.") from error
    down, across = sheet.shape[0] // TILE, sheet.shape[1] // TILE
    tiles = sheet.reshape(down, TILE, across, TILE, 4).swapaxes(1, 2).reshape(-1, TILE, TILE, 4)
    return tiles[:n].copy()
