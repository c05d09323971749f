"""Losses against naive loops in value and gradient, the parts that last from step to step, and a real run of each."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tdnn_helpers.data.augment import chain, crop, flip
from tdnn_helpers.data.sets import load
from tdnn_helpers.methods.self_supervised import (
    JointEmbedding,
    attraction,
    barlow_loss,
    barlow_twins,
    byol,
    dimensions,
    distance,
    info_nce,
    moco,
    pair,
    rotated,
    rotation,
    simclr,
    simsiam,
    sinkhorn,
    swapped,
    swav,
    two_views,
)
from tdnn_helpers.models.networks import small_cnn
from tdnn_helpers.train.loop import evaluate, fit, sgd
from tdnn_helpers.train.objectives import Batch

METHODS = {
    "SimCLR": (simclr, {}),
    "MoCo": (moco, {"momentum": 0.9, "queue": 24}),
    "BYOL": (byol, {"predictor": 8, "momentum": 0.9}),
    "SimSiam": (simsiam, {"predictor": 8}),
    "SwAV": (swav, {"prototypes": 6}),
    "Barlow Twins": (barlow_twins, {}),
}


def rows(n, width, seed=0, grad=False):
    stream = torch.Generator().manual_seed(seed)
    return torch.randn(n, width, generator=stream, dtype=torch.float64).requires_grad_(grad)


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def cosine(a, b):
    return dot(a, b) / (dot(a, a).sqrt() * dot(b, b).sqrt())


# ---- losses against loops over single numbers ------------------------------------------------------------------------


def naive_distance(a, b):
    return sum(2 - 2 * cosine(x, y) for x, y in zip(a, b, strict=True)) / len(a)


def naive_info_nce(queries, keys, negatives, temperature):
    total = 0
    for query, key in zip(queries, keys, strict=True):
        scores = [(dot(query, other) / temperature).exp() for other in [key, *negatives]]
        total = total - (scores[0] / sum(scores)).log()
    return total / len(queries)


def naive_barlow(a, b, weight):
    n, width = a.shape

    def standard(x):
        mean = sum(x) / n
        return [(row - mean) / (sum((r - mean) ** 2 for r in x) / n).sqrt() for row in x]

    a, b, total = standard(a), standard(b), 0
    for i in range(width):
        for j in range(width):
            c = sum(x[i] * y[j] for x, y in zip(a, b, strict=True)) / n
            total = total + ((1 - c) ** 2 if i == j else weight * c**2)
    return total


@pytest.mark.parametrize(
    ("fast", "naive"),
    [
        (distance, naive_distance),
        (
            partial(info_nce, negatives=rows(4, 3, 9), temperature=0.3),
            partial(naive_info_nce, negatives=rows(4, 3, 9), temperature=0.3),
        ),
        (partial(barlow_loss, weight=0.05), partial(naive_barlow, weight=0.05)),
    ],
    ids=["cosine", "InfoNCE", "Barlow Twins"],
)
def test_losses_equal_naive_loops_in_value_and_gradient(fast, naive):
    results = []
    for loss in (fast, naive):
        a, b = rows(6, 3, 1, grad=True), rows(6, 3, 2, grad=True)
        value = loss(a, b)
        value.backward()
        results.append((value.detach(), a.grad, b.grad))
    for mine, reference in zip(*results, strict=True):
        assert torch.allclose(mine, reference, atol=1e-9)


def test_barlow_loss_has_its_known_values():
    white = torch.linalg.qr(rows(40, 5) - rows(40, 5).mean(0))[0]
    white = white - white.mean(0)
    white = torch.linalg.qr(white)[0]  # five columns of mean 0 that are orthogonal
    assert barlow_loss(white, white, 0.01) == pytest.approx(0, abs=1e-9)
    assert barlow_loss(white, -white, 0.01) == pytest.approx(4 * 5)
    collapsed = torch.ones(40, 5)
    assert barlow_loss(collapsed, collapsed, 0.01) == pytest.approx(5)
    copies = rows(40, 1).expand(-1, 5)
    assert barlow_loss(copies, copies, 0.01) == pytest.approx(0.01 * 5 * 4)
    assert barlow_loss(copies, copies, 0.0) == pytest.approx(0, abs=1e-9)


def test_info_nce_without_knowledge_and_with_perfect_knowledge():
    same = F.normalize(torch.ones(8, 4), dim=1)
    assert info_nce(same, same, same, 0.5) == pytest.approx(math.log(1 + 8))
    assert info_nce(same, same, -same, 0.02) == pytest.approx(0, abs=1e-6)


def test_sinkhorn_gives_every_image_one_share_and_every_prototype_the_same():
    scores = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    scores[:, 0] += 2  # everyone's favourite
    one, many = sinkhorn(scores, rounds=1), sinkhorn(scores, sharpness=0.5, rounds=60)
    assert torch.allclose(one.sum(1), torch.ones(64)) and torch.allclose(many.sum(1), torch.ones(64))
    assert torch.allclose(many.sum(0), torch.full((8,), 64 / 8), atol=1e-3)
    assert (sinkhorn(scores).sum(0) - 8).abs().max() < (F.softmax(scores / 0.05, 1).sum(0) - 8).abs().max()
    assert torch.isfinite(sinkhorn(scores * 50)).all(), "scores far apart overflow"


def test_dimensions_and_spread_see_a_collapse():
    isotropic = torch.randn(4000, 6, generator=torch.Generator().manual_seed(0))
    assert dimensions(isotropic) == pytest.approx(6, rel=0.02)
    assert dimensions(isotropic[:, :1].expand(-1, 6)) == pytest.approx(1)
    direction = torch.ones(50, 6) + 1e-6 * isotropic[:50]
    model = JointEmbedding(nn.Flatten(), 6, embedding=6)
    model.projector = nn.Identity()
    measured = [attraction(model, batch_of(images.view(-1, 1, 2, 3)))[1]["spread"] for images in (direction, isotropic)]
    assert measured[0] < 1e-4 and measured[1] > 0.99


# ---- views -----------------------------------------------------------------------------------------------------------


def batch_of(images, targets=None):
    targets = torch.zeros(len(images), dtype=torch.long) if targets is None else targets
    return Batch(images, targets, torch.arange(len(images)), 10)


def test_two_views_stand_side_by_side_and_differ():
    images = torch.rand(5, 1, 8, 8)
    views = two_views(crop(0.3))(images, torch.Generator().manual_seed(0))
    a, b = pair(views)
    assert len(views) == 10 and a.shape == b.shape == images.shape and not torch.equal(a, b)
    assert torch.equal(a, crop(0.3)(images, torch.Generator().manual_seed(0)))
    unchanged = two_views(chain())(images, torch.Generator())
    assert torch.equal(pair(unchanged)[0], images) and torch.equal(pair(unchanged)[1], images)


def test_pair_and_swapped():
    numbers = torch.arange(6)[:, None]
    assert pair(numbers)[0][:, 0].tolist() == [0, 2, 4] and pair(numbers)[1][:, 0].tolist() == [1, 3, 5]
    assert swapped(numbers)[:, 0].tolist() == [1, 0, 3, 2, 5, 4]
    with pytest.raises(ValueError, match="no pairs"):
        pair(torch.zeros(3, 2))


def test_rotated_images_can_be_turned_back_by_their_labels():
    images = torch.rand(11, 2, 5, 5)
    turned, turns = rotated(images)
    assert turns.tolist() == [0, 1, 2, 3] * 2 + [0, 1, 2]
    for image, other, k in zip(images, turned, turns, strict=True):
        assert torch.equal(other.rot90(-int(k), (-2, -1)), image)
    assert turned[1, :, 0, 0].equal(images[1, :, 0, -1]), "one quarter turn takes the right edge to the top"


# ---- what lasts from step to step ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    return load("digits").take(96, seed=0)


def build(name, digits, **changes):
    torch.manual_seed(0)
    objective, parts = METHODS[name]
    encoder = small_cnn(digits, width=4)[:-1]
    return objective, JointEmbedding(encoder, 16, embedding=12, hidden=16, **parts | changes)


def views_of(digits):
    return batch_of(two_views(crop(0.5))(digits.images[:16].float() / 255, torch.Generator().manual_seed(1)))


def test_target_network_moves_a_little_and_only_in_training(digits):
    _, model = build("BYOL", digits, momentum=0.75)
    start = [p.clone() for p in model.target.parameters()]
    with torch.no_grad():
        for p in model.encoder.parameters():
            p.add_(1)
    model.eval().follow(views_of(digits).images)
    assert all(torch.equal(p, q) for p, q in zip(model.target.parameters(), start, strict=True))
    out = model.train().follow(views_of(digits).images)
    assert not out.requires_grad and not any(p.requires_grad for p in model.target.parameters())
    online = [*model.encoder.parameters(), *model.projector.parameters()]
    for p, q, new in zip(model.target.parameters(), start, online, strict=True):
        assert torch.allclose(p, 0.75 * q + 0.25 * new, atol=1e-6)


def test_queue_takes_new_keys_in_front_and_keeps_its_length(digits):
    objective, model = build("MoCo", digits)
    before = model.queue.clone()
    objective(model.eval(), views_of(digits))
    assert torch.equal(model.queue, before)
    objective(model.train(), views_of(digits))
    assert torch.equal(model.queue[16:], before[:8]) and model.queue.shape == before.shape
    assert torch.allclose(model.queue.norm(dim=1), torch.ones(24), atol=1e-5)
    assert {"queue", "target.0.1.weight"} <= set(model.state_dict())


def test_no_gradient_reaches_what_must_stand_still(digits):
    for name in METHODS:
        objective, model = build(name, digits)
        loss, measured = objective(model.train(), views_of(digits))
        loss.backward()
        assert all(p.grad is None for p in model.target.parameters()) if model.target else True
        learnt = [*model.encoder.parameters(), *model.projector.parameters(), *model.predictor.parameters()]
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in learnt)
        assert any(p.grad.abs().sum() > 0 for p in model.encoder.parameters())
        assert 0 < measured["spread"] <= 1 and 1 <= measured["dimensions"] <= 12


@pytest.mark.parametrize(
    ("name", "part"), [("MoCo", "queue"), ("MoCo", "momentum"), ("BYOL", "momentum"), ("SwAV", "prototypes")]
)
def test_a_missing_part_is_named(name, part, digits):
    objective, model = build(name, digits, **{part: None if part == "momentum" else 0})
    with pytest.raises(ValueError, match=f"build JointEmbedding.*{part}="):
        objective(model, views_of(digits))


def test_simsiam_gradient_is_that_of_constant_targets(digits):
    """By hand: the loss on targets that are numbers, not functions, has the same gradient; without the stop another."""
    grads = []
    for how in ("stopped", "by hand", "flowing"):
        _, model = build("SimSiam", digits)
        batch = views_of(digits)
        if how == "by hand":
            z = model.train()(batch.images)
            constants = torch.tensor(swapped(z).tolist())
            loss = distance(model.predictor(z), constants)
        else:
            loss = simsiam(model.train(), batch, stop_gradient=how == "stopped")[0]
        loss.backward()
        grads.append(torch.cat([p.grad.flatten() for p in model.encoder.parameters()]))
    assert torch.allclose(grads[0], grads[1], atol=1e-6) and not torch.allclose(grads[0], grads[2], atol=1e-4)


def test_swav_predicts_the_code_of_the_other_view(digits):
    objective, model = build("SwAV", digits)
    batch = views_of(digits)
    z = F.normalize(model.train()(batch.images))
    scores = z @ F.normalize(model.prototypes).T
    codes = [sinkhorn(part) for part in pair(scores)]
    expected = 0
    for i in range(16):
        for mine, other in ((0, 1), (1, 0)):
            logp = (scores[2 * i + other] / 0.1).log_softmax(0)
            expected = expected - dot(codes[mine][i], logp)
    assert objective(model, batch)[0].item() == pytest.approx(expected.item() / 32, rel=1e-5)


# ---- a real run ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_and_goes_on_from_a_checkpoint(name, digits, tmp_path):
    def run(steps_until, file):
        objective, model = build(name, digits)
        history = fit(
            model, digits, objective=objective, steps=8, batch_size=32, augment=two_views(chain(crop(0.5), flip)),
            optimizer=sgd(0.05), seed=3, evaluate_every=2, checkpoint=file,
            schedule=stop_at(steps_until),
        )  # fmt: skip
        return model, history

    whole, history = run(None, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(5, tmp_path / "parts")
    resumed, again = run(None, tmp_path / "parts")
    assert all(map(math.isfinite, history.step_losses)) and again.step_losses == history.step_losses
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def stop_at(step):
    """A constant schedule that presses Ctrl-C after this many steps."""

    class Constant(torch.optim.lr_scheduler.ConstantLR):
        def step(self, *args):
            super().step(*args)
            if self.last_epoch == step:
                raise KeyboardInterrupt

    return lambda optimizer, steps: Constant(optimizer, factor=1.0)


def test_rotation_learns_and_never_looks_at_labels(digits):
    scores = []
    for split in (digits, digits.with_targets(digits.targets.flip(0), digits.classes)):
        torch.manual_seed(0)
        model = nn.Sequential(small_cnn(digits, width=8)[:-1], nn.Linear(32, 4))
        history = fit(model, split, objective=rotation, steps=60, batch_size=96, optimizer=sgd(0.2), seed=0)
        scores.append((history.step_losses, evaluate(model, split, objective=rotation)["accuracy"]))
    assert scores[0][0] == scores[1][0] and scores[0][1] > 0.6


def test_attraction_alone_collapses_where_simclr_does_not(digits):
    ends = {}
    for name, objective in {"attraction": attraction, "simclr": simclr}.items():
        _, model = build("SimCLR", digits)
        fit(model, digits, objective=objective, steps=80, batch_size=96, augment=two_views(crop(0.5)), seed=0)
        views = two_views(crop(0.5))(digits.images.float() / 255, torch.Generator().manual_seed(5))
        with torch.no_grad():
            ends[name] = objective(model.eval(), batch_of(views))[1]["spread"]
    assert ends["attraction"] < 0.3 < ends["simclr"]
