"""Exercises of lesson 10: self-supervised learning."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from .answers import expect, number
from .blocks import exercise


@exercise(
    "10.1 predict four losses",
    value="{}",
    hint="Cross-entropy among k equally likely answers is ln k. Among how many others must a view find its partner?",
    hint2="BYOL's distance is 2 − 2 · cosine. In Barlow Twins a constant coordinate has a correlation of 0 with all "
    "others: put C = 0 into the formula.",
    within=0.01,
    otherwise="put numbers into the loss.",
    right="A training run that starts far above these values has a bug, and one that stays at them learns nothing. "
    "BYOL's loss is the odd one: a collapsed network brings it to 0.",
)
def losses_that_know_nothing():
    """Four losses before anything is learned."""
    return {
        "rotation: four answers, all equally likely": math.log(4),
        "SimCLR: 128 images, two views each, one embedding for all": math.log(2 * 128 - 1),  # own partner: 1 of 255
        "BYOL: predictions at right angles to their targets": 2 - 2 * 0.0,  # the cosine of a right angle is 0
        "Barlow Twins: 64 coordinates, one embedding for all": 64 * (1 - 0.0) ** 2,  # a constant has no correlation
    }


part, OTHERS = losses_that_know_nothing.part, "it must find its partner among all other views: there are 255."
rotation, simclr, byol, barlow = losses_that_know_nothing()
part(rotation, (0.25, "that is the accuracy of guessing."), (2.0, "that is in bits; take the natural logarithm."))
part(
    simclr,
    (math.log(128), OTHERS),
    (math.log(127), OTHERS),
    (math.log(256), "a view is never compared with itself: 255 others are left."),
    (0.0, "if all embeddings are equal, the partner can't be told from the others; the loss is not 0."),
)
part(byol, (0.0, "0 means that they agree."), (4.0, "4 is opposite directions."), (1.0, "it is 2 − 2 · cosine."))
part(
    barlow,
    (0.0, "a constant coordinate has a correlation of 0, so no C_ii is 1."),
    (1.0, "each of the 64 coordinates adds (1 − 0)²; the loss is their sum."),
    (0.01 * 64 * 63, "that is the loss if all coordinates are copies of one that still varies."),
)


def check_history(answer):
    result = answer(torch.ones(3), torch.zeros(3, requires_grad=True), 0.9)
    detach = "a gradient would flow into the target. Detach the online weights (or work under torch.no_grad())."
    expect(torch.is_tensor(result), f"Return a tensor, not a {type(result).__name__}.")
    expect(not result.requires_grad, f"The numbers are right, but {detach}")


@exercise(
    "10.2 the step of a target network",
    hint="With momentum 1 the target never moves; with 0 it is the online network.",
    hint2="`.detach()` gives the same numbers without their history.",
    cases=[(torch.tensor([1.0, -2.0, 0.5]), torch.tensor([3.0, 2.0, 0.5]), m) for m in (0.9, 0.25, 1.0, 0.0)],
    within=1e-6,
    check=check_history,
    otherwise="mix the old target and the online weights.",
    right="With momentum 0.98 the target is an average over about the last 50 steps: it moves slowly and smoothly.",
)
def target_step(target, online, momentum):
    """One step of a target network: its new weights.

    target, online: float tensors of one shape, the weights of the two networks.
    momentum: how much of the old target stays, 0 to 1. No gradient may flow through the result.
    """
    return momentum * target + (1 - momentum) * online.detach()


target_step.mistakes(
    (lambda t, o, m: (1 - m) * t + m * o, "the two are exchanged: momentum belongs to the old target."),
    (lambda t, o, m: m * t + o, "the weights of the two must add up to 1."),
    (lambda t, o, m: m * o, "the old target is missing."),
)


def check_gradients(answer):
    inputs = torch.randn(4, 6, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
    loss, only = answer(*inputs), "only the embeddings are detached."
    reached = isinstance(loss, torch.Tensor) and loss.requires_grad
    expect(reached, f"The value is right, but no gradient reaches the predictions: {only}")
    p_a, p_b, z_a, z_b = torch.autograd.grad(loss, inputs)[0].flatten(1).any(1)
    detach = "a gradient flows into the embeddings: detach z_a and z_b. Question 2 shows what happens without that."
    expect(not (z_a or z_b), f"The value is right, but {detach}")
    expect(p_a and p_b, f"The value is right, but one of the predictions gets no gradient: {only}")


@exercise(
    "10.3 SimSiam's loss",
    hint="The prediction from view a is compared with the embedding of view b, and the other way round.",
    hint2="`torch.nn.functional.cosine_similarity(x, y)` gives one cosine for each row; detach the embeddings.",
    cases=[torch.randn(4, 6, 4, generator=torch.Generator().manual_seed(0)).unbind()],
    read=lambda loss: number(loss) if number(loss) <= 1 else number(loss) / 2 - 1,  # 2 − 2 · cosine is above 1 here
    check=check_gradients,
    otherwise="take minus the mean cosine of predictions and embeddings of the other view.",
    right="Value and gradients are right: the predictions move towards the embeddings, never the other way round.",
)
def simsiam_loss(p_a, p_b, z_a, z_b):
    """SimSiam's loss: minus the cosine of each prediction with the embedding of the other view, averaged.

    Four float tensors (N, E): predictions and embeddings of first views (a) and second views (b).
    Both directions count the same; −1 is the best value. No gradient may reach the embeddings.
    The package's form, 2 − 2 · cosine with the best value 0, is right too.
    """
    forwards = F.cosine_similarity(p_a, z_b.detach()).mean()
    backwards = F.cosine_similarity(p_b, z_a.detach()).mean()
    return -(forwards + backwards) / 2


def cosine(x, y):
    return F.cosine_similarity(x, y).mean()


simsiam_loss.mistakes(
    (lambda p, q, y, z: -simsiam_loss(p, q, y, z), "the sign: agreement must make the loss small."),
    (lambda p, q, y, z: 2 * simsiam_loss(p, q, y, z), "average the two directions, so that the best value is −1."),
    (lambda p, q, y, z: -cosine(p, z), "only the direction a → b counts; take both."),
    (lambda p, q, y, z: -cosine(q, y), "only the direction b → a counts; take both."),
    (lambda p, q, y, z: simsiam_loss(p, q, z, y), "each prediction is compared with its own view; take the other."),
    (lambda p, q, y, z: -cosine(y, z), "the predictions are missing."),
    (lambda p, q, y, z: -(p * z + q * y).sum(1).mean() / 2, "divide by the lengths: the cosine."),
)


def two_views():
    draws = torch.Generator().manual_seed(1)
    a = 3 * torch.randn(2000, 5, generator=draws) @ (torch.eye(5) + 0.2) + 2  # coordinates that are correlated
    yield a, a + 3 * torch.randn(2000, 5, generator=draws), 0.1


@exercise(
    "10.4 Barlow Twins' loss",
    hint="Standardise each coordinate over the images; then `a.T @ b / len(a)` holds all correlations.",
    hint2="The second sum leaves the diagonal out: subtract its squares from the sum over the whole matrix.",
    cases=two_views,
    within=5e-3,  # a deviation with n − 1 is fine
    gradient="a",
    check=lambda answer: expect(torch.is_tensor(answer(*torch.rand(2, 9, 5), 0.1)), "Return a tensor, for a gradient."),
    otherwise="standardise, correlate, then add the two sums.",
    write_it=("barlow_loss",),
    right="The views must agree in every coordinate, and no two coordinates may say the same.",
)
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


def two_sums(c, weight):
    return ((1 - c.diag()) ** 2).sum() + weight * ((c**2).sum() - (c.diag() ** 2).sum())


def standard(x, dim=0):
    return (x - x.mean(dim, keepdim=True)) / x.std(dim, keepdim=True, correction=0)


def whole_matrix(a, b, weight):
    return barlow_twins_loss(a, b, weight) + weight * ((standard(a) * standard(b)).mean(0) ** 2).sum()


barlow_twins_loss.mistakes(
    (whole_matrix, "the second sum includes the diagonal; leave it out."),
    (lambda a, b, w: barlow_twins_loss(a, b, 1.0), "the weight of the second sum is missing."),
    (lambda a, b, w: barlow_twins_loss(a, b, 0.0), "the second sum, over i ≠ j, is missing."),
    (lambda a, b, w: barlow_twins_loss(a, b, w) / 5, "take the sum, not the mean over the coordinates."),
    (lambda a, b, w: barlow_twins_loss(a, b, w) / 25, "take the sum, not the mean over the matrix."),
    (lambda a, b, w: two_sums(standard(a).T @ standard(b), w), "divide the products by the number of images."),
    (lambda a, b, w: two_sums(a.T @ b / len(a), w), "standardise each coordinate over the images first."),
    (lambda a, b, w: two_sums((a - a.mean(0)).T @ (b - b.mean(0)) / len(a), w), "divide each by its deviation too."),
    (lambda a, b, w: two_sums(standard(a, 1).T @ standard(b, 1) / len(a), w), "standardise coordinates, not images."),
)


@exercise(
    "10.5 plan it for your own images",
    hint="Begin with `baselines`: they need no training without labels, and may settle the question.",
    hint2="For `views`, write down each change and ask: could a person still give the label?",
    points={
        "images": "how many without labels, how many with, and what never straddles the split?",
        "views": "which changes leave the answer alone? Which would destroy it?",
        "baselines": "raw pixels, a random network, published features, training from scratch: numbers, with your "
        "labels.",
        "method": "which one, and how do you choose its learning rate without the test images?",
        "collapse": "what do you measure while it trains, and when do you stop?",
        "decision": "how large must the gain be, over how many seeds, to be worth its cost?",
    },
)
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
