"""The layers of EfficientNet-Lite0 (Tan and Le, arXiv 1905.11946), as its weights in data/pretrained expect them."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import nn

# Kernel, stride, expansion, channels and number of blocks of each stage (Tan & Le, 2019, table 1).
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


class SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow does it ("SAME"): the output has ⌈side / stride⌉ pixels, and an odd row or
    column of zeros goes to the bottom or the right. PyTorch's symmetric padding would shift every strided layer."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        if stride == 1:
            return F.conv2d(images, self.weight, self.bias, padding=kernel // 2, groups=self.groups)
        down, across = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in images.shape[2:])
        images = F.pad(images, (across // 2, across - across // 2, down // 2, down - down // 2))
        return F.conv2d(images, self.weight, self.bias, stride, groups=self.groups)


def _unit(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    convolution = SameConv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outputs, eps=1e-3), nn.ReLU6(inplace=True)]


class InvertedBottleneck(nn.Sequential):
    """Expand the channels, convolve each by itself, project them down; the input is added where the shapes agree
    (Sandler et al., 2018). EfficientNet's Lite models leave out squeeze-and-excitation and use ReLU6."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        wide = inputs * expansion
        expand = _unit(inputs, wide) if expansion > 1 else []
        super().__init__(*expand, *_unit(wide, wide, kernel, stride, groups=wide), *_unit(wide, outputs)[:2])
        self.residual = stride == 1 and inputs == outputs

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images + super().forward(images) if self.residual else super().forward(images)


def lite0_body() -> nn.Sequential:
    """Float images N×3×H×W, normalised → features, float N×1280. The weights are random."""
    parts, channels = OrderedDict(stem=nn.Sequential(*_unit(3, 32, 3, 2))), 32
    for number, (kernel, stride, expansion, outputs, repeats) in enumerate(_STAGES, start=1):
        blocks = [InvertedBottleneck(channels, outputs, kernel, stride, expansion)]
        blocks += [InvertedBottleneck(outputs, outputs, kernel, 1, expansion) for _ in range(repeats - 1)]
        parts[f"stage{number}"], channels = nn.Sequential(*blocks), outputs
    parts["top"] = nn.Sequential(*_unit(channels, 1280))
    return nn.Sequential(parts | {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()})
