"""What a network has learned: penultimate activations, and simple judges of how well they part the classes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from ..core.choices import check_known
from ..data.split import Split
from ..train.loop import predict

PROJECTIONS = ("pca", "t-sne", "umap")


def features(model: nn.Module, split: Split, *, layer: nn.Module | None = None, batch_size: int = 512) -> torch.Tensor:
    """The input of one layer for every image, flattened: float32 N×D on the CPU, in eval mode.

    ``layer`` defaults to the last ``nn.Linear`` of the model, whose input is the penultimate representation (paper,
    section II-A5). Raises ValueError if the model has no linear layer and none was given, or never uses the layer.
    """
    if layer is None:
        linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
        if not linear:
            raise ValueError("the model has no nn.Linear: say with layer= whose input you want to see.")
        layer = linear[-1]
    seen: list[torch.Tensor] = []
    handle = layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].flatten(1).float().cpu()))
    try:
        predict(model, split, batch_size=batch_size)
    finally:
        handle.remove()
    if not seen:
        raise ValueError("the model never calls this layer.")
    return torch.cat(seen)


def standardise(train: torch.Tensor, *others: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Each column to mean 0 and deviation 1 by the statistics of ``train`` (N×D); constant columns become 0."""
    mean, std = train.mean(0), train.std(0)
    std = torch.where(std > 1e-8, std, torch.inf)
    return tuple((part - mean) / std for part in (train, *others))


def knn_predict(
    train_features: torch.Tensor, train_targets: torch.Tensor, features: torch.Tensor, k: int = 5
) -> torch.Tensor:
    """The class of each row (int64 N) by k-nearest-neighbour voting, by Euclidean distance, on float N×D features.

    Standardise the features first if their columns have different scales. Ties go to the smaller class index.
    """
    votes = []
    for part in features.split(2048):
        nearest_images = torch.cdist(part, train_features).topk(min(k, len(train_features)), largest=False).indices
        votes.append(train_targets[nearest_images].mode(dim=1).values)
    return torch.cat(votes)


def knn_accuracy(
    train_features: torch.Tensor, train_targets: torch.Tensor, features: torch.Tensor, targets: torch.Tensor, k: int = 5
) -> float:
    """Accuracy (0 to 1) of :func:`knn_predict`."""
    return float((knn_predict(train_features, train_targets, features, k) == targets).float().mean())


def linear_probe(
    train_features: torch.Tensor,
    train_targets: torch.Tensor,
    features: torch.Tensor,
    targets: torch.Tensor,
    *,
    strengths: Sequence[float] = (0.001, 0.01, 0.1, 1.0),
    scaled: bool = True,
    seed: int = 0,
) -> float:
    """Accuracy (0 to 1) of multinomial logistic regression on float N×D features, standardised by the training part.

    ``scaled=False`` leaves the columns as they are: principal components have scales that mean something, and to bring
    the last ones up to the first would be to enlarge noise.

    ``strengths`` are scikit-learn's C, the inverse strength of the L2 penalty. A stratified fifth of the training
    features chooses among them (a smaller C on a tie); then the model is trained on all of them (Alain and Bengio,
    2016). ValueError if a class has fewer than two training images.
    """
    exams = {"exam": (features, targets)}
    return linear_probes(train_features, train_targets, exams, strengths=strengths, scaled=scaled, seed=seed)["exam"]


def linear_probes(
    train_features: torch.Tensor,
    train_targets: torch.Tensor,
    exams: Mapping[str, tuple[torch.Tensor, torch.Tensor]],
    *,
    strengths: Sequence[float] = (0.001, 0.01, 0.1, 1.0),
    scaled: bool = True,
    seed: int = 0,
) -> dict[str, float]:
    """The same probe, trained once and asked several times: name → accuracy on each of ``exams`` (name → features and
    targets)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split

    inputs, labels = train_features.numpy(), train_targets.numpy()
    if scaled:
        inputs = standardise(train_features)[0].numpy()
    classes, counts = np.unique(labels, return_counts=True)
    if counts.min() < 2:
        raise ValueError(
            f"class {classes[counts.argmin()]} has only one training image: a probe needs two of each, one to train on "
            "and one to choose the strength."
        )

    def probe(strength: float) -> LogisticRegression:
        return LogisticRegression(C=strength, max_iter=500, tol=1e-3)

    held_out = max(len(labels) // 5, len(classes))
    part = train_test_split(inputs, labels, test_size=held_out, stratify=labels, random_state=seed)
    with warnings.catch_warnings():
        # A probe that has not quite converged after 500 steps predicts nearly the same.
        warnings.filterwarnings("ignore", "lbfgs failed to converge")
        scores = {one: probe(one).fit(part[0], part[2]).score(part[1], part[3]) for one in sorted(strengths)}
        best = probe(max(scores, key=scores.get)).fit(inputs, labels)
    asked = {name: standardise(train_features, one)[1] if scaled else one for name, (one, _) in exams.items()}
    return {name: float(best.score(asked[name].numpy(), truth.numpy())) for name, (_, truth) in exams.items()}


def silhouette(features: torch.Tensor, targets: torch.Tensor) -> float:
    """The mean silhouette (−1 to 1) of the classes as clusters: near 0 means that they overlap (Rousseeuw, 1987)."""
    from sklearn.metrics import silhouette_score

    return float(silhouette_score(features.numpy(), targets.numpy()))


def project(features: torch.Tensor, method: str, *, seed: int = 0) -> np.ndarray:
    """A picture of N×D features in two dimensions: float64 N×2, by "pca", "t-sne" or "umap".

    t-SNE and UMAP keep neighbours together; distances between groups, and their sizes, mean nothing in their pictures.
    Keep N to about 1,000: the first UMAP of a process compiles for 20 seconds or more.
    Raises ValueError for an unknown method.
    """
    check_known(method, PROJECTIONS, "projection")
    from sklearn.decomposition import PCA

    points = np.asarray(features, dtype=np.float64)
    if method == "pca":
        return PCA(2, random_state=seed).fit_transform(points)
    # A few dozen principal components carry the neighbourhoods and make both methods quicker.
    points = PCA(min(30, *points.shape), random_state=seed).fit_transform(points)
    if method == "t-sne":
        from sklearn.manifold import TSNE

        perplexity = min(30, (len(points) - 1) / 3)
        return TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(points).astype(np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "n_jobs overridden by random_state": that is what a seed is for
        from umap import UMAP

        threads = torch.get_num_threads()
        try:
            drawn = UMAP(n_neighbors=min(15, len(points) - 1), random_state=seed).fit_transform(points)
        finally:
            torch.set_num_threads(threads)  # numba, under UMAP, sets the number that OpenMP shares with torch
        return drawn.astype(np.float64)
