"""A training step as a CUDA graph: recorded once, then launched as a whole.

A small network's step is a hundred small kernels, and Python needs longer to launch them than the GPU to run them. A
graph launches all of them in one call, with the same arithmetic. What a graph cannot repeat is done step by step as
usual: whatever Python decides anew in each step. See the CUDA graphs section of PyTorch's notes on CUDA semantics.
"""

from __future__ import annotations

import random
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .step import Step

WARM_UP = 3  # steps before the recording: libraries choose their kernels, optimizers make their state


class CudaGraph:
    """What is needed of a CUDA graph; tests on a CPU put a recorder in its place."""

    def __init__(self, generator: torch.Generator):
        self._graph, self._stream = torch.cuda.CUDAGraph(), torch.cuda.Stream(generator.device)
        self._graph.register_generator_state(generator)  # its draws go on from launch to launch

    @contextmanager
    def warming_up(self) -> Iterator[None]:
        """A block on a stream of its own, as a recording asks for."""
        before = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(before)
        with torch.cuda.stream(self._stream):
            yield
        before.wait_stream(self._stream)

    def record(self, work: Callable[[], Any]) -> Any:
        """What ``work`` returns. Its kernels are noted and not run."""
        with torch.cuda.graph(self._graph, stream=self._stream):
            return work()

    def launch(self) -> None:
        """Run what was recorded, on the memory that it was recorded with."""
        self._graph.replay()


GRAPHS = {"cuda": CudaGraph}


class CapturedStep:
    """A step (as :class:`Step`) that is recorded after a few usual ones, for batches of one size.

    Other sizes go the usual way. What cannot be recorded goes it from then on, and a warning says why, once.
    """

    def __init__(self, step: Step, size: int, generator: torch.Generator, roots: tuple[Any, ...]):
        """``roots``: what might keep something from step to step: objective, augmentation."""
        self._step, self._size, self._done = step, size, 0
        self._watched = (step.run.model, *roots)
        self._groups = step.run.optimizer.param_groups
        device = step.run.losses.device
        reason = None
        if device.type not in GRAPHS:
            reason = f'there are no graphs on "{device.type}"'
        elif step.team.size > 1:
            reason = "several processes train together"
        elif step.run.scaler.is_enabled():
            reason = "float16 looks at its gradients in every step"
        self._usual = reason is not None
        if self._usual:
            self._give_up(reason)
            return
        self._graph = GRAPHS[device.type](generator)
        self._positions = torch.zeros(size, dtype=torch.int64, device=device)
        self._rates = [torch.zeros((), device=device) for _ in self._groups]
        # An optimizer takes part if its rate may be a tensor that the graph reads anew; others step after the graph.
        self._sgd = isinstance(step.run.optimizer, torch.optim.SGD)
        self._updates = self._sgd or all("capturable" in group for group in self._groups)
        for group in self._groups:
            if "capturable" in group:  # it then counts its steps on the device
                group["capturable"] = True

    def __call__(self, positions: torch.Tensor) -> tuple[dict[str, torch.Tensor], int]:
        if self._usual or len(positions) != self._size:
            return self._step(positions)
        if self._done < WARM_UP:
            return self._warm_up(positions)
        if self._done == WARM_UP:
            self._record()
        elif self._updates and self._frozen != self._settings():
            self._give_up("the schedule changes more than the learning rate")
        if self._usual:
            return self._step(positions)
        self._done += 1
        self._positions.copy_(positions)
        for rate, group in zip(self._rates, self._groups, strict=True):
            rate.fill_(group["lr"])
        self._graph.launch()
        if not self._updates:
            for parameter, gradient in self._gradients:  # a batch of another size has its own
                parameter.grad = gradient
            self._step.update()
        return self._recorded

    def _warm_up(self, positions: torch.Tensor) -> tuple[dict[str, torch.Tensor], int]:
        """A usual step; in the last one before the recording everything that a graph could not repeat is looked for."""
        self._done += 1
        with self._graph.warming_up():
            if self._done < WARM_UP:
                return self._step(positions)
            before, watch = kept(self._watched), Watch(positions.device)
            with watch:
                done = self._step.backward(positions)
            if watch.reason:
                self._give_up(watch.reason)
            elif not same(before, kept(self._watched)):
                self._give_up("the network, the objective or the augmentation keeps something from step to step")
            self._step.update()
        return done

    def _record(self) -> None:
        """Record a step, with rates that the graph reads from the device; the state stays as it is."""
        run, rates = self._step.run, [group["lr"] for group in self._groups]
        self._frozen = self._settings()
        run.optimizer.zero_grad(set_to_none=True)  # the gradients then lie in the graph's own memory
        try:
            for group, rate in zip(self._groups, self._rates, strict=True):
                group["lr"] = rate
                if self._sgd:  # of its three ways, this one alone reads the rate on the device
                    group |= {"fused": True, "foreach": False}
            self._recorded = self._graph.record(partial(self._work, self._positions))
        except Exception as error:  # whatever it is, the usual way can do it or says it better
            self._give_up(str(error).splitlines()[0])
        finally:
            for group, rate, settings in zip(self._groups, rates, self._frozen, strict=True):
                group.update(settings, lr=rate)
        self._gradients = [(p, p.grad) for p in run.model.parameters() if p.grad is not None]

    def _work(self, positions: torch.Tensor) -> tuple[dict[str, torch.Tensor], int]:
        measured, images = self._step.backward(positions)
        if self._updates:
            self._step.run.optimizer.step()
        return {name: torch.as_tensor(value).detach() for name, value in measured.items()}, images

    def _settings(self) -> list[dict[str, Any]]:
        """What a graph holds as constants: all settings of the optimizer but its rates."""
        return [{name: value for name, value in g.items() if name not in ("params", "lr")} for g in self._groups]

    def _give_up(self, reason: str) -> None:
        self._usual = True
        warnings.warn(f"the training steps are not captured: {reason}.", RuntimeWarning, stacklevel=4)


class Watch(TorchDispatchMode):
    """Counts the operations of torch inside its block, and names in ``reason`` the first that a graph cannot hold."""

    def __init__(self, device: torch.device):
        super().__init__()
        self.device, self.count, self.reason = device, 0, None
        self._random = _host_random()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        outputs = func(*args, **(kwargs or {}))
        self.count += 1
        name = func.name().removeprefix("aten::")
        if self.reason is None:
            if _waits(func, args):
                self.reason = f"{name} makes Python wait for a value or a shape"
            elif any(self._elsewhere(part, name) for part in tree_leaves((args, kwargs, outputs))):
                self.reason = f"{name} works outside of the device"
        return outputs

    def __exit__(self, *error):
        if self.reason is None and self._random != _host_random():
            self.reason = "Python or NumPy draws random numbers"
        return super().__exit__(*error)

    def _elsewhere(self, value: Any, name: str) -> bool:
        """A tensor on another device; a single number may lie on the CPU as long as nobody copies it."""
        is_tensor = isinstance(value, torch.Tensor) and value.device.type != self.device.type
        return is_tensor and (value.ndim > 0 or "copy" in name)


def _host_random() -> tuple[Any, ...]:
    kind, keys, *place = np.random.get_state()
    return random.getstate(), keys.tobytes(), *place


def _waits(func: Any, args: tuple[Any, ...]) -> bool:
    if func.name().startswith(("aten::index.", "aten::index_put", "aten::_index_put")):  # with a mask only
        return any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])
    return bool({torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & set(func.tags))


def kept(roots: Any, seen: set[int] | None = None) -> list[Any]:
    """All that these objects hold, in order: plain values, and tensors as themselves (their content may change)."""
    seen = set() if seen is None else seen
    if roots is None or isinstance(roots, (bool, int, float, str, torch.Tensor)):
        return [roots]
    if id(roots) in seen:
        return []
    seen.add(id(roots))
    if isinstance(roots, Mapping):
        parts = list(roots.values())
    elif isinstance(roots, (tuple, list, deque)):
        parts = list(roots)
    elif isinstance(roots, partial):
        parts = [roots.func, roots.args, roots.keywords]
    elif isinstance(roots, MethodType):
        parts = [roots.__self__]
    elif isinstance(roots, FunctionType):
        parts = [cell.cell_contents for cell in roots.__closure__ or ()]
    elif isinstance(roots, nn.Module) or hasattr(roots, "__dict__"):
        parts = list(vars(roots).values())
    else:
        parts = []
    slots = [getattr(roots, name, None) for kind in type(roots).__mro__ for name in getattr(kind, "__slots__", ())]
    return [value for part in [*parts, *slots] for value in kept(part, seen)]


def same(before: list[Any], after: list[Any]) -> bool:
    """Whether two results of :func:`kept` hold the same tensors and equal values."""
    return len(before) == len(after) and all(
        a is b or (not isinstance(a, torch.Tensor) and not isinstance(b, torch.Tensor) and a == b)
        for a, b in zip(before, after)
    )
