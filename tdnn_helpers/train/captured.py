"""A training step as a CUDA graph: recorded once, then launched as a whole.

A small network's step is a hundred small kernels, and Python needs longer to launch them than the GPU to run them. A
graph launches all of them in one call, with the same arithmetic. What a graph cannot repeat is done step by step as
usual: whatever Python decides anew in each step. See the CUDA graphs section of PyTorch's notes on CUDA semantics.
"""

from __future__ import annotations

import random
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
    SimpleNamespace,
    WrapperDescriptorType,
)
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .step import Step

SEALED = sys.stdlib_module_names | {"numpy", "scipy", "sklearn", "PIL"}  # much of them is written in C
LIBRARIES = SEALED | {"torch", "torchvision", "tdnn_helpers"}
PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...), torch.dtype, torch.device, torch.memory_format)
NO_STATE = (ModuleType, CodeType, BuiltinFunctionType, np.ufunc)
NO_STATE += (MethodDescriptorType, WrapperDescriptorType, MemberDescriptorType, GetSetDescriptorType)
WARM_UP = 3  # steps before the recording: libraries choose their kernels, optimizers make their state


class CudaGraph:
    """What is needed of a CUDA graph; tests on a CPU put a recorder in its place."""

    # Older versions leave generators and memory pool in the middle of a recording that fails.
    recovers = torch.__version__ >= "2.12"

    def __init__(self, generator: torch.Generator):
        self._graph, self._stream = torch.cuda.CUDAGraph(), torch.cuda.Stream(generator.device)
        if torch.__version__ < "2.14":  # later ones find the generators by themselves
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
        with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
            return work()

    def launch(self) -> None:
        """Run what was recorded, on the memory that it was recorded with."""
        self._graph.replay()


GRAPHS = {"cuda": CudaGraph}
INSIDE = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)  # exactly these can read a rate on the device


class CapturedStep:
    """A step (as :class:`~tdnn_helpers.train.step.Step`) that is recorded after a few usual ones, for batches of one
    size.

    Other sizes go the usual way. What cannot be recorded goes it from then on, and a warning says why, once. After
    each record of the run, everything that the recording took for fixed is compared again. An objective must not read
    the gradients of the step before.
    """

    def __init__(self, step: Step, size: int, generator: torch.Generator, objective: Any, augment: Any, order: Any):
        """``objective``, ``augment``: what is looked through for anything that changes from step to step."""
        self._step, self._size, self._done, self._usual = step, size, 0, False
        run, device = step.run, step.run.losses.device
        self._watched = (run.model, objective, augment)
        self._groups = run.optimizer.param_groups
        schedule = type(run.scheduler).__module__.partition(".")[0]
        for hinders, reason in (
            (device.type not in GRAPHS, f'there are no graphs on "{device.type}"'),
            (step.team.size > 1, "several processes train together"),
            (run.scaler.is_enabled(), "float16 looks at its gradients in every step"),
            (order is not None, "an order of your own may change anything"),
            (schedule != "torch", "a schedule of your own may change anything"),
        ):
            if hinders:
                return self._give_up(reason)
        self._graph = GRAPHS[device.type](generator)
        self._positions = torch.zeros(size, dtype=torch.int64, device=device)
        self._rates = [torch.zeros((), device=device) for _ in self._groups]
        # Other optimizers step after the graph. One that was used before may count its steps on the CPU.
        state = [value for values in run.optimizer.state.values() for value in values.values()]
        counts_here = all(value.device.type == device.type for value in state if isinstance(value, torch.Tensor))
        hooks = run.optimizer._optimizer_step_pre_hooks or run.optimizer._optimizer_step_post_hooks
        self._updates = type(run.optimizer) in INSIDE and counts_here and not hooks
        for group in self._groups if self._updates else ():
            group |= {"capturable": True} if "capturable" in group else {}  # it then counts them on the device

    def __call__(self, positions: torch.Tensor) -> tuple[dict[str, torch.Tensor], int]:
        if self._usual or len(positions) != self._size:
            return self._step(positions)
        if self._done < WARM_UP:
            return self._warm_up(positions)
        if self._done == WARM_UP:
            self._record()
        elif self._frozen != self._settings():
            self._give_up("the optimizer changes more than its learning rate")
        elif self._records != len(self._step.run.history.rows):  # Python has run since: validation
            self._look_again()
        if self._usual:
            return self._step(positions)
        self._done += 1
        self._positions.copy_(positions)
        if self._updates:
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
            if self._done == WARM_UP - 1:
                self._held = self._look()
            if self._done < WARM_UP:
                return self._step(positions)
            watch = Watch(positions.device)
            with watch:
                measured, images = self._step.backward(positions)
            if watch.reason:
                self._give_up(watch.reason)
            elif not all(isinstance(value, torch.Tensor) for value in measured.values()):
                self._give_up("a metric is a number of Python, which a graph would repeat")
            self._step.update()
        return measured, images

    def _look(self) -> list[Any]:
        """All that the recording takes for fixed."""
        try:
            return kept(self._watched)
        except Exception as error:  # whatever a stranger's object raises, the usual way can go on
            self._give_up(f"it cannot be seen what may change from step to step ({error or type(error).__name__})")
            return []

    def _look_again(self) -> None:
        self._records = len(self._step.run.history.rows)
        if not self._usual and not same(self._held, self._look()) and not self._usual:
            self._give_up("the network, the objective or the augmentation keeps something from step to step")

    def _record(self) -> None:
        """Record a step, with rates that the graph reads from the device; the state stays as it is."""
        self._look_again()
        if self._usual:
            return
        run, rates = self._step.run, [group["lr"] for group in self._groups]
        self._frozen, settings = self._settings(), [dict(group) for group in self._groups]
        run.optimizer.zero_grad(set_to_none=True)  # the gradients then lie in the graph's own memory
        try:
            for group, rate in zip(self._groups, self._rates, strict=True):
                group["lr"] = rate
                if type(run.optimizer) is torch.optim.SGD:  # of its three ways, this one alone reads the rate there
                    group |= {"fused": True, "foreach": False}
            self._recorded = self._graph.record(partial(self._work, self._positions))
        except Exception as error:  # whatever it is, the usual way can do it or says it better
            why = (str(error) or type(error).__name__).splitlines()[0]
            if not self._graph.recovers:
                raise RuntimeError(
                    f"the training step could not be captured ({why}), and torch {torch.__version__} cannot go on "
                    "after that: restart the program, and train with capture=False."
                ) from error
            del self._graph
            self._give_up(why)
        finally:
            for group, before, rate in zip(self._groups, settings, rates, strict=True):
                group |= before | {"lr": rate}
        self._gradients = [(p, p.grad) for p in run.model.parameters() if p.grad is not None]

    def _work(self, positions: torch.Tensor) -> tuple[dict[str, torch.Tensor], int]:
        measured, images = self._step.backward(positions)
        if self._updates:
            self._step.run.optimizer.step()
        return {name: value.detach() for name, value in measured.items()}, images

    def _settings(self) -> list[dict[str, Any]]:
        """What a graph holds as constants: all settings of the optimizer but its rates, and which weights it moves."""
        return [
            {name: value for name, value in group.items() if name not in ("params", "lr")}
            | {"params": [(id(weight), weight.requires_grad) for weight in group["params"]]}
            for group in self._groups
        ]

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
            elif any(map(self._elsewhere, tree_leaves((args, kwargs, outputs)))):
                self.reason = f"{name} works outside of the device"
        return outputs

    def __exit__(self, *error):
        if self.reason is None and self._random != _host_random():
            self.reason = "Python or NumPy draws random numbers"
        return super().__exit__(*error)

    def _elsewhere(self, value: Any) -> bool:
        """A tensor on another device; a graph would keep the value that it had."""
        return isinstance(value, torch.Tensor) and value.device.type != self.device.type


def _host_random() -> tuple[Any, ...]:
    kind, keys, *place = np.random.get_state()
    return random.getstate(), keys.tobytes(), *place


def _waits(func: Any, args: tuple[Any, ...]) -> bool:
    if func.name().startswith(("aten::index.", "aten::index_put", "aten::_index_put")):  # with a mask only
        return any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])
    return bool({torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & set(func.tags))


def kept(thing: Any, seen: dict[int, Any] | None = None) -> list[Any]:
    """All that an object holds, in order: plain values, and tensors with their place in memory (their content may
    change, a graph reads it anew). TypeError for what may hold something that cannot be seen."""
    seen = {} if seen is None else seen
    if isinstance(thing, PLAIN):
        return [thing]
    if id(thing) in seen:
        return []
    seen[id(thing)] = thing  # kept alive, so that no other object gets its id
    if isinstance(thing, torch.Tensor):
        hooks = getattr(thing, "_backward_hooks", None), getattr(thing, "_post_accumulate_grad_hooks", None)
        place = thing.data_ptr() if thing.layout == torch.strided else 0
        return [thing, place, thing.requires_grad, *kept(hooks, seen)]
    if isinstance(thing, np.ndarray) and not thing.dtype.hasobject:
        return [thing.tobytes()]
    if isinstance(thing, NO_STATE) or _is_of_a_library(thing):
        return []
    return [thing if isinstance(thing, type) else type(thing), *(v for part in _parts(thing) for v in kept(part, seen))]


def _parts(thing: Any) -> list[Any]:
    """What an object refers to."""
    if isinstance(thing, Mapping):
        return [*thing.keys(), *thing.values()]
    if isinstance(thing, (tuple, list, deque)):
        return list(thing)
    if isinstance(thing, (set, frozenset)):
        return sorted(thing, key=repr)
    if isinstance(thing, partial):
        return [thing.func, thing.args, thing.keywords]
    if isinstance(thing, (MethodType, staticmethod, classmethod)):
        return [getattr(thing, "__self__", None), thing.__func__]
    if isinstance(thing, property):
        return [thing.fget, thing.fset, thing.fdel]
    if isinstance(thing, FunctionType):
        cells = [cell.cell_contents for cell in thing.__closure__ or ()]
        return [*cells, thing.__defaults__, thing.__kwdefaults__, vars(thing), *_globals(thing)]
    if isinstance(thing, type):
        return [value for name, value in sorted(vars(thing).items()) if not name.startswith("__")]
    if type(thing).__module__.partition(".")[0] in SEALED and not isinstance(thing, SimpleNamespace):
        raise TypeError(f"a {type(thing).__name__}")  # it may keep something where Python cannot look
    if not hasattr(thing, "__dict__") and not any("__slots__" in vars(kind) for kind in type(thing).__mro__):
        raise TypeError(f"a {type(thing).__name__}")
    slots = [name for kind in type(thing).__mro__ for name in vars(kind).get("__slots__", ())]
    if any(name.startswith("__") and name not in ("__dict__", "__weakref__") for name in slots):
        raise TypeError(f"a {type(thing).__name__}")
    return [type(thing), getattr(thing, "__dict__", None), *(getattr(thing, name, None) for name in slots)]


def _globals(function: FunctionType) -> list[Any]:
    """The global variables that a reader's own function names, also inside of the functions in it."""
    if function.__module__.partition(".")[0] in LIBRARIES:
        return []
    codes, names = [function.__code__], set()
    while codes:
        code = codes.pop()
        names |= set(code.co_names)
        codes += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return [function.__globals__[name] for name in sorted(names) if name in function.__globals__]


def _is_of_a_library(thing: Any) -> bool:
    """A class of an installed package, or a function that lies there as it is: neither belongs to a run."""
    if not isinstance(thing, (type, FunctionType)):
        return False
    of_library = str(thing.__module__).partition(".")[0] in LIBRARIES
    return of_library and (isinstance(thing, type) or not (thing.__closure__ or vars(thing)))


def same(before: list[Any], after: list[Any]) -> bool:
    """Whether two results of :func:`kept` hold the same tensors and equal values."""
    return len(before) == len(after) and all(
        a is b or (not isinstance(a, torch.Tensor) and not isinstance(b, torch.Tensor) and a == b)
        for a, b in zip(before, after)
    )
