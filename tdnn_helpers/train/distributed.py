"""One network, trained by several processes: one for each GPU, or one for each machine without a GPU.

``torchrun`` starts the processes, and ``fit`` finds them. Each draws the same batch and the same augmentation, trains
on its part of the batch, and the gradients are averaged (:class:`torch.nn.parallel.DistributedDataParallel`): after
every step all hold the same network, which is that of one process up to rounding. See Li et al., "PyTorch Distributed:
Experiences on Accelerating Data Parallel Training", VLDB 2020.
"""

from __future__ import annotations

import atexit
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

WAIT = timedelta(minutes=5)  # how long a process waits for the others before it gives up


class PartnerLost(RuntimeError):
    """Another of the processes that train together has stopped, or does not answer."""


def launched() -> bool:
    """Whether this is one of several processes that torchrun started, or that a script has joined in a group."""
    if not dist.is_available():
        return False
    if dist.is_initialized():
        return dist.get_world_size() > 1
    return dist.is_torchelastic_launched() and int(os.environ["WORLD_SIZE"]) > 1


class Team:
    """The processes that train one network together. A process alone is a team of one, for which all this is nothing.

    As a context manager around the training, it notes if this process fails in a way that the others may not share.
    They find that out when this process ends (:class:`PartnerLost`), at the latest after five minutes.
    """

    _failed = False  # in this process: where the others are now, nobody knows

    def __init__(self, rank: int = 0, size: int = 1, device: torch.device | None = None):
        self.rank, self.size, self.device = rank, size, device

    @classmethod
    def join(cls, device: torch.device) -> Team:
        """The team of this process. Sets up the group if the script has not, and gives each process its own GPU.

        Raises:
            ValueError: a device on which torch cannot train together, or fewer GPUs than processes.
            PartnerLost: this process has failed before.
        """
        if not launched():
            return cls()
        if cls._failed:
            raise PartnerLost("a process that failed cannot train together with the others again: start all anew.")
        if device.type not in ("cpu", "cuda"):
            raise ValueError(f'processes train together on CPUs or on NVIDIA GPUs, not on "{device.type}".')
        if device.type == "cuda" and device.index is None:
            place, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
            if place >= gpus:
                raise ValueError(f"there are more processes than GPUs here: torchrun --nproc-per-node {gpus}.")
            torch.cuda.set_device(place)
        if not dist.is_initialized():
            backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
            dist.init_process_group(backend, timeout=WAIT)
            atexit.register(_leave)
        return cls(dist.get_rank(), dist.get_world_size(), device)

    def __enter__(self) -> Team:
        return self

    def __exit__(self, kind, error, traceback) -> None:
        if self.size == 1 or error is None or getattr(error, "in_all_processes", False):
            return
        Team._failed = True
        if isinstance(error, RuntimeError) and _is_about_the_connection(error):
            raise PartnerLost(
                f"process {self.rank} (of {self.size}) has lost another one: it stopped, and its own message says why, "
                "or it did not answer for minutes."
            ) from error

    def part(self, n: int) -> tuple[slice, float]:
        """Which of n images are this process's, and what share of n they are.

        All must take part in every exchange. Where there are fewer images than processes, the last ones therefore get
        the first image, with a share of 0.
        """
        start, end = (-(-n * place // self.size) for place in (self.rank, self.rank + 1))
        return (slice(start, end), (end - start) / n) if start < end else (slice(0, 1), 0.0)

    def mean(self, values: Mapping[str, Any], share: float) -> dict[str, Any]:
        """The means over all images, from each process's means over its part and the part's share."""
        if self.size == 1:
            return dict(values)
        columns = [torch.as_tensor(value, device=self.device).detach().double() for value in values.values()]
        means = torch.stack(columns) * share
        dist.all_reduce(means)
        return dict(zip(values, means.unbind(), strict=True))

    def gather(self, value: Any) -> list[Any]:
        """The value of every process, in every process."""
        values = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value)
        return values

    def from_first(self, work: Callable[[], Any]) -> Any:
        """What ``work`` gives in the first process, in every process; what it raises there is raised in all."""
        outcome: list[Any] = [None, None]
        if self.rank == 0:
            try:
                outcome[0] = work()
            except Exception as error:
                outcome[1] = error
        if self.size > 1:
            dist.broadcast_object_list(outcome)
        if outcome[1] is not None:
            raise in_all_processes(outcome[1])
        return outcome[0]

    def same_call(self, **settings: Any) -> None:
        """ValueError if the processes were called with different settings: they would wait for each other for ever."""
        calls = self.gather(settings)
        for name in settings:
            values = [call[name] for call in calls]
            if len(set(values)) > 1:
                raise in_all_processes(
                    ValueError(f"every process must be called alike, but {name} differs between them: {values}.")
                )

    def same_buffers(self, model: nn.Module) -> None:
        """Give every process the buffers of the first, among them the running statistics of batch normalisation."""
        if self.size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, 0)

    @contextmanager
    def averaging(self, model: nn.Module, objective: Callable) -> Iterator[Callable]:
        """The objective, with gradients that are averaged over the processes, from the first process's weights on.

        Batch normalisation takes its statistics over the whole batch on GPUs. On CPUs torch has no means for that.
        """
        if self.size == 1:
            yield objective
            return
        step, norms = _Step(model, objective), _batch_norms(model)
        if self.device.type == "cuda":
            step = nn.SyncBatchNorm.convert_sync_batchnorm(step)
        elif norms and self.rank == 0:
            warnings.warn(
                f"On CPUs each of the {self.size} processes normalises its part of a batch by the statistics of that "
                'part, so the result is not that of one process: train on GPUs, or with norm="none".',
                stacklevel=4,
            )
        together = nn.parallel.DistributedDataParallel(step)
        try:
            yield lambda model, batch: together(batch)
        finally:
            for owner, name, norm in norms:  # they share weights and statistics with what stood in for them
                setattr(owner, name, norm)

    def check_gradients(self, model: nn.Module) -> None:
        """ValueError if a parameter got no gradient: DistributedDataParallel waits for those of all parameters."""
        if self.size == 1:
            return
        idle = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
        if idle:
            raise in_all_processes(
                ValueError(
                    f'the loss does not depend on the weights "{idle[0]}": several processes can train only networks '
                    "that use all weights in every step. Switch these off with requires_grad_(False)."
                )
            )


class _Step(nn.Module):
    """An objective as a module, because DistributedDataParallel watches over the forward pass of one."""

    def __init__(self, model: nn.Module, objective: Callable):
        super().__init__()
        self.model = model
        self.objective = (objective,)  # not a part of the network, even if it is a module

    def forward(self, batch):
        return self.objective[0](self.model, batch)


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _batch_norms(model: nn.Module) -> list[tuple[nn.Module, str, nn.Module]]:
    kind = nn.modules.batchnorm._BatchNorm
    return [
        (owner, name, part)
        for owner in model.modules()
        for name, part in owner.named_children()
        if isinstance(part, kind)
    ]


def in_all_processes(error: BaseException) -> BaseException:
    """Mark an error that every process raises at the same point: none of them then waits for another."""
    error.in_all_processes = True
    return error


def _is_about_the_connection(error: RuntimeError) -> bool:
    words = ("gloo", "nccl", "connection", "timed out")
    return isinstance(error, getattr(dist, "DistError", ())) or any(word in str(error).lower() for word in words)
