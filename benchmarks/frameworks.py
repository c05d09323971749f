"""The same network, data, optimizer and augmentation in other frameworks, written as their documentation does it.

Everybody trains one epoch with loss and accuracy on training and validation images, and with the framework's own
defaults otherwise: its progress bar, its checkpoints if it writes any by itself, its number of loader workers. The
plain ``DataLoader`` loops only train. A framework that is not installed leaves a line that says so.
"""

import importlib.util
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from tdnn_helpers.data.split import Split
from tdnn_helpers.models.networks import channel_statistics
from tdnn_helpers.train.loop import sgd

from .loops import AUGMENT, fit_with_everything, network, training_images, validation_images
from .measure import Row, Size, Skipped, speeds

Work = Callable[[], object]
SETTINGS = sgd().keywords  # lr, momentum, nesterov, weight_decay: the same for everybody


class PerImage(Dataset):
    """Like ``torchvision.datasets.FashionMNIST``: PIL images that become tensors one by one. With ``augment``, each is
    shifted by up to 2 pixels and flipped with probability one half."""

    def __init__(self, split: Split, augment: bool):
        from PIL import Image

        self.images = [Image.fromarray(image[0].numpy()) for image in split.images]
        self.targets = split.targets.tolist()
        random = [v2.RandomCrop(split.images.shape[-1], padding=2), v2.RandomHorizontalFlip()] if augment else []
        self.transform = v2.Compose([*random, v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[index]), self.targets[index]


def train_from(loader: DataLoader, model: torch.nn.Module) -> None:
    """One epoch: forward, backward, step, and nothing else."""
    optimizer = sgd()(model.parameters())
    for x, y in loader:
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


class Resident:
    """Batches as ``fit`` makes them, for a framework that takes any iterable: one gather, one shift, one flip each."""

    def __init__(self, split: Split, batch: int, augment: bool):
        self.split, self.batch, self.augment = split, batch, augment
        self.generator = torch.Generator().manual_seed(0)

    def __len__(self) -> int:
        return -(-len(self.split) // self.batch)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for indices in torch.randperm(len(self.split), generator=self.generator).split(self.batch):
            images = self.split.images[indices].float().div_(255)
            yield AUGMENT(images, self.generator) if self.augment else images, self.split.targets[indices]


def loader(train: Split, val: Split, batch: int, workers: int) -> Work:
    # Workers persist, so that their start falls into the warm-up round.
    batches = DataLoader(PerImage(train, True), batch, True, num_workers=workers, persistent_workers=workers > 0)
    return lambda: train_from(batches, network(train))


def lightning(train: Split, val: Split, batch: int, resident: bool) -> Work:
    import lightning

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Classifier(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = network(train)

        def measure(self, batch, name: str) -> torch.Tensor:
            images, targets = batch
            logits = self.model(images)
            loss = F.cross_entropy(logits, targets)
            accuracy = (logits.argmax(1) == targets).float().mean()
            values = {f"{name}_loss": loss, f"{name}_accuracy": accuracy}
            self.log_dict(values, prog_bar=True, on_epoch=True, batch_size=len(images))
            return loss

        def training_step(self, batch, index):
            return self.measure(batch, "train")

        def validation_step(self, batch, index):
            self.measure(batch, "val")

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), **SETTINGS)

    if resident:
        batches = Resident(train, batch, True), Resident(val, batch, False)
    else:
        batches = DataLoader(PerImage(train, True), batch, shuffle=True), DataLoader(PerImage(val, False), batch)

    def work() -> None:
        with tempfile.TemporaryDirectory() as folder:
            trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", default_root_dir=folder)
            trainer.fit(Classifier(), *batches)

    return work


def fastai(train: Split, val: Split, batch: int) -> Work:
    from fastai.data.all import CategoryBlock, DataBlock, IndexSplitter
    from fastai.learner import Learner
    from fastai.metrics import accuracy
    from fastai.optimizer import OptimWrapper
    from fastai.vision.augment import CropPad, FlipItem, RandomCrop
    from fastai.vision.core import PILImageBW
    from fastai.vision.data import ImageBlock

    pixels = train.images.shape[-1]
    images = [image[0].numpy() for part in (train, val) for image in part.images]
    targets = train.targets.tolist() + val.targets.tolist()
    block = DataBlock(
        blocks=(ImageBlock(cls=PILImageBW), CategoryBlock(vocab=list(range(len(train.classes))))),
        get_x=lambda index: images[index],
        get_y=lambda index: targets[index],
        splitter=IndexSplitter(range(len(train), len(images))),
        item_tfms=[CropPad(pixels + 4), RandomCrop(pixels), FlipItem()],
    )
    loaders = block.dataloaders(range(len(images)), bs=batch, device=torch.device("cpu"))
    optimizer = partial(OptimWrapper, opt=partial(torch.optim.SGD, **SETTINGS))

    def work() -> None:
        learner = Learner(loaders, network(train), loss_func=F.cross_entropy, opt_func=optimizer, metrics=accuracy)
        learner.fit(1, lr=SETTINGS["lr"])

    return work


def skorch(train: Split, val: Split, batch: int) -> Work:
    from skorch import NeuralNetClassifier
    from skorch.callbacks import EpochScoring
    from skorch.helper import predefined_split

    images, held_out = PerImage(train, True), PerImage(val, False)

    def work() -> None:
        net = NeuralNetClassifier(
            network(train),
            criterion=torch.nn.CrossEntropyLoss,
            optimizer=torch.optim.SGD,
            **{name if name == "lr" else f"optimizer__{name}": value for name, value in SETTINGS.items()},
            max_epochs=1,
            batch_size=batch,
            iterator_train__shuffle=True,
            train_split=predefined_split(held_out),
            classes=list(range(len(train.classes))),
            callbacks=[EpochScoring("accuracy", lower_is_better=False, on_train=True, name="train_acc")],
        )
        net.fit(images, None)

    return work


def keras(train: Split, val: Split, batch: int) -> Work:
    os.environ["KERAS_BACKEND"] = "torch"
    import keras
    from keras import layers

    pixels, (means, stds) = train.images.shape[-1], channel_statistics(train)
    data = [(part.images.numpy(), part.targets.numpy()) for part in (train, val)]
    keras.config.set_image_data_format("channels_first")  # on torch a fifth faster than Keras's own default

    def model():
        keras.utils.set_random_seed(0)
        stack = [
            layers.Input((1, pixels, pixels)),
            layers.RandomTranslation(2 / pixels, 2 / pixels, fill_mode="constant", interpolation="nearest"),
            layers.RandomFlip("horizontal"),
            layers.Rescaling(1 / 255 / stds[0], -means[0] / stds[0]),
        ]
        for channels in (16, 32, 64):
            stack += [layers.Conv2D(channels, 3, padding="same", use_bias=False), layers.MaxPooling2D(padding="same")]
            stack += [layers.BatchNormalization(axis=1), layers.ReLU()]
        return keras.Sequential([*stack, layers.GlobalAveragePooling2D(), layers.Dense(len(train.classes))])

    def work() -> None:
        options = {"learning_rate" if name == "lr" else name: value for name, value in SETTINGS.items()}
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        with keras.device("cpu"):
            net = model()
            net.compile(optimizer=keras.optimizers.SGD(**options), loss=loss, metrics=["accuracy"])
            net.fit(*data[0], batch_size=batch, epochs=1, validation_data=data[1])

    return work


# Name in the table: the package it needs, and what makes the work.
ARMS: dict[str, tuple[str, Callable[..., Work]]] = {
    "`DataLoader`, 0 workers, torchvision transforms": ("torchvision", partial(loader, workers=0)),
    "`DataLoader`, 2 workers, torchvision transforms": ("torchvision", partial(loader, workers=2)),
    "Lightning, `DataLoader`, torchvision transforms": ("lightning", partial(lightning, resident=False)),
    "Lightning, batches as `fit` makes them": ("lightning", partial(lightning, resident=True)),
    "fastai, its `DataBlock` and transforms": ("fastai", fastai),
    "skorch, `DataLoader`, torchvision transforms": ("skorch", skorch),
    "Keras on torch, its augmentation layers": ("keras", keras),
}
FIT = "`fit`"


def installed(name: str) -> bool:
    return importlib.util.find_spec(ARMS[name][0]) is not None


def work(name: str, size: Size) -> Work:
    """What this arm does in a round; its data is made here, before the clock runs."""
    train, val = training_images(size), validation_images(size)
    if name == FIT:
        return lambda: fit_with_everything(train, val, size.batch)
    return ARMS[name][1](train, val, size.batch)


def rows(size: Size) -> list[Row | Skipped]:
    # Runs twice as long as elsewhere, for what a framework does once per run or epoch should not weigh too much.
    size = Size(max(2, size.rounds - 2), 2 * size.steps, size.batch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        works = {name: work(name, size) for name in (FIT, *filter(installed, ARMS))}
        found = speeds(works, size.images, size.rounds)
    return against_fit(found, "", "`fit` with everything, shift and flip")


def against_fit(found: dict[str, list[float]], what: str, fit: str, unit: str = "images/s") -> list[Row | Skipped]:
    """A row for each arm, with `what` before its name: what was found, against what was found for `fit`."""
    return [
        Row(f"{what}{name}", fit, found[name], found[FIT], unit)
        if name in found
        else Skipped(f"{what}{name}", "not installed")
        for name in ARMS
    ]
