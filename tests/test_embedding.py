"""Penultimate features and their judges, against naive references and known cases."""

import numpy as np
import pytest
import torch
from torch import nn

from tdnn_helpers.data.sets import load
from tdnn_helpers.measures.embedding import (
    features,
    knn_accuracy,
    knn_predict,
    linear_probe,
    linear_probes,
    project,
    silhouette,
    standardise,
)
from tdnn_helpers.models.networks import mlp, small_cnn


@pytest.fixture(scope="module")
def digits():
    return load("digits").take(300, seed=0)


def test_features_are_the_input_of_the_last_linear_layer(digits):
    model = mlp(digits, hidden=(7,))
    found = features(model, digits)
    with torch.no_grad():
        by_hand = model[:-1](digits.images.float() / 255)
    torch.testing.assert_close(found, by_hand)
    assert found.shape == (300, 7) and found.dtype == torch.float32


def test_features_of_a_chosen_layer_are_flattened(digits):
    model = small_cnn(digits, width=4)
    assert features(model, digits, layer=model[5]).shape == (300, 4 * 4 * 4)


def test_features_leave_no_hook_behind(digits):
    model = mlp(digits)
    features(model, digits)
    assert not model[-1]._forward_pre_hooks


def test_a_model_without_linear_layer_or_an_unused_layer_is_a_clear_error(digits):
    with pytest.raises(ValueError, match="no nn.Linear"):
        features(nn.Sequential(nn.Flatten()), digits)
    with pytest.raises(ValueError, match="never calls"):
        features(mlp(digits), digits, layer=nn.Linear(2, 2))


def test_standardise_uses_the_first_part_only_and_survives_constant_columns():
    train = torch.tensor([[1.0, 5.0], [3.0, 5.0]])
    scaled, other = standardise(train, torch.tensor([[2.0, 9.0]]))
    torch.testing.assert_close(scaled.mean(0), torch.zeros(2))
    torch.testing.assert_close(scaled[:, 0].std(), torch.tensor(1.0))
    torch.testing.assert_close(other, torch.tensor([[0.0, 0.0]]))


@pytest.mark.parametrize("k", [1, 5, 50])
def test_knn_accuracy_equals_scikit_learn(k):
    from sklearn.neighbors import KNeighborsClassifier

    rng = torch.Generator().manual_seed(k)
    points, labels = torch.randn(90, 3, generator=rng), torch.randint(0, 4, (90,), generator=rng)
    fresh, truth = torch.randn(40, 3, generator=rng), torch.randint(0, 4, (40,), generator=rng)
    reference = KNeighborsClassifier(k).fit(points, labels)
    assert knn_predict(points, labels, fresh, k).tolist() == reference.predict(fresh).tolist()
    assert knn_accuracy(points, labels, fresh, truth, k) == pytest.approx(reference.score(fresh, truth))


def blobs(count, seed, noise=1.0, dimensions=8):
    """Three classes around fixed centres; returns (features, targets)."""
    centres = torch.randn(3, dimensions, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(count) % 3
    return centres[targets] + noise * torch.randn(count, dimensions, generator=generator), targets


def test_linear_probe_equals_scikit_learn_at_one_strength():
    from sklearn.linear_model import LogisticRegression

    train, exam = blobs(90, 1, noise=2), blobs(200, 2, noise=2)
    inputs, questions = standardise(train[0], exam[0])
    reference = LogisticRegression(C=0.1, max_iter=500, tol=1e-3).fit(inputs.numpy(), train[1].numpy())
    expected = reference.score(questions.numpy(), exam[1].numpy())
    assert linear_probe(*train, *exam, strengths=[0.1]) == pytest.approx(expected)


def test_linear_probe_leaves_the_columns_as_they_are_if_asked():
    from sklearn.linear_model import LogisticRegression

    (train, labels), (exam, truth) = blobs(90, 1, noise=2), blobs(200, 2, noise=2)
    train, exam = (part * torch.logspace(-3, 1, 8) for part in (train, exam))
    expected = LogisticRegression(C=0.1, max_iter=500, tol=1e-3).fit(train, labels).score(exam, truth)
    raw = linear_probe(train, labels, exam, truth, strengths=[0.1], scaled=False)
    assert raw == pytest.approx(expected)
    assert raw != linear_probe(train, labels, exam, truth, strengths=[0.1])


def test_one_probe_can_be_asked_several_times():
    train, near, far = blobs(90, 1, noise=2), blobs(100, 2, noise=2), blobs(100, 3, noise=4)
    both = linear_probes(*train, {"near": near, "far": far})
    assert both == {"near": linear_probe(*train, *near), "far": linear_probe(*train, *far)}
    assert both["near"] > both["far"]


def test_linear_probe_chooses_its_strength_on_training_data():
    train, exam = blobs(40, 1, noise=3, dimensions=60), blobs(600, 2, noise=3, dimensions=60)
    alone = {strength: linear_probe(*train, *exam, strengths=[strength]) for strength in (1e-8, 0.01, 100.0)}
    assert len(set(alone.values())) == 3
    assert linear_probe(*train, *exam, strengths=list(alone)) in alone.values()
    wrong = (exam[1] + 1) % 3  # other test labels must not change the choice
    choice = next(
        strength for strength, score in alone.items() if score == linear_probe(*train, *exam, strengths=alone)
    )
    assert linear_probe(*train, exam[0], wrong, strengths=alone) == linear_probe(
        *train, exam[0], wrong, strengths=[choice]
    )


def test_linear_probe_does_not_see_scale_and_needs_two_of_each_class():
    train, exam = blobs(60, 1), blobs(100, 2)
    scale = torch.logspace(-3, 3, 8)
    assert linear_probe(train[0] * scale, train[1], exam[0] * scale, exam[1]) == linear_probe(*train, *exam)
    with pytest.raises(ValueError, match="class 2 has only one training image"):
        linear_probe(train[0][:6][[0, 1, 2, 3, 4]], train[1][:5], *exam)


def test_silhouette_of_two_far_clusters_is_near_one_and_of_noise_near_zero():
    labels = torch.arange(100) % 2
    noise = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    assert silhouette(noise + 100 * labels[:, None], labels) > 0.95
    assert abs(silhouette(noise, labels)) < 0.1


@pytest.mark.parametrize("method", ["pca", "t-sne", "umap"])
def test_projections_keep_two_far_groups_apart_and_repeat(method):
    labels = torch.arange(60) % 2
    points = torch.randn(60, 8, generator=torch.Generator().manual_seed(0)) + 40 * labels[:, None]
    threads = torch.get_num_threads()
    drawn = project(points, method, seed=3)
    assert torch.get_num_threads() == threads
    assert drawn.shape == (60, 2) and drawn.dtype == np.float64 and np.isfinite(drawn).all()
    np.testing.assert_array_equal(drawn, project(points, method, seed=3))
    assert silhouette(torch.from_numpy(drawn), labels) > 0.5


def test_an_unknown_projection_is_named_with_the_nearest():
    with pytest.raises(ValueError, match='Did you mean "umap"'):
        project(torch.zeros(4, 3), "ump")


def test_threads_of_torch_are_restored_even_if_umap_fails(monkeypatch):
    umap = pytest.importorskip("umap")
    before = torch.get_num_threads()

    def fail(self, points):
        torch.set_num_threads(before + 1)
        raise RuntimeError("no neighbours")

    monkeypatch.setattr(umap.UMAP, "fit_transform", fail)
    with pytest.raises(RuntimeError, match="no neighbours"):
        project(torch.rand(20, 3), "umap")
    assert torch.get_num_threads() == before
