"""Networks that have already seen ImageNet, ready to be transferred (paper, section V).

EfficientNet-Lite0 needs no download: its weights lie in data/. Any classification network of torchvision works too,
where there is a network to fetch its weights from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..core.choices import check_known, nearest
from ..data.shipped import verified
from . import efficientnet
from .networks import Normalise

if TYPE_CHECKING:
    import torchvision

LITE0 = "efficientnet-lite0"
_LITE0_FILE = "pretrained/efficientnet-lite0-57934424.pth"  # below data/; its name starts with its SHA-256


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
        import torchvision

        categories = torchvision.models.EfficientNet_B0_Weights.DEFAULT.meta["categories"]  # the same 1000
        inputs = Normalise([127 / 255] * 3, [128 / 255] * 3)
        backbone = Backbone(efficientnet.lite0_body(), nn.Linear(1280, 1000), inputs, categories)
        _load_in_order(backbone, torch.load(verified(_LITE0_FILE), map_location="cpu", weights_only=True))
    else:
        backbone = _from_torchvision(name)
    return backbone.eval()


def stage_maps(backbone: Backbone, images: torch.Tensor, layers: Sequence[str]) -> dict[str, torch.Tensor]:
    """What these stages give out for a batch of images (as the backbone takes them): stage → float N×C×H×W.

    ValueError for a name that is not in ``backbone.stages``.
    """
    stages, seen = backbone.stages, {}
    for layer in layers:
        check_known(layer, stages, "layer")
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


def weights_of(name: str) -> str:
    """What names the weights of a network: the course's file below data/, or torchvision's address; both hold a part of
    their SHA-256. ValueError for an unknown name."""
    return _LITE0_FILE if name == LITE0 else _torchvision_weights(name).url


def _torchvision_weights(name: str) -> torchvision.models.WeightsEnum:
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise ValueError(
            f'There is no pretrained network "{name}".{nearest(name, [LITE0, *known])} Use "{LITE0}", or a name from '
            "torchvision.models.list_models(module=torchvision.models)."
        )
    return torchvision.models.get_model_weights(name).DEFAULT


def _from_torchvision(name: str) -> Backbone:
    import torchvision

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
