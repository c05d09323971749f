"""The way most code does it: a ``DataLoader`` with torchvision transforms on one PIL image at a time."""

from __future__ import annotations

import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from tdnn_helpers.split import Split
from tdnn_helpers.train import fit

from .loops import AUGMENT, network, training_images
from .measure import Row, Size, images_per_second, interleaved


class PerImage(Dataset):
    """Each image is turned into a PIL image, shifted by up to 2 pixels, flipped, and turned back, one by one."""

    def __init__(self, split: Split):
        from PIL import Image

        self.images = [Image.fromarray(image[0].numpy()) for image in split.images]
        self.targets = split.targets.tolist()
        self.transform = v2.Compose(
            [
                v2.RandomCrop(split.images.shape[-1], padding=2),
                v2.RandomHorizontalFlip(),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[index]), self.targets[index]


def train_from(loader: DataLoader, model: torch.nn.Module) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    for x, y in loader:
        loss = torch.nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


def rows(size: Size) -> list[Row]:
    train = training_images(size)
    dataset = PerImage(train)
    options = dict(steps=size.steps, batch_size=size.batch, augment=AUGMENT, device="cpu")
    arms = {"fit": images_per_second(lambda: fit(network(train), train, **options), size.images)}
    for workers in (0, 2):
        # Workers persist, so that their start falls into the warm-up round.
        loader = DataLoader(dataset, size.batch, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
        arms[f"loader {workers}"] = images_per_second(
            lambda loader=loader: train_from(loader, network(train)), size.images
        )
    speeds = interleaved(arms, size.rounds)
    return [
        Row(
            f"`DataLoader`, {workers} workers, transforms per image",
            "`fit`, the same transforms",
            speeds[f"loader {workers}"],
            speeds["fit"],
        )
        for workers in (0, 2)
    ]
