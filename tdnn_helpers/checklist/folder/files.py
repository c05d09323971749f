"""What belongs to the files themselves: can they be read, what values and how many pixels have they, of which class?"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

import torch

from ...core.choices import listed
from ...evidence.effects import wilson
from ..findings import FINE, LOOK, WRONG, Finding, percent
from .images import Folder

MANY = 0.01  # of all images: from here on it is no single accident


def check_files(folder: Folder) -> Iterator[Finding]:
    """Files that cannot be read, that are no images, and folders that were left out."""
    n, broken = len(folder.pool), folder.unreadable
    total, sure = n + len(broken), "exact: every file was opened and decoded"
    if broken:
        name, reason = next(iter(broken.items()))
        yield Finding(
            WRONG if len(broken) >= MANY * total else LOOK,
            f"{len(broken):,} of {total:,} images cannot be read ({name}: {reason}).",
            "Copy them again from the source or remove them; a loader that skips them silently changes your classes.",
            sure,
            tuple(broken),
        )
    else:
        yield Finding(FINE, f"All {n:,} images can be read.", sure=sure)
    if folder.empty:
        evidence = f"{len(folder.empty)} class folders hold no image that can be read: {listed(folder.empty)}."
        yield Finding(WRONG, evidence, "Fill or remove them.", "exact")
    if folder.beside:
        evidence = f"Beside train/ lie folders that were not looked at: {listed(folder.beside)}."
        yield Finding(LOOK, evidence, "Give each part one folder: train, val, test.", "exact")
    if folder.others:
        endings = Counter("." + name.rpartition(".")[2] if "." in name else name for name in folder.others)
        common = ", ".join(f"{count}× {ending}" for ending, count in endings.most_common(3))
        yield Finding(
            LOOK if len(folder.others) >= MANY * total else FINE,
            f"{len(folder.others):,} files were left out because of their endings ({common}).",
            "If they are images (.heic, .dcm, .npy), convert them to PNG first.",
            "exact",
            tuple(folder.others),
        )


def check_pixels(folder: Folder) -> Iterator[Finding]:
    """Constant images, values squeezed into 0–1, more than 8 bits, and images that are almost black."""
    low, high, deepest = torch.tensor([(fact.low, fact.high, fact.deepest) for fact in folder.facts]).T
    n, sure = len(low), "exact: all pixels at full size"
    deep, constant = deepest > 0, low == high
    squeezed = ~constant & (high <= 1)
    shallow = deep & (deepest > 255) & (deepest <= 4095) & ~constant
    dark = ~constant & ~squeezed & ~shallow & (high < 32)
    for mask, serious, what, advice in (
        (
            constant,
            True,
            "have one single value in all pixels",
            "Look at them: a failed crop, a missing file, or a mask saved in place of the picture.",
        ),
        (
            squeezed,
            True,
            "hold only the values 0 and 1 of 0 to 255: floats in [0, 1] were saved as whole numbers",
            "Save again: (values * 255).round().astype(uint8). What was rounded away is lost in these files.",
        ),
        (
            shallow,
            True,
            "have 16 bits but use 12 of them at most, so they come out almost black",
            "Divide by 16 and save as 8 bits, or scale by the known range of your camera, the same for all images.",
        ),
        (
            dark,
            False,
            "never get brighter than 31 of 255",
            "Night, or a wrong scale? Compare with the original; if it is the scale, save them again.",
        ),
        (
            deep & ~shallow,
            False,
            "have more than 8 bits; they were brought to 0 to 255 by their full range here",
            "Convert them once and keep that: other loaders cut such values off, to white or black.",
        ),
    ):
        count = int(mask.sum())
        if count:
            status = WRONG if serious and count >= MANY * n else LOOK
            evidence = f"{count:,} of {n:,} images ({percent(count / n, 1)}) {what}."
            yield Finding(status, evidence, advice, sure, folder.names(mask))
    if not (constant | squeezed | dark | deep).any():
        yield Finding(FINE, f"Values from {int(low.min())} to {int(high.max())}, no constant image.", sure=sure)


def check_resolution(folder: Folder) -> Iterator[Finding]:
    """Images that are blown up to the size of training."""
    size, n = folder.pool.images.shape[-1], len(folder.facts)
    short = torch.tensor([min(fact.width, fact.height) for fact in folder.facts])
    tiny = short < size / 2
    count = int(tiny.sum())
    span = f"The short sides have {int(short.min())} to {int(short.max())} pixels (median {int(short.median())})"
    if count >= 0.9 * n:
        advice = f"Give size={int(short.median())}: blown up, they cost more time and show nothing more."
        yield Finding(LOOK, f"{span}; almost all are less than half of the {size} used here.", advice, "exact")
    elif count:
        yield Finding(
            WRONG if count >= 0.05 * n else LOOK,
            f"{span}; {count:,} of {n:,} ({percent(count / n, 1)}) have less than half of the {size} pixels used here.",
            "Find the originals or leave these out: blurred images among sharp ones are a class of their own. "
            "Thumbnails often come from a download that stopped halfway.",
            "exact",
            folder.names(tiny),
        )
    else:
        yield Finding(FINE, f"{span}; {size} are used here.", sure="exact")


def check_classes(folder: Folder) -> Iterator[Finding]:
    """Too few images, classes of very different size, names that differ by capitals, classes that a part lacks."""
    known, parts = folder.pool.classes, folder.parts or ("",)
    counts = {part: folder.pool[folder.of(part)].counts() for part in parts}
    main = counts[parts[0]]
    (smallest, low), (largest, high) = (pick(main.items(), key=lambda item: item[1]) for pick in (min, max))
    held_out = counts["val"][smallest] if "val" in counts else max(1, round(low / 5))
    worst, best = wilson(0.8, max(held_out, 1))
    sure = (
        f'a recall of 80 % measured on {held_out} validation images of "{smallest}" would be known to '
        f"{percent(worst)}–{percent(best)} only"
    )
    evidence = f'{len(known)} classes of {low:,} ("{smallest}") to {high:,} ("{largest}") images.'
    if low < 10:
        advice = "Collect more of the small classes (50 is a start), or drop or join them."
        yield Finding(WRONG, evidence, advice, sure)
    elif low < 30 or high > 3 * low:
        advice = (
            "Report recall for each class with its interval, and balanced accuracy; collect more of the small ones."
        )
        yield Finding(LOOK, evidence, advice, sure)
    else:
        yield Finding(FINE, evidence, sure=sure)
    for part in folder.parts:
        status, advice = LOOK, "A class that is not there is not measured."
        if part == parts[0]:
            status, advice = WRONG, "Give all parts the same class folders, written in the same way."
        if lacking := [name for name in known if not counts[part][name]]:
            yield Finding(status, f"Not in {part}/: {listed(lacking)}.", advice, "exact")
    spelled = defaultdict(list)
    for name in known:
        spelled["".join(filter(str.isalnum, name.lower())) or name].append(name)
    twice = [" and ".join(names) for names in spelled.values() if len(names) > 1]
    if twice:
        yield Finding(WRONG, f"One class, two names? {listed(twice)}.", "Join them, or rename one.")
