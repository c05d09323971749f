"""Exercises of lesson 7: transfer."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from .answers import array, expect, pair
from .blocks import exercise


@exercise(
    "7.1 predict three counts of a transfer",
    value="(None, None, None)  # trained parameters, values after flatten, values after global average pooling",
    hint="A linear layer from D features to K classes has D·K weights, and something else.",
    hint2="Flatten keeps every value of every channel; global average pooling keeps one number per channel.",
    within=0,  # counts
    right="Less than 0.3 % of the network is trained, and pooling makes the maps 36 times shorter.",
)
def count_of_transfer():
    """A backbone with 3.4 million parameters and 1,280 features gets a new head for 7 classes."""
    trained = 1280 * 7 + 7  # weights and biases of the head
    flat = 6 * 6 * 112  # all values of the maps of one stage
    pooled = 112  # one mean per channel
    return trained, flat, pooled


FROZEN = "none of the parameters of the frozen backbone is trained; count the head alone."
count_of_transfer.part(
    "trained parameters",
    "features · classes + one bias a class.",
    (8960, "those are the weights of the head; each of the 7 classes has a bias too."),
    (3_400_000, FROZEN),
    (3_400_000 + 8967, FROZEN),
)
count_of_transfer.part(
    "values after flatten",
    "height · width · channels.",
    (36, "those are the places of one channel; there are 112 channels."),
    (672, "6 · 112 is one row of places: the maps have 6 · 6 places."),
)
count_of_transfer.part(
    "values after pooling",
    "one per channel.",
    (36, "pooling averages over the places and keeps the channels, not the other way round."),
    (1, "global pooling gives one number for each channel, not one for the image."),
)


def network():
    """Four parts; a batch norm lies deep inside the first, one in each of the others but the last."""
    first, *others = (nn.Sequential(nn.Linear(n, 4), nn.BatchNorm1d(4), nn.ReLU()) for n in (3, 4, 4))
    return nn.Sequential(nn.Sequential(first, nn.ReLU()), *others, nn.Linear(4, 2)).eval()


def check_freeze(answer: Any) -> None:
    torch.manual_seed(0)  # `check` gives the reader's random state back
    for n in (2, 0, 1):
        model = answer(network(), n)
        expect(isinstance(model, nn.Module), "Return the model: `return model`.")
        whole = isinstance(model, nn.Sequential) and len(model) == 4
        expect(whole, "Return the whole model, an nn.Sequential of as many parts as before.")
        before = [[value.clone() for value in part.buffers()] for part in model]
        output = model(5 + torch.randn(8, 3))
        if output.requires_grad:
            output.sum().backward()
        for place, part in enumerate(model):
            got = [parameter.grad is not None for parameter in part.parameters()]
            moved = not all(map(torch.equal, before[place], part.buffers()))
            case = f"With n = {n}, part {place} should be {'frozen' if place < n else 'trained'}, but"
            if place < n:
                expect(not any(got), f"{case} its parameters get gradients: `part.requires_grad_(False)`.")
                mode = "no gradient is not enough, put the part into eval mode, after model.train()."
                expect(not moved, f"{case} its batch norm moved its running mean: {mode}")
            else:
                expect(all(got), f"{case} it gets no gradients: freeze the first {n} parts only.")
                expect(part.training, f"{case} it is in eval mode: call model.train() first, then part.eval().")


@exercise(
    "7.2 freeze without a leak",
    hint="`part.requires_grad_(False)` stops the gradients. What else in a network moves while it is trained?",
    hint2="`model.train()` switches every part, `part.eval()` switches one part back: mind the order.",
    check=check_freeze,
    right="No gradient and no moving mean: now frozen means frozen.",
)
def freeze(model, n):
    """Prepare ``model`` (an ``nn.Sequential``) for training with its first ``n`` parts frozen.

    After it, the frozen parts get no gradients and their batch norms don't move in a
    forward pass; everything else is trained as usual. Returns the model.
    """
    model.train()
    for part in model[:n]:
        part.requires_grad_(False)
        part.eval()  # batch norms use, and keep, their running mean and variance
    return model


def two_sets_of_features():
    random = np.random.default_rng(0)
    mix = random.normal(size=(6, 6)) * np.array([5, 3, 2, 1, 0.5, 0.2])[:, None]
    train, test = random.normal(size=(40, 6)) @ mix + 4, random.normal(size=(15, 6)) @ mix + 6
    yield from ((train, test, k) for k in (2, 3))


def one_sign(result):
    """A direction has no sign: the largest number of each column of train becomes positive, and test goes along."""
    train, test = map(array, pair(result, "arrays"))
    if train.ndim != 2 or test.shape[1:] != train.shape[1:]:
        return train, test
    sign = np.sign(np.take_along_axis(train, np.abs(train).argmax(0)[None], 0))
    return train * sign, test * sign


@exercise(
    "7.3 principal components",
    hint="Take the mean of `train` off both sets. The directions are the rows of `np.linalg.svd`'s third result.",
    hint2="The test features are only moved and turned, with the mean and the directions of `train`.",
    cases=two_sets_of_features,
    read=one_sign,
    returns="train, test",
    otherwise="centre `train`, take the SVD, project on the first k rows of Vᵀ, and keep the scale (the sign is free).",
    write_it=("PCA", "pca_lowrank"),
    right="The test features were only moved and turned, with what `train` taught.",
)
def pca(train, test, k):
    """The first ``k`` principal components of two sets of features.

    train: float array (N, D), test: (M, D). What is learnt is learnt from ``train``.
    Returns two arrays, (N, k) and (M, k).
    """
    mean = train.mean(0)
    _, _, directions = np.linalg.svd(train - mean, full_matrices=False)
    return (train - mean) @ directions[:k].T, (test - mean) @ directions[:k].T


def turned(features, mean_of, learnt_from, k):
    directions = np.linalg.svd(learnt_from - learnt_from.mean(0))[2][:k]
    return (features - mean_of.mean(0)) @ directions.T


NOT_CENTRED = "Your training part is not centred: take the mean of `train` off."
OWN_MEAN = "You took the test part's own mean off, which hides a shift of the test images. Take off that of `train`."
OWN_TURN = "Each part is turned by directions of its own; use those of `train` for both, and its mean."
OF_BOTH = "Your directions were learnt from the test features too. Learn them from `train` alone."
WHITE = "Your components all have the same spread: that is whitening. Keep the scale of each component."
pca.mistakes(
    (lambda a, b, k: [x @ np.linalg.svd(a)[2][:k].T for x in (a, b)], NOT_CENTRED),
    (lambda a, b, k: [turned(x, 0 * a, a, k) for x in (a, b)], NOT_CENTRED),
    (lambda a, b, k: [turned(x, x, a, k) for x in (a, b)], OWN_MEAN),
    (lambda a, b, k: [turned(x, x, x, k) for x in (a, b)], OWN_TURN),
    (lambda a, b, k: [turned(x, a, x, k) for x in (a, b)], OWN_TURN),
    (lambda a, b, k: [turned(x, a, np.r_[a, b], k) for x in (a, b)], OF_BOTH),
    (lambda a, b, k: [turned(x, np.r_[a, b], np.r_[a, b], k) for x in (a, b)], OF_BOTH),
    (lambda a, b, k: [pca(a, b, k)[0], -pca(a, b, k)[1]], "the sign is free, but it must be the same for both parts."),
    (lambda a, b, k: [x / pca(a, b, k)[0].std(0) for x in pca(a, b, k)], WHITE),
    (lambda a, b, k: [x / pca(a, b, k)[0].std(0, ddof=1) for x in pca(a, b, k)], WHITE),
)


@exercise(
    "7.4 how strange is this image?",
    hint="Compute all distances first, an array (M, N): one row for each question.",
    hint2="Sort each row, keep the first k columns, and take the mean along the row.",
    cases=[(*np.split(np.random.default_rng(0).normal(size=(17, 3)), [12]), k) for k in (1, 3)],
    read=lambda result: array(result)[:, 0] if np.shape(result) == (5, 1) else result,  # a column is fine, too
    otherwise="it is the mean of the k smallest of a question's distances to all normal images.",
    right="Larger means stranger, and no example of anything strange was needed to learn it.",
)
def strangeness(normal, questions, k):
    """How unlike the normal images each image is: the mean distance to its ``k`` nearest normal ones.

    normal: features of normal images, float array (N, D). questions: (M, D). Returns (M,).
    """
    distances = np.sqrt(((questions[:, None] - normal[None]) ** 2).sum(2))
    return np.sort(distances, axis=1)[:, :k].mean(1)


def ordered(a, b, power=2):
    return np.sort((np.abs(b[:, None] - a[None]) ** power).sum(2) ** (1 / power), axis=1)


strangeness.mistakes(
    (lambda a, b, k: ordered(a, b).mean(1), "that is the mean distance to all normal images; keep the k nearest."),
    (lambda a, b, k: ordered(a, b)[:, -k:].mean(1), "those are the k farthest; sort upwards."),
    (lambda a, b, k: ordered(a, b)[:, k - 1], "that is the k-th nearest alone; take the mean of the first k."),
    (lambda a, b, k: k * strangeness(a, b, k), "that is the sum; divide by k."),
    (lambda a, b, k: (ordered(a, b)[:, :k] ** 2).mean(1), "those are squared; take the root before the mean."),
    (lambda a, b, k: ordered(a, b, 1)[:, :k].mean(1), "use Euclidean distances, not sums of |difference|."),
    (lambda a, b, k: -strangeness(a, b, k), "the sign is turned round: larger must mean stranger."),
    (lambda a, b, k: ordered(a, b)[:, 1 : k + 1].mean(1), "you left the nearest out; a question is no normal image."),
)


@exercise(
    "7.5 plan a transfer of your own",
    hint="Begin with `baseline`: without it you can't say what transfer has brought.",
    hint2="An honest `not done` is an answer too. It shows you what to do next.",
    points={
        "baseline": "the constant answer, a linear model on small pixels, and a small network from scratch: "
        "three numbers.",
        "source": "what was the backbone trained on, and how far is that from your images?",
        "inputs": "size, range, channel order, mean and deviation that the backbone expects; checked on one batch.",
        "first": "frozen features and a linear model: its score on validation data, groups kept together.",
        "next": "how many images per class, so how many stages to unfreeze; which learning rates on which validation "
        "data?",
        "test": "which images, from which other source, will be used once at the end?",
    },
)
def plan():
    """An example: telling four kinds of tree from photographs of their bark."""
    return {
        "baseline": "most frequent kind 31 %, linear model on 16 px pixels 38 %, small network from scratch 52 %",
        "source": "ImageNet photographs; ours are photographs too, but of textures: the middle stages may be best",
        "inputs": "RGB, divided by 255, mean 0.498, deviation 0.502 (as the backbone was trained), 224 px",
        "first": "frozen features and a linear model, chosen by cross-validation over trees: 71 %",
        "next": "900 images per kind: unfreeze the top two stages, rates 1e-4, 3e-4 and 1e-3, chosen on validation",
        "test": "two forests that nobody trained on, once, at the end",
    }
