"""Draw data/contact_sheets/*.png: what each data set looks like, at a glance.

    python data/contact_sheets.py

It imports tdnn_helpers: install the package first, or set PYTHONPATH=. in the root of the repository.
"""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from tdnn_helpers.data import blood_smear
from tdnn_helpers.data.sets import FASHION_CLASSES
from tdnn_helpers.data.shipped import DESIGNS, read_emoji, read_idx_gz, read_photographs, verified

TARGET = Path(__file__).parent / "contact_sheets"


def mosaic(tiles: np.ndarray, gap: int = 4) -> np.ndarray:
    """Rows × columns × height × width × 3 (uint8) to one picture, with white gaps between the tiles."""
    rows, columns, height, width = tiles.shape[:4]
    page = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for row in range(rows):
        for column in range(columns):
            top, left = row * (height + gap), column * (width + gap)
            page[top : top + height, left : left + width] = tiles[row, column]
    return page


def show(axes: plt.Axes, tiles: np.ndarray, labels: tuple[str, ...], gap: int = 4) -> None:
    """Draw a mosaic with one label beside each row."""
    axes.imshow(mosaic(tiles, gap), interpolation="antialiased")
    height = tiles.shape[2]
    axes.set_yticks([row * (height + gap) + height / 2 for row in range(len(labels))], labels)
    axes.set_xticks([])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def save(figure: plt.Figure, name: str) -> None:
    """Save with a palette of 256 colours: a contact sheet should be a small file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=100)
    plt.close(figure)
    TARGET.mkdir(exist_ok=True)
    page = Image.open(buffer).convert("RGB")
    page.quantize(palette=page.quantize(256, kmeans=8)).save(TARGET / name, optimize=True)
    print(f"{name}: {(TARGET / name).stat().st_size:,} bytes")


def fashion_mnist(columns: int = 20) -> None:
    images = read_idx_gz(verified("FashionMNIST/raw/train-images-idx3-ubyte.gz"))
    labels = read_idx_gz(verified("FashionMNIST/raw/train-labels-idx1-ubyte.gz"))
    tiles = np.stack([images[np.flatnonzero(labels == label)[:columns]] for label in range(10)])
    tiles = 255 - np.repeat(tiles[..., None], 3, axis=-1)  # dark on white, so that the sheet reads like print
    figure, axes = plt.subplots(figsize=(9, 4.4), layout="constrained")
    show(axes, tiles, FASHION_CLASSES, gap=2)
    axes.set_title("Fashion-MNIST: the first 20 training images of each class (grey levels inverted)", fontsize=11)
    save(figure, "fashion-mnist.png")


def on_white(pixels: np.ndarray) -> np.ndarray:
    alpha = pixels[..., 3:] / 255
    return (pixels[..., :3] * alpha + 255 * (1 - alpha)).round().astype(np.uint8)


def emoji(columns: int = 8) -> None:
    designs = {}
    for design in DESIGNS:
        pixels, rows = read_emoji(design)
        designs[design] = on_white(pixels)
    figure, blocks = plt.subplots(4, 2, figsize=(10, 9.6), layout="constrained")
    blocks = blocks.ravel()
    for axes, name in zip(
        blocks, dict.fromkeys(row["class"] for row in rows), strict=False
    ):  # one block is left for the key
        members = [row for row in rows if row["class"] == name]
        families = len({row["family"] for row in members})
        chosen = [members[i]["index"] for i in np.linspace(0, len(members) - 1, columns).round().astype(int)]
        show(axes, np.stack([images[chosen] for images in designs.values()]), DESIGNS)
        axes.set_title(f"{name}: {len(members)} objects in {families} families", fontsize=11)
    blocks[-1].axis("off")
    text = "Each row is one design.\nA column shows one object,\ndrawn by all four."
    blocks[-1].text(0.5, 0.5, text, ha="center", va="center", fontsize=13, transform=blocks[-1].transAxes)
    save(figure, "emoji.png")


def photographs(columns: int = 14) -> None:
    pixels, rows = read_photographs()
    kinds = [row["class"] for row in rows]
    classes = tuple(dict.fromkeys(kinds))
    members = [np.flatnonzero([kind == name for kind in kinds]) for name in classes]
    chosen = [one[np.linspace(0, len(one) - 1, columns).round().astype(int)] for one in members]
    figure, axes = plt.subplots(figsize=(9, 2.9), layout="constrained")
    show(axes, np.stack([on_white(pixels[one]) for one in chosen]), classes)
    axes.set_title(f"Photographs: {columns} of the {' + '.join(str(len(one)) for one in members)} images", fontsize=11)
    save(figure, "photographs.png")


def blood_smears(columns: int = 8) -> None:
    split = blood_smear.make(200, size=64, seed=0)
    images, dyed = split.images.permute(0, 2, 3, 1).numpy(), split.extra["dye"].bool().numpy()
    rows, labels = [], []
    for target, name in enumerate(split.classes):
        for dye in (False, True):
            rows.append(images[(split.targets.numpy() == target) & (dyed == dye)][:columns])
            labels.append(f"{name},\n{'purple dye' if dye else 'no dye'}")
    figure, axes = plt.subplots(figsize=(9, 4.4), layout="constrained")
    show(axes, np.stack(rows), tuple(labels))
    axes.set_title("Blood smears, 64 px: the white cell's nucleus is the label, the dye distracts", fontsize=11)
    save(figure, "blood-smear.png")


if __name__ == "__main__":
    fashion_mnist()
    emoji()
    photographs()
    blood_smears()
