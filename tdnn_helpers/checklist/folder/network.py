"""The user's own network: built, tried on two images, and trained briefly."""

from __future__ import annotations

import copy
import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from ...core.choices import nearest
from ...core.device import pick_device
from ...data.split import Split
from ...models.networks import small_cnn
from ...train.batches import ordered_batches
from ...train.loop import fit
from ...train.run import History
from ..case import describe

SEEN = 12_000  # images that a brief training passes through the network, in 2 to 30 epochs
COUNTS = ("num_classes", "n_classes", "nclasses", "classes", "outputs", "n_outputs", "num_outputs", "out_features")

Maker = nn.Module | Callable[..., nn.Module]


def from_file(place: str) -> Maker:
    """What ``file.py:Name`` names: a class, a function that makes a network, or a network. **The file is executed.**

    Raises ValueError if there is no such file or name, or the file cannot be executed.
    """
    file, _, name = place.rpartition(":") if ".py:" in place else (place, "", "")
    path = Path(file).expanduser()
    if path.suffix != ".py" or not path.is_file():
        raise ValueError(f'there is no model file "{file}": give it as file.py:ClassName.')
    spec = importlib.util.spec_from_file_location(f"tdnn_user_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # pickle and dataclasses look a class's module up there
    before = sys.path[:]
    sys.path.insert(0, str(path.parent.resolve()))  # its imports of files beside it
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f'the model file "{file}" stops with {_said(error)}.') from error
    finally:
        sys.path[:] = before
    if not name or not hasattr(module, name):
        classes = [one for one in vars(module).items() if inspect.isclass(one[1]) and issubclass(one[1], nn.Module)]
        own = [key for key, one in classes if one.__module__ == module.__name__]
        held = f" It holds {', '.join(own)}." if own else ""
        asked = f'there is no "{name}" in "{file}".{nearest(name, own)}' if name else f'say which network of "{file}".'
        raise ValueError(f"{asked} Give it as {path.name}:{own[0] if own else 'ClassName'}.{held}")
    return getattr(module, name)


def build_network(model: Maker | None, train: Split) -> nn.Module:
    """A network for these images: a copy of an instance, or what a class or a function makes.

    A class or function may take nothing, the number of classes, or (if it calls that ``train``) the training split.
    """
    if model is None:
        return small_cnn(train)
    if isinstance(model, nn.Module):
        return copy.deepcopy(model)
    if not callable(model):
        raise ValueError(
            f"model must be an nn.Module, a class or a function that makes one, not {type(model).__name__}."
        )
    name = getattr(model, "__name__", type(model).__name__)
    try:
        parameters = inspect.signature(model).parameters.values()
    except (TypeError, ValueError):
        parameters = ()
    ways = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    needed = [p.name for p in parameters if p.default is p.empty and p.kind in ways]
    offered = {"train": train, "split": train, **dict.fromkeys(COUNTS, len(train.classes))}
    asked = [p.name for p in parameters if p.kind in ways and (p.name in COUNTS or p.name in needed)]
    given = {one: offered[one] for one in asked if one in offered}
    from_torchvision = str(getattr(model, "__module__", "")).startswith("torchvision.")
    if from_torchvision and any(p.kind is p.VAR_KEYWORD for p in parameters):
        given["num_classes"] = len(train.classes)  # its builders take it as a further keyword
    unknown = [one for one in needed if one not in given]
    if unknown:
        raise ValueError(
            f"{name} asks for {', '.join(unknown)}, which the checklist does not know: give a function without "
            f"arguments, such as model=lambda: {name}(…)."
        )
    try:
        made = model(**given)
    except Exception as error:
        raise ValueError(f"{name} cannot be made ({_said(error)}).") from error
    if not isinstance(made, nn.Module):
        raise ValueError(f"{name} gives a {type(made).__name__}, but it must give an nn.Module.")
    return made


def adapt_splits(model: nn.Module, *splits: Split) -> tuple[Split, ...]:
    """The splits as the network takes them: as they are, or with one channel if it wants that and all images are grey.

    Raises ValueError with one sentence if it cannot be run on them, or does not give one row of N×K logits.
    """
    complaint = _complaint(model, splits[0])
    grey = all(bool((s.images[:, :1] == s.images).all()) for s in splits) if complaint else False
    if grey:
        single = tuple(replace(s, images=s.images[:, :1].contiguous()) for s in splits)
        if not _complaint(model, single[0]):
            return single
    if complaint:
        raise ValueError(complaint)
    return splits


@torch.no_grad()
def _complaint(model: nn.Module, train: Split) -> str:
    device, classes = pick_device(), len(train.classes)
    images = next(ordered_batches(train[:2], 2, device)).images
    shape = "×".join(map(str, images.shape[1:]))
    tried = copy.deepcopy(model).to(device).eval()
    try:
        outputs = tried(images)
    except Exception as error:
        return (
            f"the model cannot be run on float images N×{shape} in [0, 1] ({_said(error)}): give the size it was made "
            "for, or end its convolutions in nn.AdaptiveAvgPool2d."
        )
    if not isinstance(outputs, torch.Tensor):
        return f"the model gives a {type(outputs).__name__}, but it must give one tensor of N×{classes} logits."
    if outputs.ndim != 2 or len(outputs) != 2 or outputs.shape[1] < classes:
        return (
            f"the model's output for 2 images has shape {tuple(outputs.shape)}, but {classes} classes need "
            f"(2, {classes}): end it in nn.Linear(…, {classes})."
        )
    return ""


def train_briefly(model: nn.Module, train: Split, val: Split, epochs: int | None, seed: int) -> History | None:
    """Adam with decoupled weight decay at 0.001, one cycle: a rate that most networks bear. None for 0 epochs."""
    if epochs is None:
        epochs = min(30, max(2, SEEN // len(train)))
    if epochs == 0:
        return None
    # Batch normalisation cannot train on a single image that is left over.
    batch_size = next((size for size in range(64, 70) if len(train) % size != 1), 64)
    optimizer = partial(torch.optim.AdamW, lr=1e-3)
    settings = dict(epochs=epochs, batch_size=batch_size, optimizer=optimizer, seed=seed, on_divergence="stop")
    try:
        return fit(model, train, val=val, **settings)
    except (AttributeError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"the model can be run but not trained ({_said(error)}): in training mode too it must give one tensor of "
            "logits that depends on its parameters."
        ) from error


def _said(error: Exception) -> str:
    return describe(error).rstrip(".")
