"""Penultimate features and their judges, against naive references and known cases."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from refusals import refused
from tdnn_helpers.measures import embedding
from tdnn_helpers.measures.embedding import features, linear_probe, linear_probes, project, silhouette, standardise
from tdnn_helpers.models.networks import mlp, small_cnn


def test_features_are_the_input_of_the_last_linear_layer(few):
    model = mlp(few, hidden=(7,))
    found = features(model, few)
    torch.testing.assert_close(found, model[:-1](few.images.float() / 255).detach())
    assert found.shape == (120, 7) and found.dtype == torch.float32
    assert not model[-1]._forward_pre_hooks, "a hook is left behind"
    model = small_cnn(few, width=4)
    assert features(model, few, layer=model[5]).shape == (120, 4 * 4 * 4), "maps of a chosen layer are flattened"


def blobs(count, seed, noise=2.0, dimensions=8):
    """Three classes around fixed centres; returns (features, targets)."""
    centres = torch.randn(3, dimensions, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(count) % 3
    return centres[targets] + noise * torch.randn(count, dimensions, generator=generator), targets


TRAIN, EXAM = blobs(90, 1), blobs(200, 2)


test_what_cannot_be_judged_is_named = refused(
    (lambda few: features(nn.Sequential(nn.Flatten()), few), "no nn.Linear"),
    (lambda few: features(mlp(few), few, layer=nn.Linear(2, 2)), "never calls"),
    (lambda few: linear_probe(TRAIN[0][:5], TRAIN[1][:5], *EXAM), "class 2 has only one training image"),
    (lambda few: project(torch.zeros(4, 3), "ump"), 'Did you mean "umap"'),
)


def test_standardise_uses_the_first_part_only_and_survives_constant_columns():
    train = torch.tensor([[1.0, 5.0], [3.0, 5.0]])
    scaled, other = standardise(train, torch.tensor([[2.0, 9.0]]))
    torch.testing.assert_close(scaled.mean(0), torch.zeros(2))
    torch.testing.assert_close(scaled[:, 0].std(), torch.tensor(1.0))
    torch.testing.assert_close(other, torch.tensor([[0.0, 0.0]]))


@pytest.mark.parametrize("k", [1, 5, 50])
def test_knn_accuracy_equals_scikit_learn(k):
    rng = torch.Generator().manual_seed(k)
    points, labels = torch.randn(90, 3, generator=rng), torch.randint(0, 4, (90,), generator=rng)
    fresh, truth = torch.randn(40, 3, generator=rng), torch.randint(0, 4, (40,), generator=rng)
    reference = KNeighborsClassifier(k).fit(points, labels)
    assert embedding.knn_predict(points, labels, fresh, k).tolist() == reference.predict(fresh).tolist()
    assert embedding.knn_accuracy(points, labels, fresh, truth, k) == pytest.approx(reference.score(fresh, truth))


def test_linear_probe_equals_scikit_learn_at_one_strength():
    def reference(train, exam):
        probe = LogisticRegression(C=0.1, max_iter=500, tol=1e-3).fit(train, TRAIN[1])
        return pytest.approx(probe.score(exam, EXAM[1]))

    assert linear_probe(*TRAIN, *EXAM, strengths=[0.1]) == reference(*standardise(TRAIN[0], EXAM[0]))
    train, exam = (part * torch.logspace(-3, 1, 8) for part in (TRAIN[0], EXAM[0]))
    raw, scaled = (linear_probe(train, TRAIN[1], exam, EXAM[1], strengths=[0.1], scaled=one) for one in (False, True))
    assert raw == reference(train, exam) and raw != scaled
    assert linear_probe(train, TRAIN[1], exam, EXAM[1]) == linear_probe(*TRAIN, *EXAM), "it does not see scale"


def test_one_probe_can_be_asked_several_times():
    exams = {"near": blobs(100, 2), "far": blobs(100, 3, noise=4)}
    both = linear_probes(*TRAIN, exams)
    assert both == {name: linear_probe(*TRAIN, *exam) for name, exam in exams.items()} and both["near"] > both["far"]


def test_linear_probe_chooses_its_strength_on_training_data():
    train, exam = blobs(40, 1, noise=3, dimensions=60), blobs(600, 2, noise=3, dimensions=60)
    alone = {strength: linear_probe(*train, *exam, strengths=[strength]) for strength in (1e-8, 0.01, 100.0)}
    assert len(set(alone.values())) == 3
    chosen = linear_probe(*train, *exam, strengths=list(alone))
    (choice,) = [strength for strength, score in alone.items() if score == chosen]
    asked = *train, exam[0], (exam[1] + 1) % 3  # other test labels must not change the choice
    assert linear_probe(*asked, strengths=alone) == linear_probe(*asked, strengths=[choice])


def test_silhouette_of_two_far_clusters_is_near_one_and_of_noise_near_zero():
    labels = torch.arange(100) % 2
    noise = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    assert silhouette(noise + 100 * labels[:, None], labels) > 0.95
    assert abs(silhouette(noise, labels)) < 0.1


@pytest.mark.parametrize("method", ["pca", "t-sne", "umap"])
def test_projections_keep_two_far_groups_apart_and_repeat(method, monkeypatch):
    # UMAP in plain Python: for this few points, to compile it takes longer. Its neighbourhoods are of 15 points.
    monkeypatch.setattr(pytest.importorskip("numba").config, "DISABLE_JIT", 1)
    labels = torch.arange(34) % 2
    points = torch.randn(34, 8, generator=torch.Generator().manual_seed(0)) + 40 * labels[:, None]
    drawn = project(points, method, seed=3)
    assert drawn.shape == (34, 2) and drawn.dtype == np.float64 and np.isfinite(drawn).all()
    np.testing.assert_array_equal(drawn, project(points, method, seed=3))
    assert silhouette(torch.from_numpy(drawn), labels) > 0.5


@pytest.mark.parametrize("error", [None, RuntimeError("no neighbours")])
def test_threads_of_torch_are_restored_even_if_umap_fails(monkeypatch, error):
    umap, before = pytest.importorskip("umap"), torch.get_num_threads()

    def fit_transform(self, points):
        torch.set_num_threads(before + 1)
        if error:
            raise error
        return points

    monkeypatch.setattr(umap.UMAP, "fit_transform", fit_transform)
    with pytest.raises(RuntimeError, match="no neighbours") if error else nullcontext():
        project(torch.rand(20, 3), "umap")
    assert torch.get_num_threads() == before
