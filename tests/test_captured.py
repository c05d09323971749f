"""A captured step gives what the usual one gives, where it can be captured, and steps aside where it cannot."""

import itertools
import random
import sys
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from recorder import Recorder
from tdnn_helpers.data.augment import chain, flip, shift
from tdnn_helpers.methods.self_supervised import JointEmbedding, byol, moco, two_views
from tdnn_helpers.models.networks import mlp, small_cnn
from tdnn_helpers.train import captured
from tdnn_helpers.train.captured import WARM_UP, Watch
from tdnn_helpers.train.loop import constant, fit, sgd
from tdnn_helpers.train.objectives import classification


@pytest.fixture(autouse=True)
def recorder(monkeypatch):
    monkeypatch.setitem(captured.GRAPHS, "cpu", Recorder)
    monkeypatch.setattr(Recorder, "launches", 0)
    for name in ("adam", "radam"):  # they count steps on the device on GPUs only
        monkeypatch.setattr(
            sys.modules[f"torch.optim.{name}"], "_get_capturable_supported_devices", lambda *args, **kwargs: ["cpu"]
        )
    return Recorder


def train(split, network=mlp, *, capture, dropout=0.0, **options):
    torch.manual_seed(0)
    model = network(split)
    model = nn.Sequential(*model[:-1], nn.Dropout(dropout), model[-1]) if dropout else model
    history = fit(model, split, **{"steps": 14, "batch_size": 32, "seed": 1, **options}, capture=capture)
    return model, history


def assert_same(one, other):
    (model, history), (model_2, history_2) = one, other
    assert history.step_losses == pytest.approx(history_2.step_losses, rel=1e-4, abs=1e-6)
    for name, value in model.state_dict().items():
        assert torch.allclose(value, model_2.state_dict()[name], rtol=1e-3, atol=1e-5), name
    rows = [[row[:3] for row in h.rows] for h in (history, history_2)]
    assert rows[0] == rows[1]
    assert [row[3] for row in history.rows] == pytest.approx([row[3] for row in history_2.rows], rel=1e-4, abs=1e-6)


CNN = partial(small_cnn, width=4)
OPTIMIZERS = {
    "sgd": sgd(0.05),
    "plain sgd": partial(torch.optim.SGD, lr=0.1),
    "foreach sgd": partial(torch.optim.SGD, lr=0.1, momentum=0.9, foreach=True),
    "adam": partial(torch.optim.Adam, lr=1e-3),
    "adamw": partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.1),
    "radam": partial(torch.optim.RAdam, lr=1e-3),
    "adagrad, which takes no part": partial(torch.optim.Adagrad, lr=1e-2),
    "two rates": lambda p: torch.optim.SGD([{"params": list(p)[:1], "lr": 0.3}, {"params": []}], lr=0.01),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_optimizer_ends_where_it_would_end_without(few, recorder, name):
    options = dict(optimizer=OPTIMIZERS[name], steps=12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = train(few, capture=True, **options)
    assert recorder.launches == 12 - WARM_UP - 3  # the fourth batch of each epoch has 24 images, not 32
    assert_same(one, train(few, capture=False, **options))


@pytest.mark.parametrize(
    "options",
    [
        dict(network=CNN),
        dict(network=CNN, precision=torch.bfloat16),
        dict(dropout=0.5),
        dict(augment=chain(shift(1), flip), dropout=0.2),
        dict(schedule=constant, evaluate_every=3),
        dict(batch_size=500),  # the whole split in one batch
    ],
)
def test_whatever_a_run_is_made_of(few, recorder, options):
    options = dict(val=few, patience=50) | options
    one = train(few, capture=True, **options)
    assert recorder.launches > 2
    assert_same(one, train(few, capture=False, **options))


def test_a_target_network_that_moves_in_place_is_captured(few, recorder):
    def network(split):
        return JointEmbedding(nn.Sequential(nn.Flatten(), nn.Linear(64, 8)), 8, predictor=8, momentum=0.9)

    options = dict(network=network, objective=byol, augment=two_views(shift(1)))
    one = train(few, capture=True, **options)
    assert recorder.launches > 5
    assert_same(one, train(few, capture=False, **options))


def test_a_run_in_two_pieces(few, tmp_path):
    """What is captured ends where it would have ended, also after a crash; the file tells the two ways apart."""

    class Crashing(Recorder):
        def launch(self):
            super().launch()
            if Recorder.launches == 7:
                raise ZeroDivisionError

    options = dict(optimizer=OPTIMIZERS["adam"], evaluate_every=4, augment=flip, batch_size=40)
    whole = train(few, capture=True, **options)
    options["checkpoint"] = tmp_path / "run.pt"
    captured.GRAPHS["cpu"], Recorder.launches = Crashing, 0
    with pytest.raises(ZeroDivisionError):
        train(few, capture=True, **options)
    assert_same(train(few, capture=True, **options), whole)
    with pytest.raises(ValueError, match="capture is True there and absent here"):
        train(few, capture=False, **options)


def test_between_two_records_nothing_is_read_and_little_is_launched(few):
    class Between(TorchDispatchMode):
        names, launched = [], []

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.names.append(func.name())
            return func(*args, **(kwargs or {}))

    class Marking(Recorder):
        def launch(self):
            Between.launched.append(len(Between.names))
            super().launch()

    captured.GRAPHS["cpu"] = Marking
    with Between() as between:
        train(few, CNN, capture=True, batch_size=30, steps=19, evaluate_every=19)  # the CPU looks after 20
    a, b = between.launched[0], between.launched[-1]
    assert len(between.launched) == 19 - WARM_UP
    steps = between.names[a:b]
    assert "aten::_local_scalar_dense" not in steps
    # Positions in; the rate in; the loss noted; the sums of two means: a multiplication and an addition each.
    assert len(steps) / (len(between.launched) - 1) <= 12, steps[:24]


def test_memory_stays_where_it_is(few, monkeypatch):
    places = []

    class Looking(Recorder):
        def launch(self):
            super().launch()
            steps = places_of()
            places.append(steps)

    def places_of():
        return [p.data_ptr() for p in model.parameters()] + [p.grad.data_ptr() for p in model.parameters()]

    monkeypatch.setitem(captured.GRAPHS, "cpu", Looking)
    torch.manual_seed(0)
    model = mlp(few)
    fit(model, few, steps=14, batch_size=40, capture=True)
    assert len(places) == 14 - WARM_UP and all(place == places[0] for place in places)


class Counts:
    __slots__ = ("steps",)

    def __init__(self):
        self.steps = 0

    def __call__(self, model, batch):
        self.steps += 1
        loss, metrics = classification(model, batch)
        return loss / self.steps, metrics


def reads(model, batch):
    loss, metrics = classification(model, batch)
    return loss * float(loss.detach()), metrics


def masks(model, batch):
    return classification(model, batch._replace(images=batch.images[batch.targets >= 0]))


def draws(model, batch):
    loss, metrics = classification(model, batch)
    return loss * random.random(), metrics


def draws_by_numpy(images, generator):
    return images * np.random.rand()


def remembers():
    last = [0]

    def objective(model, batch):
        loss, metrics = classification(model, batch)
        last[0] += 1
        return loss * last[0], metrics

    return objective


def works_elsewhere(model, batch):
    batch.images.to("meta")
    return classification(model, batch)


COUNT = 0


def counts_globally(model, batch):
    global COUNT
    COUNT += 1
    loss, metrics = classification(model, batch)
    return loss / COUNT, metrics


def by_its_attribute():
    def objective(model, batch):
        objective.steps += 1
        loss, metrics = classification(model, batch)
        return loss / objective.steps, metrics

    objective.steps = 0
    return objective


def by_a_default():
    def objective(model, batch, state=[0]):  # noqa: B006 (people do)
        state[0] += 1
        loss, metrics = classification(model, batch)
        return loss / state[0], metrics

    return objective


class OfTheClass:
    steps = 0

    def __call__(self, model, batch):
        type(self).steps += 1
        loss, metrics = classification(model, batch)
        return loss / self.steps, metrics


def held(state, take):
    """An objective that takes its factor from a state, whatever kind of object that is."""

    def objective(model, batch):
        loss, metrics = classification(model, batch)
        return loss * float(take(state)), metrics

    return objective


def halved(state):
    state *= 0.5
    return 1 + state[0]


def new_memory(model, batch):
    weight = model[-1].weight
    weight.data = weight.data / weight.data.norm()
    return classification(model, batch)


def a_number_of_python(model, batch):
    loss, metrics = classification(model, batch)
    return loss, metrics | {"one": 1.0}


def in_validation():
    factor = [1.0]

    def objective(model, batch):
        factor[0] *= 1 if model.training else 0.5
        loss, metrics = classification(model, batch)
        return loss * factor[0], metrics

    return objective


def import_inside():
    import torch.nn.functional as F

    return lambda model, batch: (F.cross_entropy(model(batch.images), batch.targets), {})


def in_a_chain(length):
    chain = None
    for _ in range(length):
        chain = [chain]
    return held(chain, lambda state: 1)


def with_a_counting_hook(split):
    model, count = mlp(split), [0]

    def hook(gradient):
        count[0] += 1
        return gradient / count[0]

    model[-1].weight.register_hook(hook)
    return model


def with_a_queue(split):
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 8))
    return JointEmbedding(encoder, 8, momentum=0.9, queue=64)


class Own(torch.optim.lr_scheduler.LRScheduler):
    def get_lr(self):
        return [0.05 for _ in self.optimizer.param_groups]


def cyclic_momentum(optimizer, steps):
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: dict(objective=reads), "_local_scalar_dense makes Python wait"),
        (lambda: dict(objective=masks), "index.Tensor makes Python wait"),
        (lambda: dict(objective=Counts()), "keeps something from step to step"),
        (lambda: dict(objective=remembers()), "keeps something from step to step"),
        (lambda: dict(objective=partial(remembers())), "keeps something from step to step"),
        (lambda: dict(network=with_a_queue, objective=moco, augment=two_views(flip)), "keeps something from step"),
        (lambda: dict(objective=draws), "Python or NumPy draws random numbers"),
        (lambda: dict(augment=draws_by_numpy), "Python or NumPy draws random numbers"),
        (lambda: dict(objective=works_elsewhere), "works outside of the device"),
        (lambda: dict(schedule=cyclic_momentum), "changes more than its learning rate"),
        (lambda: dict(objective=by_its_attribute()), "keeps something from step to step"),
        (lambda: dict(objective=by_a_default()), "keeps something from step to step"),
        (lambda: dict(objective=held(np.ones(1), halved)), "keeps something from step to step"),
        (lambda: dict(objective=held({1, 2, 3}, lambda s: s.pop() if len(s) > 1 else 1)), "keeps something from step"),
        (lambda: dict(objective=held(np.random.default_rng(0), lambda rng: rng.random())), "it cannot be seen"),
        (lambda: dict(objective=held(random.Random(0), lambda rng: rng.random())), "it cannot be seen"),
        (lambda: dict(objective=held(itertools.count(1), lambda it: 1 / next(it))), "it cannot be seen"),
        (lambda: dict(objective=held(iter(range(1, 99)), lambda it: 1 / next(it))), "it cannot be seen"),
        (lambda: dict(objective=in_a_chain(5000)), "it cannot be seen"),
        (lambda: dict(network=with_a_counting_hook), "keeps something from step to step"),
        (lambda: dict(objective=new_memory), "keeps something from step to step"),
        (lambda: dict(objective=a_number_of_python), "number of Python"),
        (lambda: dict(order=lambda step, generator: torch.arange(64)), "an order of your own"),
        (lambda: dict(schedule=lambda optimizer, steps: Own(optimizer)), "a schedule of your own"),
    ],
)
def test_what_a_graph_cannot_repeat_is_done_as_usual(few, recorder, make, words):
    with pytest.warns(RuntimeWarning, match=words) as caught:
        random.seed(0)
        np.random.seed(0)
        one = train(few, capture=True, **make())
    assert sum("not captured" in str(warning.message) for warning in caught) == 1
    assert recorder.launches <= 1
    random.seed(0)
    np.random.seed(0)
    assert_same(one, train(few, capture=False, **make()))


def test_state_of_modules_and_classes_is_seen(few):
    """By hand: a second run would begin with the state that the first one left."""
    for objective in counts_globally, OfTheClass():
        with pytest.warns(RuntimeWarning, match="keeps something from step to step"):
            train(few, capture=True, objective=objective)


def test_what_changes_in_validation_is_seen_at_the_next_step(few, recorder):
    options = dict(val=few, evaluate_every=6, batch_size=40)
    with pytest.warns(RuntimeWarning, match="keeps something from step to step"):
        one = train(few, capture=True, objective=in_validation(), **options)
    assert recorder.launches == 3  # the three steps between warm-up and validation
    assert_same(one, train(few, capture=False, objective=in_validation(), **options))


def test_optimizers_whose_own_code_must_run_step_after_the_graph(few, recorder):
    class Skipping(torch.optim.SGD):
        count = 0

        def step(self, closure=None):
            self.count += 1
            if self.count % 3:
                super().step(closure)

    def hooked(parameters):
        optimizer, count = torch.optim.SGD(parameters, lr=0.1), itertools.count(1)
        optimizer.register_step_post_hook(lambda *_: optimizer.param_groups[0]["params"][0].data.mul_(1 / next(count)))
        return optimizer

    for optimizer in (partial(Skipping, lr=0.1), hooked, partial(torch.optim.RMSprop, lr=1e-3, foreach=False)):
        one = train(few, capture=True, optimizer=optimizer, batch_size=40)
        assert_same(one, train(few, capture=False, optimizer=optimizer, batch_size=40))
    assert recorder.launches == 3 * (14 - WARM_UP)


def test_an_import_inside_a_function_is_no_state(few, recorder):
    train(few, capture=True, objective=import_inside())
    assert recorder.launches > 0


def test_a_device_without_graphs(few):
    del captured.GRAPHS["cpu"]
    with pytest.warns(RuntimeWarning, match='there are no graphs on "cpu"'):
        one = train(few, capture=True)
    assert_same(one, train(few, capture=False))


def test_a_recording_that_fails_is_no_loss(few, monkeypatch):
    def fail(self, work):
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    monkeypatch.setattr(Recorder, "record", fail)
    with pytest.warns(RuntimeWarning, match="not captured: operation not permitted when stream is capturing.$"):
        one = train(few, capture=True)
    assert_same(one, train(few, capture=False))
    monkeypatch.setattr(Recorder, "recovers", False)
    with pytest.raises(RuntimeError, match="operation not permitted.*train with capture=False"):
        train(few, capture=True)


def test_the_environment_can_ask_for_it(few, recorder, monkeypatch):
    monkeypatch.setenv("TDNN_CAPTURE", "1")
    train(few, capture=None)
    assert recorder.launches
    monkeypatch.setenv("TDNN_CAPTURE", "0")
    before = recorder.launches
    train(few, capture=None)
    assert recorder.launches == before


def test_watch_counts_what_is_dispatched():
    x = torch.ones(3)
    with Watch(x.device) as watch:
        y = x + 1
        y.mul_(2)
    assert watch.count == 2 and watch.reason is None
