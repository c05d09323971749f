"""Rebuild data/FashionMNIST/raw/ from Debian's package `dataset-fashion-mnist`, byte for byte as Zalando published it.

    sudo apt-get install dataset-fashion-mnist
    python data/build_fashion_mnist.py [FOLDER WITH DEBIAN'S FOUR .gz FILES]

Debian keeps the original compressed streams but writes its own gzip headers, so its files fail torchvision's MD5 check.
A gzip header is ten fixed bytes, then optionally the name of the file (RFC 1952). Only the time and the name are
missing in Debian's: put both back and the MD5 sums are those of the originals.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import struct
from pathlib import Path

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
TARGET = Path(__file__).parent / "FashionMNIST" / "raw"

# name -> (the time in the original header in Unix seconds, the MD5 that torchvision checks)
ORIGINALS = {
    "train-images-idx3-ubyte.gz": (1504176606, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
    "train-labels-idx1-ubyte.gz": (1504176606, "25c81989df183df01b3e8a0aad5dffbe"),
    "t10k-images-idx3-ubyte.gz": (1504176627, "bef4ecab320f06d8554ea6380940ec79"),
    "t10k-labels-idx1-ubyte.gz": (1504176627, "bb300cfdad3c16e7a12a480ee83cd310"),
}


def restore(debian_bytes: bytes, name: str, seconds: int) -> bytes:
    """The gzip file with its original header: flag 8 (a name follows), the time, no extra flags, made on Unix (3)."""
    if debian_bytes[:4] != b"\x1f\x8b\x08\x00":
        raise ValueError(f"{name} does not start with the plain gzip header of Debian's package; is it another file?")
    header = b"\x1f\x8b\x08\x08" + struct.pack("<I", seconds) + b"\x00\x03"
    return header + name.removesuffix(".gz").encode() + b"\x00" + debian_bytes[10:]


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside the target, then rename: a stopped run never leaves half a file under the real name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    os.replace(part, path)


def main() -> None:
    parser = argparse.ArgumentParser(description="Restore the four original Fashion-MNIST files from Debian's package.")
    parser.add_argument("folder", type=Path, nargs="?", default=DEBIAN_FOLDER, help=f"default: {DEBIAN_FOLDER}")
    folder = parser.parse_args().folder
    for name, (seconds, md5) in ORIGINALS.items():
        source = folder / name
        if not source.is_file():
            raise SystemExit(f"{source} is not there: install Debian's dataset-fashion-mnist, or name its folder.")
        content = restore(source.read_bytes(), name, seconds)
        found = hashlib.md5(content).hexdigest()
        if found != md5:
            raise SystemExit(
                f"{name}: expected MD5 {md5}, found {found}; nothing was written for it. "
                "The Debian package may have changed."
            )
        write_atomically(TARGET / name, content)
        print(f"{name}  {len(content):>10,} bytes  MD5 {md5}, as published")


if __name__ == "__main__":
    main()
