"""The one judge of all folder checks: a linear discriminant that never judges an image it was fitted on."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import StratifiedGroupKFold

from ...data.split import Split
from ...measures.embedding import standardise

FOLDS = 5
SHRINKAGE = 0.1  # how far the covariance within the classes is drawn towards a multiple of the identity


def assign_folds(split: Split, *, seed: int) -> torch.Tensor:
    """int64 N: the fold of each image, evenly over the classes; images of one ``extra["group"]`` share a fold."""
    groups = split.extra.get("group", torch.arange(len(split)))
    folds = StratifiedGroupKFold(min(FOLDS, max(split.counts().values())), shuffle=True, random_state=seed)
    place = torch.empty(len(split), dtype=torch.long)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class of fewer images than folds: it is not in every fold
        for number, (_, inside) in enumerate(folds.split(split.images, split.targets, groups)):
            place[inside] = number
    return place


def out_of_fold(view: torch.Tensor, split: Split, fold: torch.Tensor) -> torch.Tensor:
    """What a view (float N×D, features of the N images) says about the class of each image: log-probabilities N×K.

    Gaussian classes with one covariance (Fisher, 1936), fitted for each fold on all other folds. All classes count as
    equally frequent, so a class is never named merely because it is common.
    """
    (view,) = standardise(view)
    answers = torch.full((len(view), len(split.classes)), -torch.inf)
    for number in fold.unique():
        inside, outside = fold != number, fold == number
        present = split.targets[inside].unique()
        equal = np.full(len(present), 1 / len(present))
        judge = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE, priors=equal)
        judge.fit(view[inside].numpy(), split.targets[inside].numpy())
        said = judge.predict_log_proba(view[outside].numpy())
        answers[outside.nonzero(), present] = torch.from_numpy(said).to(answers.dtype)
    return answers
