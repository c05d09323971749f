"""Stands in for a CUDA graph on a CPU: notes every operation below autograd, undoes them, and repeats them on the very
memory that they had. What a graph would freeze, it freezes too."""

from contextlib import nullcontext

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves


def tensors(*values):
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)]


class Tape(TorchDispatchMode):
    """Notes calls, and a copy of each tensor that comes from outside, as it was."""

    def __init__(self):
        super().__init__()
        self.calls, self.outside, self._made = [], {}, set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        for tensor in tensors(args, kwargs):
            if id(tensor) not in self._made:
                self.outside.setdefault(id(tensor), (tensor, tensor.detach().clone()))
        outputs = func(*args, **(kwargs or {}))
        self._made |= {id(tensor) for tensor in tensors(outputs)} - self.outside.keys()
        self.calls.append((func, args, kwargs or {}, outputs))
        return outputs


class Recorder:
    launches = 0  # of all recorders
    recovers = True
    warming_up = staticmethod(nullcontext)

    def __init__(self, generator):
        self.generator = generator

    def record(self, work):
        states = torch.get_rng_state(), self.generator.get_state()
        with Tape() as self.tape:
            result = work()
        with torch.no_grad():
            for tensor, before in self.tape.outside.values():
                tensor.copy_(before)
        torch.set_rng_state(states[0])
        self.generator.set_state(states[1])
        return result

    @torch.no_grad()
    def launch(self):
        Recorder.launches += 1
        with _disable_current_modes():
            for func, args, kwargs, outputs in self.tape.calls:
                aliases = [result.alias_info for result in func._schema.returns]
                if any(alias is not None and not alias.is_write for alias in aliases):
                    continue  # a view of memory that the tape fills
                for old, new in zip(tensors(outputs), tensors(func(*args, **kwargs)), strict=True):
                    old.copy_(new)
