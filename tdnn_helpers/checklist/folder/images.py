"""A folder of images as it lies on the disk: every file is opened once, and what it was is kept beside its pixels."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
import torch

from ...core.progress_bars import progress
from ...data.sets import DEEP, IMAGE_ENDINGS, files_below, read_image, subfolders
from ...data.split import Split

PARTS = {"train": ("train", "training"), "val": ("val", "valid", "validation", "dev"), "test": ("test", "testing")}


class Fact(NamedTuple):
    """One readable file. ``low`` and ``high`` are the smallest and the largest value of its pixels as they are read
    (0 to 255), ``deepest`` the largest value before the conversion from more than 8 bits (0 if it had 8)."""

    name: str
    part: str
    width: int
    height: int
    ending: str
    mode: str
    low: int
    high: int
    deepest: float


@dataclass(frozen=True)
class Folder:
    """``pool`` holds all readable images, whatever their part; ``facts`` has one row for each of them, in its order.
    ``unreadable`` maps a file to the reason; ``others`` are files that are no images, ``empty`` classes without an
    image that can be read. Names are relative to ``path``."""

    path: Path
    pool: Split
    facts: list[Fact]
    unreadable: dict[str, str]
    others: list[str]
    empty: list[str]
    beside: list[str]  # folders that lie beside train/ and were not looked at

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts that the folder itself makes: ("train", "val"), …; empty if it has none."""
        found = {fact.part for fact in self.facts}
        return tuple(part for part in PARTS if part in found)

    def of(self, part: str) -> torch.Tensor:
        """bool N: the images of one part."""
        return torch.tensor([fact.part == part for fact in self.facts])

    def names(self, chosen: torch.Tensor) -> tuple[str, ...]:
        """The files of a boolean mask, or of indices in their order."""
        chosen = chosen.nonzero()[:, 0] if chosen.dtype == torch.bool else chosen
        return tuple(self.facts[i].name for i in chosen.tolist())

    def grouped(self, group: torch.Tensor) -> Folder:
        """The same with ``extra["group"]``: copies of one picture share a number."""
        return replace(self, pool=self.pool.with_extra(group=group))


def read_folder(folder: str | Path, size: int) -> Folder:
    """Open every image below ``folder``, resized and cropped to ``size`` pixels a side as
    :func:`tdnn_helpers.data.sets.load` does it.

    Raises:
        ValueError: no such folder, no folders or no images in it, fewer than two classes.
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise ValueError(f'there is no folder "{path}".')
    if size < 8:
        raise ValueError(f"the images are brought to size={size} pixels a side, but that must be at least 8.")
    below = subfolders(path)
    named = {part: [one for one in below if one.name.lower() in names] for part, names in PARTS.items()}
    in_parts = bool(named["train"]) and bool(subfolders(named["train"][0]))
    roots = {part: found for part, found in named.items() if found} if in_parts else {"": [path]}
    beside = [one.name for one in below if in_parts and not any(one in found for found in named.values())]
    listed = [
        (part, kind.name, file)
        for part, found in roots.items()
        for root in found
        for kind in subfolders(root)
        for file in files_below(kind)
    ]
    images = [entry for entry in listed if entry[2].suffix.lower() in IMAGE_ENDINGS]
    if not images:
        loose = sum(file.suffix.lower() in IMAGE_ENDINGS for file in path.iterdir())
        raise ValueError(
            f'"{path}" must hold one folder of images per class, but '
            + (f"its {loose:,} images lie in no folder." if loose else "there is no image in any folder below it.")
        )
    classes = sorted({kind.name for found in roots.values() for root in found for kind in subfolders(root)})
    found = []
    with progress(len(images), "reading") as bar, ThreadPoolExecutor(joblib.cpu_count()) as pool:
        for one in pool.map(lambda entry: _open(entry[2], path, entry[0], size), images):
            found.append(one)
            bar.update()
    unreadable = {_name(file, path): one for (_, _, file), one in zip(images, found) if isinstance(one, str)}
    good = [(kind, *one) for (_, kind, _), one in zip(images, found) if not isinstance(one, str)]
    seen = {kind for kind, _, _ in good}
    if not good:
        first = next(iter(unreadable.items()))
        raise ValueError(
            f'none of the {len(images):,} images below "{path}" can be read (the first: {": ".join(first)}).'
        )
    if len(seen) < 2:
        inside = [one.name for one in subfolders(path / classes[0])] if not in_parts and len(classes) == 1 else []
        hint = f' Did you mean "{path / classes[0]}", which holds {", ".join(inside[:3])}?' if len(inside) > 1 else ""
        only = f'"{path}" has images of one class only ("{min(seen)}")'
        raise ValueError(f"{only}: there is nothing to tell apart.{hint}")
    kept = [kind for kind in classes if kind in seen]
    pixels = torch.from_numpy(np.stack([one for _, one, _ in good])).permute(0, 3, 1, 2).contiguous()
    targets = torch.tensor([kept.index(kind) for kind, _, _ in good])
    return Folder(
        path,
        Split(pixels, targets, kept, name=path.resolve().name),
        [fact for _, _, fact in good],
        unreadable,
        [_name(file, path) for _, _, file in listed if file.suffix.lower() not in IMAGE_ENDINGS],
        [kind for kind in classes if kind not in seen],
        beside,
    )


def _name(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix()


def _open(file: Path, root: Path, part: str, size: int) -> tuple[np.ndarray, Fact] | str:
    """(uint8 size×size×3, what the file is), or why it cannot be read."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as header:
            (width, height), mode = header.size, header.mode
            deepest = float(np.max(header.getextrema())) if mode.startswith(DEEP) else 0.0
        image, _ = read_image(file)
        extrema = image.getextrema()
        pixels = np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS))
    except Exception as error:  # whatever a damaged file may raise is a finding, not a crash
        if file.stat().st_size == 0:
            return "the file is empty"
        return str(error).replace(str(root), "…") or type(error).__name__
    low, high = min(one[0] for one in extrema), max(one[1] for one in extrema)
    fact = Fact(_name(file, root), part, width, height, file.suffix.lower(), mode, low, high, deepest)
    return pixels, fact
