"""How the pictures of data/emoji/ and data/photographs/ are cut to one size and put on one sheet."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image, ImageOps

TILE = 64  # pixels
COLUMNS = 36  # tiles in a row of the atlas


def tile_of(image: Image.Image, margin: int = 0) -> Image.Image:
    """A 64 px RGBA tile, padded to a square if need be; colours under fully transparent pixels are set to 0.

    ``margin``: transparent pixels on each side, besides those that the image brings along.
    """
    inside = TILE - 2 * margin
    image = ImageOps.pad(image.convert("RGBA"), (inside, inside), Image.Resampling.LANCZOS, color=(0, 0, 0, 0))
    image = ImageOps.expand(image, margin, (0, 0, 0, 0))
    blank = Image.new("RGBA", image.size)
    return Image.composite(image, blank, image.getchannel("A").point(lambda alpha: 255 if alpha else 0))


def write_atlas(path: Path, tiles: list[Image.Image]) -> None:
    """One lossless WebP sheet with 36 tiles in a row; the last row is filled up with empty tiles."""
    rows = -(-len(tiles) // COLUMNS)
    atlas = Image.new("RGBA", (COLUMNS * TILE, rows * TILE))
    for index, tile in enumerate(tiles):
        atlas.paste(tile, (index % COLUMNS * TILE, index // COLUMNS * TILE))
    part = path.with_name(path.name + ".part")
    atlas.save(part, "WEBP", lossless=True, quality=100, method=6, exact=True)
    os.replace(part, path)
