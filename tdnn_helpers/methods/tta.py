"""Test-time augmentation: ask a trained network about several views of each image, and combine its answers.

A *view* is a function ``images -> images`` on float32 images N×C×H×W in [0, 1]; it treats all images alike and draws
nothing at random, so that a prediction is the same each time. Views go by name: ``{"as it is": as_it_is, "moved":
move(0, 1)}``. (Paper, section VI-B; Krizhevsky, Sutskever and Hinton, NeurIPS 2012, averaged ten crops and flips.)
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import nn

from ..core.choices import check_known
from ..core.device import pick_device
from ..data.augment import Augment
from ..data.split import Split

View = Callable[[torch.Tensor], torch.Tensor]
RULES = ("mean", "mean logit", "median", "vote", "max", "min", "product")


def as_it_is(images: torch.Tensor) -> torch.Tensor:
    """The image itself: without test-time augmentation this is the only view."""
    return images


def mirror(images: torch.Tensor) -> torch.Tensor:
    """Left and right swapped."""
    return images.flip(-1)


def move(rows: int, columns: int) -> View:
    """Down by ``rows`` pixels and to the right by ``columns`` (negative: up, left); what comes in is black."""

    def view(images: torch.Tensor) -> torch.Tensor:
        return F.pad(images, (columns, -columns, rows, -rows))  # a negative width cuts off

    return view


def every(*families: Mapping[str, View]) -> dict[str, View]:
    """Every combination of one view from each family, applied in this order and named "first, second".

    :func:`as_it_is` goes without a name, unless nothing else is left. Put it first in each family: then the image
    itself is the first combination.
    """

    def one_after_another(steps: tuple[View, ...]) -> View:
        def view(images: torch.Tensor) -> torch.Tensor:
            for step in steps:
                images = step(images)
            return images

        return view

    views = {}
    for parts in itertools.product(*(family.items() for family in families)):
        changes = [(name, step) for name, step in parts if step is not as_it_is]
        name = ", ".join(name for name, _ in changes) or "as it is"
        views[name] = one_after_another(tuple(step for _, step in changes))
    return views


def one_of(views: Mapping[str, View]) -> Augment:
    """The training policy that fits these views: an augmentation that shows each image in one of them, at random."""
    _check_views(views)

    def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        drawn = torch.randint(len(views), (len(images),), generator=generator, device=images.device)
        shown = torch.empty_like(images)
        for number, view in enumerate(views.values()):
            chosen = (drawn == number).nonzero()[:, 0]
            if len(chosen):
                shown[chosen] = view(images[chosen])
        return shown

    return augment


@torch.no_grad()
def predict_views(model: nn.Module, split: Split, views: Mapping[str, View]) -> torch.Tensor:
    """The logits of every view of every image: float32 N×V×K on the CPU, in eval mode.

    All views of a few images go through the network as one batch of at most 512 (or of one image's views,
    if those are more).

    Raises:
        ValueError: an empty split, no views, a view that changes the shape of the images or leaves [0, 1].
    """
    if not len(split):
        raise ValueError("the split is empty: there is nothing to predict.")
    _check_views(views)
    device = pick_device()
    model.to(device).eval()
    logits = []
    for images in split.images.split(max(1, 512 // len(views))):
        images = images.to(device).to(torch.float32) / 255
        seen = [view(images) for view in views.values()]
        if not logits:  # the first images tell; on a GPU each look waits for the device
            _check_seen(images, dict(zip(views, seen, strict=True)))
        answers = model(torch.stack(seen, 1).flatten(0, 1)).float().cpu()
        logits.append(answers.view(len(images), len(views), -1))
    return torch.cat(logits)


def combine(logits: torch.Tensor, rule: str = "mean") -> torch.Tensor:
    """One answer from several views: N×V×K logits → N×K probabilities (each row sums to 1).

    With p the softmax of one view, ``rule`` is
        "mean": the mean of p over the views.
        "mean logit": the softmax of the mean logits, which is the geometric mean of p, scaled to sum 1.
        "median", "max", "min": this statistic of p, class by class, scaled to sum 1.
        "vote": the share of the views whose largest p is this class; the mean of p counts as half a vote, which
            settles ties and never more.
        "product": the product of p, scaled to sum 1, as if the views were independent witnesses. Always the same class
            as "mean logit", but far more sure of it.

    Raises ValueError for another rule or a shape that is not N×V×K with at least one view.
    """
    check_known(rule, RULES, "rule")
    if logits.ndim != 3 or not logits.shape[1]:
        raise ValueError(f"combine takes logits of images × views × classes, not of shape {tuple(logits.shape)}.")
    logits = logits if logits.dtype == torch.float64 else logits.float()  # a quantile takes no half precision
    if rule == "mean logit":
        return logits.mean(1).softmax(-1)
    if rule == "product":
        return logits.log_softmax(-1).sum(1).softmax(-1)
    p = logits.softmax(-1)
    mean, views = p.mean(1), logits.shape[1]
    if rule == "mean":
        return mean
    if rule == "vote":
        return (F.one_hot(p.argmax(-1), p.shape[-1]).sum(1) + mean / 2) / (views + 0.5)
    # Torch's median of an even number of values is the lower one of the two in the middle; a quantile lies between.
    score = {"median": lambda: p.quantile(0.5, 1), "max": lambda: p.amax(1), "min": lambda: p.amin(1)}[rule]()
    score = score.clamp_min(torch.finfo(score.dtype).tiny)  # sure views that contradict each other leave nothing
    return score / score.sum(-1, keepdim=True)


def _check_views(views: Mapping[str, View]) -> None:
    if not views:
        raise ValueError('there are no views: give at least {"as it is": as_it_is}.')


def _check_seen(images: torch.Tensor, seen: Mapping[str, torch.Tensor]) -> None:
    for name, view in seen.items():
        if view.shape != images.shape:
            raise ValueError(
                f'the view "{name}" makes {tuple(view.shape[1:])} from images of {tuple(images.shape[1:])}: '
                "resize it back, so that the network can read it."
            )
        low, high = float(view.min()), float(view.max())
        if low < -1e-4 or high > 1 + 1e-4:
            raise ValueError(
                f'the view "{name}" has values from {low:.3g} to {high:.3g}, but images lie in [0, 1]: end it '
                "with .clamp(0, 1), and normalise inside the model."
            )
