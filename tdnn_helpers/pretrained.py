"""Networks that have already seen ImageNet, ready to be transferred (paper, section V).

EfficientNet-Lite0 needs no download: its weights lie in data/. Any classification network of torchvision works too,
where there is a network to fetch its weights from.
"""

from __future__ import annotations

import copy
import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import joblib
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from . import efficientnet, store
from .files import verified
from .fingerprint import digest
from .models import Normalise
from .session import nearest, pick_device, progress
from .split import Split

LITE0 = "efficientnet-lite0"
_LITE0_FILE = "pretrained/efficientnet-lite0-57934424.pth"  # below data/; its name starts with its SHA-256
_BATCH = 64  # images at once in pretrained_features
# As they were imported, not as an editor may have left them since.
_SOURCES = tuple(digest(Path(file).read_bytes()) for file in (__file__, efficientnet.__file__))


class Backbone(nn.Module):
    """A network without its classifier: float images in [0, 1], N×3×H×W or N×1×H×W (grey) → features, float N×D.

    It normalises the images itself, as it was done when the weights were trained. D is ``head.in_features``.

    Attributes:
        stages: the parts of the network by name, from the image to the features, for freezing and for tapping.
        head: the ImageNet classifier, an ``nn.Linear`` from the features to 1000 logits. ``forward`` does not use it.
        categories: the English names of the 1000 ImageNet classes, in the order of the logits.

    Raises:
        TypeError: images that are not floats. ValueError: neither 1 nor 3 channels.
    """

    def __init__(self, body: nn.Module, head: nn.Linear, inputs: Normalise, categories: Sequence[str]):
        super().__init__()
        self.normalise, self.body, self.head, self.categories = inputs, body, head, tuple(categories)

    @property
    def stages(self) -> dict[str, nn.Module]:
        parts = {}
        for name, part in self.body.named_children():
            # Many networks of torchvision keep nearly everything in one child of this name.
            parts |= {f"features.{k}": v for k, v in part.named_children()} if name == "features" else {name: part}
        return {name: part for name, part in parts.items() if any(True for _ in part.parameters())}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if not images.is_floating_point():
            raise TypeError(f"the images must be floats in [0, 1], but they are {images.dtype}: divide uint8 by 255.")
        if images.ndim != 4 or images.shape[1] not in (1, 3):
            raise ValueError(f"the images must be N×3×H×W or N×1×H×W, but their shape is {tuple(images.shape)}.")
        return self.body(self.normalise(images.expand(-1, 3, -1, -1)))

    def classify(self, images: torch.Tensor) -> torch.Tensor:
        """The logits of the 1000 ImageNet classes, N×1000; images as in ``forward``."""
        return self.head(self(images))


def pretrained(name: str = LITE0) -> Backbone:
    """An ImageNet network in eval mode on the CPU, its weights not frozen.

    Args:
        name: "efficientnet-lite0" (4.65 million parameters, 1280 features, no download), or a classification network
            of torchvision such as "resnet18", whose default weights are downloaded once.

    Raises:
        FileNotFoundError: the file of weights is missing.
        ValueError: it is damaged; an unknown name; a network whose classifier is not a linear layer.
        ConnectionError: torchvision's weights cannot be downloaded.
    """
    if name == LITE0:
        categories = torchvision.models.EfficientNet_B0_Weights.DEFAULT.meta["categories"]  # the same 1000
        inputs = Normalise([127 / 255] * 3, [128 / 255] * 3)
        backbone = Backbone(efficientnet.lite0_body(), nn.Linear(1280, 1000), inputs, categories)
        _load_in_order(backbone, torch.load(verified(_LITE0_FILE), map_location="cpu", weights_only=True))
    else:
        backbone = _from_torchvision(name)
    return backbone.eval()


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
        return _kept(split, size, name, "features", lambda backbone, images: [backbone(images)])[0]
    layers = [layer] if isinstance(layer, str) else list(layer)

    def look(backbone: Backbone, images: torch.Tensor) -> list[torch.Tensor]:
        return [maps.mean((2, 3)) for maps in stage_maps(backbone, images, layers).values()]

    found = _kept(split, size, name, f"features of {layers}", look)
    return found[0] if isinstance(layer, str) else dict(zip(layers, found, strict=True))


def pretrained_maps(
    split: Split, layers: Sequence[str], *, size: int = 64, name: str = LITE0
) -> dict[str, torch.Tensor]:
    """The whole maps of several stages of a frozen network, from one look at the images: stage → float32 N×C×H×W on
    the CPU. They are kept, and the arguments mean the same, as in :func:`pretrained_features`.

    Early stages are large: at 64 px an image of the stem of EfficientNet-Lite0 takes 131 kB.
    """
    layers = list(layers)
    found = _kept(split, size, name, f"maps of {layers}", lambda *inputs: list(stage_maps(*inputs, layers).values()))
    return dict(zip(layers, found, strict=True))


def stage_maps(backbone: Backbone, images: torch.Tensor, layers: Sequence[str]) -> dict[str, torch.Tensor]:
    """What these stages give out for a batch of images (as the backbone takes them): stage → float N×C×H×W.

    ValueError for a name that is not in ``backbone.stages``.
    """
    stages, seen = backbone.stages, {}
    for layer in layers:
        if layer not in stages:
            raise ValueError(f'There is no layer "{layer}".{nearest(layer, stages)} Use one of {", ".join(stages)}.')
    handles = [
        stages[layer].register_forward_hook(lambda module, inputs, output, layer=layer: seen.update({layer: output}))
        for layer in layers
    ]
    try:
        backbone(images)
    finally:
        for handle in handles:
            handle.remove()
    return {layer: seen[layer] for layer in layers}


def _load_in_order(backbone: Backbone, weights: dict[str, torch.Tensor]) -> None:
    """Both sides list their tensors from the image to the logits, so the names need no translation."""
    own = {name: tensor for name, tensor in backbone.state_dict().items() if not name.startswith("normalise.")}
    if [tensor.shape for tensor in own.values()] != [tensor.shape for tensor in weights.values()]:
        raise ValueError("these weights belong to another architecture: their shapes are not those of the network.")
    backbone.load_state_dict(dict(zip(own, weights.values(), strict=True)), strict=False)


# ---- torchvision -----------------------------------------------------------------------------------------------------


def _torchvision_weights(name: str) -> torchvision.models.WeightsEnum:
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise ValueError(
            f'There is no pretrained network "{name}".{nearest(name, [LITE0, *known])} Use "{LITE0}", or a name from '
            "torchvision.models.list_models(module=torchvision.models)."
        )
    return torchvision.models.get_model_weights(name).DEFAULT


def _from_torchvision(name: str) -> Backbone:
    weights = _torchvision_weights(name)
    try:
        body = torchvision.models.get_model(name, weights=weights)
    except OSError as error:
        raise ConnectionError(
            f'The weights of "{name}" ({weights.meta["_file_size"]:.0f} MB) could not be downloaded from {weights.url} '
            f'({error}). Without a network, use "{LITE0}".'
        ) from error
    *_, (place, head) = [(place, part) for place, part in body.named_modules() if not list(part.children())]
    if not isinstance(head, nn.Linear):
        raise ValueError(f'The classifier of "{name}" is not a linear layer, so it cannot be cut off here.')
    parent, _, last = place.rpartition(".")
    setattr(body.get_submodule(parent), last, nn.Identity())
    preset = weights.transforms()
    return Backbone(body, head, Normalise(preset.mean, preset.std), weights.meta["categories"])


# ---- frozen features -------------------------------------------------------------------------------------------------


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


@torch.no_grad()
def _kept(
    split: Split, size: int, name: str, what: str, look: Callable[[Backbone, torch.Tensor], list[torch.Tensor]]
) -> list[torch.Tensor]:
    """``look(network, batch of images)`` for the whole split, from disk if it was kept under the same key. ``what``
    says in the key what ``look`` does."""
    if not len(split):
        raise ValueError("the split is empty: there are no images to look at.")
    if size < 1:
        raise ValueError(f"an image needs at least 1 pixel a side, not {size}.")
    device = pick_device()
    weights = _LITE0_FILE if name == LITE0 else _torchvision_weights(name).url
    versions = (*_SOURCES, torch.__version__, torchvision.__version__)
    pixels = digest(split.images.contiguous().numpy())
    key = repr((versions, device.type, weights, size, what, tuple(split.images.shape), pixels))
    path = store.folder() / f"{digest(key.encode())}.features"
    keeps = os.environ.get("TDNN_STORE", "1") != "0"
    kept = store.read(path) if keeps else None
    if kept is not None:
        return torch.load(io.BytesIO(kept), weights_only=True)

    backbone = _folded(pretrained(name)).to(device, memory_format=torch.channels_last)
    found = []
    # In float32: bfloat16, 1.2 to 1.6 times as fast on a CPU with AMX, moves features by 3 to 5 % of their norm.
    with _all_cores(), progress(len(split), what) as bar:
        for images in split.images.split(_BATCH):
            images = images.to(device).float().div_(255)
            images = F.interpolate(images, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
            seen = look(backbone, images.contiguous(memory_format=torch.channels_last))
            found.append([one.float().cpu() for one in seen])
            bar.update(len(images))
    features = [torch.cat(parts).contiguous() for parts in zip(*found, strict=True)]
    if keeps:
        body = io.BytesIO()
        torch.save(features, body)
        store.write(path, body.getvalue())
    return features


@contextmanager
def _all_cores() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(joblib.cpu_count())
    try:
        yield
    finally:
        torch.set_num_threads(before)
