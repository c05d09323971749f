"""Your own folder of images and your own network: the checklist, and what can be wrong with a folder, on one page."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from ...core.device import pick_device
from ...core.randomness import seed_everything, untouched_random_state
from ...data.split import Split
from ...figures.cards import Picture
from .. import check_model
from ..findings import FINE, Finding, Report
from . import figures
from .duplicates import Copies, check_copies, find_copies
from .files import check_classes, check_files, check_pixels, check_resolution
from .images import Folder, read_folder
from .label_errors import check_labels, judge_labels
from .network import Maker, adapt_splits, build_network, from_file, train_briefly
from .shortcuts import find_shortcuts

__all__ = ["Finding", "Report", "check_folder"]


def check_folder(
    folder: str | Path,
    model: Maker | str | None = None,
    *,
    size: int = 64,
    epochs: int | None = None,
    external: str | Path | None = None,
    seed: int = 0,
) -> Report:
    """Run the checklist on a folder of images and a network: about a minute for 1,000 images on one CPU core.

    Every file is opened; copies, wrong labels and shortcuts are looked for; the network is trained briefly, and the
    seven points of the checklist are run on it. Your files, your model and your random state stay as they are.

    Args:
        folder: holds one folder of images per class; or ``train`` and ``val`` (and ``test``) folders that do. Without
            ``val`` a stratified fifth is set aside here, and copies of one picture stay on one side. Images of ``test``
            are looked at as files and for copies, labels and shortcuts, but the network never sees them.
        model: takes float32 images in [0, 1], N×3×size×size, and gives N×K logits: an ``nn.Module`` (a copy is trained,
            from its present weights), a class or a function that makes one (it is given the number of classes if it
            has an argument ``num_classes``, ``n_classes``, ``classes`` or ``outputs``, and the training split if it
            needs one named ``train``), or ``"file.py:Name"``. That file is your own code: **it is executed**. A network
            for one channel gets grey images as one channel. Default: the course's ``small_cnn``.
        size: pixels a side; each image is resized, then centre-cropped.
        epochs: of the brief training; default as many as pass 12,000 images through the network (2 to 30). 0 examines
            the network as it is.
        external: a second folder, of images of the same classes from another source (another place, camera, year), for
            point 7 of the checklist. It holds one folder per class.
        seed: of the split, the folds and the training.

    Returns:
        A :class:`Report`: end a notebook cell with it, print it, or ``.save("report.html")``.

    Raises:
        ValueError: one sentence. No such folder, no images in it, one class only, too few images to split; an external
            folder with other classes; a model that cannot be made, cannot be run on such images, or whose output does
            not fit the classes.
    """
    clock = time.perf_counter()
    maker = from_file(model) if isinstance(model, str) else model
    found = read_folder(folder, size)
    with untouched_random_state():
        seed_everything(seed)
        twins = find_copies(found.pool)
        found = found.grouped(twins.group)
        train, val = _sides(found, seed)
        outside = [] if external is None else [_external(external, train.classes, size)]
        network = build_network(maker, train)
        train, val, *outside = adapt_splits(network, train, val, *outside)
        findings, pictures = examine(found, twins, seed=seed)
        seed_everything(seed)
        history = train_briefly(network.to(pick_device()), train, val, epochs, seed)
    points = check_model(network, train, val, history=history, external=next(iter(outside), None), seed=seed)
    about = (
        f"{len(found.pool):,} images, {len(train.classes)} classes, brought to {size}×{size} pixels; "
        f"{'small_cnn' if model is None else type(network).__name__} "
        f"{'as it is' if history is None else f'trained briefly on {len(train):,}'}, measured on {len(val):,}"
        f"{'' if 'val' in found.parts else ' (split here)'}."
    )
    return Report(
        findings,
        time.perf_counter() - clock,
        name=found.pool.name,
        about=about,
        pictures=(figures.draw_overview(found, history), *pictures),
        points=points,
        model=network,
        history=history,
    )


def examine(folder: Folder, twins: Copies, *, seed: int) -> tuple[tuple[Finding, ...], list[Picture]]:
    """The findings about the folder itself, whose images are grouped by copies, and the figures that belong to them."""
    judged = judge_labels(folder.pool, seed=seed)
    shortcuts, gain, betrayed = find_shortcuts(folder, judged.answers, seed=seed)
    questions = {
        "Files": check_files(folder),
        "Pixels": check_pixels(folder),
        "Resolution": check_resolution(folder),
        "Classes": check_classes(folder),
        "Copies": check_copies(folder, twins),
        "Labels": check_labels(folder, judged),
        "Shortcuts": shortcuts,
    }
    found = {title: Finding.of(title, parts) for title, parts in questions.items()}
    pictures = []
    if found["Labels"].status != FINE and found["Labels"].files:
        pictures.append(figures.draw_suspects(folder, judged))
    if found["Copies"].status != FINE:
        pictures.append(figures.draw_copies(folder, twins))
    if found["Shortcuts"].status != FINE:
        pictures.append(figures.draw_shortcut(folder, gain, betrayed))
    return tuple(found.values()), pictures


def _sides(folder: Folder, seed: int) -> tuple[Split, Split]:
    """(training, validation): the folder's own, or four fifths and one fifth of what is not test."""
    pool = folder.pool
    if "val" in folder.parts:
        train, val = pool[folder.of("train")], pool[folder.of("val")]
        if not len(train):
            raise ValueError(f'the train folder of "{folder.path}" holds no image that can be read.')
        return tuple(Split(s.images, s.targets, s.classes, name=pool.name) for s in (train, val))
    pool = pool[~folder.of("test")]
    group = pool.extra["group"]
    units = torch.tensor([len(group[pool.targets == c].unique()) for c in range(len(pool.classes))])
    enough = units >= 3  # a smaller class cannot be on both sides
    if enough.sum() < 2:
        raise ValueError(
            f'"{folder.path}" has {int(enough.sum())} classes of at least 3 different images, but 2 are needed for a '
            "split: collect more."
        )
    pool = pool[enough[pool.targets]]
    names = [name for name, keep in zip(pool.classes, enough.tolist()) if keep]
    pool = pool.with_targets((enough.cumsum(0) - 1)[pool.targets], names)
    train, val = pool.split(0.8, seed=seed)
    return tuple(Split(s.images, s.targets, s.classes, name=pool.name) for s in (train, val))


def _external(folder: str | Path, known: tuple[str, ...], size: int) -> Split:
    """The images of another source, with the class numbers of the first one."""
    found = read_folder(folder, size)
    others = [name for name in found.pool.classes if name not in known]
    if others:
        raise ValueError(f"the external folder has classes that the first one lacks: {', '.join(others[:5])}.")
    numbers = torch.tensor([known.index(name) for name in found.pool.classes])
    return Split(found.pool.images, numbers[found.pool.targets], known, name=found.pool.name)
