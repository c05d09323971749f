"""The one judge of all folder checks: a linear discriminant that never judges an image it was fitted on."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import norm

from ...data.split import Split

FOLDS = 5
SHRINKAGE = 0.1  # how far the covariance within the classes is drawn towards a multiple of the identity


def folds(split: Split, *, seed: int) -> torch.Tensor:
    """int64 N: the fold of each image, evenly over the classes; images of one ``extra["group"]`` share a fold."""
    groups = split.extra["group"] if "group" in split.extra else torch.arange(len(split))
    _, group = groups.unique(return_inverse=True)
    first = torch.full((int(group.max()) + 1,), len(split)).scatter_reduce(0, group, torch.arange(len(split)), "amin")
    shuffled = torch.from_numpy(np.random.default_rng(seed).permutation(len(first)))
    kind = split.targets[first][shuffled]
    place = torch.empty(len(first), dtype=torch.long)
    place[shuffled[kind.argsort(stable=True)]] = torch.arange(len(first)) % FOLDS
    return place[group]


def out_of_fold(views: torch.Tensor, targets: torch.Tensor, fold: torch.Tensor, classes: int) -> torch.Tensor:
    """What each view of the images says about the class of each image.

    Gaussian classes with one covariance (Fisher, 1936), fitted for each fold on all other folds. All classes count as
    equally frequent, so a class is never named merely because it is common.

    Args:
        views: float B×N×D, B sets of features of the same N images.
        targets, fold: int64 N.

    Returns:
        Log-probabilities, float32 B×N×K.
    """
    views = (views - views.mean(1, keepdim=True)) / views.std(1, keepdim=True).clamp_min(1e-6)
    answers = torch.empty(*views.shape[:2], classes)
    for number in fold.unique():
        inside, outside = views[:, fold != number], views[:, fold == number]
        member = F.one_hot(targets[fold != number], classes).float()
        means = (member.T @ inside) / member.sum(0).clamp_min(1)[:, None]  # B×K×D
        rest = inside - means[:, targets[fold != number]]
        covariance = rest.transpose(1, 2) @ rest / max(rest.shape[1] - classes, 1)
        size = covariance.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-6)[:, None, None]
        identity = torch.eye(views.shape[2])
        covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * size * identity
        weights = torch.linalg.solve(covariance, means.transpose(1, 2))  # B×D×K
        scores = outside @ weights - 0.5 * (means.transpose(1, 2) * weights).sum(1, keepdim=True)
        scores[..., member.sum(0) == 0] = -torch.inf
        answers[:, fold == number] = scores.log_softmax(-1)
    return answers


def wilson(hits: torch.Tensor, n: torch.Tensor, level: float = 0.95) -> tuple[torch.Tensor, torch.Tensor]:
    """The interval of the rates ``hits / n`` (Wilson, 1927) at any level; [0, 1] where n is 0."""
    hits, n, z = hits.double(), n.double(), float(norm.ppf(0.5 + level / 2))
    centre = (hits + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * (hits * (n - hits) / n.clamp_min(1) + z * z / 4).sqrt()
    return (centre - half).clamp_min(0), (centre + half).clamp_max(1)
