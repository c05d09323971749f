"""Points 6 and 7: can the validation split be trusted, and does the accuracy survive other conditions?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from ..data.split import Split
from ..evidence.effects import wilson
from ..measures.retrieval import distances
from .case import Case
from .findings import FINE, LOOK, NOT_CHECKED, WRONG, Finding, percent

CONFIGURATIONS = 20  # how many settings one is assumed to try


def check_validation(case: Case) -> Iterator[Finding]:
    """Point 6: overlap with training, groups on both sides, class proportions, and what this size can resolve."""
    yield from _check_overlap(case)
    yield from _check_groups(case)
    yield from _check_proportions(case)
    n = len(case.val_sample)
    if case.failure:
        yield Finding(NOT_CHECKED, f"{len(case.val):,} validation images; their accuracy is not known: {case.failure}.")
        return
    low, high = wilson(case.accuracy, n)
    draws = np.random.default_rng(case.seed).binomial(n, case.accuracy, (2000, CONFIGURATIONS)).max(1) / n
    optimism = 100 * (float(draws.mean()) - case.accuracy)
    evidence = (
        f"{n:,} validation images give an accuracy of {percent(case.accuracy, 1)} ± {50 * (high - low):.1f} pp; the "
        f"best of {CONFIGURATIONS} equally good models would seem {optimism:.1f} pp better than it is."
    )
    if high - low > 0.08:
        yield Finding(LOOK, evidence, "Choose by k-fold cross-validation (train.folds), or set more images aside.")
    else:
        yield Finding(FINE, evidence, "Measure what you choose here once more, on a test split that was never used.")


def _check_overlap(case: Case) -> Iterator[Finding]:
    shared = case.known_images(case.val)
    share = shared / len(case.val)
    if shared:
        yield Finding(
            WRONG if share >= 0.005 else LOOK,
            f"{shared:,} validation images ({percent(share, 1)}) are also in the training split.",
            "Remove copies, then split again: accuracy on images that were trained on is memory.",
        )
    else:
        yield Finding(FINE, "No validation image is an exact copy of a training image.")
    near = _near_copies(case) - share
    if near > 0.01:
        advice = (
            'Look at these pairs: frames of one film, versions of one picture must stay on one side (extra["group"]).'
        )
        yield Finding(LOOK, f"About {percent(near, 1)} more are almost identical to a training image.", advice)


def _near_copies(case: Case) -> float:
    """The share of validation images (sampled) that differ from their nearest training image (sampled) by less than
    5 % of their own contrast, as root mean square over all pixels."""
    train, val = case.pixels
    near = 0
    for images, space in zip(case.val_sample.images.split(1000), val.split(1000), strict=True):
        closest = case.sample.images[distances(space, train).argmin(1)]
        difference = (images.float() - closest.float()).flatten(1).square().mean(1).sqrt()
        near += int((difference < 0.05 * images.float().flatten(1).std(1)).sum())
    return near / len(val)


def _check_groups(case: Case) -> Iterator[Finding]:
    if "group" not in case.train.extra or "group" not in case.val.extra:
        return
    train, val = case.train.extra["group"], case.val.extra["group"]
    straddling = torch.isin(val, train)
    if straddling.any():
        groups, share = len(val[straddling].unique()), percent(straddling.float().mean())
        evidence = f"{groups} groups are on both sides ({share} of the validation images)."
        advice = 'Split by group: Split.split and Split.folds keep equal extra["group"] together.'
        yield Finding(WRONG, evidence, advice)
    else:
        yield Finding(FINE, f"None of the {len(val.unique())} validation groups is in the training split.")


def _check_proportions(case: Case) -> Iterator[Finding]:
    if case.val.classes != case.train.classes:
        yield Finding(
            WRONG,
            "The two splits do not have the same classes in the same order.",
            "Make both splits from one data set, or map the labels: class 3 must mean the same on both sides.",
        )
        return
    counts = torch.bincount(case.val.targets, minlength=case.classes).numpy()
    missing = [name for name, count in zip(case.val.classes, counts, strict=True) if not count]
    if missing:
        evidence = f'The validation split has no image of {len(missing)} classes (the first is "{missing[0]}").'
        yield Finding(LOOK, evidence, "Split with stratification, so that every class is measured.")
        return
    from scipy.stats import chi2_contingency

    known = torch.bincount(case.train.targets, minlength=case.classes).numpy()
    if chi2_contingency(np.stack([known, counts])).pvalue < 1e-4:
        gap = np.abs(counts / counts.sum() - known / known.sum())
        worst = int(gap.argmax())
        yield Finding(
            LOOK,
            f'The class shares differ: "{case.val.classes[worst]}" is {percent(known[worst] / known.sum(), 1)} of the '
            f"training and {percent(counts[worst] / counts.sum(), 1)} of the validation images.",
            "Split with stratification, unless the difference is what you will meet in use.",
        )


def check_external(case: Case) -> Iterator[Finding]:
    """Point 7: validation against external accuracy, or against simple shifts of the validation images."""
    if case.failure:
        yield Finding(NOT_CHECKED, f"{case.failure[0].upper()}{case.failure[1:]}.")
    elif not case.knows_something:
        evidence = "The model is no better than naming the most frequent class: nothing can be lost yet."
        yield Finding(NOT_CHECKED, evidence)
    elif case.external is None:
        yield _check_shifts(case)
    elif case.external.classes != case.train.classes:
        evidence = "The external classes are not those of the training split, in the same order."
        yield Finding(WRONG, evidence, "Map them.")
    else:
        yield from _compare_with_external(case)


def _compare_with_external(case: Case) -> Iterator[Finding]:
    shared = case.known_images(case.external)
    if shared:
        evidence = f"{shared:,} external images are also in the training split."
        yield Finding(WRONG, evidence, "They are not external: remove them.")
    inside, outside = case.accuracy, float(case.correct(case.external).float().mean())
    n, m = len(case.val_sample), len(case.external)
    half = 1.96 * math.sqrt(inside * (1 - inside) / n + outside * (1 - outside) / m)
    evidence = (
        f"Accuracy {percent(inside, 1)} on {n:,} validation and {percent(outside, 1)} on {m:,} external images: "
        f"a drop of {100 * (inside - outside):.1f} ± {100 * half:.1f} pp."
    )
    if inside - outside - half > 0:
        yield Finding(
            WRONG if inside - outside - half > 0.1 else LOOK,
            evidence,
            "Report the external number. Find what differs (light, sharpness, centre, class shares) and train on it.",
        )
    else:
        yield Finding(FINE, evidence)


def _check_shifts(case: Case) -> Finding:
    split = case.val_sample.take(min(1000, len(case.val_sample)), seed=case.seed)
    before = case.correct(split).float()
    drops = []
    for name, images in _shifted(split, case.seed).items():
        change = before - case.correct(replace(split, images=images)).float()
        half = 1.96 * float(change.std()) / math.sqrt(len(change))
        drops.append(f"{name} {100 * float(change.mean()):.1f} ± {100 * half:.1f}")
    return Finding(
        LOOK,
        f"No external split was given. Accuracy lost to simple shifts of the validation images, in pp: "
        f"{'; '.join(drops)}.",
        "Collect images from another source (place, camera, year) and pass them as external=; a large loss above says "
        "what to augment with.",
    )


def _shifted(split: Split, seed: int) -> dict[str, torch.Tensor]:
    images = split.images.float()
    pixels = 1 if images.shape[-1] < 16 else 2
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
    versions = {
        "30 % darker": 0.7 * images,
        "blur 3×3": F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1),
        f"{pixels} px to the right": F.pad(images, (pixels, 0, 0, 0), mode="replicate")[..., : images.shape[-1]],
        "noise of 10 % of the range": images + 25.5 * noise,
    }
    return {name: version.round().clamp(0, 255).to(torch.uint8) for name, version in versions.items()}
