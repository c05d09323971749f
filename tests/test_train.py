"""``fit`` equals a bare loop bit for bit, its averages are exact, and it stops as it says."""

import copy
import random
import warnings
import weakref
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tdnn_helpers.data.augment import chain, flip, shift
from tdnn_helpers.data.sets import load
from tdnn_helpers.data.split import Split
from tdnn_helpers.models.networks import mlp, small_cnn
from tdnn_helpers.train.loop import (
    Batch,
    Diverged,
    History,
    classification,
    constant,
    evaluate,
    fit,
    one_cycle,
    predict,
    regression,
    sgd,
)

BATCH = 64


@pytest.fixture(scope="module")
def digits():
    return load("digits").take(300, seed=0)  # four batches of 64 and one of 44


@pytest.fixture(scope="module")
def val():
    return load("digits").take(101, seed=1)


def network(split, seed=0, **options):
    """A small network whose first weights depend on the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return small_cnn(split, width=4, **options)


def linear(split, seed=0, **options):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return mlp(split, hidden=(), **options)


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def per_image(model, split):
    """Loss and correctness of each image, one at a time in double precision: the slow truth for every average."""
    model = copy.deepcopy(model).double().eval()
    losses, correct = [], []
    with torch.no_grad():
        for image, target in zip(split.images, split.targets, strict=True):
            logits = model(image[None].double() / 255)[0]
            losses.append(float(logits.logsumexp(0) - logits[target]))
            correct.append(float(logits.argmax() == target))
    return losses, correct


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


@pytest.mark.parametrize("schedule", [one_cycle, constant])
@pytest.mark.parametrize("augment", [None, chain(flip, shift(1))], ids=["plain", "augmented"])
@pytest.mark.parametrize("optimizer", [sgd(), partial(torch.optim.AdamW, lr=1e-2)], ids=["sgd", "adamw"])
def test_fit_equals_a_bare_loop_bit_for_bit(digits, val, optimizer, augment, schedule):
    ours, bare = network(digits), network(digits)
    options = dict(optimizer=optimizer, schedule=schedule, augment=augment, seed=3)
    history = fit(ours, digits, val=val, epochs=3, batch_size=BATCH, **options)  # validation must not disturb training
    with torch.random.fork_rng():
        losses = bare_loop(bare, digits, 3, **options)
    assert history.step_losses == losses
    assert equal(weights(ours), weights(bare))


def test_epochs_and_steps_are_two_words_for_one_thing(digits):
    by_epochs, by_steps = network(digits), network(digits)
    histories = fit(by_epochs, digits, epochs=2, batch_size=BATCH), fit(by_steps, digits, steps=10, batch_size=BATCH)
    assert histories[0].step_losses == histories[1].step_losses and len(histories[0].step_losses) == 10
    assert equal(weights(by_epochs), weights(by_steps))


def test_every_epoch_visits_every_image_once_in_another_order(digits):
    seen = []

    def spy(model, batch):
        seen.append(batch)
        return classification(model, batch)

    fit(linear(digits), digits, objective=spy, epochs=2, batch_size=BATCH)
    assert [len(batch.images) for batch in seen] == 2 * [64, 64, 64, 64, 44]
    epochs = [torch.cat([batch.indices for batch in seen[i : i + 5]]) for i in (0, 5)]
    for order in epochs:
        assert order.sort().values.tolist() == list(range(300))
    assert not torch.equal(*epochs)
    for batch in seen:
        assert batch.images.dtype == torch.float32 and batch.classes == 10
        assert torch.equal((batch.images * 255).round().to(torch.uint8), digits.images[batch.indices])
        assert torch.equal(batch.targets, digits.targets[batch.indices])


# ---- randomness ------------------------------------------------------------------------------------------------------


def with_dropout(split):
    return nn.Sequential(*list(linear(split).children())[:-1], nn.Dropout(0.5), linear(split)[-1])


# ---- an order of one's own -------------------------------------------------------------------------------------------


def shuffled(step, generator):
    return torch.randperm(300, generator=generator)


def first_few(step, generator):
    """A growing prefix: 10 more images every time it is asked."""
    return torch.randperm(min(64 + 10 * step, 300), generator=generator)[:64]


def seen_in(split, order, steps, **options):
    """The positions of each batch, as fit asks for them."""
    batches = []

    def spy(model, batch):
        if model.training:
            batches.append(batch.indices.tolist())
            assert torch.equal(batch.targets.cpu(), split.targets[batch.indices.cpu()])  # a label goes with its image
        return classification(model, batch)

    fit(linear(split), split, objective=spy, steps=steps, batch_size=BATCH, order=order, **options)
    return batches


def test_the_usual_order_written_out_gives_the_same_numbers(digits, val):
    outcomes = []
    for order in (None, shuffled):
        model = network(digits)
        history = fit(model, digits, val=val, epochs=2, batch_size=BATCH, augment=shift(1), order=order, seed=3)
        outcomes.append((history.step_losses, [row[:4] for row in history.rows], weights(model)))
    assert outcomes[0][:2] == outcomes[1][:2] and equal(outcomes[0][2], outcomes[1][2])


def test_an_order_is_cut_into_batches_and_asked_again(digits):
    asked = []

    def two_and_a_bit(step, generator):
        asked.append(step)
        return torch.arange(140)

    batches = seen_in(digits, two_and_a_bit, 7)
    assert asked == [0, 3, 6]  # after so many steps
    assert [len(batch) for batch in batches] == [64, 64, 12, 64, 64, 12, 64]
    assert batches[0] + batches[1] + batches[2] == list(range(140))


def test_an_order_may_grow_and_follows_from_the_seed(digits):
    batches = seen_in(digits, first_few, 20, seed=5)
    assert [max(batch) < 64 + 10 * step for step, batch in enumerate(batches)] == [True] * 20
    assert max(max(batch) for batch in batches[:3]) < 84 <= max(batches[-1])
    assert seen_in(digits, first_few, 20, seed=5) == batches != seen_in(digits, first_few, 20, seed=6)


@pytest.mark.parametrize(
    "positions",
    [[0, 1], torch.tensor([]), torch.arange(0), torch.tensor([300]), torch.tensor([-1]), torch.ones(2, 2).long(), None]
    + [torch.ones(300, dtype=torch.bool), torch.tensor(3)],
)
def test_an_order_that_is_none(digits, positions):
    with pytest.raises(ValueError, match="at least one position from 0 to 299; after 0 steps it did not"):
        fit(linear(digits), digits, steps=3, order=lambda step, generator: positions)


def test_an_order_that_goes_wrong_later_names_the_step(digits):
    with pytest.raises(ValueError, match="after 2 steps"):
        fit(linear(digits), digits, steps=3, order=lambda step, generator: torch.tensor([150 * step]))


@pytest.mark.parametrize("build", [network, with_dropout])
def test_the_seed_decides_everything(digits, build):
    def run(seed, noise):
        torch.manual_seed(noise)  # whatever state the caller is in
        model = build(digits)
        history = fit(model, digits, epochs=1, batch_size=BATCH, augment=flip, seed=seed)
        return history.step_losses, weights(model)

    with torch.random.fork_rng():
        (losses, first), (same_losses, again), (other_losses, other) = run(0, 1), run(0, 2), run(5, 1)
    assert losses == same_losses and equal(first, again)
    assert losses != other_losses and not equal(first, other)


def test_dropout_follows_from_the_seed_and_is_off_in_evaluation(digits, val):
    """With one batch an epoch and no augmentation the order hardly matters, so what differs is dropout."""
    model = with_dropout(digits)
    still = sgd(0.0, momentum=0.0, weight_decay=0.0)
    losses = [
        fit(copy.deepcopy(model), digits, steps=1, batch_size=300, optimizer=still, seed=seed).step_losses[0]
        for seed in (0, 0, 1)
    ]
    assert losses[0] == losses[1] and abs(losses[0] - losses[2]) > 1e-3
    assert evaluate(model, val) == evaluate(model, val)


def test_the_callers_random_state_is_left_alone(digits, val):
    torch.manual_seed(11)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    model = with_dropout(digits)
    after_build = torch.get_rng_state()
    fit(model, digits, val=val, epochs=1, augment=chain(flip, shift(1)), seed=4)
    predict(model, val)
    with pytest.raises(Diverged):
        fit(model, digits, steps=1, objective=nan_from(1))
    assert torch.equal(torch.get_rng_state(), after_build) and torch.equal(after_build, before[0])
    assert random.getstate() == before[1] and (np.random.get_state()[1] == before[2]).all()


# ---- averages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 7, 64, 101, 1000])
def test_evaluate_is_the_mean_over_images(val, batch_size):
    model = network(val)
    losses, correct = per_image(model, val)
    measured = evaluate(model, val, batch_size=batch_size)
    assert measured["loss"] == pytest.approx(np.mean(losses), abs=1e-6)
    assert measured["accuracy"] == pytest.approx(np.mean(correct), abs=1e-7)


@pytest.mark.parametrize("evaluate_every", [None, 2, 3])
def test_training_metrics_are_means_over_the_images_since_the_last_record(digits, evaluate_every):
    """With a frozen model, the records of fit must agree with the slow truth, also where the last batch is smaller."""
    model = linear(digits)
    losses, correct = per_image(model, digits)
    frozen = sgd(0.0, momentum=0.0, weight_decay=0.0)
    sizes, orders = [64, 64, 64, 64, 44] * 2, torch.Generator().manual_seed(6)
    order = torch.cat([torch.randperm(300, generator=orders) for _ in range(2)]).tolist()
    history = fit(
        model, digits, epochs=2, batch_size=BATCH, optimizer=frozen, evaluate_every=evaluate_every, seed=6
    )  # fmt: skip
    every = evaluate_every or 5
    records = [*range(every, 10, every), 10]
    assert sorted({row[0] for row in history.rows}) == records
    for before, step in zip([0, *records], records, strict=False):
        chosen = order[sum(sizes[:before]) : sum(sizes[:step])]
        recorded = {metric: value for at, _, metric, value, _ in history.rows if at == step}
        assert recorded["loss"] == pytest.approx(np.mean([losses[i] for i in chosen]), abs=1e-5)
        assert recorded["accuracy"] == pytest.approx(np.mean([correct[i] for i in chosen]), abs=1e-6)


def test_validation_records_are_what_evaluate_says(digits, val):
    model = network(digits)
    history = fit(model, digits, val=val, epochs=2, batch_size=BATCH)
    assert {name: history.last("val", name) for name in ("loss", "accuracy")} == evaluate(model, val)
    assert sorted({row[0] for row in history.rows if row[1] == "val"}) == [5, 10]


def test_predict_gives_logits_in_the_order_of_the_split(val):
    model = network(val)
    logits = predict(model, val, batch_size=7)
    with torch.no_grad():
        expected = torch.cat([model.eval()(image[None] / 255) for image in val.images])
    assert logits.shape == (101, 10) and logits.dtype == torch.float32 and not logits.requires_grad
    assert torch.allclose(logits, expected, atol=1e-5)


def test_modes_of_the_model(digits, val):
    """fit leaves the model in train mode, as a bare loop does; evaluate and predict leave it in eval mode."""
    model = network(digits)
    fit(model, digits, val=val, steps=1)
    assert model.training
    for look in (evaluate, predict):
        before = weights(model.train())
        look(model, val)
        assert not model.training
        assert equal(before, weights(model)), "looking changed the batch norm's averages"
        assert all(p.requires_grad for p in model.parameters()) and torch.is_grad_enabled()


# ---- stopping --------------------------------------------------------------------------------------------------------


def test_early_stopping_restores_the_best_weights(digits, val):
    model, snapshots = linear(digits), {}

    def spy(model, batch):
        loss, metrics = classification(model, batch)
        if not model.training:
            snapshots.setdefault(len(snapshots), weights(model))
        return loss, metrics

    options = dict(optimizer=sgd(5.0), schedule=constant, batch_size=32, evaluate_every=1)  # far too fast to settle
    history = fit(model, digits, val=val, objective=spy, steps=200, patience=3, **options)
    curve = [row[3] for row in history.rows if row[1:3] == ("val", "loss")]
    best = int(np.argmin(curve))
    assert history.best_step == best + 1
    assert len(curve) == best + 1 + 3 == len(history.step_losses) < 200
    assert equal(weights(model), snapshots[best]) and not equal(weights(model), snapshots[len(curve) - 1])
    assert evaluate(model, val)["loss"] == curve[best]


def test_best_step_is_noted_but_not_restored_without_patience(digits, val):
    model = linear(digits)
    options = dict(optimizer=sgd(5.0), schedule=constant, batch_size=32, evaluate_every=1)
    history = fit(model, digits, val=val, steps=20, **options)
    curve = [row[3] for row in history.rows if row[1:3] == ("val", "loss")]
    assert history.best_step == int(np.argmin(curve)) + 1 < 20
    assert evaluate(model, val)["loss"] == curve[-1]


def nan_from(step, value=float("nan")):
    calls = []

    def objective(model, batch):
        calls.append(1)
        loss, metrics = classification(model, batch)
        return (loss * value if len(calls) >= step else loss), metrics

    return objective


@pytest.mark.parametrize("step", [1, 19, 20, 21, 33, 40])
def test_divergence_names_the_step_and_its_learning_rate(digits, step):
    with pytest.raises(Diverged) as caught:
        fit(linear(digits), digits, steps=40, objective=nan_from(step), optimizer=sgd(0.3))
    optimizer = sgd(0.3)(linear(digits).parameters())
    scheduler = one_cycle(optimizer, 40)
    for _ in range(step - 1):
        optimizer.step()
        scheduler.step()
    rate = optimizer.param_groups[0]["lr"]
    assert f"the loss is nan at step {step} of 40, with a learning rate of {rate:.3g}." in str(caught.value)
    assert "likely causes" in str(caught.value)


@pytest.mark.parametrize("step", [1, 20, 27])
def test_divergence_can_end_the_run_quietly(digits, step):
    infinite = nan_from(step, float("inf"))
    history = fit(linear(digits), digits, steps=40, objective=infinite, on_divergence="stop", evaluate_every=10)
    assert history.diverged_at == step == len(history.step_losses)
    assert np.isfinite(history.step_losses[:-1]).all() and history.step_losses[-1] == float("inf")
    assert all(np.isfinite(row[3]) for row in history.rows)
    assert {row[0] for row in history.rows} == set(range(10, step, 10))


def test_a_learning_rate_that_is_too_high_diverges_by_itself(digits):
    with pytest.raises(Diverged, match="learning rate of 1e"):
        fit(linear(digits), digits, steps=60, optimizer=sgd(1e36), schedule=constant)


# ---- schedules -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", range(1, 13))
def test_one_cycle_works_for_the_shortest_runs(digits, steps):
    assert len(fit(linear(digits), digits, steps=steps).step_losses) == steps


def test_one_cycle_rises_for_a_quarter_and_falls_to_nothing():
    optimizer = sgd(0.2, momentum=0.0)([nn.Parameter(torch.zeros(1))])
    scheduler = one_cycle(optimizer, 400)
    rates = []
    for _ in range(400):
        rates.append(optimizer.param_groups[0]["lr"])
        assert optimizer.param_groups[0]["momentum"] == 0.0
        optimizer.step()
        scheduler.step()
    assert max(rates) == pytest.approx(0.2, rel=1e-3)
    top = int(np.argmax(rates))
    assert abs(top - 100) <= 5
    assert rates[:top] == sorted(rates[:top]) and rates[top:] == sorted(rates[top:], reverse=True)
    assert 0 < rates[-1] < 1e-4 * 0.2


def test_one_step_is_taken_at_the_full_rate(digits):
    model = linear(digits)
    before = model[-1].weight.detach().clone()
    history = fit(model, digits, steps=1, optimizer=sgd(0.1))
    assert not torch.allclose(model[-1].weight, before, atol=1e-3) and len(history.step_losses) == 1


def test_groups_keep_their_own_peak():
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.1, 0.01)]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    scheduler = one_cycle(optimizer, 100)
    peaks = [0.0, 0.0]
    for _ in range(100):
        peaks = [max(peak, group["lr"]) for peak, group in zip(peaks, optimizer.param_groups, strict=True)]
        optimizer.step()
        scheduler.step()
    assert peaks == pytest.approx([0.1, 0.01], rel=1e-2)


def test_constant_is_constant():
    optimizer = sgd(0.2)([nn.Parameter(torch.zeros(1))])
    scheduler = constant(optimizer, 20)
    for _ in range(20):
        assert optimizer.param_groups[0]["lr"] == 0.2
        optimizer.step()
        scheduler.step()


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


class Kept:
    """What autograd keeps of one step, in a box that can be watched."""

    def __init__(self, tensor):
        self.tensor = tensor


def test_metrics_hold_no_graph(digits):
    """Totals over an epoch that carried gradients would keep something of every batch in memory until its end."""
    kept, alive = [], []

    def pack(tensor):
        box = Kept(tensor)
        kept.append(weakref.ref(box))
        return box

    def objective(model, batch):
        alive.append(sum(reference() is not None for reference in kept))
        loss, _ = classification(model, batch)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda box: box.tensor):
            return loss, {"squared": loss.square()}

    history = fit(linear(digits), digits, epochs=1, batch_size=BATCH, objective=objective)
    assert len(kept) == 5 and max(alive) <= 1  # at most the step before, whose variables the loop still holds
    squares = np.square(history.step_losses)
    assert history.last("train", "squared") == pytest.approx(
        np.average(squares, weights=[64, 64, 64, 64, 44]), rel=1e-5
    )


def test_bfloat16_trains_and_keeps_float32_weights(digits):
    model, exact = network(digits), network(digits)
    losses = fit(model, digits, epochs=4, batch_size=BATCH, precision=torch.bfloat16).step_losses
    exact_losses = fit(exact, digits, epochs=4, batch_size=BATCH).step_losses
    assert losses != exact_losses and losses == pytest.approx(exact_losses, abs=0.3)
    assert all(p.dtype == torch.float32 for p in model.parameters())


# ---- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(), "either epochs or steps"),
        (dict(epochs=1, steps=5), "only one of them"),
        (dict(steps=0), "at least one step"),
        (dict(epochs=0), "at least one step"),
        (dict(epochs=1, patience=2), "patience needs a validation split"),
        (dict(epochs=1, on_divergence="ignore"), '"raise" or "stop", not "ignore"'),
        (dict(epochs=1, batch_size=0), "at least 1, not 0 and None"),
        (dict(epochs=1, evaluate_every=-1), "at least 1, not 128 and -1"),
    ],
)
def test_settings_that_contradict_each_other(digits, options, message):
    with pytest.raises(ValueError, match=message):
        fit(linear(digits), digits, **options)


def test_empty_splits(digits):
    with pytest.raises(ValueError, match="training split is empty"):
        fit(linear(digits), digits[:0], epochs=1)
    with pytest.raises(ValueError, match="validation split is empty"):
        fit(linear(digits), digits, val=digits[:0], epochs=1)
    with pytest.raises(ValueError, match="nothing to evaluate"):
        evaluate(linear(digits), digits[:0])


def test_outputs_that_do_not_fit(digits):
    with pytest.raises(ValueError, match=r"shape \(300, 9\), but 300 images of 10 classes need \(300, 10\)"):
        fit(linear(digits, outputs=9), digits, steps=1, batch_size=300)
    with pytest.raises(ValueError, match="one logit per class"):
        evaluate(nn.Identity(), digits)
    values = digits.with_targets(torch.zeros(300, 2))
    with pytest.raises(ValueError, match=r"shape \(300, 3\), but the targets have \(300, 2\)"):
        evaluate(linear(digits, outputs=3), values, objective=regression)
    with pytest.raises(ValueError, match="give objective=regression"):
        fit(linear(digits), values, steps=1)
    fit(linear(digits, outputs=12), digits, steps=1)  # more outputs than classes are allowed


def test_a_column_of_outputs_is_never_spread_over_a_row_of_targets():
    """(B, 1) − (B,) would be (B, B) in plain PyTorch, a loss that trains towards the mean."""
    images, targets = torch.zeros(5, 1, 1, 1), torch.arange(5.0)
    loss, metrics = regression(nn.Flatten(), Batch(images, targets, torch.arange(5), 0))
    assert loss == pytest.approx(targets.square().mean().item())
    assert metrics["absolute error"] == pytest.approx(2.0)


# ---- history ---------------------------------------------------------------------------------------------------------


def test_history_is_a_tidy_table(digits, val):
    history = fit(linear(digits), digits, val=val, epochs=2, batch_size=BATCH)
    history.record("test", **{"accuracy": 0.5, "absolute error": torch.tensor(2.0)})
    frame = history.frame()
    assert list(frame.columns) == ["step", "split", "metric", "value", "seconds"]
    assert len(frame) == 2 * 2 * 2 + 2 and not frame.isna().any().any()
    assert frame["seconds"].is_monotonic_increasing and frame["seconds"].min() > 0
    assert frame[frame["split"] == "test"][["step", "metric", "value"]].values.tolist() == [
        [10, "accuracy", 0.5],
        [10, "absolute error", 2.0],
    ]
    assert history.last("test", "accuracy") == 0.5
    with pytest.raises(KeyError, match='no "f1" was recorded for "val"'):
        history.last("val", "f1")
    assert History().frame().empty


def test_weights_travel_with_their_input_statistics(digits, val):
    """A model saved and loaded into a fresh network gives the same output: the z-score is among its weights."""
    model = network(digits)
    fit(model, digits, epochs=1)
    other = network(Split(255 - digits.images, digits.targets, digits.classes), seed=9)
    other.load_state_dict(model.state_dict())
    assert torch.equal(predict(other, val), predict(model, val))
