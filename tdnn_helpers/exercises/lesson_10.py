"""Exercises of lesson 10: self-supervised learning. The solutions are what a reader unfolds."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from . import checks_10
from . import old_exercise as Exercise


def losses_that_know_nothing():
    """Four losses before anything is learned."""
    return {
        "rotation: four answers, all equally likely": math.log(4),
        "SimCLR: 128 images, two views each, one embedding for all": math.log(2 * 128 - 1),  # own partner: 1 of 255
        "BYOL: predictions at right angles to their targets": 2 - 2 * 0.0,  # the cosine of a right angle is 0
        "Barlow Twins: 64 coordinates, one embedding for all": 64 * (1 - 0.0) ** 2,  # a constant has no correlation
    }


def target_step(target, online, momentum):
    """One step of a target network: its new weights.

    target, online: float tensors of one shape, the weights of the two networks.
    momentum: how much of the old target stays, 0 to 1. No gradient may flow through the result.
    """
    return momentum * target + (1 - momentum) * online.detach()


def simsiam_loss(p_a, p_b, z_a, z_b):
    """SimSiam's loss: minus the cosine of each prediction with the embedding of the other view, averaged.

    Four float tensors (N, E): predictions and embeddings of first views (a) and second views (b).
    Both directions count the same; −1 is the best value. No gradient may reach the embeddings.
    The package's form, 2 − 2 · cosine with the best value 0, is right too.
    """
    forwards = F.cosine_similarity(p_a, z_b.detach()).mean()
    backwards = F.cosine_similarity(p_b, z_a.detach()).mean()
    return -(forwards + backwards) / 2


def barlow_twins_loss(a, b, weight):
    """Barlow Twins: the sum of (1 − C_ii)² plus weight times the sum of C_ij² over i ≠ j.

    a, b: float tensors (N, E), embeddings of first and second views. C (E, E): the correlation, over the
    N images, of each coordinate of a with each coordinate of b.
    """
    a = (a - a.mean(0)) / a.std(0, correction=0)
    b = (b - b.mean(0)) / b.std(0, correction=0)
    c = a.T @ b / len(a)
    on_diagonal = (1 - torch.diagonal(c)) ** 2
    off_diagonal = c**2 - torch.diag(torch.diagonal(c) ** 2)
    return on_diagonal.sum() + weight * off_diagonal.sum()


def plan():
    """An example: sorting photographs of plankton."""
    return {
        "images": "210,000 photographs without labels, 600 with (7 kinds); one cruise is kept for the test",
        "views": "turns, flips, crops of at least half the area, brightness; no change of size, because size tells two "
        "kinds apart",
        "baselines": "600 labels: pixels 58 %, random network 61 %, ImageNet features 79 %, from scratch 74 %",
        "method": "SimCLR and Barlow Twins, batch 256; the rate by a linear probe on a fifth of the 600",
        "collapse": "spread and dimensions of the embeddings at each epoch; stop if the spread falls below 0.3",
        "decision": "keep it if the probe beats ImageNet features by 2 points over five seeds; else label 600 more",
    }


EXERCISES = (
    Exercise(
        "10.1",
        "predict four losses",
        checks_10.check_losses,
        (
            "Cross-entropy among k equally likely answers is ln k. Among how many others must a view find its partner?",
            "BYOL's distance is 2 − 2 · cosine. In Barlow Twins a constant coordinate has a correlation of 0 with all "
            "others: put C = 0 into the formula.",
        ),
        losses_that_know_nothing,
        value="{\n" + "".join(f'    "{case}": None,\n' for case in checks_10.LOSSES) + "}",
    ),
    Exercise(
        "10.2",
        "the step of a target network",
        checks_10.check_target_step,
        (
            "With momentum 1 the target never moves; with 0 it is the online network.",
            "`.detach()` gives the same numbers without their history.",
        ),
        target_step,
    ),
    Exercise(
        "10.3",
        "SimSiam's loss",
        checks_10.check_simsiam_loss,
        (
            "The prediction from view a is compared with the embedding of view b, and the other way round.",
            "`torch.nn.functional.cosine_similarity(x, y)` gives one cosine for each row; detach the embeddings.",
        ),
        simsiam_loss,
    ),
    Exercise(
        "10.4",
        "Barlow Twins' loss",
        checks_10.check_barlow_twins_loss,
        (
            "Standardise each coordinate over the images; then `a.T @ b / len(a)` holds all correlations.",
            "The second sum leaves the diagonal out: subtract its squares from the sum over the whole matrix.",
        ),
        barlow_twins_loss,
    ),
    Exercise(
        "10.5",
        "plan it for your own images",
        checks_10.check_plan,
        (
            "Begin with `baselines`: they need no training without labels, and may settle the question.",
            "For `views`, write down each change and ask: could a person still give the label?",
        ),
        plan,
        value="{\n" + "".join(f'    "{point}": "",\n' for point in checks_10.POINTS) + "}",
    ),
)
