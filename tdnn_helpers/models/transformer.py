"""Attention, and a small vision transformer made of it (paper, section III-D, equation 1)."""

from __future__ import annotations

import torch
from torch import nn

from ..data.split import Split
from .networks import normalise, outputs_for


def attention(queries, keys, values, scaled=True):
    """Equation (1): softmax(Q Kᵀ / √d) V. Returns the output and the weights.

    queries: … × T × d. keys: … × S × d. values: … × S × e. The output is … × T × e, and each row of the
    weights, … × T × S, says how much the T-th item takes of each of the S values.
    """
    scores = queries @ keys.transpose(-2, -1)
    if scaled:
        scores = scores / queries.shape[-1] ** 0.5
    weights = scores.softmax(dim=-1)
    return weights @ values, weights


class SelfAttention(nn.Module):
    """Multi-head self-attention: every item asks all items. ``width`` numbers an item, a multiple of ``heads``.

    Each head has its own ``width / heads`` queries, keys and values, which are dense layers of the items; a last dense
    layer mixes the heads (Vaswani et al., NeurIPS 2017, section 3.2.2).
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        if width % heads:
            raise ValueError(f"the width {width} must be a multiple of the number of heads, {heads}.")
        self.heads = heads
        self.query, self.key, self.value, self.mix = (nn.Linear(width, width) for _ in range(4))

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """Items float B×T×width → the same shape."""
        return self.mix(self._attend(items)[0].transpose(1, 2).flatten(2))

    def weights(self, items: torch.Tensor) -> torch.Tensor:
        """The attention weights of these items: float B×heads×T×T, each row with sum 1."""
        return self._attend(items)[1]

    def _attend(self, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        layers = (self.query, self.key, self.value)
        return attention(*(layer(items).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in layers))


class Block(nn.Module):
    """One layer of a transformer: x + attention(norm(x)), then x + dense layers(norm(x)); B×T×width → the same.

    The norm comes first in each branch, as in ViT (Dosovitskiy et al., ICLR 2021); the dense layers see one item each.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm, self.attend = nn.LayerNorm(width), SelfAttention(width, heads)
        self.dense = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        items = items + self.attend(self.norm(items))
        return items + self.dense(items)


class Patches(nn.Module):
    """Images B×C×H×W → items B×T×width: each patch×patch square through one dense layer, plus, if ``positions``, a
    trained vector for its place. Without them a transformer can't tell where a patch stood."""

    def __init__(self, channels: int, sides: tuple[int, int], patch: int, width: int, positions: bool):
        super().__init__()
        if any(side % patch for side in sides):
            raise ValueError(f"patches of {patch}×{patch} pixels do not tile images of {sides[0]}×{sides[1]}.")
        self.project = nn.Conv2d(channels, width, patch, stride=patch)  # the same dense layer for every square
        items = (sides[0] // patch) * (sides[1] // patch)
        self.positions = nn.Parameter(0.02 * torch.randn(items, width)) if positions else None

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        items = self.project(images).flatten(2).transpose(1, 2)
        return items if self.positions is None else items + self.positions


class MeanOfItems(nn.Module):
    """B×T×width → B×width."""

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        return items.mean(1)


def vision_transformer(
    train: Split, *, patch: int = 2, width: int = 32, depth: int = 3, heads: int = 4, positions: bool = True
) -> nn.Sequential:
    """A small ViT: normalised images → :class:`Patches` → ``depth`` × :class:`Block` → norm → mean of the items →
    linear layer. The mean takes the place of ViT's class token: one part fewer to learn.

    Args:
        train: gives the statistics and the size of the input and the number of classes.
        patch: pixels a side of a patch; must divide the sides of the images.
        width: numbers an item, a multiple of ``heads``.
        positions: whether items know their place.

    Raises ValueError if patches do not tile the images, or heads do not divide the width.
    """
    _, channels, *sides = train.images.shape
    return nn.Sequential(
        normalise(train),
        Patches(channels, tuple(sides), patch, width, positions),
        *(Block(width, heads) for _ in range(depth)),
        nn.LayerNorm(width),
        MeanOfItems(),
        nn.Linear(width, outputs_for(train)),
    )


@torch.no_grad()
def attention_maps(model: nn.Sequential, images: torch.Tensor) -> torch.Tensor:
    """What every item of every block looks at: float32 B×depth×heads×T×T on the CPU, in eval mode.

    ``model`` comes from :func:`vision_transformer`; ``images`` are float32 B×C×H×W in [0, 1] on its device.
    """
    model.eval()
    maps = []
    for layer in model:
        if isinstance(layer, Block):
            maps.append(layer.attend.weights(layer.norm(images)))
        images = layer(images)
    return torch.stack(maps, 1).float().cpu()
