"""A run that is cut short, in any way and at any moment, goes on to the very numbers of a run that was not."""

import contextlib
import errno
import hashlib
import io
import multiprocessing
import os
import pickle
import random
import signal
import threading
import time
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from tdnn_helpers.data.augment import brightness_contrast, chain, flip, shift
from tdnn_helpers.data.sets import load
from tdnn_helpers.models.networks import mlp, small_cnn
from tdnn_helpers.train import checkpoint as room
from tdnn_helpers.train.checkpoint import MAGIC, read, read_history
from tdnn_helpers.train.loop import Diverged, classification, constant, fit, sgd
from tdnn_helpers.train.run import Run

SHORT = dict(epochs=3, batch_size=64, evaluate_every=4)  # 15 steps, 5 an epoch, the last of each epoch smaller


@pytest.fixture(autouse=True)
def ctrl_c_raises():
    """As at a terminal. A shell starts background jobs with Ctrl-C ignored, and Python keeps that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def digits():
    return load("digits").take(300, seed=0)


@pytest.fixture(scope="module")
def val():
    return load("digits").take(101, seed=1)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "run.pt"


def network(split, seed=0, kind=mlp, dropout=0.0, **options):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind(split, **options)
        return nn.Sequential(*model[:-1], nn.Dropout(dropout), model[-1]) if dropout else model


def outcome(model, history):
    """Everything that must be equal, down to the last bit."""
    rows = [row[:4] for row in history.rows]
    weights = {name: value.tolist() for name, value in model.state_dict().items()}
    return rows, history.step_losses, history.best_step, history.diverged_at, weights


class Crash(Exception):
    pass


class Trouble:
    """An objective that counts its training steps, and does something nasty in one of them."""

    __slots__ = ("at", "steps", "what")  # no attributes that a checkpoint would note as settings

    def __init__(self, at=0, what=None):
        self.at, self.what, self.steps = at, what, 0

    def __call__(self, model, batch):
        self.steps += model.training
        if model.training and self.steps == self.at:
            self.what()
        return classification(model, batch)


def crash():
    raise Crash


def press_ctrl_c():
    signal.raise_signal(signal.SIGINT)


def in_pieces(model_of, split, path, piece, what, **options):
    """Run to the end although every process ends in its step number ``piece``."""
    for attempt in range(100):
        model, trouble = model_of(attempt), Trouble(piece, what)
        try:
            return model, fit(model, split, objective=trouble, checkpoint=path, **options), attempt
        except (Crash, KeyboardInterrupt):
            assert trouble.steps == piece
    raise AssertionError("the run never ended")


def growing(first, reverse=False):
    """An order for fit: batches from the first images of the split, or the last ones, and from more at each step."""

    def order(step, generator):
        chosen = torch.randperm(min(first + 20 * step, 300), generator=generator)[:64]
        return 299 - chosen if reverse else chosen

    return order


# ---- bit for bit -----------------------------------------------------------------------------------------------------

CASES = {
    "sgd, one cycle": ({}, {}),
    "constant": ({}, dict(schedule=constant)),
    "adam": ({}, dict(optimizer=partial(torch.optim.AdamW, lr=1e-2))),
    "dropout": (dict(dropout=0.5), {}),
    "augmentation": ({}, dict(augment=chain(flip, shift(1)))),
    "batch norm, bfloat16": (dict(kind=small_cnn, width=4), dict(precision=torch.bfloat16)),
    "growing order": ({}, dict(order=growing(100), augment=shift(1))),
    "numbers of numpy": ({}, dict(optimizer=sgd(np.float64(0.05)))),
    "all": (
        dict(kind=small_cnn, width=4, dropout=0.3),
        dict(optimizer=partial(torch.optim.Adam, lr=1e-2), augment=brightness_contrast(0.2), seed=3),
    ),
}


@pytest.mark.parametrize(("what", "piece"), [(crash, 6), (press_ctrl_c, 2), (press_ctrl_c, 3)])
@pytest.mark.parametrize("case", CASES)
def test_a_run_in_pieces_equals_one_run(digits, val, path, case, what, piece):
    """Ctrl-C after 2 or 3 steps is mostly in mid-epoch and between records; a crash goes back to the last record."""
    build, options = CASES[case]
    options = {**SHORT, **options, "val": val}
    whole = network(digits, **build)
    expected = outcome(whole, fit(whole, digits, objective=Trouble(), **options))
    # Every new process starts from other weights: none of them may matter but the first.
    model, history, attempts = in_pieces(
        lambda attempt: network(digits, seed=attempt, **build), digits, path, piece, what, **options
    )
    assert attempts >= 2 and outcome(model, history) == expected
    assert model.training


@pytest.mark.parametrize("piece", range(2, 12))
def test_early_stopping_in_pieces(digits, val, path, piece):
    options = dict(
        val=val, optimizer=sgd(0.3), schedule=constant, batch_size=32, evaluate_every=1, steps=100, patience=4
    )
    whole = network(digits, hidden=())
    expected = outcome(whole, fit(whole, digits, objective=Trouble(), **options))
    assert piece < len(expected[1]) < 100
    what = crash if piece % 2 else press_ctrl_c
    model, history, attempts = in_pieces(lambda _: network(digits, hidden=()), digits, path, piece, what, **options)
    assert attempts >= 1 and outcome(model, history) == expected


def nan_with_the_last_image(model, batch):
    loss, metrics = classification(model, batch)
    return loss + 0 / (batch.indices.max() != 299), metrics  # 0 / False is NaN


@pytest.mark.parametrize("on_divergence", ["raise", "stop"])
def test_divergence_in_pieces(digits, path, on_divergence):
    """The first NaN is found late, and at the right step, also where Ctrl-C came between the two."""
    options = dict(steps=30, batch_size=64, evaluate_every=30, on_divergence=on_divergence)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0)).tolist()
    first = order.index(299) // 64 + 1
    assert 1 <= first < 6

    class Hopeless(Trouble):
        def __call__(self, model, batch):
            super().__call__(model, batch)
            return nan_with_the_last_image(model, batch)

    with pytest.raises(KeyboardInterrupt):
        fit(network(digits), digits, objective=Hopeless(6, press_ctrl_c), checkpoint=path, **options)
    if on_divergence == "raise":
        with pytest.raises(Diverged, match=f"nan at step {first} of 30"):
            fit(network(digits), digits, objective=Hopeless(), checkpoint=path, **options)
    else:
        for _ in range(2):
            history = fit(network(digits), digits, objective=Hopeless(), checkpoint=path, **options)
            assert history.diverged_at == first == len(history.step_losses)


def test_a_finished_run_returns_at_once(digits, val, path):
    options = {**SHORT, "val": val, "patience": 1, "optimizer": sgd(2.0)}
    model = network(digits)
    first = fit(model, digits, objective=Trouble(), checkpoint=path, **options)
    content, again, idle = path.read_bytes(), network(digits, seed=5), Trouble(1, crash)
    second = fit(again, digits, objective=idle, checkpoint=path, **options)
    assert idle.steps == 0 and second == first and second is not first
    assert outcome(again, second) == outcome(model, first)
    assert path.read_bytes() == content and read_history(path) == first
    assert [file.name for file in path.parent.iterdir()] == ["run.pt"]


def test_nothing_changes_for_the_caller(digits, path):
    plain, kept = network(digits, dropout=0.5), network(digits, dropout=0.5)
    torch.manual_seed(5)
    before, handler = torch.get_rng_state(), signal.getsignal(signal.SIGINT)
    expected = outcome(plain, fit(plain, digits, **SHORT))
    assert outcome(kept, fit(kept, digits, checkpoint=str(path), **SHORT)) == expected
    fit(network(digits, dropout=0.5), digits, checkpoint=path, **SHORT)
    assert torch.equal(torch.get_rng_state(), before) and signal.getsignal(signal.SIGINT) is handler


def test_seconds_leave_out_the_pause(digits, path, monkeypatch):
    clock, ahead = time.perf_counter, [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock() + ahead[0])

    def wait(seconds):
        ahead[0] += seconds

    first = Trouble(3, lambda: (wait(1e3), press_ctrl_c()))
    with pytest.raises(KeyboardInterrupt):
        fit(network(digits), digits, objective=first, checkpoint=path, **SHORT)
    assert read_history(path).seconds == pytest.approx(1e3, abs=100)
    wait(1e6)
    history = fit(network(digits), digits, objective=Trouble(4, lambda: wait(2e3)), checkpoint=path, **SHORT)
    assert history.seconds == pytest.approx(3e3, abs=100)
    assert [row[4] for row in history.rows if row[0] == 4] == pytest.approx([1e3, 1e3], abs=100)


# ---- Ctrl-C ----------------------------------------------------------------------------------------------------------


def test_ctrl_c_keeps_the_step_and_the_history(digits, path):
    with pytest.raises(KeyboardInterrupt, match="after step 7; the same call goes on from"):
        fit(network(digits), digits, objective=Trouble(7, press_ctrl_c), checkpoint=path, **SHORT)
    whole = fit(network(digits), digits, **SHORT)
    history = read_history(path)
    assert history.step_losses == whole.step_losses[:7]
    assert [row[:4] for row in history.rows] == [row[:4] for row in whole.rows if row[0] <= 7]


def test_ctrl_c_in_the_last_step_finds_the_run_finished(digits, path):
    with pytest.raises(KeyboardInterrupt, match="at the end of the run"):
        fit(network(digits), digits, objective=Trouble(15, press_ctrl_c), checkpoint=path, **SHORT)
    idle = Trouble()
    assert len(fit(network(digits), digits, objective=idle, checkpoint=path, **SHORT).step_losses) == 15
    assert idle.steps == 0


def test_a_second_ctrl_c_does_not_wait(digits, path):
    done = []

    def twice():
        press_ctrl_c()
        done.append("once")
        press_ctrl_c()
        done.append("twice")

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(network(digits), digits, objective=Trouble(7, twice), checkpoint=path, **SHORT)
    assert done == ["once"] and len(read_history(path).step_losses) == 4
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_run_in_another_thread(digits, path):
    """Only the main thread may handle signals; a run elsewhere has a checkpoint all the same."""
    thread = threading.Thread(target=fit, args=(network(digits), digits), kwargs=dict(checkpoint=path, **SHORT))
    thread.start()
    thread.join()
    assert len(read_history(path).step_losses) == 15


# ---- killed ----------------------------------------------------------------------------------------------------------

forks = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
KILLED = dict(steps=60, batch_size=64, evaluate_every=1, augment=shift(1))


def slow_run(digits, path):
    fit(network(digits, dropout=0.2), digits, objective=Trouble(), checkpoint=path, **KILLED)


@forks
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_killed_at_random_moments(digits, path):
    """Half of the time goes into saving (a record at every step, a slow disk), so that kills hit that as well."""
    whole = network(digits, dropout=0.2)
    expected = outcome(whole, fit(whole, digits, objective=Trouble(), **KILLED))

    def slow_disk(descriptor):
        time.sleep(0.02)

    def child():
        os.fsync = slow_disk
        slow_run(digits, path)

    moments, patience, kills, reached = random.Random(), 0.25, 0, []
    while True:
        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join(moments.uniform(0.05, patience))
        if not process.is_alive():
            break
        process.kill()
        process.join()
        kills += 1
        patience *= 1.1  # a slow machine must not be killed for ever before its first step
        if path.exists():
            reached.append(len(read_history(path).step_losses))
    assert process.exitcode == 0 and kills >= 4 and reached == sorted(reached)
    model = network(digits, dropout=0.2)
    assert outcome(model, fit(model, digits, objective=Trouble(1, crash), checkpoint=path, **KILLED)) == expected


@forks
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("moment", ["half written", "not yet in place", "just in place"])
def test_killed_in_the_middle_of_a_save(digits, path, moment):
    whole = network(digits, dropout=0.2)
    expected = outcome(whole, fit(whole, digits, objective=Trouble(), **KILLED))

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def child():
        saves, fsync, replace = [], os.fsync, os.replace

        def dying_fsync(descriptor):
            saves.append(1)
            if moment == "half written" and len(saves) == 4:
                os.truncate(descriptor, 1000)
                die()
            fsync(descriptor)

        def dying_replace(draft, place):
            if moment == "just in place":
                replace(draft, place)
            if moment != "half written" and len(saves) == 4:
                die()
            replace(draft, place) if moment != "just in place" else None

        os.fsync, os.replace = dying_fsync, dying_replace
        slow_run(digits, path)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(read_history(path).step_losses) == (3 if moment == "just in place" else 2)  # the first save is at step 0
    assert path.with_name("run.pt.new").exists() == (moment != "just in place")
    model = network(digits, dropout=0.2)
    assert outcome(model, fit(model, digits, objective=Trouble(), checkpoint=path, **KILLED)) == expected
    assert [file.name for file in path.parent.iterdir()] == ["run.pt"]


# ---- files that must not be used -------------------------------------------------------------------------------------


def refused(path, model, split, match, **options):
    """The call fails with one sentence that names the file, and the file stays as it was."""
    content = path.read_bytes()
    with pytest.raises(ValueError, match=match) as caught:
        fit(model, split, checkpoint=path, **options)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message and "0x" not in message
    assert path.read_bytes() == content and [file.name for file in path.parent.iterdir()] == ["run.pt"]
    return message


def other_objective(model, batch):
    return classification(model, batch)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (dict(epochs=4), "steps is 15 there and 20 here"),
        (dict(batch_size=50), "steps is 15 there and 18 here; batch_size is 64 there and 50 here"),
        (dict(seed=1), "seed is 0 there and 1 here"),
        (dict(precision=torch.bfloat16), r"precision is torch\.float32 there and torch\.bfloat16 here"),
        (dict(patience=3), "patience is None there and 3 here"),
        (dict(evaluate_every=5), "evaluate_every is 4 there and 5 here"),
        (dict(on_divergence="stop"), "on_divergence is raise there and stop here"),
        (dict(optimizer=sgd(0.2)), r"lr is 0\.1 there and 0\.2 here"),
        (dict(optimizer=sgd(0.1, momentum=0.5)), r"momentum is 0\.9 there and 0\.5 here"),
        (dict(optimizer=torch.optim.Adam), "optimizer is .*SGD there and .*Adam here"),
        (dict(schedule=constant), "schedule is .*one_cycle there and .*constant here"),
        (dict(objective=other_objective), "objective is .*classification there and .*other_objective here"),
        (dict(augment=None), r"augment is .*\(pixels=1\) there and None here|augment is .* there and None here"),
        (dict(augment=chain(flip, shift(2))), "augment is .*pixels=1.* there and .*pixels=2.* here"),
        (dict(val=None), "the split val is images uint8 101×1×8×8, .* there and None here"),
    ],
)
def test_a_checkpoint_of_another_run(digits, val, path, changes, match):
    options = {**SHORT, "val": val, "augment": chain(flip, shift(1))}
    fit(network(digits), digits, checkpoint=path, **options)
    refused(path, network(digits), digits, f"belongs to another run: .*{match}", **{**options, **changes})


@pytest.mark.parametrize(
    ("other", "match"),
    [
        (None, r"order is .*growing.*first=100.* there and absent here"),
        (growing(120), r"order is .*first=100.* there and .*first=120.* here"),
        (growing(100, True), r"reverse=False.* there and .*reverse=True"),
    ],
)
def test_a_checkpoint_of_another_order(digits, path, other, match):
    fit(network(digits), digits, checkpoint=path, order=growing(100), **SHORT)
    refused(path, network(digits), digits, match, order=other, **SHORT)


def test_two_rankings_are_two_runs(digits, path):
    """Functions of one name with tensors of one shape: only the content of the tensors tells them apart."""

    def ranked(ranking):
        return lambda step, generator: ranking[:64]

    fit(network(digits), digits, checkpoint=path, order=ranked(torch.arange(300)), **SHORT)
    other = ranked(torch.arange(300).flip(0))
    refused(path, network(digits), digits, "ranking=int64 300, SHA-256 .* there and ", order=other, **SHORT)


def with_default(weight):
    def objective(model, batch, weight=weight):
        loss, metrics = classification(model, batch)
        return weight * loss, metrics

    return objective


def with_list(*weights):
    weights = list(weights)

    def objective(model, batch):
        loss, metrics = classification(model, batch)
        return sum(weights) * loss, metrics

    return objective


class WithAttribute:
    def __init__(self, weight):
        self.weight = {"weight": weight}

    def __call__(self, model, batch):
        loss, metrics = classification(model, batch)
        return self.weight["weight"] * loss, metrics


@pytest.mark.parametrize("make", [with_default, with_list, WithAttribute])
def test_two_objectives_of_one_name_are_two_runs(digits, path, make):
    first = fit(network(digits), digits, checkpoint=path, objective=make(1.0), **SHORT)
    again = fit(network(digits), digits, checkpoint=path, objective=make(1.0), **SHORT)
    assert again.step_losses == first.step_losses
    match = r"objective is .*1\.0.* there and .*2\.0.* here"
    refused(path, network(digits), digits, match, objective=make(2.0), **SHORT)


def test_a_checkpoint_without_an_order_knows_of_none(digits, path):
    """Files that were written before fit had orders still go on."""
    fit(network(digits), digits, checkpoint=path, **SHORT)
    assert "order" not in read(path)["settings"]


def test_a_checkpoint_of_another_model_or_other_data(digits, path):
    fit(network(digits), digits, checkpoint=path, **SHORT)
    wider = network(digits, hidden=(64,))
    refused(path, wider, digits, r'weight "2\.weight" is float32 128×64 there and float32 64×64 here', **SHORT)
    refused(path, network(digits, hidden=()), digits, r"\(and \d more\)", **SHORT)
    refused(path, network(digits).double().half(), digits, "is float32 .* there and float16", **SHORT)
    images, targets = digits.images.clone(), digits.targets.clone()
    images[7, 0, 3, 3] ^= 1
    targets[7] = (targets[7] + 1) % 10
    one_pixel = type(digits)(images, digits.targets, digits.classes)
    refused(path, network(digits), one_pixel, "the split train is .*SHA-256 .* there and .*SHA-256", **SHORT)
    refused(path, network(digits), digits.with_targets(targets, digits.classes), "the split train", **SHORT)


def test_cut_short_or_altered(digits, path):
    fit(network(digits), digits, checkpoint=path, **SHORT)
    whole, draw = path.read_bytes(), random.Random(0)
    for size in [0, 1, len(MAGIC), len(MAGIC) + 10, len(MAGIC) + 32, len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:size])
        refused(path, network(digits), digits, "damaged", **SHORT)
    for place in [0, len(MAGIC), len(whole) - 1, *(draw.randrange(len(whole)) for _ in range(20))]:
        altered = bytearray(whole)
        altered[place] ^= 1 << draw.randrange(8)
        path.write_bytes(altered)
        refused(path, network(digits), digits, "damaged", **SHORT)
    path.write_bytes(whole + b"x")
    refused(path, network(digits), digits, "damaged", **SHORT)


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("dressed", ["pickle", "torch.save", "checkpoint of a pickle", "checkpoint of torch.save"])
def test_a_hostile_file_runs_no_code(digits, path, tmp_path, dressed):
    harm, content = tmp_path / "harm", io.BytesIO()
    if dressed.endswith("torch.save"):
        torch.save({"settings": {}, "history": Hostile(harm)}, content)
    else:
        pickle.dump(Hostile(harm), content, protocol=2)
    content = content.getvalue()
    torch_would = io.BytesIO(content)
    path.parent.mkdir()
    path.write_bytes(MAGIC + hashlib.sha256(content).digest() + content if "checkpoint" in dressed else content)
    message = "was not loaded" if "checkpoint" in dressed else "is not a checkpoint of fit"
    refused(path, network(digits), digits, message, **SHORT)
    assert not harm.exists()
    with contextlib.suppress(RuntimeError):  # of a bare pickle, torch complains when it is too late
        torch.load(torch_would, weights_only=False)
    assert harm.exists()


def test_checkpoints_of_something_else(digits, path):
    path.parent.mkdir()
    room.write(path, saved({"weights": torch.zeros(2)}))
    refused(path, network(digits), digits, "parts of a run are missing", **SHORT)
    fit(network(digits), digits, checkpoint=path.with_name("other.pt"), **SHORT)
    state = read(path.with_name("other.pt"))
    path.with_name("other.pt").unlink()
    room.write(path, saved({**state, "optimizer": {}}))
    refused(path, network(digits), digits, "does not fit this version", **SHORT)


def saved(value):
    content = io.BytesIO()
    torch.save(value, content)
    return content.getvalue()


def test_places_where_no_checkpoint_can_be(digits, tmp_path):
    with pytest.raises(ValueError, match="cannot be read"):
        fit(network(digits), digits, checkpoint=tmp_path, **SHORT)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="no folder can be made for the checkpoint"):
        fit(network(digits), digits, checkpoint=tmp_path / "file" / "run.pt", **SHORT)
    with pytest.raises(ValueError, match="cannot be read"):
        read_history(tmp_path / "nothing.pt")


def test_a_schedule_that_cannot_be_kept_is_refused_before_the_first_step(digits, path):
    def odd(optimizer, steps):
        schedule = constant(optimizer, steps)
        schedule.note = object()
        return schedule

    idle = Trouble()
    with pytest.raises(
        TypeError, match="plain values only, but the state of the schedule holds a value of type object"
    ):
        fit(network(digits), digits, objective=idle, schedule=odd, checkpoint=path, **SHORT)
    assert idle.steps == 0 and not path.exists()


def test_every_field_of_a_run_is_kept(digits):
    """A field that somebody adds to Run must be saved or be named here."""
    model = network(digits)
    optimizer = sgd()(model.parameters())
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    history = fit(network(digits), digits, steps=1)
    run = Run(model, optimizer, constant(optimizer, 1), scaler, torch.Generator(), history, torch.zeros(1))
    renamed = {"scheduler": "schedule", "augment_generator": "augment generator"}
    elsewhere = {"losses", "started"}  # in the history, as its step_losses and seconds
    assert {renamed.get(name, name) for name in vars(run).keys() - elsewhere} | {"random"} == run.state().keys()


# ---- full disk, full memory ------------------------------------------------------------------------------------------


def test_a_full_disk_does_not_stop_the_run(digits, path, monkeypatch):
    whole = network(digits)
    expected = outcome(whole, fit(whole, digits, objective=Trouble(), **SHORT))
    free, fsync = [2], os.fsync  # there is room for the saves at steps 0 and 4

    def full(descriptor):
        free[0] -= 1
        if free[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    model = network(digits)
    with pytest.warns(RuntimeWarning) as warned:
        history = fit(model, digits, objective=Trouble(), checkpoint=path, **SHORT)
    assert outcome(model, history) == expected
    message = f"the checkpoint {path} could not be written at step 8 ({os.strerror(errno.ENOSPC)})."
    assert len(warned) == 1 and str(warned[0].message).startswith(message)
    assert str(warned[0].message).endswith("the file keeps step 4.")
    assert len(read_history(path).step_losses) == 4
    assert [file.name for file in path.parent.iterdir()] == ["run.pt"]
    monkeypatch.undo()
    model = network(digits)
    assert outcome(model, fit(model, digits, objective=Trouble(), checkpoint=path, **SHORT)) == expected


OUT_OF_MEMORY = [
    lambda: torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    lambda: RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)."),
    lambda: RuntimeError("[enforce fail at alloc_cpu.cpp:75] DefaultCPUAllocator: not enough memory."),
]


def too_large(error):
    raise error


@pytest.mark.parametrize("make", OUT_OF_MEMORY, ids=["CUDA", "MPS", "CPU of Windows"])
@pytest.mark.parametrize(
    ("batch_size", "match"),
    [
        (64, "batch_size=64 needs more memory than there is: try batch_size=32"),
        (1000, "batch_size=300 needs more memory than there is: try batch_size=150"),
        (1, "try a smaller network or smaller images"),
    ],
)
def test_out_of_memory_names_a_smaller_batch(digits, make, batch_size, match):
    error = make()
    with pytest.raises(MemoryError, match=match) as caught:
        fit(network(digits), digits, steps=2, batch_size=batch_size, objective=Trouble(1, lambda: too_large(error)))
    assert caught.value.__cause__ is error and "\n" not in str(caught.value)


def test_the_words_of_this_torch(digits):
    with pytest.raises(MemoryError, match="try batch_size=32"):
        fit(network(digits), digits, steps=1, batch_size=64, objective=Trouble(1, lambda: torch.empty(10**16)))


def test_other_errors_pass(digits):
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        fit(network(digits), digits, steps=1, objective=Trouble(1, lambda: torch.ones(2, 3) @ torch.ones(2, 3)))


def test_a_background_job_that_ignores_ctrl_c_goes_on_ignoring_it(digits, tmp_path):
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def objective(model, batch):
        signal.raise_signal(signal.SIGINT)
        return classification(model, batch)

    history = fit(mlp(digits), digits, objective=objective, steps=3, checkpoint=tmp_path / "run", device="cpu")
    assert len(history.step_losses) == 3
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.parametrize(("fits", "remedy"), [(10, "try batch_size=8, which fits."), (0, "try a smaller network")])
def test_out_of_memory_tries_what_fits_on_a_copy(digits, fits, remedy):
    """Nothing but the message comes of the attempts: weights, running statistics and gradients stay."""
    tried = []

    def objective(model, batch):
        tried.append(len(batch.images))
        if tried[-1] > fits:
            too_large(OUT_OF_MEMORY[0]())
        return classification(model, batch)

    model = network(digits, kind=small_cnn, width=2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(MemoryError, match=remedy):
        fit(model, digits, objective=objective, steps=3, batch_size=64)
    assert tried == ([64, 32, 16, 8] if fits else [64, 32, 16, 8, 4, 2, 1])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_an_attempt_that_fails_in_another_way_ends_the_search(digits):
    def objective(model, batch):
        if len(batch.images) < 20:
            raise IndexError("too few")
        too_large(OUT_OF_MEMORY[0]())

    with pytest.raises(MemoryError, match="try batch_size=16.$"):
        fit(network(digits), digits, objective=objective, steps=3, batch_size=64)


def test_batch_normalisation_of_a_single_image_says_what_to_do(digits):
    model = network(digits, kind=small_cnn, width=2)
    for images, batch_size, left in (301, 50, ", and 301 images in batches of 50 leave 1 over"), (4, 1, ""):
        train = load("digits").take(images, seed=0)
        with pytest.raises(ValueError) as caught:
            fit(model, train, epochs=1, batch_size=batch_size)
        assert str(caught.value) == (
            f"batch normalisation cannot train on a single image{left}: choose another batch_size, or a network with "
            'norm="none".'
        )
    with pytest.raises(ValueError, match="another error"):
        fit(model, digits, steps=1, objective=lambda m, b: too_large(ValueError("another error")))
