"""The checks of lesson 7's exercises: properties and naive references, and a sentence for each typical mistake."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from .answers import NotYet, all_answered, array, expect, numbers, pair


def check_count_of_transfer(answer: Any) -> str:
    trained, flat, pooled = numbers(answer, "trained parameters", "values after flatten", "values after pooling")
    mistakes = (
        (trained, 8960, "8,960 are the weights of the head; each of the 7 classes has a bias too."),
        (trained, 3_400_000, "The backbone is frozen: none of its parameters is trained. Count the head alone."),
        (trained, 3_408_967, "The backbone is frozen: none of its parameters is trained. Count the head alone."),
        (flat, 36, "36 are the places of one channel; there are 112 channels."),
        (flat, 672, "6 · 112 is one row of places: the maps have 6 · 6 places."),
        (pooled, 36, "Pooling averages over the places and keeps the channels, not the other way round."),
        (pooled, 1, "Global pooling gives one number for each channel, not one for the image."),
    )
    for got, wrong, sentence in mistakes:
        expect(got != wrong, sentence)
    expect(trained == 8967, f"The head does not have {trained:,.0f} parameters: features · classes + one bias a class.")
    expect(flat == 4032, f"Flatten does not give {flat:,.0f} values: height · width · channels.")
    expect(pooled == 112, f"Global average pooling does not give {pooled:,.0f} values: one per channel.")
    return "Less than 0.3 % of the network is trained, and pooling makes the maps 36 times shorter."


def _network() -> nn.Sequential:
    """Four parts; a batch norm lies deep inside the first, one in each of the others but the last."""
    inner = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    second, third = (nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU()) for _ in range(2))
    return nn.Sequential(nn.Sequential(inner, nn.ReLU()), second, third, nn.Linear(4, 2)).eval()


def check_freeze(answer: Any) -> str:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for n in (2, 0, 1):
            network = _network()
            model = answer(network, n)
            expect(isinstance(model, nn.Module), "Return the model: `return model`.")
            expect(
                isinstance(model, nn.Sequential) and len(model) == 4,
                "Return the whole model, an nn.Sequential of as many parts as before.",
            )
            images = 5 + torch.randn(8, 3)
            before = [{name: value.clone() for name, value in part.state_dict().items()} for part in model]
            output = model(images)
            if output.requires_grad:
                output.sum().backward()
            for place, part in enumerate(model):
                frozen = place < n
                got = [parameter.grad is not None for parameter in part.parameters()]
                moved = any(not torch.equal(before[place][name], value) for name, value in part.state_dict().items())
                case = f"With n = {n}, part {place} should {'be frozen' if frozen else 'be trained'}"
                if frozen:
                    expect(not any(got), f"{case}, but its parameters get gradients: `part.requires_grad_(False)`.")
                    expect(
                        not moved,
                        f"{case}, but its batch norm moved its running mean: no gradient is not enough, put the part "
                        "into eval mode, after model.train().",
                    )
                else:
                    expect(all(got), f"{case}, but it gets no gradients: freeze the first {n} parts only.")
                    expect(
                        part.training, f"{case}, but it is in eval mode: call model.train() first, then part.eval()."
                    )
    return "No gradient and no moving mean: now frozen means frozen."


def check_pca(answer: Any) -> str:
    random = np.random.default_rng(0)
    mix = random.normal(size=(6, 6)) * np.array([5, 3, 2, 1, 0.5, 0.2])[:, None]
    train, test = random.normal(size=(40, 6)) @ mix + 4, random.normal(size=(15, 6)) @ mix + 6
    mean = train.mean(0)
    directions = np.linalg.svd(train - mean, full_matrices=False)[2]
    for k in (2, 3):
        mine = [array(part) for part in pair(answer(train.copy(), test.copy(), k), "arrays")]
        right = [(part - mean) @ directions[:k].T for part in (train, test)]
        for part, wanted, name in zip(mine, right, ("training", "test"), strict=True):
            expect(
                part.shape == wanted.shape,
                f"The {name} part should have shape {wanted.shape}; yours has {part.shape}.",
            )
        # The sign of a direction is free, so both are brought to the same one.
        signs = np.sign((mine[0] * right[0]).sum(0))
        if all(np.allclose(part * signs, wanted, atol=1e-6) for part, wanted in zip(mine, right, strict=True)):
            continue
        expect(
            np.allclose(mine[0].mean(0), 0, atol=1e-6),
            "Your training part is not centred: take the mean of `train` off.",
        )
        expect(
            not np.allclose(mine[1].mean(0), 0, atol=1e-6),
            "Your test part has mean 0: you took its own mean off. Take off the mean of `train`, or a shift of "
            "the test images becomes invisible.",
        )
        together = np.concatenate([train, test])
        both = np.linalg.svd(together - together.mean(0), full_matrices=False)[2]
        expect(
            not np.allclose(np.abs(mine[0]), np.abs((train - mean) @ both[:k].T), atol=1e-6),
            "Your directions were learnt from the test features too. Learn them from `train` alone.",
        )
        alone = np.linalg.svd(test - test.mean(0), full_matrices=False)[2]
        expect(
            not np.allclose(np.abs(mine[1]), np.abs((test - mean) @ alone[:k].T), atol=1e-6),
            "Each part is turned by directions of its own; use those of `train` for both.",
        )
        spread, wanted = mine[0].std(0), right[0].std(0)
        expect(
            not (np.allclose(spread, spread[0], rtol=1e-3) and not np.allclose(wanted, wanted[0], rtol=1e-3)),
            "Your components all have the same spread: that is whitening. Keep the scale of each component.",
        )
        raise NotYet(
            "These are not the components of `train`: centre it, take the SVD, project on the first k rows of Vᵀ."
        )
    return "The test features were only moved and turned, with what `train` taught."


def check_strangeness(answer: Any) -> str:
    random = np.random.default_rng(0)
    normal, questions = random.normal(size=(12, 3)), random.normal(size=(5, 3)) * 2
    distances = np.array([[np.linalg.norm(question - one) for one in normal] for question in questions])
    nearest_first = np.sort(distances, axis=1)
    for k in (1, 3):
        got, right = array(answer(normal.copy(), questions.copy(), k)), nearest_first[:, :k].mean(1)
        got = got.reshape(5) if got.shape == (5, 1) else got
        expect(got.shape == (5,), f"Return one number per question, shape (5,); yours has the shape {got.shape}.")
        if np.allclose(got, right, rtol=1e-5):
            continue
        mistakes = (
            (distances.mean(1), "that is the mean distance to all normal images: keep the k nearest"),
            (nearest_first[:, -k:].mean(1), "those are the k farthest: sort upwards"),
            (nearest_first[:, k - 1], "that is the distance to the k-th nearest alone: take the mean of the first k"),
            (nearest_first[:, :k].sum(1), "that is the sum: divide by k"),
            ((nearest_first[:, :k] ** 2).mean(1), "those are squared distances: take the root before the mean"),
            (
                np.abs(questions[:, None] - normal[None]).sum(2).min(1),
                "use Euclidean distances, not sums of |difference|",
            ),
            (-right, "the sign is turned round: larger must mean stranger"),
            (
                np.sort(distances, axis=1)[:, 1 : k + 1].mean(1),
                "you left the nearest out; a question is no normal image",
            ),
        )
        for value, sentence in mistakes:
            expect(not np.allclose(got, value, rtol=1e-5), f"With k = {k}: {sentence}.")
        raise NotYet(f"With k = {k} the first question should get {right[0]:.4f}; yours gets {got[0]:.4g}.")
    return "Larger means stranger, and no example of anything strange was needed to learn it."


POINTS = {
    "baseline": "the constant answer, a linear model on small pixels, and a small network from scratch: three numbers.",
    "source": "what was the backbone trained on, and how far is that from your images?",
    "inputs": "size, range, channel order, mean and deviation that the backbone expects; checked on one batch.",
    "first": "frozen features and a linear model: its score on validation data, groups kept together.",
    "next": "how many images per class, so how many stages to unfreeze; which learning rates on which validation data?",
    "test": "which images, from which other source, will be used once at the end?",
}


def check_plan(answer: Any) -> str:
    return all_answered(answer, POINTS)
