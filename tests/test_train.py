"""``fit`` equals a bare loop bit for bit, its averages are exact, and it stops as it says."""

import copy
import itertools
import warnings
import weakref
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers import network
from tdnn_helpers.data.augment import chain, flip, shift
from tdnn_helpers.data.sets import load
from tdnn_helpers.models.networks import small_cnn
from tdnn_helpers.train import Batch, Diverged, History
from tdnn_helpers.train.loop import constant, evaluate, fit, one_cycle, predict, sgd
from tdnn_helpers.train.objectives import classification, regression

BATCH = 64
STILL = sgd(0.0, momentum=0.0, weight_decay=0.0)  # with it the weights stay as they are
cnn, linear = partial(network, kind=small_cnn, width=4), partial(network, hidden=())
digits = pytest.fixture(lambda: load("digits").take(300, seed=0), scope="module")  # four batches of 64 and one of 44
val = pytest.fixture(lambda: load("digits").take(101, seed=1), scope="module")


def weights(model):
    """All parameters and buffers in one tensor."""
    return torch.cat([value.flatten().double() for value in model.state_dict().values()])


def nan_from(step, value=float("nan")):
    calls = itertools.count(1)

    def objective(model, batch):
        loss, metrics = classification(model, batch)
        return loss * (value if next(calls) >= step else 1), metrics

    return objective


def test_the_objective_sees_every_view_that_an_augmentation_makes_of_an_image(digits):
    def three_views(images, generator):
        return torch.cat([images, images / 2, images / 4])

    seen = []

    def objective(model, batch):
        seen.append((len(batch.images), len(batch.targets), len(batch.indices)))
        brightness = batch.images.view(3, -1).mean(1)
        assert torch.allclose(brightness * torch.tensor([1, 2, 4]), brightness[0])
        return model(batch.images).square().mean(), {"brightness": batch.images.mean()}

    history = fit(linear(digits), digits, objective=objective, augment=three_views, epochs=1, batch_size=BATCH)
    assert seen == [(3 * n, n, n) for n in (64, 64, 64, 64, 44)]
    mean = 7 / 12 * digits.images.float().mean().item() / 255
    assert history.last("train", "brightness") == pytest.approx(mean, rel=1e-5)


# ---- fit against the loop that anyone would write --------------------------------------------------------------------
def bare_loop(model, split, epochs, optimizer, schedule, augment=None, seed=0):
    """What fit promises, in a dozen lines."""
    steps = epochs * -(-len(split) // BATCH)
    optimizer = optimizer(model.parameters())
    scheduler = schedule(optimizer, steps)
    order_generator, augment_generator = (torch.Generator().manual_seed(seed) for _ in range(2))
    torch.manual_seed(seed)
    losses = []
    model.train()
    for _ in range(epochs):
        order = torch.randperm(len(split), generator=order_generator)
        for start in range(0, len(split), BATCH):
            chosen = order[start : start + BATCH]
            images = split.images[chosen].float() / 255
            if augment is not None:
                images = augment(images, augment_generator)
            loss = F.cross_entropy(model(images), split.targets[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
    return losses


usual = dict(epochs=3, order=lambda step, generator: torch.randperm(300, generator=generator))


@pytest.mark.parametrize(
    ("schedule", "length"), [(one_cycle, dict(epochs=3)), (constant, dict(steps=15)), (one_cycle, usual)]
)
@pytest.mark.parametrize("augment", [None, chain(flip, shift(1))], ids=["plain", "augmented"])
@pytest.mark.parametrize("optimizer", [sgd(), partial(torch.optim.AdamW, lr=1e-2)], ids=["sgd", "adamw"])
def test_fit_equals_a_bare_loop_bit_for_bit(digits, val, optimizer, augment, schedule, length):
    """However its length is given, and with the usual order written out; validation does not disturb training."""
    ours, bare = cnn(digits), cnn(digits)
    options = dict(optimizer=optimizer, schedule=schedule, augment=augment, seed=3)
    history = fit(ours, digits, val=val, batch_size=BATCH, **length, **options)
    assert history.step_losses == bare_loop(bare, digits, 3, **options)
    assert torch.equal(weights(ours), weights(bare))
    assert {row[:2] for row in history.rows} == set(itertools.product((5, 10, 15), ("train", "val")))
    assert history.last("val", "loss") == evaluate(bare, val)["loss"]


# ---- which images come, and when -------------------------------------------------------------------------------------
def batches_of(split, **options):
    """The positions of each batch that fit trains on. Every image comes as floats, with its own label."""
    seen = []

    def spy(model, batch):
        seen.append(batch.indices.tolist())
        assert batch.images.dtype == torch.float32 and batch.classes == 10
        assert torch.equal((batch.images * 255).round().to(torch.uint8), split.images[batch.indices])
        assert torch.equal(batch.targets, split.targets[batch.indices])
        return classification(model, batch)

    fit(linear(split), split, objective=spy, batch_size=BATCH, **options)
    return seen


def test_every_epoch_visits_every_image_once_in_another_order_and_an_order_is_asked_again(digits):
    batches, asked = batches_of(digits, epochs=2), []
    assert [len(batch) for batch in batches] == 2 * [64, 64, 64, 64, 44]
    first, second = sum(batches[:5], []), sum(batches[5:], [])
    assert sorted(first) == sorted(second) == list(range(300)) and first != second
    batches = batches_of(digits, order=lambda step, _: asked.append(step) or torch.arange(140), steps=7)
    assert asked == [0, 3, 6]  # after so many steps
    assert [len(batch) for batch in batches] == [64, 64, 12, 64, 64, 12, 64]
    assert batches[0] + batches[1] + batches[2] == list(range(140))


def test_an_order_may_grow_and_follows_from_the_seed(digits):
    def growing(step, generator):
        return torch.randperm(min(64 + 10 * step, 300), generator=generator)[:64]

    batches, again, other = (batches_of(digits, order=growing, steps=20, seed=seed) for seed in (5, 5, 6))
    assert [max(batch) < 64 + 10 * step for step, batch in enumerate(batches)] == [True] * 20
    assert max(max(batch) for batch in batches[:3]) < 84 <= max(batches[-1])
    assert again == batches != other


@pytest.mark.parametrize(
    "positions",
    [[0, 1], torch.tensor([]), torch.arange(0), torch.tensor([300]), torch.tensor([-1]), torch.ones(2, 2).long(), None]
    + [torch.ones(300, dtype=torch.bool), torch.tensor(3)],
)
def test_an_order_that_is_none(digits, positions):
    with pytest.raises(ValueError, match="at least one position from 0 to 299; after 0 steps it did not"):
        fit(linear(digits), digits, steps=3, order=lambda step, generator: positions)


# ---- randomness ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("build", [cnn, partial(linear, dropout=0.5)], ids=["plain", "dropout"])
def test_the_seed_decides_everything(digits, build):
    def run(seed, noise):
        torch.manual_seed(noise)  # whatever state the caller is in
        model = build(digits)
        history = fit(model, digits, epochs=1, batch_size=BATCH, augment=flip, seed=seed)
        return history.step_losses, weights(model)

    (losses, first), (same_losses, again), (other_losses, other) = run(0, 1), run(0, 2), run(5, 1)
    assert losses == same_losses and torch.equal(first, again)
    assert losses != other_losses and not torch.equal(first, other)


@pytest.mark.usefixtures("random_state_is_left_alone")
def test_dropout_follows_from_the_seed_is_off_in_evaluation_and_leaves_the_callers_random_state_alone(digits, val):
    """With one batch an epoch and no augmentation the order hardly matters, so what differs is dropout."""
    model, one_batch = linear(digits, dropout=0.5), dict(steps=1, batch_size=300, optimizer=STILL)
    losses = [fit(copy.deepcopy(model), digits, seed=seed, **one_batch).step_losses[0] for seed in (0, 0, 1)]
    assert losses[0] == losses[1] and abs(losses[0] - losses[2]) > 1e-3
    assert evaluate(model, val) == evaluate(model, val)
    assert torch.equal(predict(model, val), predict(model, val))
    fit(model, digits, val=val, epochs=1, augment=chain(flip, shift(1)), seed=4)
    with pytest.raises(Diverged):
        fit(model, digits, steps=1, objective=nan_from(1))


# ---- averages --------------------------------------------------------------------------------------------------------
def per_image(model, split):
    """Loss and correctness of each image, in double precision: the truth for every average."""
    with torch.no_grad():
        logits = copy.deepcopy(model).double().eval()(split.images.double() / 255)
    right = logits.gather(1, split.targets[:, None])[:, 0]
    return (logits.logsumexp(1) - right).numpy(), (logits.argmax(1) == split.targets).double().numpy()


def test_evaluate_is_the_mean_over_images_for_every_size_of_batch(val):
    model = cnn(val)
    losses, correct = per_image(model, val)
    for batch_size in (1, 7, 64, 101, 1000):
        measured = evaluate(model, val, batch_size=batch_size)
        assert measured["loss"] == pytest.approx(losses.mean(), abs=1e-6), batch_size
        assert measured["accuracy"] == pytest.approx(correct.mean(), abs=1e-7), batch_size
    logits = predict(model, val, batch_size=7)
    with torch.no_grad():
        expected = torch.cat([model.eval()(image[None] / 255) for image in val.images])
    assert logits.shape == (101, 10) and logits.dtype == torch.float32 and not logits.requires_grad
    assert torch.allclose(logits, expected, atol=1e-5)  # in the order of the split


@pytest.mark.parametrize("every", [None, 2, 3])
def test_training_metrics_are_means_over_the_images_since_the_last_record(digits, every):
    """With a frozen model, the records of fit must agree with the slow truth, also where the last batch is smaller."""
    model = linear(digits)
    losses, correct = per_image(model, digits)
    sizes, orders = [64, 64, 64, 64, 44] * 2, torch.Generator().manual_seed(6)
    order = torch.cat([torch.randperm(300, generator=orders) for _ in range(2)]).tolist()
    history = fit(model, digits, epochs=2, batch_size=BATCH, optimizer=STILL, evaluate_every=every, seed=6)
    records = [*range(every or 5, 10, every or 5), 10]
    assert sorted({row[0] for row in history.rows}) == records
    for before, step in zip([0, *records], records, strict=False):
        chosen = order[sum(sizes[:before]) : sum(sizes[:step])]
        recorded = {metric: value for at, _, metric, value, _ in history.rows if at == step}
        assert recorded["loss"] == pytest.approx(losses[chosen].mean(), abs=1e-5)
        assert recorded["accuracy"] == pytest.approx(correct[chosen].mean(), abs=1e-6)


def test_modes_of_the_model(digits, val):
    """fit leaves the model in train mode, as a bare loop does; evaluate and predict leave it in eval mode."""
    model = cnn(digits)
    fit(model, digits, val=val, steps=1)
    assert model.training
    for look in (evaluate, predict):
        before = weights(model.train())
        look(model, val)
        assert not model.training
        assert torch.equal(before, weights(model)), "looking changed the batch norm's averages"
        assert all(p.requires_grad for p in model.parameters()) and torch.is_grad_enabled()


def test_history_is_a_tidy_table_and_its_validation_records_are_what_evaluate_says(digits, val):
    model = cnn(digits)
    history = fit(model, digits, val=val, epochs=2, batch_size=BATCH)
    assert {name: history.last("val", name) for name in ("loss", "accuracy")} == evaluate(model, val)
    assert sorted({row[0] for row in history.rows if row[1] == "val"}) == [5, 10]
    history.record("test", **{"accuracy": 0.5, "absolute error": torch.tensor(2.0)})
    frame = history.frame()
    assert list(frame.columns) == ["step", "split", "metric", "value", "seconds"] and History().frame().empty
    assert len(frame) == 2 * 2 * 2 + 2 and not frame.isna().any().any()
    assert frame["seconds"].is_monotonic_increasing and frame["seconds"].min() > 0
    test = frame[frame["split"] == "test"][["step", "metric", "value"]]
    assert test.values.tolist() == [[10, "accuracy", 0.5], [10, "absolute error", 2.0]]
    assert history.last("test", "accuracy") == 0.5
    with pytest.raises(KeyError, match='no "f1" was recorded for "val"'):
        history.last("val", "f1")


# ---- stopping --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("steps", "patience"), [(200, 3), (20, None)])
def test_the_best_step_is_noted_and_patience_ends_the_run_and_restores_its_weights(digits, val, steps, patience):
    model, snapshots = linear(digits), []

    def spy(model, batch):
        if not model.training:
            snapshots.append(weights(model))
        return classification(model, batch)

    options = dict(optimizer=sgd(5.0), schedule=constant, batch_size=32, evaluate_every=1)  # far too fast to settle
    history = fit(model, digits, val=val, objective=spy, steps=steps, patience=patience, **options)
    curve = [row[3] for row in history.rows if row[1:3] == ("val", "loss")]
    best = int(np.argmin(curve))
    assert history.best_step == best + 1 < 20
    assert len(curve) == (best + 1 + patience if patience else 20) == len(history.step_losses) < 200
    left = best if patience else -1
    assert torch.equal(weights(model), snapshots[left]) and not torch.equal(snapshots[best], snapshots[-1])
    assert evaluate(model, val)["loss"] == curve[left]


def rates(optimizer, schedule, steps, groups=({},)):
    """The learning rate at each step, for each group of parameters. The momentum stays as it was given."""
    optimizer = optimizer([{"params": [nn.Parameter(torch.zeros(1))], **group} for group in groups])
    scheduler, found = schedule(optimizer, steps), []
    for _ in range(steps):
        found.append([group["lr"] for group in optimizer.param_groups])
        assert all(group["momentum"] == optimizer.defaults["momentum"] for group in optimizer.param_groups)
        optimizer.step()
        scheduler.step()
    return np.array(found)


@pytest.mark.parametrize("step", [1, 19, 20, 21, 33, 40])
def test_divergence_names_the_step_and_its_learning_rate(digits, step):
    with pytest.raises(Diverged) as caught:
        fit(linear(digits), digits, steps=40, objective=nan_from(step), optimizer=sgd(0.3))
    rate = rates(sgd(0.3), one_cycle, 40)[step - 1, 0]
    said = f"the loss is nan at step {step} of 40, with a learning rate of {rate:.3g}."
    assert said in str(caught.value) and "likely causes" in str(caught.value)


@pytest.mark.parametrize("step", [1, 20, 27])
def test_divergence_can_end_the_run_quietly(digits, step):
    options = dict(objective=nan_from(step, float("inf")), on_divergence="stop", evaluate_every=10)
    history = fit(linear(digits), digits, steps=40, **options)
    assert history.diverged_at == step == len(history.step_losses)
    assert np.isfinite(history.step_losses[:-1]).all() and history.step_losses[-1] == float("inf")
    assert all(np.isfinite(row[3]) for row in history.rows)
    assert {row[0] for row in history.rows} == set(range(10, step, 10))


# ---- schedules -------------------------------------------------------------------------------------------------------
def test_one_cycle_rises_for_a_quarter_and_falls_to_nothing_for_every_group_and_constant_is_constant():
    found = rates(sgd(0.2, momentum=0.0), one_cycle, 400)[:, 0]
    top = int(np.argmax(found))
    assert found[top] == pytest.approx(0.2, rel=1e-3) and abs(top - 100) <= 5
    assert (np.diff(found[: top + 1]) >= 0).all() and (np.diff(found[top:]) <= 0).all()
    assert 0 < found[-1] < 1e-4 * 0.2
    assert rates(sgd(1.0), one_cycle, 100, [dict(lr=0.1), dict(lr=0.01)]).max(0) == pytest.approx([0.1, 0.01], rel=1e-2)
    assert (rates(sgd(0.2), constant, 20) == 0.2).all()


@pytest.mark.parametrize("steps", range(1, 13))
def test_the_shortest_runs_work_and_a_single_step_is_taken_at_the_full_rate(digits, steps):
    model = linear(digits)
    before = model[-1].weight.detach().clone()
    assert len(fit(model, digits, steps=steps, optimizer=sgd(0.1)).step_losses) == steps
    assert not torch.allclose(model[-1].weight, before, atol=1e-3)


# ---- other objectives, other precision -------------------------------------------------------------------------------
@pytest.mark.parametrize("columns", [None, 2], ids=["N", "N×2"])
def test_regression_learns_a_linear_target(digits, columns):
    brightness = digits.images.float().flatten(1).mean(1)
    brightness = (brightness - brightness.mean()) / brightness.std()
    targets = brightness if columns is None else torch.stack([brightness, -brightness], 1)
    split = digits.with_targets(targets)
    model = linear(split, outputs=columns or 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a metric that still carries gradients would warn, and hold on to memory
        history = fit(model, split, val=split, objective=regression, epochs=60, optimizer=sgd(0.01))
    assert history.last("val", "loss") < 0.05  # of a variance of 1; the targets are linear in the pixels
    error = predict(model, split).view_as(targets) - targets
    assert history.last("val", "loss") == pytest.approx(error.square().mean().item(), rel=1e-4)
    assert history.last("val", "absolute error") == pytest.approx(error.abs().mean().item(), rel=1e-4)


class Kept(list):
    """What autograd keeps of one step, in a box that can be watched (a plain list cannot)."""


def test_metrics_hold_no_graph(digits):
    """Totals over an epoch that carried gradients would keep something of every batch in memory until its end."""
    kept, alive = [], []

    def pack(tensor):
        box = Kept([tensor])
        kept.append(weakref.ref(box))
        return box

    def objective(model, batch):
        alive.append(sum(reference() is not None for reference in kept))
        loss, _ = classification(model, batch)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda box: box[0]):
            return loss, {"squared": loss.square()}

    history = fit(linear(digits), digits, epochs=1, batch_size=BATCH, objective=objective)
    assert len(kept) == 5 and max(alive) <= 1  # at most the step before, whose variables the loop still holds
    mean = np.average(np.square(history.step_losses), weights=[64, 64, 64, 64, 44])
    assert history.last("train", "squared") == pytest.approx(mean, rel=1e-5)


def test_bfloat16_trains_and_keeps_float32_weights(digits):
    model, options = cnn(digits), dict(epochs=4, batch_size=BATCH)
    losses = fit(model, digits, precision=torch.bfloat16, **options).step_losses
    exact_losses = fit(cnn(digits), digits, **options).step_losses
    assert losses != exact_losses and losses == pytest.approx(exact_losses, abs=0.3)
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_a_column_of_outputs_is_never_spread_over_a_row_of_targets():
    """(B, 1) − (B,) would be (B, B) in plain PyTorch, a loss that trains towards the mean."""
    images, targets = torch.zeros(5, 1, 1, 1), torch.arange(5.0)
    loss, metrics = regression(nn.Flatten(), Batch(images, targets, torch.arange(5), 0))
    assert loss == pytest.approx(targets.square().mean().item())
    assert metrics["absolute error"] == pytest.approx(2.0)


# ---- bad input -------------------------------------------------------------------------------------------------------
WRONG = Batch(torch.zeros(300, 3), torch.zeros(300, 2), torch.arange(300), 0)  # three outputs for two values


@pytest.mark.parametrize(
    ("words", "call"),
    [
        ("either epochs or steps", lambda d: fit(linear(d), d)),
        ("only one of them", lambda d: fit(linear(d), d, epochs=1, steps=5)),
        ("at least one step", lambda d: fit(linear(d), d, steps=0)),
        ("at least one step", lambda d: fit(linear(d), d, epochs=0)),
        ("patience needs a validation split", lambda d: fit(linear(d), d, epochs=1, patience=2)),
        ('"raise" or "stop", not "ignore"', lambda d: fit(linear(d), d, epochs=1, on_divergence="ignore")),
        ("at least 1, not 0 and None", lambda d: fit(linear(d), d, epochs=1, batch_size=0)),
        ("at least 1, not 128 and -1", lambda d: fit(linear(d), d, epochs=1, evaluate_every=-1)),
        ("training split is empty", lambda d: fit(linear(d), d[:0], epochs=1)),
        ("validation split is empty", lambda d: fit(linear(d), d, val=d[:0], epochs=1)),
        ("nothing to evaluate", lambda d: evaluate(linear(d), d[:0])),
        ("after 2 steps", lambda d: fit(linear(d), d, steps=3, order=lambda step, _: torch.tensor([150 * step]))),
        (r"\(300, 9\), but 300 images of 10 classes need \(300, 10\)", lambda d: evaluate(linear(d, outputs=9), d)),
        ("one logit per class", lambda d: evaluate(nn.Identity(), d)),
        (r"shape \(300, 3\), but the targets have \(300, 2\)", lambda d: regression(nn.Identity(), WRONG)),
        ("give objective=regression", lambda d: fit(linear(d), d.with_targets(torch.zeros(300, 2)), steps=1)),
    ],
)
def test_a_call_that_cannot_be_meant_is_refused_in_words_but_not_more_outputs_than_classes(digits, words, call):
    fit(linear(digits, outputs=12), digits, steps=1)
    with pytest.raises(ValueError, match=words):
        call(digits)
