"""``fit`` against the barest loop: the price of metrics, bar, validation, checkpoints and a divergence check."""

import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F

from tdnn_helpers.data.augment import Augment, chain, flip, shift
from tdnn_helpers.data.sets import load
from tdnn_helpers.data.split import Split
from tdnn_helpers.models.networks import small_cnn
from tdnn_helpers.train.loop import fit, sgd

from .measure import Row, Size, speeds

AUGMENT = chain(shift(2), flip)
VAL_SHARE = 60  # one validation image for each 60 of training, as 1,000 after an epoch of 60,000


def training_images(size: Size) -> Split:
    return load("fashion-mnist")[: size.images]


def validation_images(size: Size) -> Split:
    return load("fashion-mnist")[-max(size.images // VAL_SHARE, 1) :]


def ready(split: Split) -> tuple[torch.Tensor, torch.Tensor]:
    """Images as float32 and targets, for the bare loop."""
    return split.images.float().div(255), split.targets


def network(split: Split) -> torch.nn.Module:
    torch.manual_seed(0)
    return small_cnn(split, width=16)


def bare_loop(
    images: torch.Tensor,
    targets: torch.Tensor,
    model: torch.nn.Module,
    batch: int,
    augment: Augment | None = None,
    precision: torch.dtype | None = None,
    optimizer=None,
) -> None:
    """Forward, backward, step: images lie ready as float32, in order, and nothing is recorded."""
    optimizer = (optimizer or sgd())(model.parameters())
    generator = torch.Generator().manual_seed(0)
    for x, y in zip(images.split(batch), targets.split(batch), strict=True):
        if augment is not None:
            x = augment(x, generator)
        with torch.autocast("cpu", precision, enabled=precision is not None):
            loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


def fit_with_everything(train: Split, val: Split, batch: int, augment: Augment | None = AUGMENT) -> None:
    """One epoch of ``fit`` with metrics, bar, validation, and a checkpoint at the record and at the end."""
    with tempfile.TemporaryDirectory() as folder:
        options = dict(val=val, epochs=1, batch_size=batch, augment=augment, checkpoint=Path(folder) / "run")
        fit(network(train), train, device="cpu", **options)


def rows(size: Size) -> list[Row]:
    train, val = training_images(size), validation_images(size)
    images = ready(train)
    works = {
        "bare": lambda: bare_loop(*images, network(train), size.batch),
        "fit": lambda: fit_with_everything(train, val, size.batch, None),
        "bare, augmented": lambda: bare_loop(*images, network(train), size.batch, AUGMENT),
        "fit, augmented": lambda: fit_with_everything(train, val, size.batch),
    }
    bare, full, bare_augmented, full_augmented = speeds(works, size.images, size.rounds).values()
    everything = "`fit` with metrics, bar, validation, checkpoints"
    return [
        Row("bare loop, shift and flip", "bare loop", bare_augmented, bare),
        Row(everything, "bare loop", full, bare),
        Row(f"{everything}, shift and flip", "bare loop", full_augmented, bare),
        Row("the same", "bare loop, shift and flip", full_augmented, bare_augmented),
    ]
