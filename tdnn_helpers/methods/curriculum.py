"""Feeding the examples in a good order (paper, section V-A): how difficult each one is, and which come when.

A curriculum is a *scoring function*, which ranks the training images from easy to hard, and a *pacing function*, which
says how many of the easiest are available at each step (Hacohen and Weinshall, ICML 2019). Difficulties are float32
tensors, one number per image, larger for harder images; a ranking is an int64 permutation of positions, easiest first.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from ..data.split import Split
from ..measures.embedding import standardise
from ..train.batches import Order
from ..train.loop import predict


def teacher_loss(split: Split, teach: Callable[[Split], nn.Module], *, folds: int = 2, seed: int) -> torch.Tensor:
    """The cross-entropy (nats) of each image under a teacher that never saw it: float32 N on the CPU.

    ``teach`` returns a network trained on the split that it is given. It is called once per fold, with the images of
    all other folds. A teacher that has seen an image may know its label by heart, also a wrong one.
    Raises ValueError if a class has fewer images than there are folds.
    """
    numbered = split.with_extra(position=torch.arange(len(split)))
    losses = torch.empty(len(split))
    for others, fold in numbered.folds(folds, seed=seed):
        losses[fold.extra["position"]] = F.cross_entropy(predict(teach(others), fold), fold.targets, reduction="none")
    return losses


def svm_margin(features: torch.Tensor, targets: torch.Tensor, *, folds: int = 2, seed: int) -> torch.Tensor:
    """Minus the margin of each image under a linear SVM that never saw it, on standardised float N×D features.

    The margin is the score of the image's own class minus the best score of another class; float32 N, above 0 where the
    SVM is wrong (transfer scoring, in the manner of Weinshall and others, ICML 2018).
    Raises ValueError if there are fewer than three classes, or one has fewer images than there are folds.
    """
    from sklearn.model_selection import StratifiedKFold
    from sklearn.svm import LinearSVC

    counts = torch.bincount(targets)
    if (counts > 0).sum() < 3 or counts[counts > 0].min() < folds:
        raise ValueError(f"margins need at least three classes with at least {folds} images each.")
    labels, difficulty = targets.numpy(), torch.empty(len(targets))
    for others, fold in StratifiedKFold(folds, shuffle=True, random_state=seed).split(labels, labels):
        known, asked = standardise(features[others], features[fold])
        machine = LinearSVC(C=1e-3, random_state=seed).fit(known.numpy(), labels[others])
        scores = torch.from_numpy(machine.decision_function(asked.numpy())).float()
        own = torch.from_numpy(machine.classes_.searchsorted(labels[fold]))[:, None]
        right = scores.gather(1, own)[:, 0]
        difficulty[torch.from_numpy(fold)] = scores.scatter(1, own, -torch.inf).max(1).values - right
    return difficulty


def easy_first(difficulty: torch.Tensor, targets: torch.Tensor | None = None) -> torch.Tensor:
    """The ranking of these difficulties, easiest first; ties keep their order. int64 N, a permutation.

    With ``targets`` (class indices, N) the classes are balanced: an image's place is its rank within its class as a
    share of the class, so that every beginning of the ranking has the class proportions of the whole, give or take one
    image, and within each class the easiest come first.

    Raises ValueError for difficulties that are NaN, or targets of another length.
    """
    if difficulty.isnan().any():
        raise ValueError("a difficulty is NaN: an image without a score has no place in a ranking.")
    if targets is None:
        return difficulty.argsort(stable=True)
    if len(targets) != len(difficulty):
        raise ValueError(f"there are {len(difficulty)} difficulties but {len(targets)} targets.")
    place = torch.empty(len(targets), dtype=torch.float64)
    for c in targets.unique():
        members = (targets == c).nonzero()[:, 0]
        ranked = members[difficulty[members].argsort(stable=True)]
        place[ranked] = (torch.arange(len(ranked), dtype=torch.float64) + 0.5) / len(ranked)
    return place.argsort(stable=True)


def paced(ranking: torch.Tensor, available: Callable[[int], int], batch_size: int) -> Order:
    """An order for :func:`~tdnn_helpers.train.fit`: each batch is drawn at random, without repeats, from the first
    ``available(steps done)`` images of the ranking. Give ``fit`` the same batch size.

    The order raises ValueError when fewer images than one batch are available, or more than there are.
    """

    def order(step: int, generator: torch.Generator) -> torch.Tensor:
        n = available(step)
        if not batch_size <= n <= len(ranking):
            raise ValueError(
                f"after {step} steps {n} images are available, but a batch needs {batch_size} and there are "
                f"{len(ranking)}: mend the pacing function."
            )
        return ranking[torch.randperm(n, generator=generator)[:batch_size]]

    return order
