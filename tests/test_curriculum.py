"""Difficulties come from teachers that have not seen the image, rankings are permutations, batches keep to the pace."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import LinearSVC
from torch import nn

from tdnn_helpers.methods.curriculum import easy_first, paced, svm_margin, teacher_loss
from tdnn_helpers.models.networks import mlp
from tdnn_helpers.train.loop import classification, fit


class Memory(nn.Module):
    """Knows the labels of the images that it was taught by heart, and nothing else."""

    def __init__(self, split):
        super().__init__()
        self.known = {image.numpy().tobytes(): int(target) for image, target in zip(split.images, split.targets)}

    def forward(self, images):
        rows = [self.known.get((image * 255).round().to(torch.uint8).numpy().tobytes()) for image in images]
        return torch.stack([torch.zeros(10) if row is None else 20 * torch.eye(10)[row] for row in rows])


@pytest.mark.parametrize("folds", [2, 4])
def test_a_teacher_has_not_seen_the_images_that_it_scores(few, folds):
    taught = []
    loss = teacher_loss(few, lambda part: taught.append(part) or Memory(part), folds=folds, seed=0)
    assert torch.allclose(loss, torch.full((120,), np.log(10)))  # nobody knows anything about a new image
    assert [len(part) for part in taught] == [120 - 120 // folds] * folds


def test_the_loss_of_a_teacher_stands_beside_its_image(few):
    """A teacher that always answers "3": only the threes are easy."""

    class Three(nn.Module):
        def forward(self, images):
            return 5 * torch.eye(10)[3].expand(len(images), -1)

    loss = teacher_loss(few, lambda part: Three(), seed=1)
    threes = few.targets == 3
    assert loss[threes].max() < 0.1 < 5 < loss[~threes].min()
    assert loss.dtype == torch.float32 and loss.shape == (120,)


def test_wrong_labels_are_hard(few):
    def teach(part):
        torch.manual_seed(0)
        model = mlp(part, hidden=(32,))
        fit(model, part, steps=60, batch_size=32)
        return model

    noisy = few.with_label_noise(0.2, seed=0)
    loss = teacher_loss(noisy, teach, seed=0)
    wrong = noisy.extra["flipped"]
    assert loss[wrong].median() > 5 * loss[~wrong].median()
    assert teacher_loss(noisy, teach, seed=0).equal(loss)


def test_margins_against_a_loop(few):
    features, targets = few.images.flatten(1).float(), few.targets
    margin = svm_margin(features, targets, seed=0)
    assert margin.shape == (120,) and margin.dtype == torch.float32
    # The same by hand: whatever half an image is in, the machine of the other half gives its score.
    for others, fold in StratifiedKFold(2, shuffle=True, random_state=0).split(targets, targets):
        mean, std = features[others].mean(0), features[others].std(0)
        scaled = ((features - mean) / torch.where(std > 1e-8, std, torch.inf)).numpy()
        machine = LinearSVC(C=1e-3, random_state=0).fit(scaled[others], targets[others].numpy())
        for i in fold[:10]:
            scores = machine.decision_function(scaled[i : i + 1])[0]
            own = scores[targets[i]]
            assert float(margin[i]) == pytest.approx(np.delete(scores, targets[i]).max() - own, abs=1e-4)
    assert (margin > 0).float().mean() < 0.3  # mostly right
    some = targets % 3 == 0  # classes with gaps: 0, 3, 6, 9
    margin = svm_margin(features[some], targets[some], seed=0)
    assert torch.isfinite(margin).all() and (margin > 0).float().mean() < 0.3
    for too_few in ((targets > 4).long(), torch.where(torch.arange(120) == 0, 9, targets % 9)):
        with pytest.raises(ValueError, match="at least three classes with at least 2 images each"):
            svm_margin(features, too_few, seed=0)


@pytest.mark.parametrize("seed", range(3))
def test_balanced_beginnings(seed):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.multinomial(torch.tensor([0.5, 0.3, 0.15, 0.05]), 200, replacement=True, generator=generator)
    difficulty = torch.rand(200, generator=generator) + targets  # the raw order would go class by class
    ranking = easy_first(difficulty, targets)
    assert ranking.sort().values.tolist() == list(range(200))
    share = torch.bincount(targets, minlength=4) / 200
    counts = F.one_hot(targets[ranking], 4).cumsum(0)
    assert (counts - torch.arange(1, 201)[:, None] * share).abs().max() <= 2  # the sum of four roundings
    for c in range(4):
        assert (difficulty[ranking[targets[ranking] == c]].diff() >= 0).all()
    assert (targets[easy_first(difficulty)].diff() >= 0).all()


def test_rankings_are_stable_and_have_a_place_for_every_image():
    assert easy_first(torch.tensor([2.0, 0.5, 2.0, -1.0, 0.5])).tolist() == [3, 1, 4, 0, 2]
    with pytest.raises(ValueError, match="NaN"):
        easy_first(torch.tensor([0.0, torch.nan]))
    with pytest.raises(ValueError, match="2 difficulties but 3 targets"):
        easy_first(torch.zeros(2), torch.zeros(3, dtype=torch.long))


def test_batches_keep_to_the_pace():
    ranking = torch.randperm(100, generator=torch.Generator().manual_seed(1))
    order, generator = paced(ranking, lambda step: min(10 + 5 * step, 100), 10), torch.Generator().manual_seed(0)
    seen = set()
    for step in range(60):
        batch = order(step, generator).tolist()
        assert len(batch) == len(set(batch)) == 10
        assert set(batch) <= set(ranking[: 10 + 5 * step].tolist())
        seen |= set(batch)
    assert seen == set(range(100))
    for n in (9, 101, 0):
        with pytest.raises(ValueError, match=f"after 4 steps {n} images are available, but a batch needs 10"):
            paced(ranking, lambda step, n=n: n, 10)(4, generator)


def test_a_curriculum_through_fit(few):
    seen = []

    def spy(model, batch):
        seen.append(batch.indices.cpu())
        return classification(model, batch)

    ranking, model = torch.arange(120).flip(0), mlp(few, hidden=(8,))
    fit(model, few, objective=spy, steps=12, batch_size=8, order=paced(ranking, lambda step: 8 * (step + 1), 8))
    assert [int(batch.min()) >= 120 - 8 * (step + 1) for step, batch in enumerate(seen)] == [True] * 12
