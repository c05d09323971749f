"""Losses against naive loops in value and gradient, the parts that last from step to step, and a real run of each."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tdnn_helpers.data.augment import chain, crop, flip
from tdnn_helpers.methods import self_supervised as methods
from tdnn_helpers.methods.self_supervised import JointEmbedding, barlow_loss, distance, info_nce, pair, two_views
from tdnn_helpers.models.networks import small_cnn
from tdnn_helpers.train.loop import evaluate, fit, sgd
from tdnn_helpers.train.objectives import Batch

METHODS = {
    "SimCLR": (methods.simclr, {}),
    "MoCo": (methods.moco, {"momentum": 0.9, "queue": 24}),
    "BYOL": (methods.byol, {"predictor": 8, "momentum": 0.9}),
    "SimSiam": (methods.simsiam, {"predictor": 8}),
    "SwAV": (methods.swav, {"prototypes": 6}),
    "Barlow Twins": (methods.barlow_twins, {}),
}


def rows(n, width, seed=0, grad=False):
    return torch.randn(n, width, generator=seeded(seed), dtype=torch.float64).requires_grad_(grad)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def batch_of(images):
    return Batch(images, torch.zeros(len(images), dtype=torch.long), torch.arange(len(images)), 10)


def naive_distance(a, b):
    return (a / a.norm(dim=1, keepdim=True) - b / b.norm(dim=1, keepdim=True)).square().sum(1).mean()


def naive_info_nce(queries, keys, negatives, temperature):
    own, others = (torch.exp(scores / temperature) for scores in ((queries * keys).sum(1), queries @ negatives.T))
    return -(own / (own + others.sum(1))).log().mean()


def naive_barlow(a, b, weight):
    total = 0
    for i, x in enumerate(a.T):
        for j, y in enumerate(b.T):
            c = torch.corrcoef(torch.stack([x, y]))[0, 1]
            total = total + ((1 - c) ** 2 if i == j else weight * c**2)
    return total


@pytest.mark.parametrize(
    ("fast", "naive", "options"),
    [
        (distance, naive_distance, {}),
        (info_nce, naive_info_nce, {"negatives": rows(4, 3, 9), "temperature": 0.3}),
        (barlow_loss, naive_barlow, {"weight": 0.05}),
    ],
)
def test_losses_equal_naive_loops_in_value_and_gradient(fast, naive, options):
    results = []
    for loss in (fast, naive):
        a, b = rows(6, 3, 1, grad=True), rows(6, 3, 2, grad=True)
        value = loss(a, b, **options)
        results.append((value, *torch.autograd.grad(value, (a, b))))
    for mine, reference in zip(*results, strict=True):
        assert torch.allclose(mine, reference, atol=1e-9)


def test_losses_have_their_known_values():
    white = torch.linalg.qr(rows(40, 5) - rows(40, 5).mean(0))[0]  # five columns of mean 0 that are orthogonal
    assert barlow_loss(white, white, 0.01) == pytest.approx(0, abs=1e-9)
    assert barlow_loss(white, -white, 0.01) == pytest.approx(4 * 5)
    collapsed = torch.ones(40, 5)
    assert barlow_loss(collapsed, collapsed, 0.01) == pytest.approx(5)
    copies = rows(40, 1).expand(-1, 5)
    assert barlow_loss(copies, copies, 0.01) == pytest.approx(0.01 * 5 * 4)
    assert barlow_loss(copies, copies, 0.0) == pytest.approx(0, abs=1e-9)
    same = F.normalize(torch.ones(8, 4), dim=1)
    assert info_nce(same, same, same, 0.5) == pytest.approx(math.log(1 + 8))  # nothing is known
    assert info_nce(same, same, -same, 0.02) == pytest.approx(0, abs=1e-6)


def test_sinkhorn_gives_every_image_one_share_and_every_prototype_the_same():
    scores = rows(64, 8).float()
    scores[:, 0] += 2  # everyone's favourite
    one, many = methods.sinkhorn(scores, rounds=1), methods.sinkhorn(scores, sharpness=0.5, rounds=60)
    assert torch.allclose(one.sum(1), torch.ones(64)) and torch.allclose(many.sum(1), torch.ones(64))
    assert torch.allclose(many.sum(0), torch.full((8,), 64 / 8), atol=1e-3)
    assert (methods.sinkhorn(scores).sum(0) - 8).abs().max() < (F.softmax(scores / 0.05, 1).sum(0) - 8).abs().max()
    assert torch.isfinite(methods.sinkhorn(scores * 50)).all(), "scores far apart overflow"


def test_dimensions_and_spread_see_a_collapse():
    isotropic = rows(4000, 6).float()
    assert methods.dimensions(isotropic) == pytest.approx(6, rel=0.02)
    assert methods.dimensions(isotropic[:, :1].expand(-1, 6)) == pytest.approx(1)
    direction = torch.ones(50, 6) + 1e-6 * isotropic[:50]
    model = JointEmbedding(nn.Flatten(), 6, embedding=6)
    model.projector = nn.Identity()
    for images, least, most in ((direction, 0, 1e-4), (isotropic, 0.99, 1)):
        assert least <= methods.attraction(model, batch_of(images.view(-1, 1, 2, 3)))[1]["spread"] <= most


def test_two_views_stand_side_by_side_and_differ():
    images = torch.rand(5, 1, 8, 8)
    views = two_views(crop(0.3))(images, seeded())
    a, b = pair(views)
    assert len(views) == 10 and a.shape == b.shape == images.shape and not torch.equal(a, b)
    assert torch.equal(a, crop(0.3)(images, seeded()))
    assert all(torch.equal(view, images) for view in pair(two_views(chain())(images, torch.Generator())))
    numbers = torch.arange(6)[:, None]
    assert [view[:, 0].tolist() for view in pair(numbers)] == [[0, 2, 4], [1, 3, 5]]
    assert methods.swapped(numbers)[:, 0].tolist() == [1, 0, 3, 2, 5, 4]
    with pytest.raises(ValueError, match="no pairs"):
        pair(torch.zeros(3, 2))


def test_rotated_images_can_be_turned_back_by_their_labels():
    images = torch.rand(11, 2, 5, 5)
    turned, turns = methods.rotated(images)
    assert turns.tolist() == [0, 1, 2, 3] * 2 + [0, 1, 2]
    for image, other, k in zip(images, turned, turns, strict=True):
        assert torch.equal(other.rot90(-int(k), (-2, -1)), image)
    assert turned[1, :, 0, 0].equal(images[1, :, 0, -1]), "one quarter turn takes the right edge to the top"


def build(name, few, **changes):
    torch.manual_seed(0)
    objective, parts = METHODS[name]
    encoder = small_cnn(few, width=4)[:-1]
    return objective, JointEmbedding(encoder, 16, embedding=12, hidden=16, **parts | changes)


def views_of(few):
    return batch_of(two_views(crop(0.5))(few.images[:16].float() / 255, seeded(1)))


def test_target_network_moves_a_little_and_only_in_training(few):
    _, model = build("BYOL", few, momentum=0.75)
    start = [p.clone() for p in model.target.parameters()]
    for p in model.encoder.parameters():
        p.data.add_(1)
    model.eval().follow(views_of(few).images)
    assert all(torch.equal(p, q) for p, q in zip(model.target.parameters(), start, strict=True))
    out = model.train().follow(views_of(few).images)
    assert not out.requires_grad and not any(p.requires_grad for p in model.target.parameters())
    online = [*model.encoder.parameters(), *model.projector.parameters()]
    for p, q, new in zip(model.target.parameters(), start, online, strict=True):
        assert torch.allclose(p, 0.75 * q + 0.25 * new, atol=1e-6)


def test_queue_takes_new_keys_in_front_and_keeps_its_length(few):
    objective, model = build("MoCo", few)
    before = model.queue.clone()
    objective(model.eval(), views_of(few))
    assert torch.equal(model.queue, before)
    objective(model.train(), views_of(few))
    assert torch.equal(model.queue[16:], before[:8]) and model.queue.shape == before.shape
    assert torch.allclose(model.queue.norm(dim=1), torch.ones(24), atol=1e-5)
    assert {"queue", "target.0.1.weight"} <= set(model.state_dict())


@pytest.mark.parametrize("name", METHODS)
def test_no_gradient_reaches_what_must_stand_still(name, few):
    objective, model = build(name, few)
    loss, measured = objective(model.train(), views_of(few))
    loss.backward()
    assert model.target is None or all(p.grad is None for p in model.target.parameters())
    learnt = [*model.encoder.parameters(), *model.projector.parameters(), *model.predictor.parameters()]
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in learnt)
    assert any(p.grad.abs().sum() > 0 for p in model.encoder.parameters())
    assert 0 < measured["spread"] <= 1 and 1 <= measured["dimensions"] <= 12


@pytest.mark.parametrize(
    ("name", "part"), [("MoCo", "queue"), ("MoCo", "momentum"), ("BYOL", "momentum"), ("SwAV", "prototypes")]
)
def test_a_missing_part_is_named(name, part, few):
    objective, model = build(name, few, **{part: None if part == "momentum" else 0})
    with pytest.raises(ValueError, match=f"build JointEmbedding.*{part}="):
        objective(model, views_of(few))


def test_simsiam_gradient_is_that_of_constant_targets(few):
    """By hand: the loss on targets that are numbers, not functions, has the same gradient; without the stop another."""

    def by_hand(model, batch):
        z = model(batch.images)
        return (distance(model.predictor(z), torch.tensor(methods.swapped(z).tolist())),)

    gradients = []
    for objective in (methods.simsiam, by_hand, partial(methods.simsiam, stop_gradient=False)):
        _, model = build("SimSiam", few)
        objective(model.train(), views_of(few))[0].backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.encoder.parameters()]))
    stopped, constant, flowing = gradients
    assert torch.allclose(stopped, constant, atol=1e-6) and not torch.allclose(stopped, flowing, atol=1e-4)


def test_swav_predicts_the_code_of_the_other_view(few):
    objective, model = build("SwAV", few)
    batch = views_of(few)
    z = F.normalize(model.train()(batch.images))
    scores = z @ F.normalize(model.prototypes).T
    first, second = pair(scores)
    both = ((methods.sinkhorn(first), second), (methods.sinkhorn(second), first))
    expected = -sum((codes * (other / 0.1).log_softmax(1)).sum() for codes, other in both) / 32
    assert objective(model, batch)[0].item() == pytest.approx(expected.item(), rel=1e-5)


def stop_at(step):
    """A constant schedule that presses Ctrl-C after this many steps."""

    class Constant(torch.optim.lr_scheduler.ConstantLR):
        def step(self, *args):
            super().step(*args)
            if self.last_epoch == step:
                raise KeyboardInterrupt

    return lambda optimizer, steps: Constant(optimizer, factor=1.0)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_and_goes_on_from_a_checkpoint(name, few, tmp_path):
    def run(steps_until, file):
        objective, model = build(name, few)
        settings = dict(steps=8, batch_size=32, augment=two_views(chain(crop(0.5), flip)), optimizer=sgd(0.05), seed=3)
        kept = dict(evaluate_every=2, checkpoint=tmp_path / file, schedule=stop_at(steps_until))
        return model, fit(model, few, objective=objective, **settings, **kept)

    whole, history = run(None, "whole")
    with pytest.raises(KeyboardInterrupt):
        run(5, "parts")
    resumed, again = run(None, "parts")
    assert all(map(math.isfinite, history.step_losses)) and again.step_losses == history.step_losses
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_rotation_learns_and_never_looks_at_labels(few):
    scores = []
    for split in (few, few.with_targets(few.targets.flip(0), few.classes)):
        torch.manual_seed(0)
        model = nn.Sequential(small_cnn(few, width=8)[:-1], nn.Linear(32, 4))
        history = fit(model, split, objective=methods.rotation, steps=60, batch_size=96, optimizer=sgd(0.2), seed=0)
        scores.append((history.step_losses, evaluate(model, split, objective=methods.rotation)["accuracy"]))
    assert scores[0][0] == scores[1][0] and scores[0][1] > 0.6


@pytest.mark.parametrize(("objective", "collapses"), [(methods.attraction, True), (methods.simclr, False)])
def test_attraction_alone_collapses_where_simclr_does_not(few, objective, collapses):
    _, model = build("SimCLR", few)
    fit(model, few, objective=objective, steps=80, batch_size=96, augment=two_views(crop(0.5)), seed=0)
    views = two_views(crop(0.5))(few.images.float() / 255, seeded(5))
    with torch.no_grad():
        assert (objective(model.eval(), batch_of(views))[1]["spread"] < 0.3) == collapses
