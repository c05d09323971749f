"""Rebuild data/emoji/ : the same objects drawn by four designs, as four lossless WebP atlases and one table.

    pip install resvg_py==0.5.0 pillow      # resvg_py draws the flat SVGs; only this script needs it
    python data/build_emoji.py              # fetches four npm packages into a temporary folder (about 150 MB)
    python data/checksums.py                # then write the new checksums

Node's `npm` must be on the path. Each package is pinned below. The pixels depend only on those versions, on resvg_py
and on Pillow's resampling; the bytes of the WebP files may also differ with Pillow's libwebp. A few minutes.

An object is kept if all four designs draw it. Skin tones are left out: every person is in the default yellow.
"""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path

import resvg_py
from atlas import TILE, tile_of, write_atlas
from PIL import Image

TARGET = Path(__file__).parent / "emoji"

PACKAGES = {
    "noto": "emoji-datasource-google@16.0.0",  # Noto Emoji 2.048; also brings emoji.json, the Unicode groups
    "twemoji": "emoji-datasource-twitter@16.0.0",  # Twemoji 16.0.1
    "fluent-flat": "@iconify-json/fluent-emoji-flat@1.2.6",
    "fluent-3d": "@lobehub/fluent-emoji-3d@1.1.0",
}

# class -> the Unicode group it comes from, and the beginnings of the subgroups that are kept.
# Left out: hearts and signs such as "100" (not faces), hands and body parts (not people), silhouettes, plants,
# clocks, weather, maps, hotel, and the groups Activities, Flags and Component.
CLASSES = {
    "faces": ("Smileys & Emotion", ("face-", "cat-face", "monkey-face")),
    "people": ("People & Body", ("person",)),
    "animals": ("Animals & Nature", ("animal-",)),
    "food": ("Food & Drink", ("",)),
    "travel": (
        "Travel & Places",
        ("place-building", "place-geographic", "place-other", "place-religious", "transport-"),
    ),
    "objects": ("Objects", ("",)),
    "symbols": ("Symbols", ("",)),
}
LEFT_OUT = {"person-symbol"}

# A family is what is left of a name without the words for gender, colour, size and direction ...
VARIANT_WORDS = set(
    "man woman men women person people red orange yellow green blue purple brown black white "
    "large medium small high low up down left right upwards downwards".split()
)
# ... and a few more that are drawn almost alike, found by comparing all pairs of pictures.
SAME_FAMILY = {
    "": "person",
    "hair": "person",
    "curly hair": "person",
    "blonde hair": "person",
    "bald": "person",
    "beard": "person",
    "old": "person",
    "older": "person",
    "boy": "child",
    "girl": "child",
    "pouting": "frowning",
    "prince": "royalty",
    "princess": "royalty",
    "with crown": "royalty",
    "santa claus": "claus",
    "mrs claus": "claus",
    "mx claus": "claus",
    "breast feeding": "feeding baby",
    "angry face with horns": "face with horns",
    "smiling face with horns": "face with horns",
    "ewe": "ram",
    "closed book": "book",
    "square button": "square",
    "dotted six pointed star": "star of david",
    "reverse button": "play button",
    "last track button": "next track button",
    "fast forward button": "fast button",
    "fast reverse button": "fast button",
}


def fetch(package: str, folder: Path) -> Path:
    """Download one npm package and unpack it."""
    folder.mkdir()
    out = subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True, capture_output=True, text=True)
    with tarfile.open(folder / out.stdout.split()[-1]) as archive:
        archive.extractall(folder, filter="data")
    return folder / "package"


def plain(codepoints: str) -> str:
    """Lower case, without the variation selector FE0F, which the four packages write differently."""
    return "-".join(c for c in codepoints.lower().split("-") if c != "fe0f")


def class_of(emoji: dict) -> str | None:
    for name, (group, subgroups) in CLASSES.items():
        if emoji["category"] == group and emoji["subcategory"].startswith(subgroups):
            return None if emoji["subcategory"] in LEFT_OUT else name
    return None


def family_of(name: str) -> str:
    rest = " ".join(word for word in name.split() if word not in VARIANT_WORDS)
    return SAME_FAMILY.get(rest, rest)


def draw_svg(icon: dict) -> Image.Image:
    size = f'viewBox="0 0 32 {icon.get("height", 32)}" width="{TILE}" height="{TILE}"'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{icon["body"]}</svg>'
    return Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg))))


def main() -> None:
    TARGET.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        packages = {design: fetch(package, Path(folder) / design) for design, package in PACKAGES.items()}

        groups = json.loads((packages["noto"] / "emoji.json").read_text(encoding="utf-8"))
        flat_names = json.loads((packages["fluent-flat"] / "chars.json").read_text(encoding="utf-8"))
        flat_names = {plain(codepoints): name for codepoints, name in flat_names.items()}
        flat_icons = json.loads((packages["fluent-flat"] / "icons.json").read_text(encoding="utf-8"))["icons"]
        # Two emoji are there twice, with and without FE0F: in this order the fully qualified name comes last and stays.
        files_3d = sorted((packages["fluent-3d"] / "assets").glob("*.webp"), reverse=True)
        in_3d = {plain(path.stem): path for path in files_3d}

        kept = []
        for emoji in sorted(groups, key=lambda emoji: emoji["sort_order"]):
            key = plain(emoji["unified"])
            drawn_by_all = (
                emoji["has_img_google"]
                and emoji["has_img_twitter"]
                and flat_names.get(key) in flat_icons
                and key in in_3d
            )
            if drawn_by_all and class_of(emoji) is not None:
                kept.append(emoji)
        kept.sort(key=lambda emoji: list(CLASSES).index(class_of(emoji)))  # stable: Unicode's order within a class

        def picture(design: str, emoji: dict) -> Image.Image:
            key = plain(emoji["unified"])
            if design == "fluent-flat":
                return draw_svg(flat_icons[flat_names[key]])
            if design == "fluent-3d":
                return Image.open(in_3d[key])
            folder = {"noto": "img/google/64", "twemoji": "img/twitter/64"}[design]
            return Image.open(packages[design] / folder / emoji["image"])

        for design in PACKAGES:
            path = TARGET / f"{design}.webp"
            write_atlas(path, [tile_of(picture(design, emoji)) for emoji in kept])
            print(f"{path.name}: {len(kept)} objects, {path.stat().st_size:,} bytes")

    families: dict[tuple[str, str], int] = {}
    part = TARGET / "emoji.csv.part"
    with part.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["index", "codepoints", "name", "class", "family", "family_name"])
        for index, emoji in enumerate(kept):
            name = flat_names[plain(emoji["unified"])].replace("-", " ")
            family = (class_of(emoji), family_of(name))
            number = families.setdefault(family, len(families))
            table.writerow([index, emoji["unified"], name, family[0], number, family[1]])
    os.replace(part, TARGET / "emoji.csv")
    print(f"emoji.csv: {len(kept)} objects in {len(families)} families")


if __name__ == "__main__":
    main()
