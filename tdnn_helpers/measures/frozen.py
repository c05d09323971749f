"""Features of a frozen network, computed once and kept on disk."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..core.device import all_cores, pick_device
from ..core.progress_bars import progress
from ..data.split import Split
from ..evidence import store
from ..evidence.definitions import OURS
from ..evidence.fingerprint import digest
from ..models.backbone import LITE0, Backbone, pretrained, stage_maps, weights_of
from ..train.batches import ordered_batches

_BATCH = 64  # images at once in pretrained_features


def pretrained_features(
    split: Split, *, size: int = 96, name: str = LITE0, layer: str | Sequence[str] | None = None
) -> torch.Tensor | dict[str, torch.Tensor]:
    """The features of every image of a split under a frozen network: float32 N×D on the CPU.

    They are kept on disk, and computed again only if the images, the network, ``size``, ``layer``, the device or a
    version differ. ``store.clear()`` forgets them; TDNN_STORE=0 neither looks nor keeps. On a CPU all cores work.

    Args:
        split: its images are scaled from 0–255 to [0, 1]. Targets play no part.
        size: pixels a side to which the images are resized (bilinear; with antialiasing when they shrink).
        name: a network, as for :func:`pretrained`.
        layer: a name in the ``stages`` of a convolutional network; D is then the number of its channels, each averaged
            over all places. Several names, from one look at the images, give a dictionary: stage → N×D. Default: the
            features of the whole network.

    Raises:
        ValueError: an empty split, a size below 1, an unknown network or layer. Otherwise as :func:`pretrained`.
    """
    if layer is None:
        return _cached(split, size, name, "features", lambda backbone, images: [backbone(images)])[0]
    layers = [layer] if isinstance(layer, str) else list(layer)

    def averaged(backbone: Backbone, images: torch.Tensor) -> list[torch.Tensor]:
        return [maps.mean((2, 3)) for maps in stage_maps(backbone, images, layers).values()]

    found = _cached(split, size, name, f"features of {layers}", averaged)
    return found[0] if isinstance(layer, str) else dict(zip(layers, found, strict=True))


def pretrained_maps(
    split: Split, layers: Sequence[str], *, size: int = 64, name: str = LITE0
) -> dict[str, torch.Tensor]:
    """The whole maps of several stages of a frozen network, from one look at the images: stage → float32 N×C×H×W on
    the CPU. They are kept, and the arguments mean the same, as in :func:`pretrained_features`.

    Early stages are large: at 64 px an image of the stem of EfficientNet-Lite0 takes 131 kB.
    """
    layers = list(layers)
    found = _cached(split, size, name, f"maps of {layers}", lambda *inputs: list(stage_maps(*inputs, layers).values()))
    return dict(zip(layers, found, strict=True))


@torch.no_grad()
def _cached(
    split: Split, size: int, name: str, what: str, read: Callable[[Backbone, torch.Tensor], list[torch.Tensor]]
) -> list[torch.Tensor]:
    """``read(network, batch of images)`` for the whole split, from disk if it was kept under the same key. ``what``
    says in the key what ``read`` does."""
    if not len(split):
        raise ValueError("the split is empty: there are no images to look at.")
    if size < 1:
        raise ValueError(f"an image needs at least 1 pixel a side, not {size}.")
    import torchvision

    device = pick_device()
    versions = (OURS.of(__name__.partition(".")[2]), torch.__version__, torchvision.__version__)
    pixels = digest(split.images.contiguous().numpy())
    key = repr((versions, device.type, weights_of(name), size, what, tuple(split.images.shape), pixels))
    path = store.folder() / f"{digest(key.encode())}.features"
    cached = store.read(path) if store.is_on() else None
    if cached is not None:
        return torch.load(io.BytesIO(cached), weights_only=True)

    backbone = _folded(pretrained(name)).to(device, memory_format=torch.channels_last)
    found = []
    # In float32: bfloat16, 1.2 to 1.6 times as fast on a CPU with AMX, moves features by 3 to 5 % of their norm.
    with all_cores(), progress(len(split), what) as bar:
        for images, *_ in ordered_batches(split, _BATCH, device):
            images = F.interpolate(images, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
            seen = read(backbone, images.contiguous(memory_format=torch.channels_last))
            found.append([one.float().cpu() for one in seen])
            bar.update(len(images))
    features = [torch.cat(parts).contiguous() for parts in zip(*found, strict=True)]
    if store.is_on():
        body = io.BytesIO()
        torch.save(features, body)
        store.write(path, body.getvalue())
    return features


def _folded(backbone: Backbone) -> Backbone:
    """The same function with each batch norm multiplied into the convolution before it: 1.2 to 1.3 times as fast, but
    no longer the network that was trained, so not for fine-tuning."""
    backbone = copy.deepcopy(backbone)
    for module in backbone.modules():
        if isinstance(module, nn.Sequential):
            for place in range(len(module) - 1):
                if isinstance(module[place], nn.Conv2d) and isinstance(module[place + 1], nn.BatchNorm2d):
                    module[place] = fuse_conv_bn_eval(module[place], module[place + 1])
                    module[place + 1] = nn.Identity()
    return backbone
