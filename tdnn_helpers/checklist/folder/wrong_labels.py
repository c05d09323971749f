"""Labels that a judge contradicts who has never seen the image: the out-of-fold loss, ranked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch

from ...data.split import Split
from ...measures.frozen import pretrained_features
from ..case import interval, percent
from .probe import folds, out_of_fold
from .read import Folder
from .report import FINE, LOOK, NOT_CHECKED, WRONG, Seen

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


def judge(split: Split, *, seed: int) -> Judgement:
    """Linear discriminants on pixels, on features of a network that has seen ImageNet, and on both; the one that is
    right most often out of fold is the judge.

    If every label were right, the images whose class is plainest would have the label that the judge names. Wrong
    labels do not spare them. So the share of contradictions among the surest quarter estimates the share of wrong
    labels wherever classes are easy to tell apart; in classes that look alike it cannot tell wrong from hard.
    """
    classes, partitions = len(split.classes), [folds(split, seed=seed + i) for i in range(REPEATS)]
    side = min(PIXEL_SIDE, split.images.shape[-1])
    views = {"pixels": _components(split.resize(side).images.flatten(1).float() / 255, 50)}
    try:
        seen = pretrained_features(split)
        views["ImageNet features"] = _components((seen - seen.mean(0)) / seen.std(0).clamp_min(1e-6), 100)
        views["pixels and ImageNet features"] = torch.cat(list(views.values()), 1)
    except (FileNotFoundError, ValueError):
        pass  # a copy of the package without its data: pixels alone
    best, right, eyes = None, -1.0, ""
    for name, view in views.items():
        each = [out_of_fold(view[None], split.targets, fold, classes)[0] for fold in partitions]
        answers = torch.stack(each).mean(0).log_softmax(1)
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
    q = max(1, min(most, len(values) // 5, values.shape[1]))
    values = values - values.mean(0)
    torch.manual_seed(0)  # the search for the components starts at random
    return values @ torch.pca_lowrank(values, q=min(q + 10, *values.shape), center=False, niter=4)[2][:, :q]


def wrong_labels(folder: Folder, found: Judgement) -> Iterator[Seen]:
    """How many of the plainest images are contradicted, and which labels to look at first."""
    low, high = interval(found.contradicted / found.surest, found.surest)
    allowed = 0.02 + 0.12 * (1 - found.skill)  # hard classes are contradicted more often: measured on clean folders
    evidence = (
        f"Of the {found.surest:,} images that a judge is surest of, {found.contradicted} carry another label "
        f"({percent(found.contradicted / found.surest, 1)})."
    )
    sure = (
        f"95 % interval {percent(low, 1)}–{percent(high, 1)}, alarm if it starts above {percent(allowed, 1)}; out of "
        f"fold, by {found.eyes} (skill {found.skill:.2f} from 0 to 1); blind to errors between classes that look alike"
    )
    files = tuple(
        f"{folder.facts[i].name} → {folder.pool.classes[int(found.answers[i].argmax())]}"
        for i in found.suspects.tolist()
    )
    advice = "Look at the files listed here, the worst first: correct what is wrong, and ask how it came about."
    if found.skill < 0.3:
        yield Seen(
            NOT_CHECKED,
            f"The judge is hardly better than guessing (skill {found.skill:.2f}): it cannot contradict a label.",
            sure,
            "Have a second person label a hundred images, and compare.",
        )
    elif low > allowed:
        yield Seen(WRONG, evidence, sure, advice, files)
    elif low > allowed / 2:
        yield Seen(LOOK, evidence, sure, advice, files)
    else:
        yield Seen(FINE, evidence, sure, files=files)
