"""Fine-tuning a part of a pretrained network (paper, section V): the frozen part looks at each image only once.

The maps at the cut are computed beforehand (:func:`tdnn_helpers.measures.frozen.pretrained_maps`), and only what lies
above the cut is trained, on those maps.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from ..core.choices import check_known
from ..models.backbone import Backbone
from ..train.objectives import Batch, Objective, classification


class FixedNorms(nn.Sequential):
    """Layers in order, whose batch norms keep the mean and variance they came with, also while the rest is trained.

    ``requires_grad_(False)`` does not do that: those two are no parameters, and ``train()`` lets every batch move them.
    """

    def train(self, mode: bool = True) -> FixedNorms:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.eval()
        return self


def upper_part(backbone: Backbone, first: str) -> FixedNorms:
    """A copy of a backbone from the stage ``first`` up to the features, to be trained on the maps of the stage before.

    From the first stage of all on, it is the whole backbone, which takes N×3×H×W images in [0, 1] and normalises them.

    Raises ValueError for an unknown stage, and for a network whose body is not a plain sequence of stages (those of
    torchvision are not all).
    """
    if not isinstance(backbone.body, nn.Sequential):
        raise ValueError("the body of this network is not an nn.Sequential, so it cannot be cut between two stages.")
    stages, parts = list(backbone.stages), dict(backbone.body.named_children())
    check_known(first, stages, "stage")
    upper = list(parts.values())[list(parts).index(first) :]
    if first == stages[0]:
        upper.insert(0, backbone.normalise)
    # Channels last: an update of the stages from 3 on takes two thirds of the time on a CPU.
    return FixedNorms(*copy.deepcopy(upper)).requires_grad_(True).to(memory_format=torch.channels_last)


def on_stored(training: torch.Tensor, evaluation: torch.Tensor | None = None) -> Objective:
    """The objective of classification on stored inputs in place of the images: features or maps, N×…, in the order of
    the split.

    ``training`` belongs to the images that are trained on, ``evaluation`` to those that the model sees in eval mode
    (the validation split of ``fit``, or the split of ``evaluate``); by default they are the same images.
    """

    def on_inputs(model: nn.Module, batch: Batch):
        stored = training if model.training or evaluation is None else evaluation
        inputs = stored[batch.indices.to(stored.device)].to(batch.images.device)
        return classification(model, batch._replace(images=inputs))

    return on_inputs
