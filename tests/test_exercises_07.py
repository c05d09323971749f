"""Lesson 7's checks: other right answers are accepted, typical wrong ones get a sentence that helps."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from tdnn_helpers.exercises import check, exercises
from tdnn_helpers.exercises.checks_07 import POINTS
from tdnn_helpers.exercises.lesson_07 import pca, plan, strangeness

IDS = [id for id in exercises() if id.startswith("7.")]


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


def by_neighbours(normal, questions, k):
    return NearestNeighbors(n_neighbors=k).fit(normal).kneighbors(questions)[0].mean(1)


def by_torch(normal, questions, k):
    return torch.cdist(torch.tensor(questions), torch.tensor(normal)).topk(k, largest=False).values.mean(1)


@pytest.mark.parametrize(
    ("id", "answer"),
    [
        ("7.1", (1280 * 7 + 7, 4032.0, 112)),
        ("7.1", {"trained": 8967, "flat": 4032, "pooled": 112}),
        ("7.2", by_parameter),
        ("7.3", by_scikit_learn),
        ("7.3", by_eigenvectors),
        ("7.4", by_neighbours),
        ("7.4", by_torch),
        ("7.5", dict.fromkeys(POINTS, "not done")),
    ],
)
def test_other_right_answers(id, answer):
    feedback = check(id, answer)
    assert feedback.status == "right", feedback.sentence


@pytest.mark.parametrize("id", IDS)
def test_solutions_pass(id):
    exercise = exercises()[id]
    answer = exercise.solution() if exercise.value else exercise.solution
    assert check(id, answer).status == "right", check(id, answer).sentence


def no_gradient_only(model, n):
    model.train()
    for part in model[:n]:
        part.requires_grad_(False)
    return model


def eval_only(model, n):
    model.train()
    for part in model[:n]:
        part.eval()
    return model


def eval_then_train(model, n):
    for part in model[:n]:
        part.requires_grad_(False).eval()
    return model.train()


def everything_in_eval(model, n):
    for part in model[:n]:
        part.requires_grad_(False)
    return model.eval()


def everything_frozen(model, n):
    return model.requires_grad_(False).eval()


def each_centred_by_itself(train, test, k):
    directions = np.linalg.svd(train - train.mean(0), full_matrices=False)[2][:k]
    return (train - train.mean(0)) @ directions.T, (test - test.mean(0)) @ directions.T


def not_centred(train, test, k):
    directions = np.linalg.svd(train, full_matrices=False)[2][:k]
    return train @ directions.T, test @ directions.T


def learnt_from_both(train, test, k):
    both = np.concatenate([train, test])
    directions = np.linalg.svd(both - both.mean(0), full_matrices=False)[2][:k]
    return (train - train.mean(0)) @ directions.T, (test - train.mean(0)) @ directions.T


def directions_of_its_own(train, test, k):
    own = np.linalg.svd(test - test.mean(0), full_matrices=False)[2][:k]
    return pca(train, test, k)[0], (test - train.mean(0)) @ own.T


def whitened(train, test, k):
    model = PCA(k, whiten=True).fit(train)
    return model.transform(train), model.transform(test)


def rows_as_columns(train, test, k):
    directions = np.linalg.svd(train - train.mean(0), full_matrices=False)[2][:, :k]
    return (train - train.mean(0)) @ directions, (test - train.mean(0)) @ directions


def distances(normal, questions):
    return np.sort(((questions[:, None] - normal[None]) ** 2).sum(2) ** 0.5, axis=1)


@pytest.mark.parametrize(
    ("id", "answer", "help"),
    [
        ("7.1", (8960, 4032, 112), "has a bias too"),
        ("7.1", (3_408_967, 4032, 112), "The backbone is frozen"),
        ("7.1", (1280, 4032, 112), "one bias a class"),
        ("7.1", (8967, 36, 112), "places of one channel"),
        ("7.1", (8967, 40320, 112), "height · width · channels"),
        ("7.1", (8967, 4032, 36), "not the other way round"),
        ("7.1", (8967, 4032, 1), "not one for the image"),
        ("7.1", (8967, 4032, 6), "one per channel"),
        ("7.1", (8967, 4032), "three numbers"),
        ("7.2", no_gradient_only, "running mean"),
        ("7.2", eval_then_train, "after model.train()"),
        ("7.2", eval_only, "requires_grad_(False)"),
        ("7.2", everything_in_eval, "call model.train() first"),
        ("7.2", everything_frozen, "freeze the first 2 parts only"),
        ("7.2", lambda model, n: n, "Return the model"),
        ("7.2", lambda model, n: model[n:], "whole model"),
        ("7.3", each_centred_by_itself, "you took its own mean off"),
        ("7.3", not_centred, "not centred"),
        ("7.3", learnt_from_both, "from the test features too"),
        ("7.3", directions_of_its_own, "directions of its own"),
        ("7.3", whitened, "whitening"),
        ("7.3", rows_as_columns, "not the components"),
        ("7.3", lambda train, test, k: pca(train, test, k + 1), "should have shape"),
        ("7.3", lambda train, test, k: pca(train, test, k)[0], "two arrays"),
        ("7.4", lambda a, b, k: distances(a, b).mean(1), "to all normal images"),
        ("7.4", lambda a, b, k: distances(a, b)[:, -k:].mean(1), "farthest"),
        ("7.4", lambda a, b, k: distances(a, b)[:, :k].sum(1), "divide by k"),
        ("7.4", lambda a, b, k: distances(a, b)[:, k - 1], "k-th nearest alone"),
        ("7.4", lambda a, b, k: (distances(a, b) ** 2)[:, :k].mean(1), "squared"),
        ("7.4", lambda a, b, k: -strangeness(a, b, k), "sign"),
        ("7.4", lambda a, b, k: distances(a, b)[:, 1 : k + 1].mean(1), "left the nearest out"),
        ("7.4", lambda a, b, k: strangeness(b, a, k), "one number per question"),
        ("7.4", lambda a, b, k: np.ones(5), "the first question should get"),
        ("7.5", plan() | {"source": "", "test": None}, "Still empty, 2 of 6"),
        ("7.5", plan() | {"sauce": "x"}, 'Did you mean "source"'),
        ("7.5", ["transfer"], "dictionary"),
    ],
)
def test_wrong_answers_get_help(id, answer, help):
    feedback = check(id, answer)
    assert feedback.status == "not yet"
    assert help in feedback.sentence, feedback.sentence


@pytest.mark.parametrize("id", IDS)
def test_a_blank_answer_is_not_accepted(id):
    blank = None if exercises()[id].value else (lambda *args: ...)
    assert check(id, blank).status == "not answered yet"
