"""What a network costs: multiply-accumulate operations (MACs), and the seconds that a machine really takes for them.

The parameters are counted by :func:`tdnn_helpers.models.count_parameters`.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Mapping

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


@torch.no_grad()
def count_macs(model: nn.Module, images: torch.Tensor) -> int:
    """Multiply-accumulate operations of one forward pass, for one image of this shape.

    PyTorch's own counter adds up the convolutions and matrix products, at two operations for a multiplication with its
    addition. Norms, activations and pooling are not in it, although they take time. Attention and recurrent layers are
    counted by their matrix products too: a copy on the CPU runs without the fused kernels that hide them.

    Args:
        images: float32 N×C×H×W; only the first one is used.
    """
    model, image = copy.deepcopy(model).cpu().eval(), images[:1].detach().cpu()  # the counter wants no gradients
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch speaks of Intel GPUs when oneDNN is switched
            with torch.backends.mkldnn.flags(enabled=False), FlopCounterMode(display=False) as counter:
                model(image)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return counter.get_total_flops() // 2


def step_seconds(models: Mapping[str, nn.Module], images: torch.Tensor, rounds: int = 5) -> dict[str, list[float]]:
    """Seconds of a forward and a backward pass of each model, ``rounds`` times: name → list of seconds.

    The models take turns, so that whatever else the machine does meets all of them; a first round, in which memory is
    found and kernels are chosen, does not count. The median of a list is the number to compare.

    Args:
        models: on the device of the images. Copies of them are timed, in training mode.
        images: float32 N×C×H×W, one batch.

    Raises ValueError for fewer than one round.
    """
    if rounds < 1:
        raise ValueError(f"a time needs at least 1 round, not {rounds}.")
    models = {name: copy.deepcopy(model).train() for name, model in models.items()}
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(rounds + 1):
        for name, model in models.items():
            model.zero_grad(set_to_none=True)
            _wait(images.device)
            start = time.perf_counter()
            model(images).square().mean().backward()
            _wait(images.device)
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def _wait(device: torch.device) -> None:
    """Until the device has done all it was given: a GPU answers before it has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
