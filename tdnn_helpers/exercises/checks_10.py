"""The checks of lesson 10's exercises: naive references, and a sentence for each typical mistake."""

from __future__ import annotations

import math
from typing import Any

import torch

from .answers import NotYet, all_answered, expect, filled, number

LOSSES = {  # case: (right, ((wrong, why), …))
    "rotation: four answers, all equally likely": (
        math.log(4),
        (
            (0.25, "0.25 is the accuracy of guessing; its cross-entropy is −ln 0.25"),
            (2.0, "that is in bits; the losses of the course are in nats (natural logarithm)"),
        ),
    ),
    "SimCLR: 128 images, two views each, one embedding for all": (
        math.log(255),
        (
            (math.log(128), "a view must find its partner among all other views: there are 255, not 128"),
            (math.log(256), "a view is never compared with itself: 255 others are left"),
            (math.log(127), "a view must find its partner among all other views: there are 255, not 127"),
            (0.0, "if all embeddings are equal, the partner can't be told from the others; the loss is not 0"),
        ),
    ),
    "BYOL: predictions at right angles to their targets": (
        2.0,
        (
            (0.0, "0 means that they agree; at a right angle the cosine is 0, and the distance 2 − 2 · 0"),
            (4.0, "4 is the distance of opposite directions"),
            (1.0, "the distance is 2 − 2 · cosine"),
        ),
    ),
    "Barlow Twins: 64 coordinates, one embedding for all": (
        64.0,
        (
            (0.0, "a constant coordinate has a correlation of 0, so no C_ii is 1"),
            (1.0, "each of the 64 coordinates adds (1 − 0)²; the loss is their sum"),
            (0.01 * 64 * 63, "that is the loss if all coordinates are copies of one that still varies"),
        ),
    ),
}


def check_losses(answer: Any) -> str:
    filled(answer, LOSSES)
    for case, (right, mistakes) in LOSSES.items():
        got = number(answer[case])
        near, why = min([(right, ""), *mistakes], key=lambda known: abs(known[0] - got))  # ln 255 and ln 256 are close
        close = math.isclose(got, near, rel_tol=0.01, abs_tol=0.01)
        expect(close, f'"{case}": not {got:g}. Put numbers into the loss.')
        expect(not why, f'"{case}": {why}.')
    return (
        "A training run that starts far above these values has a bug, and one that stays at them learns nothing. "
        "BYOL's loss is the odd one: a collapsed network brings it to 0."
    )


def check_target_step(answer: Any) -> str:
    target, online = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([3.0, 2.0, 0.5], requires_grad=True)
    for momentum in (0.9, 0.25, 1.0, 0.0):
        kept, got = target.clone(), answer(target.clone(), online, momentum)
        expect(isinstance(got, torch.Tensor), f"Return a tensor, not a {type(got).__name__}.")
        expect(got.shape == kept.shape, f"The result has shape {tuple(got.shape)}, the weights {tuple(kept.shape)}.")
        right = momentum * kept + (1 - momentum) * online.detach()
        case = f"For momentum {momentum} the result should be {_few(right)}, not {_few(got)}"
        if torch.allclose(got.detach(), right, atol=1e-6):
            continue
        mistakes = (
            ((1 - momentum) * kept + momentum * online.detach(), "the two weights are exchanged: momentum belongs to "
             "the old target"),
            (momentum * kept + online.detach(), "the weights of the two must add up to 1"),
            (momentum * online.detach(), "the old target is missing"),
        )  # fmt: skip
        for value, why in mistakes:
            expect(not torch.allclose(got.detach(), value, atol=1e-6), f"{case}: {why}.")
        raise NotYet(f"{case}: mix the old target and the online weights.")
    result = answer(target.clone(), online, 0.9)
    expect(
        not result.requires_grad,
        "The numbers are right, but the result still hangs on the online weights: a gradient would flow into the "
        "target. Detach them (or work under torch.no_grad()).",
    )
    return "With momentum 0.98 the target is an average over about the last 50 steps: it moves slowly and smoothly."


def _few(values: torch.Tensor) -> str:
    return "[" + ", ".join(f"{value:.3g}" for value in values.detach().flatten()[:4].tolist()) + "]"


def check_simsiam_loss(answer: Any) -> str:
    stream = torch.Generator().manual_seed(0)
    p_a, p_b, z_a, z_b = (torch.randn(6, 4, generator=stream).requires_grad_() for _ in range(4))

    def cosine(x: torch.Tensor, y: torch.Tensor) -> float:
        pairs = zip(x.tolist(), y.tolist(), strict=True)
        each = [sum(map(float.__mul__, r, s)) / (math.hypot(*r) * math.hypot(*s)) for r, s in pairs]
        return sum(each) / len(each)

    there, back = cosine(p_a, z_b), cosine(p_b, z_a)
    result = answer(p_a, p_b, z_a, z_b)
    got, right = number(result), -(there + back) / 2
    if math.isclose(got, 2 + 2 * right, abs_tol=2e-4):  # 2 − 2 · cosine, as in the package: the same, scaled and moved
        got = right
    case = f"On our numbers the loss should be {right:.4f}; yours is {got:.4f}"
    mistakes = (
        (-right, "the sign: agreement must make the loss small"),
        (2 * right, "average the two directions, so that the best value is −1"),
        (-there, "only the direction a → b counts; take both"),
        (-back, "only the direction b → a counts; take both"),
        (-(cosine(p_a, z_a) + cosine(p_b, z_b)) / 2, "each prediction is compared with its own view; take the other"),
        (-(cosine(z_a, z_b)), "the predictions are missing"),
        (-((p_a * z_b).sum(1).mean() + (p_b * z_a).sum(1).mean()).item() / 2, "divide by the lengths: the cosine"),
    )
    if not math.isclose(got, right, abs_tol=2e-4):
        for value, why in mistakes:
            expect(not math.isclose(got, value, abs_tol=2e-4), f"{case}: {why}.")
        raise NotYet(f"{case}: take minus the mean cosine of predictions and embeddings of the other view.")
    expect(
        isinstance(result, torch.Tensor) and result.requires_grad,
        "The value is right, but no gradient reaches the predictions: only the embeddings are detached.",
    )
    grads = torch.autograd.grad(result, (p_a, p_b, z_a, z_b), allow_unused=True)
    expect(
        all(grad is None or not grad.any() for grad in grads[2:]),
        "The value is right, but a gradient flows into the embeddings: detach z_a and z_b. Without that, question 2 "
        "shows what happens.",
    )
    expect(
        all(grad is not None and bool(grad.any()) for grad in grads[:2]),
        "The value is right, but one of the predictions gets no gradient: only the embeddings are detached.",
    )
    return "Value and gradients are right: the predictions move towards the embeddings, never the other way round."


def check_barlow_twins_loss(answer: Any) -> str:
    stream = torch.Generator().manual_seed(1)
    a = 3 * torch.randn(40, 5, generator=stream) + 2
    b = a + torch.randn(40, 5, generator=stream)
    weight = 0.1

    def correlations(a: torch.Tensor, b: torch.Tensor, correction: int = 0) -> torch.Tensor:
        a, b = (((x - x.mean(0)) / x.std(0, correction=correction)) for x in (a, b))
        return a.T @ b / len(a)

    def loss(c: torch.Tensor, weight: float) -> float:
        return float((1 - c.diag()).square().sum() + weight * (c.square().sum() - c.diag().square().sum()))

    c = correlations(a, b)
    result = answer(a.clone().requires_grad_(), b.clone(), weight)
    got, right = number(result), loss(c, weight)
    accepted = (right, loss(correlations(a, b, 1), weight))
    if not any(math.isclose(got, value, rel_tol=1e-3) for value in accepted):
        centred = [x - x.mean(0) for x in (a, b)]
        whole = float((1 - c.diag()).square().sum() + weight * c.square().sum())
        rows = [(x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True, correction=0) for x in (a, b)]
        mistakes = (
            (whole, "the second sum includes the diagonal; leave it out"),
            (loss(c, 1.0), "the weight of the second sum is missing"),
            (loss(c, 0.0), "the second sum, over i ≠ j, is missing"),
            (loss(c * len(a), weight), "divide the products by the number of images"),
            (loss(centred[0].T @ centred[1] / len(a), weight), "divide each coordinate by its deviation too"),
            (loss(a.T @ b / len(a), weight), "standardise each coordinate over the images first"),
            (
                loss(rows[0].T @ rows[1] / len(a), weight),
                "you standardise each image; standardise each coordinate",
            ),
            (right / 5, "take the sum, not the mean over the coordinates"),
            (right / 25, "take the sum, not the mean over the matrix"),
        )
        case = f"On our numbers the loss should be {right:.4f}; yours is {got:.4f}"
        for value, why in mistakes:
            expect(not math.isclose(got, value, rel_tol=1e-3), f"{case}: {why}.")
        raise NotYet(f"{case}: standardise, correlate, then add the two sums.")
    expect(
        isinstance(result, torch.Tensor) and result.requires_grad,
        "The value is right, but it is cut off from the embeddings: no gradient reaches the network.",
    )
    return "The views must agree in every coordinate, and no two coordinates may say the same."


POINTS = {
    "images": "how many without labels, how many with, and what never straddles the split?",
    "views": "which changes leave the answer alone? Which would destroy it?",
    "baselines": "raw pixels, a random network, published features, training from scratch: numbers, with your labels.",
    "method": "which one, and how do you choose its learning rate without the test images?",
    "collapse": "what do you measure while it trains, and when do you stop?",
    "decision": "how large must the gain be, over how many seeds, to be worth its cost?",
}


def check_plan(answer: Any) -> str:
    return all_answered(answer, POINTS)
