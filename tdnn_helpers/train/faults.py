"""What can go wrong within a training step, said in one sentence: what it was, and what to do."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


class Diverged(RuntimeError):
    """The loss became NaN or infinite."""

    @classmethod
    def at(cls, step: int, steps: int, loss: float, rate: float) -> Diverged:
        return cls(
            f"the loss is {loss} at step {step} of {steps}, with a learning rate of {rate:.3g}. Three likely causes: "
            "the learning rate is too high, the inputs are not scaled (look at their mean and standard deviation), or "
            "the loss takes the log or root of 0."
        )


@contextmanager
def explain_errors(images: int, batch_size: int, attempt: Callable[[int], object] | None) -> Iterator[None]:
    """One sentence instead of what torch says when a step does not fit into memory, or normalises a single image.

    Args:
        images: of the training split.
        attempt: does the same step with so many images of the batch, and may fail; None if that cannot be tried.

    Raises:
        MemoryError: it names the largest half, quarter, … of the batch that fits.
        ValueError: batch normalisation of one value per channel.
    """
    batch_size = min(batch_size, images)
    try:
        yield
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold on to the memory of the step that failed
        raise MemoryError(
            f"a training step with batch_size={batch_size} needs more memory than there is: "
            f"try {_remedy(batch_size, attempt)}."
        ) from error
    except ValueError as error:
        if not str(error).startswith("Expected more than 1 value per channel"):
            raise
        over = images % batch_size
        left = f", and {images} images in batches of {batch_size} leave {over} over" if over else ""
        raise ValueError(
            f"batch normalisation cannot train on a single image{left}: choose another batch_size, or a network with "
            'norm="none".'
        ) from error


def _is_out_of_memory(error: RuntimeError) -> bool:
    # The words of CUDA and MPS, of the CPU under Linux and macOS, and of the CPU under Windows.
    phrases = ("out of memory", "can't allocate memory", "not enough memory")
    return any(phrase in str(error).lower() for phrase in phrases)


def _remedy(batch_size: int, attempt: Callable[[int], object] | None) -> str:
    size = batch_size // 2
    if attempt is None and size:
        return f"batch_size={size}"
    while size:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        try:
            attempt(size)
            return f"batch_size={size}, which fits"
        except Exception as error:
            if not (isinstance(error, RuntimeError) and _is_out_of_memory(error)):
                return f"batch_size={size}"
            traceback.clear_frames(error.__traceback__)
        size //= 2
    return "a smaller network or smaller images"
