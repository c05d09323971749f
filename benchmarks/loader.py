"""The way most code feeds a network: a ``DataLoader`` with torchvision transforms on one PIL image at a time."""

from __future__ import annotations

import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from tdnn_helpers.data.split import Split
from tdnn_helpers.train.loop import sgd


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
        loss = torch.nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
