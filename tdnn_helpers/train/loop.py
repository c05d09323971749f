"""One training loop for every kind of objective.

An *objective* turns (model, batch) into a loss and named metrics; the loop does not know which. The data stays on the
device as uint8; a batch is a slice that is augmented and scaled to [0, 1] there. Lesson 1 writes the same loop out in
a dozen lines and shows that both give the same numbers.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from ..core.device import pick_device, pick_precision
from ..core.progress_bars import progress, quiet
from ..core.randomness import untouched_random_state
from ..data.augment import Augment
from ..data.split import Split
from .batches import Order, batch_maker, ordered_batches, training_positions
from .captured import CapturedStep
from .checkpoint import Checkpoint
from .distributed import Team, in_all_processes
from .faults import Diverged, explain_errors
from .objectives import Batch, Objective, classification, regression  # noqa: F401 (a reader takes them from here)
from .run import History, Run
from .step import Step

CHECK_EVERY = 20  # steps between two looks at the losses on a CPU; a GPU would wait for each, so there it is a record


def sgd(lr: float = 0.1, *, momentum: float = 0.9, weight_decay: float = 5e-4) -> Callable:
    """The course's default optimizer: SGD with Nesterov momentum, as a function of the parameters."""
    return partial(torch.optim.SGD, lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=momentum > 0)


def one_cycle(optimizer: torch.optim.Optimizer, steps: int):
    """Learning rate up for the first quarter, then down to almost nothing; its peak is the optimizer's own rate.
    (A run of fewer than 10 steps has no step at the peak: its largest rate is 0.76 to 0.99 of it.)

    The momentum stays what it is: by default torch would cycle it too, and give momentum to an optimizer without any.
    """
    if steps == 1:  # nowhere to rise from
        return constant(optimizer, steps)
    rates = [group["lr"] for group in optimizer.param_groups]
    quarter = 0.26  # with 0.25 and a run of four steps, torch would divide by the zero steps before the peak
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rates, total_steps=steps, pct_start=quarter, cycle_momentum=False
    )


def constant(optimizer: torch.optim.Optimizer, steps: int):
    """The same learning rate throughout."""
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)


def fit(
    model: nn.Module,
    train: Split,
    *,
    objective: Objective = classification,
    val: Split | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int = 128,
    optimizer: Callable[..., torch.optim.Optimizer] | None = None,
    schedule: Callable = one_cycle,
    augment: Augment | None = None,
    order: Order | None = None,
    evaluate_every: int | None = None,
    patience: int | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    precision: torch.dtype = torch.float32,
    capture: bool | None = None,
    on_divergence: str = "raise",
    checkpoint: str | Path | None = None,
) -> History:
    """Train ``model`` in place and return its history.

    Each epoch visits every image once in a fresh random order, unless ``order`` says otherwise; the last batch may be
    smaller. The order, the augmentation and dropout follow from ``seed`` alone, and the caller's random state is left
    as it was.

    In a script that ``torchrun`` starts, all processes train one network together (:mod:`.distributed`). Each takes its
    part of every batch, and each returns the same history. The objective must then be a mean over
    images; one that compares the images of a batch with each other sees those of its process only.

    Args:
        model: moved to ``device``; takes float32 images in [0, 1], N×C×H×W.
        train, val: the training split, and a validation split that is evaluated as training goes on.
        objective: (model, :class:`Batch`) → (mean loss, {name: mean}).
        epochs, steps: how long; give exactly one.
        batch_size: images per step, of all processes together.
        optimizer: a function of the parameters, such as :func:`sgd` (the default, at its default rate) or
            ``partial(torch.optim.AdamW, lr=1e-3)``.
        schedule: (optimizer, number of steps) → a torch scheduler, stepped after every step.
        augment: see :mod:`tdnn_helpers.data.augment`.
        order: (steps done, generator) → positions in ``train``, int64, to visit next; they are cut into batches, and
            when all are visited it is asked again. It may leave images out or repeat them, and draws from the generator
            only (lesson 8). Default: all images in a fresh random order.
        evaluate_every: steps between two records (default: one epoch, or the whole run if that is shorter).
        patience: stop after this many records without a lower validation loss, and restore the best weights.
        seed: of the order of the images, the augmentation and dropout.
        precision: float32, or bfloat16 / float16 for mixed precision (float16 scales its gradients; CUDA only). See
            :func:`tdnn_helpers.core.device.pick_precision`.
        capture: on CUDA, record a step once as a CUDA graph and launch it as a whole: the same numbers up to rounding,
            many times the steps per second of a small network. What cannot be recorded is trained as usual, and a
            warning says why. Default: whether the environment variable TDNN_CAPTURE is 1.
        on_divergence: "raise" stops with :class:`Diverged`; "stop" ends the run and notes ``history.diverged_at``.
        checkpoint: a file that is saved at every record, at the end, and on Ctrl-C (after the step under way; then
            ``read_history(checkpoint)`` gives the history so far). The same call goes on from it, bit for bit on a CPU,
            and returns at once if the run had ended. An objective must keep nothing between steps for that.

    Raises:
        ValueError: settings that contradict each other, an empty split, a model output that does not fit the targets,
            an order that gives no valid positions, a checkpoint that is damaged or belongs to another run (it is left
            as it is), batch normalisation of a single image, processes that were called with different settings.
        Diverged: the loss became NaN or infinite.
        MemoryError: a step does not fit into memory; it names a batch size that does.
        PartnerLost: another of the processes that train together has stopped.
    """
    steps, every = _length(train, val, epochs, steps, batch_size, evaluate_every, patience, on_divergence)
    device = torch.device(device or pick_device())
    if precision == torch.bfloat16 and device.type == "cuda" and pick_precision(device) != precision:
        warnings.warn("this GPU only emulates bfloat16, slowly: take precision=pick_precision().", stacklevel=2)
    team = Team.join(device)
    held_out = None if val is None else len(val)
    team.same_call(images=len(train), val=held_out, steps=steps, batch_size=batch_size, every=every)
    model.to(device)
    optimizer = (optimizer or sgd())(model.parameters())
    settings = dict(
        steps=steps, batch_size=batch_size, seed=seed, precision=precision, patience=patience, evaluate_every=every,
        on_divergence=on_divergence, device=device.type, objective=objective, schedule=schedule, augment=augment,
    )  # fmt: skip
    settings |= {} if order is None else {"order": order}
    capture = os.environ.get("TDNN_CAPTURE") == "1" if capture is None else capture
    settings |= {"capture": True} if capture else {}
    file = Checkpoint(checkpoint, model, optimizer, {"train": train, "val": val}, team, **settings)
    if val is not None:  # it stays on the device too
        val = replace(val, images=val.images.to(device), targets=val.targets.to(device))
    scaler = torch.amp.GradScaler(device.type, enabled=precision == torch.float16)
    generator, losses = torch.Generator(device).manual_seed(seed), torch.zeros(steps, device=device)
    run = Run(model, optimizer, schedule(optimizer, steps), scaler, generator, History(), losses)

    with (
        team,
        file,
        untouched_random_state(),
        quiet() if team.rank else nullcontext(),
        progress(steps, "training") as bar,
        team.averaging(model, objective) as averaged,
    ):
        # Each process drops units for images of its own. (Torch's generator looks at 32 bits of a seed only.)
        torch.manual_seed(seed + 1_000_003 * team.rank)
        file.resume(run)
        model.train()
        if run.finished:
            return run.history
        positions = training_positions(train, batch_size, order, seed, run)
        step = Step(run, batch_maker(train, augment, generator), averaged, team, precision)
        size = min(batch_size, len(train))
        advance = CapturedStep(step, size, generator, objective, augment, order) if capture else step
        look = CHECK_EVERY if device.type == "cpu" else steps
        bar.update(run.step)
        while run.step < steps:
            file.between_steps(run, due=run.step % every == 0)
            run.add(*_advance(advance, step, positions, len(train), batch_size))
            bar.update()
            due = run.step % every == 0 or run.step == steps
            if (due or run.step - run.checked >= look) and run.diverged():
                break
            if due:
                run.record_train()
            if due and val is not None:
                measured = _evaluate_together(model, val, objective, device, team)
                model.train()
                bar.set_postfix({f"val {name}": f"{value:.3f}" for name, value in measured.items()}, refresh=False)
                if run.record_val(measured, patience):
                    break
        _finish(run, steps, team, on_divergence)
        file.save(run)
    return run.history


def _length(
    train: Split, val: Split | None, epochs: int | None, steps: int | None, batch_size: int,
    evaluate_every: int | None, patience: int | None, on_divergence: str,
) -> tuple[int, int]:  # fmt: skip
    """How many steps, and how many between two records; ValueError for a call that cannot be meant."""
    if (epochs is None) == (steps is None):
        raise ValueError("give either epochs or steps, and only one of them.")
    if not len(train):
        raise ValueError("the training split is empty.")
    if val is not None and not len(val):
        raise ValueError("the validation split is empty.")
    if batch_size < 1 or (evaluate_every is not None and evaluate_every < 1):
        raise ValueError(f"batch_size and evaluate_every are at least 1, not {batch_size} and {evaluate_every}.")
    if patience is not None and val is None:
        raise ValueError("patience needs a validation split: training data cannot say when to stop.")
    if on_divergence not in ("raise", "stop"):
        raise ValueError(f'on_divergence is "raise" or "stop", not "{on_divergence}".')
    per_epoch = -(-len(train) // batch_size)
    steps = steps if steps is not None else epochs * per_epoch
    if steps < 1:
        raise ValueError("training needs at least one step.")
    return steps, evaluate_every or min(per_epoch, steps)


def _advance(
    advance: Callable, step: Step, positions: Iterator[torch.Tensor], images: int, batch_size: int
) -> tuple[dict[str, torch.Tensor], int]:
    """The next step. ``advance`` does it, ``step`` is its usual form."""
    chosen = None

    def attempt(size: int) -> None:  # to find a batch that fits into memory
        step.attempt(chosen[:size])

    with explain_errors(images, batch_size, attempt if step.team.size == 1 else None):
        chosen = next(positions)
        return advance(chosen)


def _finish(run: Run, steps: int, team: Team, on_divergence: str) -> None:
    """The state that a run leaves behind; raises :class:`Diverged` if it is to be raised."""
    history = run.history
    history.seconds = run.seconds()
    if history.diverged_at is not None:
        history.step_losses = run.losses[: run.step].tolist()
        if on_divergence == "raise":
            loss, rate = history.step_losses[-1], run.rates[run.step - 1]
            raise in_all_processes(Diverged.at(run.step, steps, loss, rate))
    if run.best_weights is not None:
        run.model.load_state_dict(run.best_weights)
    team.same_buffers(run.model)
    run.finished = True


@torch.no_grad()
def evaluate(
    model: nn.Module,
    split: Split,
    *,
    objective: Objective = classification,
    batch_size: int = 512,
    device: torch.device | str | None = None,
) -> dict[str, float]:
    """Loss and metrics of ``model`` on a split, in eval mode: exact means over images, also with an uneven last batch.

    The model stays in eval mode and on ``device``. Raises ValueError for an empty split.
    """
    if not len(split):
        raise ValueError("the split is empty: there is nothing to evaluate.")
    device = torch.device(device or pick_device())
    model.to(device).eval()
    measured = []
    for batch in ordered_batches(split, batch_size, device):
        loss, metrics = objective(model, batch)
        measured.append((len(batch.images), {"loss": loss, **metrics}))
    # Read after the last batch: on a GPU each look waits for the device.
    return {name: sum(n * float(one[name]) for n, one in measured) / len(split) for name in measured[0][1]}


def _evaluate_together(
    model: nn.Module, split: Split, objective: Objective, device: torch.device, team: Team
) -> dict[str, float]:
    """The same, with each process on its part of the images."""
    team.same_buffers(model)
    place, share = team.part(len(split))
    measured = team.mean(evaluate(model, split[place], objective=objective, device=device), share)
    return {name: float(value) for name, value in measured.items()}


@torch.no_grad()
def predict(
    model: nn.Module, split: Split, *, batch_size: int = 512, device: torch.device | str | None = None
) -> torch.Tensor:
    """The model's output for every image, in order, in eval mode: float32 on the CPU (logits N×K for a classifier)."""
    device = torch.device(device or pick_device())
    model.to(device).eval()
    return torch.cat([model(batch.images).float().cpu() for batch in ordered_batches(split, batch_size, device)])
