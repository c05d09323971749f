"""Lesson 7: other right answers, and wrong ones that are no registered mistake."""

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from tdnn_helpers.exercises.lesson_07 import strangeness


def by_parameter(model, n):
    for place, part in enumerate(model):
        part.train(place >= n)
        for parameter in part.parameters():
            parameter.requires_grad = place >= n
    return model


def by_scikit_learn(train, test, k):
    model = PCA(k).fit(train)
    return model.transform(train), model.transform(test)


def by_eigenvectors(train, test, k):
    _, vectors = np.linalg.eigh(np.cov(train.T))
    directions = vectors[:, ::-1][:, :k]
    return [torch.from_numpy((part - train.mean(0)) @ directions) for part in (train, test)]


def rows_as_columns(train, test, k):
    directions = np.linalg.svd(train - train.mean(0), full_matrices=False)[2][:, :k]
    return (train - train.mean(0)) @ directions, (test - train.mean(0)) @ directions


ALSO_RIGHT = {
    "7.1": [{"trained": 8967, "flat": 4032.0, "pooled": 112}],
    "7.2": [by_parameter],
    "7.3": [by_eigenvectors],
    "7.4": [
        lambda a, b, k: NearestNeighbors(n_neighbors=k).fit(a).kneighbors(b)[0].mean(1),
        lambda a, b, k: torch.cdist(torch.tensor(b), torch.tensor(a)).topk(k, largest=False).values.mean(1),
        lambda a, b, k: strangeness(a, b, k)[:, None],
    ],
}
WRONG = {
    "7.1": [((8967.5, 4032, 112), "one bias a class"), ((8967, 40320, 112), "height · width · channels")],
    "7.2": [
        (lambda model, n: [model.train(), model[:n].requires_grad_(False)][0], "running mean"),
        (lambda model, n: [model[:n].requires_grad_(False).eval(), model.train()][1], "after model.train()"),
        (lambda model, n: [model.train(), model[:n].eval()][0], "requires_grad_(False)"),
        (lambda model, n: [model[:n].requires_grad_(False), model.eval()][1], "call model.train() first"),
        (lambda model, n: model.requires_grad_(False).eval(), "freeze the first 2 parts only"),
        (lambda model, n: n, "Return the model"),
        (lambda model, n: model[n:], "whole model"),
    ],
    "7.3": [(by_scikit_learn, "does the whole task"), (rows_as_columns, "of `train` should be")],
    "7.4": [(lambda a, b, k: np.ones(5), "the k smallest")],
}
