"""Write data/checksums.json: size and SHA-256 of every file that the course reads when it runs.

    python data/checksums.py

Run it after a rebuild, and look at the difference before you commit it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from pathlib import Path

DATA = Path(__file__).parent
READ_AT_RUN_TIME = (
    "FashionMNIST/raw/*.gz",
    "emoji/*.webp",
    "emoji/emoji.csv",
    "photographs/*.webp",
    "photographs/*.csv",
    "pretrained/*.pth",
)


def sums(content: bytes) -> dict:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def entry(path: Path) -> dict:
    content = path.read_bytes()
    images = path.name.endswith("-images-idx3-ubyte.gz")  # these are unpacked once for all processes
    return sums(content) | ({"unpacked": sums(gzip.decompress(content))} if images else {})


def main() -> None:
    paths = [path for pattern in READ_AT_RUN_TIME for path in sorted(DATA.glob(pattern))]
    listing = {path.relative_to(DATA).as_posix(): entry(path) for path in paths}
    part = DATA / "checksums.json.part"
    part.write_text(json.dumps(listing, indent=2) + "\n", encoding="utf-8")
    os.replace(part, DATA / "checksums.json")
    print(f"checksums.json lists {len(listing)} files, {sum(entry['bytes'] for entry in listing.values()):,} bytes")


if __name__ == "__main__":
    main()
