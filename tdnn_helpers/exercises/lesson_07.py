"""Exercises of lesson 7: transfer. The solutions are what a reader unfolds."""

from __future__ import annotations

import numpy as np

from . import checks_07
from . import old_exercise as Exercise


def count_of_transfer():
    """A backbone with 3.4 million parameters and 1,280 features gets a new head for 7 classes."""
    trained = 1280 * 7 + 7  # weights and biases of the head
    flat = 6 * 6 * 112  # all values of the maps of one stage
    pooled = 112  # one mean per channel
    return trained, flat, pooled


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


def pca(train, test, k):
    """The first ``k`` principal components of two sets of features.

    train: float array (N, D), test: (M, D). What is learnt is learnt from ``train``.
    Returns two arrays, (N, k) and (M, k).
    """
    mean = train.mean(0)
    _, _, directions = np.linalg.svd(train - mean, full_matrices=False)
    return (train - mean) @ directions[:k].T, (test - mean) @ directions[:k].T


def strangeness(normal, questions, k):
    """How unlike the normal images each image is: the mean distance to its ``k`` nearest normal ones.

    normal: features of normal images, float array (N, D). questions: (M, D). Returns (M,).
    """
    distances = np.sqrt(((questions[:, None] - normal[None]) ** 2).sum(2))
    return np.sort(distances, axis=1)[:, :k].mean(1)


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


EXERCISES = (
    Exercise(
        "7.1",
        "predict three counts of a transfer",
        checks_07.check_count_of_transfer,
        (
            "A linear layer from D features to K classes has D·K weights, and something else.",
            "Flatten keeps every value of every channel; global average pooling keeps one number per channel.",
        ),
        count_of_transfer,
        value="(None, None, None)  # trained parameters, values after flatten, values after global average pooling",
    ),
    Exercise(
        "7.2",
        "freeze without a leak",
        checks_07.check_freeze,
        (
            "`part.requires_grad_(False)` stops the gradients. What else in a network moves while it is trained?",
            "`model.train()` switches every part, `part.eval()` switches one part back: mind the order.",
        ),
        freeze,
    ),
    Exercise(
        "7.3",
        "principal components",
        checks_07.check_pca,
        (
            "Take the mean of `train` off both sets. The directions are the rows of `np.linalg.svd`'s third result.",
            "The test features are only moved and turned, with the mean and the directions of `train`.",
        ),
        pca,
    ),
    Exercise(
        "7.4",
        "how strange is this image?",
        checks_07.check_strangeness,
        (
            "Compute all distances first, an array (M, N): one row for each question.",
            "Sort each row, keep the first k columns, and take the mean along the row.",
        ),
        strangeness,
    ),
    Exercise(
        "7.5",
        "plan a transfer of your own",
        checks_07.check_plan,
        (
            "Begin with `baseline`: without it you can't say what transfer has brought.",
            "An honest `not done` is an answer too. It shows you what to do next.",
        ),
        plan,
        value="{\n" + "".join(f'    "{point}": "",\n' for point in checks_07.POINTS) + "}",
    ),
)
