"""Penultimate features and their judges, against naive references and known cases."""

import numpy as np
import pytest
import torch
from torch import nn

from tdnn_helpers.data import load
from tdnn_helpers.features import features, knn_accuracy, project, silhouette, standardise
from tdnn_helpers.models import mlp, small_cnn


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
    reference = KNeighborsClassifier(k).fit(points, labels).score(fresh, truth)
    assert knn_accuracy(points, labels, fresh, truth, k) == pytest.approx(reference)


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
