"""Random numbers: seeds, streams for one purpose each, and random states that are left as they were."""

from __future__ import annotations

import hashlib
import random
from contextlib import contextmanager

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch (every device)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@contextmanager
def untouched_random_state():
    """Whatever is seeded or drawn inside, Python, NumPy and torch (every device) go on outside as if it were not."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
        if mps is not None:
            torch.mps.set_rng_state(mps)


def random_stream(seed: int, purpose: str) -> torch.Generator:
    """A torch generator for one purpose: other numbers for each purpose and each seed. Without this, the labels that
    ``with_label_noise(seed=0)`` changes would be the very images that ``take(seed=0)`` draws first."""
    digest = hashlib.sha256(f"{purpose} {seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:6], "big"))


def random_states(device: torch.device) -> list[torch.Tensor]:
    """The random state of torch: on the CPU, and on the device if that is another one."""
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    elif device.type == "mps":
        states.append(torch.mps.get_rng_state())
    return states


def set_random_states(states: list[torch.Tensor], device: torch.device) -> None:
    """What :func:`random_states` gave becomes the random state again."""
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)
    elif device.type == "mps":
        torch.mps.set_rng_state(states[1])
