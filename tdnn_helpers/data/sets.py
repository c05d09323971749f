"""Data sets by name, and any folder of images, as a :class:`~tdnn_helpers.data.split.Split`."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch

from ..core.choices import listed, nearest
from .downloaded import CELLS, SOURCES, arrays, smears
from .shipped import read_emoji, read_idx_gz, read_photographs, verified
from .split import Split
from .unpacked import read_idx_shared

NAMES = ("fashion-mnist", "emoji", "photographs", "digits", *SOURCES)
FASHION_CLASSES = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
EMOJI_CLASSES = ("animals", "faces", "food", "objects", "people", "symbols", "travel")
CELL_PIXELS = 64  # a side of a cell cut out of a blood smear
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
DEEP = ("I", "F")  # the modes of Pillow with more than 8 bits a value: "I;16", "I", "F"


def load(
    source: str | Path,
    part: str = "train",
    *,
    design: str = "noto",
    size: int | None = None,
    unreadable: str = "raise",
) -> Split:
    """A data set by name, or a folder of images.

    Args:
        source: ``"fashion-mnist"`` (28 px grey), ``"emoji"`` and ``"photographs"`` (64 px colour, the same classes, but
            the photographs show no faces, people or symbols), all in this repository; ``"digits"`` (8 px grey, from
            scikit-learn); downloaded once, after a line that says the size: ``"cifar-10"`` (32 px), ``"stl-10"``
            (96 px), ``"bloodmnist"`` (28 px), ``"bccd"`` (the cells of stained blood smears, 64 px; those of one smear
            are a group, and ``extra["box"]`` says where they lie); or the path of a folder (``~`` is your home) that
            holds one folder of images per class. Transparent pixels of your images become white, as in print; a line
            says how many images have such pixels. See :func:`read_image` for images of 16 bits or of floats.
        part: ``"train"`` or ``"test"``, for the sets that come with both. The others are one pool: split it yourself.
        design: for ``"emoji"``: ``"noto"``, ``"twemoji"``, ``"fluent-flat"`` or ``"fluent-3d"``.
        size: pixels a side. Needed for a folder with images of different sizes (each is resized, then centre-cropped).
        unreadable: an image of your folder that cannot be read is an error that names it; ``"skip"`` leaves such images
            out and names them in one warning.

    Raises:
        ValueError: an unknown name, part or design; a folder that is not there; a damaged file; an unreadable image; an
            empty class.
        FileNotFoundError: a data file of the course that is not there.
        ConnectionError: a set that has to be downloaded, and no internet.
    """
    if part not in ("train", "test"):
        raise ValueError(f'part is "train" or "test", not "{part}".')
    if unreadable not in ("raise", "skip"):
        raise ValueError(f'unreadable is "raise" or "skip", not "{unreadable}".')
    folder = Path(source).expanduser()
    if folder.is_dir() and str(source) not in NAMES:
        return _load_folder(folder, size, unreadable)
    readers = {
        "fashion-mnist": lambda: _load_fashion_mnist(part),
        "emoji": lambda: _load_emoji(design),
        "photographs": _load_photographs,
        "digits": _load_digits,
        "cifar-10": lambda: _load_downloaded("cifar-10", part),
        "stl-10": lambda: _load_downloaded("stl-10", part),
        "bloodmnist": lambda: _load_downloaded("bloodmnist", part),
        "bccd": lambda: _load_cells(part, size or CELL_PIXELS),
    }
    if source not in readers:
        raise ValueError(
            f'there is no data set or folder "{source}".{nearest(str(source), NAMES)} '
            f"Data sets: {', '.join(NAMES)}; or give the path of a folder with one folder of images per class."
        )
    split = readers[source]()
    return split if size is None or size == split.images.shape[-1] else split.resize(size)


def _load_fashion_mnist(part: str) -> Split:
    prefix = {"train": "train", "test": "t10k"}[part]
    folder = "FashionMNIST/raw"
    images = read_idx_shared(f"{folder}/{prefix}-images-idx3-ubyte.gz")
    labels = read_idx_gz(verified(f"{folder}/{prefix}-labels-idx1-ubyte.gz"))
    return Split(
        torch.from_numpy(images)[:, None],
        torch.from_numpy(labels).long(),
        FASHION_CLASSES,
        name=f"Fashion-MNIST {part}",
    )


def _load_emoji(design: str) -> Split:
    return _on_white(*read_emoji(design), name=f"emoji ({design})")


def _load_photographs() -> Split:
    return _on_white(*read_photographs(), name="photographs")


def _on_white(pixels: np.ndarray, rows: list[dict], name: str) -> Split:
    on_white = np.empty((*pixels.shape[:3], 3), dtype=np.uint8)
    for i, image in enumerate(pixels):  # all at once they would take 250 MB for a moment, in every kernel of a class
        alpha = image[..., 3:].astype(np.float32) / 255
        on_white[i] = (image[..., :3] * alpha + 255 * (1 - alpha)).round()
    families = sorted({row["family"] for row in rows})
    return Split(
        torch.from_numpy(on_white).permute(0, 3, 1, 2).contiguous(),
        torch.tensor([EMOJI_CLASSES.index(row["class"]) for row in rows]),
        EMOJI_CLASSES,
        extra={"group": torch.tensor([families.index(row["family"]) for row in rows])},
        name=name,
    )


def _load_digits() -> Split:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.from_numpy(digits.images * (255 / 16)).round().to(torch.uint8)
    return Split(images[:, None], torch.from_numpy(digits.target).long(), tuple("0123456789"), name="digits")


def _load_downloaded(name: str, part: str) -> Split:
    with arrays(name) as kept:
        images, labels = kept[f"{part}_images"], kept[f"{part}_labels"]
    return Split(torch.from_numpy(images), torch.from_numpy(labels), SOURCES[name].classes, name=f"{name} {part}")


def _load_cells(part: str, size: int) -> Split:
    """A square around each cell, as large as the longer side of its box and moved to lie inside the smear."""
    from PIL import Image

    photographs, boxes, test = smears()
    boxes = boxes[(test[boxes[:, 0]] == (part == "test")) & (boxes[:, 4] > boxes[:, 2])]
    cells = np.empty((len(boxes), size, size, 3), dtype=np.uint8)
    for i, (smear, _, left, top, right, bottom) in enumerate(boxes.tolist()):
        height, width = photographs.shape[1:3]
        side = max(right - left, bottom - top)
        x = min(max((left + right - side) // 2, 0), width - side)
        y = min(max((top + bottom - side) // 2, 0), height - side)
        cell = Image.fromarray(photographs[smear, y : y + side, x : x + side])
        cells[i] = np.asarray(cell.resize((size, size), Image.Resampling.LANCZOS))
    return Split(
        torch.from_numpy(cells).permute(0, 3, 1, 2).contiguous(),
        torch.from_numpy(boxes[:, 1]),
        CELLS,
        extra={"group": torch.from_numpy(boxes[:, 0]), "box": torch.from_numpy(boxes[:, 2:])},
        name=f"bccd {part}",
    )


def subfolders(path: Path) -> list[Path]:
    """The folders in a folder that a person put there, sorted: nothing hidden, nothing that a Mac left there."""
    return sorted(one for one in path.iterdir() if one.is_dir() and _is_meant(one.name))


def files_below(path: Path) -> list[Path]:
    """All files at any depth, sorted, without those that are hidden or in such a folder. (Archives made on a Mac hold a
    hidden "._cat.png" beside "cat.png", and notebooks leave copies in ".ipynb_checkpoints".)"""
    return sorted(one for one in path.rglob("*") if one.is_file() and all(map(_is_meant, one.relative_to(path).parts)))


def _is_meant(name: str) -> bool:
    return not name.startswith(".") and name != "__MACOSX"


def _load_folder(folder: Path, size: int | None, unreadable: str) -> Split:
    from PIL import Image, ImageOps

    classes = [path.name for path in subfolders(folder)]
    if not classes:
        raise ValueError(f'"{folder}" must hold one folder of images per class, but it holds no folder.')
    images, targets, transparent, skipped = [], [], 0, []
    for index, name in enumerate(classes):
        for path in (path for path in files_below(folder / name) if path.suffix.lower() in IMAGE_ENDINGS):
            try:
                image, has_transparent = read_image(path)
            except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
                if unreadable == "raise":
                    remedy = 'Mend or remove it, or give load(…, unreadable="skip").'
                    raise ValueError(f'cannot read the image "{path}": {error}. {remedy}') from error
                skipped.append(str(path.relative_to(folder)))
                continue
            transparent += has_transparent
            if size is not None:
                image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
            elif images and image.size != images[0].size:
                raise ValueError(
                    f'"{path}" is {image.size[0]}×{image.size[1]} pixels, but the images before it are '
                    f"{images[0].size[0]}×{images[0].size[1]}: give load(…, size=) to bring them to one size."
                )
            images.append(image)
            targets.append(index)
        if index not in targets:
            raise ValueError(f'class "{name}" is empty: "{folder / name}" holds no image that can be read.')
    if transparent:
        print(f"{transparent} of {len(images)} images have transparent pixels: they are white here.")
    if skipped:
        warnings.warn(f"{len(skipped)} images cannot be read and are left out: {listed(skipped)}.", stacklevel=3)
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images]))
    return Split(pixels.permute(0, 3, 1, 2).contiguous(), torch.tensor(targets), classes, name=folder.name)


def read_image(path: Path):
    """(RGB image, upright and on white; whether any of its pixels was transparent).

    Grey images of 16 bits are divided by 257 and floats in [0, 1] are multiplied by 255; Pillow alone would cut both
    off, so that they come out white or black. Raises ValueError for values that fit neither.
    """
    from PIL import Image, ImageOps

    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith(DEEP):
            image = _to_8_bits(image)
        if "A" not in image.getbands() and "transparency" not in image.info:
            return image.convert("RGB"), False
        image = image.convert("RGBA")
    on_white = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return on_white.convert("RGB"), image.getextrema()[3][0] < 255


def _to_8_bits(image):
    from PIL import Image

    values = np.asarray(image).astype(np.float64)
    low, high = values.min(), values.max()
    if not (np.isfinite(values).all() and 0 <= low and high <= 65535):
        raise ValueError(
            f"its values go from {low:.4g} to {high:.4g}; save them as 8 or 16 bits, or as floats in [0, 1]"
        )
    if image.mode == "F":
        factor = 255 if high <= 1 else 1 if high <= 255 else 1 / 257
    else:  # an old Pillow calls 16 bits "I"
        factor = 1 if image.mode == "I" and high <= 255 else 1 / 257
    return Image.fromarray((values * factor).round().astype(np.uint8))
