"""Activation functions that torch does not bring."""

from __future__ import annotations

import torch
from torch import nn


class Swish(nn.Module):
    """x · sigmoid(βx), element by element, with one β for the whole layer (Ramachandran, Zoph & Le, arXiv 1710.05941).

    β = 0 gives x / 2, β = 1 is SiLU, and a large β comes near ReLU. Input and output have the same shape.

    Args:
        beta: the value of β to start from.
        trainable: learn β with the weights; else it is a buffer, saved with them and never changed.
    """

    def __init__(self, beta: float = 1.0, *, trainable: bool = True):
        super().__init__()
        value = torch.tensor(float(beta))
        if trainable:
            self.beta = nn.Parameter(value)
        else:
            self.register_buffer("beta", value)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(self.beta * x)

    def extra_repr(self) -> str:
        return f"beta={self.beta.item():g}, trainable={isinstance(self.beta, nn.Parameter)}"
