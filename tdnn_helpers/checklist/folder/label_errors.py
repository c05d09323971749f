"""Labels that a judge contradicts who has never seen the image: the out-of-fold loss, ranked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from sklearn.decomposition import PCA

from ...data.split import Split
from ...evidence.effects import wilson
from ...measures.embedding import standardise
from ...measures.frozen import pretrained_features
from ...train.batches import to_unit
from ..findings import FINE, LOOK, NOT_CHECKED, WRONG, Finding, percent
from .images import Folder
from .probe import assign_folds, out_of_fold

PIXEL_SIDE = 32
REPEATS = 4  # partitions into folds, whose answers are averaged: one alone depends on its luck
SUREST = 4  # a quarter of all images: those whose class the judge is surest of


class Judgement(NamedTuple):
    """``answers``: out-of-fold log-probabilities N×K; ``suspects``: positions in the split, the worst first;
    ``contradicted`` of the ``surest`` images have another label than the judge says. ``skill`` is 0 for guessing and
    1 for a judge who is always right; ``eyes`` says what the judge looked at."""

    answers: torch.Tensor
    suspects: torch.Tensor
    contradicted: int
    surest: int
    skill: float
    eyes: str


def judge_labels(split: Split, *, seed: int) -> Judgement:
    """Linear discriminants on pixels, on features of a network that has seen ImageNet, and on both; the one that is
    right most often out of fold is the judge.

    If every label were right, the images whose class is plainest would have the label that the judge names. Wrong
    labels do not spare them. So the share of contradictions among the surest quarter estimates the share of wrong
    labels wherever classes are easy to tell apart; in classes that look alike it cannot tell wrong from hard.
    """
    partitions = [assign_folds(split, seed=seed + i) for i in range(REPEATS)]
    side = min(PIXEL_SIDE, split.images.shape[-1])
    views = {"pixels": _components(to_unit(split.resize(side).images.flatten(1)), 50)}
    try:
        views["ImageNet features"] = _components(*standardise(pretrained_features(split)), 100)
        views["pixels and ImageNet features"] = torch.cat(list(views.values()), 1)
    except (FileNotFoundError, ValueError):
        pass  # a copy of the package without its data: pixels alone
    best, right, eyes = None, -1.0, ""
    for name, view in views.items():
        answers = torch.cat([out_of_fold(view[None], split, fold) for fold in partitions]).mean(0).log_softmax(1)
        rate = float((answers.argmax(1) == split.targets).float().mean())
        if rate > right:
            best, right, eyes = answers, rate, name
    sureness, named = best.max(1)
    contradicts = named != split.targets
    surest = sureness.argsort(descending=True, stable=True)[: max(1, len(split) // SUREST)]
    prior = float(torch.bincount(split.targets).max()) / len(split)
    loss = -best.gather(1, split.targets[:, None])[:, 0]
    doubtful = (contradicts & (sureness >= sureness.median())).nonzero()[:, 0]
    suspects = doubtful[loss[doubtful].argsort(descending=True, stable=True)]
    skill = max(0.0, (right - prior) / max(1 - prior, 1e-9))
    return Judgement(best, suspects, int(contradicts[surest].sum()), len(surest), skill, eyes)


def _components(values: torch.Tensor, most: int) -> torch.Tensor:
    """The first principal components, at most a fifth as many as there are images."""
    most = max(1, min(most, len(values) // 5, values.shape[1]))
    return torch.from_numpy(PCA(most, random_state=0).fit_transform(values.numpy()))


def check_labels(folder: Folder, found: Judgement) -> Iterator[Finding]:
    """How many of the plainest images are contradicted, and which labels to look at first."""
    share = found.contradicted / found.surest
    low, high = wilson(share, found.surest)
    allowed = 0.02 + 0.12 * (1 - found.skill)  # hard classes are contradicted more often: measured on clean folders
    evidence = (
        f"Of the {found.surest:,} images that a judge is surest of, {found.contradicted} carry another label "
        f"({percent(share, 1)})."
    )
    sure = (
        f"95 % interval {percent(low, 1)}–{percent(high, 1)}, alarm if it starts above {percent(allowed, 1)}; out of "
        f"fold, by {found.eyes} (skill {found.skill:.2f} from 0 to 1); blind to errors between classes that look alike"
    )
    said = [folder.pool.classes[c] for c in found.answers[found.suspects].argmax(1).tolist()]
    files = tuple(f"{name} → {one}" for name, one in zip(folder.names(found.suspects), said))
    advice = "Look at the files listed here, the worst first: correct what is wrong, and ask how it came about."
    if found.skill < 0.3:
        evidence = f"The judge is hardly better than guessing (skill {found.skill:.2f}): it cannot contradict a label."
        yield Finding(NOT_CHECKED, evidence, "Have a second person label a hundred images, and compare.", sure)
    elif low > allowed / 2:
        yield Finding(WRONG if low > allowed else LOOK, evidence, advice, sure, files)
    else:
        yield Finding(FINE, evidence, sure=sure, files=files)
