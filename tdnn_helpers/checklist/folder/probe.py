"""The one judge of all folder checks: a linear discriminant that never judges an image it was fitted on."""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F
from sklearn.model_selection import StratifiedGroupKFold

from ...data.split import Split

FOLDS = 5
SHRINKAGE = 0.1  # how far the covariance within the classes is drawn towards a multiple of the identity


def assign_folds(split: Split, *, seed: int) -> torch.Tensor:
    """int64 N: the fold of each image, evenly over the classes; images of one ``extra["group"]`` share a fold.

    ValueError if every class has a single image.
    """
    groups, most = split.extra.get("group", torch.arange(len(split))), max(split.counts().values())
    if most < 2:
        raise ValueError("every class has a single image, so nothing can be learned of any: collect more.")
    folds = StratifiedGroupKFold(min(FOLDS, most), shuffle=True, random_state=seed)
    place = torch.empty(len(split), dtype=torch.long)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class of fewer images than folds: it is not in every fold
        for number, (_, inside) in enumerate(folds.split(split.images, split.targets, groups)):
            place[inside] = number
    return place


def out_of_fold(views: torch.Tensor, split: Split, fold: torch.Tensor) -> torch.Tensor:
    """What each of B views (float B×N×D, features of the same N images) says about the class of each image:
    log-probabilities, float32 B×N×K.

    Gaussian classes with one covariance (Fisher, 1936), fitted for each fold on all other folds. All classes count as
    equally frequent, so a class is never named merely because it is common. scikit-learn's discriminant takes one view
    at a time, and fails where a view is the same for all images of a class.
    """
    targets, classes = split.targets, len(split.classes)
    views = (views - views.mean(1, keepdim=True)) / views.std(1, keepdim=True).clamp_min(1e-6)
    answers, identity = torch.empty(*views.shape[:2], classes), torch.eye(views.shape[2])
    for number in fold.unique():
        inside, outside, known = views[:, fold != number], views[:, fold == number], targets[fold != number]
        member = F.one_hot(known, classes).float()
        means = (member.T @ inside) / member.sum(0).clamp_min(1)[:, None]  # B×K×D
        rest = inside - means[:, known]
        covariance = rest.mT @ rest / max(rest.shape[1] - classes, 1)
        size = covariance.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-6)[:, None, None]
        covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * size * identity
        weights = torch.linalg.solve(covariance, means.mT)  # B×D×K
        scores = outside @ weights - 0.5 * (means.mT * weights).sum(1, keepdim=True)
        scores[..., member.sum(0) == 0] = -torch.inf
        answers[:, fold == number] = scores.log_softmax(-1)
    return answers
