"""A run that is cut short, in any way and at any moment, goes on to the very numbers of a run that was not."""

import contextlib
import errno
import functools
import hashlib
import io
import os
import pickle
import random
import re
import signal
import threading
import time
from functools import partial

import numpy as np
import pytest
import torch

from helpers import forked, kill, network, press_ctrl_c
from tdnn_helpers.data.augment import brightness_contrast, chain, flip, shift
from tdnn_helpers.data.sets import load
from tdnn_helpers.data.split import Split
from tdnn_helpers.models.networks import mlp, small_cnn
from tdnn_helpers.train import checkpoint
from tdnn_helpers.train.checkpoint import MAGIC, read, read_history
from tdnn_helpers.train.faults import Diverged
from tdnn_helpers.train.loop import constant, fit, one_cycle, sgd
from tdnn_helpers.train.objectives import classification
from tdnn_helpers.train.run import Run

SHORT = dict(epochs=3, batch_size=64, evaluate_every=4)  # 15 steps, 5 an epoch, the last of each epoch smaller
digits = pytest.fixture(lambda: load("digits").take(300, seed=0), scope="module")
val = pytest.fixture(lambda: load("digits").take(101, seed=1), scope="module")
path = pytest.fixture(lambda tmp_path: tmp_path / "deep" / "run.pt")


@pytest.fixture(autouse=True)
def ctrl_c_raises():
    """As at a terminal. A shell starts background jobs with Ctrl-C ignored, and Python keeps that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def trained(split, path=None, start=0, build=None, **options):
    """The network and the history of a short run; ``start``: the seed of the first weights."""
    model = network(split, start, **build or {})
    return model, fit(model, split, checkpoint=path, **{**SHORT, **options})


def outcome(model, history):
    """Everything that must be equal, down to the last bit."""
    rows = [row[:4] for row in history.rows]
    weights = {name: value.tolist() for name, value in model.state_dict().items()}
    return rows, history.step_losses, history.best_step, history.diverged_at, weights


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


def throw(error):
    raise error


crash = partial(divmod, 1, 0)  # a ZeroDivisionError


def growing(first, reverse=False):
    """An order for fit: batches from the first images of the split, or the last ones, and from more at each step."""

    def order(step, generator):
        chosen = torch.randperm(min(first + 20 * step, 300), generator=generator)[:64]
        return 299 - chosen if reverse else chosen

    return order


# ---- bit for bit -----------------------------------------------------------------------------------------------------
CASES = {
    "sgd, one cycle": ({}, {}),
    "dropout": (dict(dropout=0.5), {}),
    "batch norm, bfloat16": (dict(kind=small_cnn, width=4), dict(precision=torch.bfloat16)),
    "growing order": ({}, dict(order=growing(100), augment=chain(flip, shift(1)))),
    "numbers of numpy": ({}, dict(optimizer=sgd(np.float64(0.05)))),
    "all": (
        dict(kind=small_cnn, width=4, dropout=0.3),
        dict(optimizer=partial(torch.optim.AdamW, lr=1e-2), augment=brightness_contrast(0.2), seed=3),
    ),
}
# Ctrl-C after 2 or 3 steps is mostly in mid-epoch and between records; a crash goes back to the last record.
PIECES = [(case, what, piece) for case in CASES for what, piece in [("crash", 6), ("Ctrl-C", 2), ("Ctrl-C", 3)]]
STOPS = dict(optimizer=sgd(0.3), schedule=constant, batch_size=32, evaluate_every=1)
CASES["early stopping"] = dict(hidden=()), STOPS | dict(epochs=None, steps=100, patience=4)
PIECES += [("early stopping", "crash" if piece % 2 else "Ctrl-C", piece) for piece in range(2, 12)]


@pytest.fixture(scope="module")
def whole(digits, val):
    """A function: the outcome of a case that nothing interrupts, trained once."""
    return functools.cache(lambda case: outcome(*trained(digits, build=CASES[case][0], val=val, **CASES[case][1])))


@pytest.mark.parametrize(("case", "what", "piece"), PIECES)
def test_a_run_in_pieces_equals_one_run(digits, val, path, whole, case, what, piece):
    """To the end, although every process ends in its step number ``piece``; only the first one's weights may matter."""
    build, options = CASES[case]
    for attempt in range(100):
        trouble = Trouble(piece, crash if what == "crash" else press_ctrl_c)
        try:
            model, history = trained(digits, path, start=attempt, build=build, val=val, objective=trouble, **options)
            break
        except (ZeroDivisionError, KeyboardInterrupt):
            assert trouble.steps == piece
    else:
        pytest.fail("the run never ended")
    assert outcome(model, history) == whole(case)
    assert piece < len(history.step_losses) < 100 and model.training
    assert attempt >= (1 if case == "early stopping" else 2)


@pytest.mark.parametrize("on_divergence", ["raise", "stop"])
def test_divergence_in_pieces(digits, path, on_divergence):
    """The first NaN is found late, and at the right step, also where Ctrl-C came between the two."""
    options = dict(epochs=None, steps=30, evaluate_every=30, on_divergence=on_divergence)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0)).tolist()
    first = order.index(299) // 64 + 1

    class Hopeless(Trouble):
        def __call__(self, model, batch):
            loss, metrics = super().__call__(model, batch)
            return loss + 0 / (batch.indices.max() != 299), metrics  # 0 / False is NaN

    with pytest.raises(KeyboardInterrupt, match="after step 6"):
        trained(digits, path, objective=Hopeless(6, press_ctrl_c), **options)
    raises = pytest.raises(Diverged, match=f"nan at step {first} of 30")
    for _ in range(2):
        with raises if on_divergence == "raise" else contextlib.nullcontext():
            _, history = trained(digits, path, objective=Hopeless(), **options)
            assert history.diverged_at == first == len(history.step_losses)


def test_a_finished_run_returns_at_once(digits, val, path):
    options = dict(val=val, patience=1, optimizer=sgd(2.0))
    model, first = trained(digits, path, objective=Trouble(), **options)
    content, idle = path.read_bytes(), Trouble(1, crash)
    again, second = trained(digits, path, start=5, objective=idle, **options)
    assert idle.steps == 0 and second == first and second is not first
    assert outcome(again, second) == outcome(model, first)
    assert path.read_bytes() == content and read_history(path) == first
    assert [file.name for file in path.parent.iterdir()] == ["run.pt"]
    assert "order" not in read(path)["settings"]  # files that were written before fit had orders still go on


def test_nothing_changes_for_the_caller(digits, val, path, whole):
    expected = whole("dropout")
    torch.manual_seed(5)
    before, handler = torch.get_rng_state(), signal.getsignal(signal.SIGINT)
    for place in (str(path), path):
        assert outcome(*trained(digits, place, build=dict(dropout=0.5), val=val)) == expected
        assert torch.equal(torch.get_rng_state(), before) and signal.getsignal(signal.SIGINT) is handler


def test_seconds_leave_out_the_pause(digits, path, monkeypatch):
    clock, waits = time.perf_counter, []
    monkeypatch.setattr(time, "perf_counter", lambda: clock() + sum(waits))
    with pytest.raises(KeyboardInterrupt):
        trained(digits, path, objective=Trouble(3, lambda: (waits.append(1e3), press_ctrl_c())))
    assert read_history(path).seconds == pytest.approx(1e3, abs=100)
    waits.append(1e6)
    _, history = trained(digits, path, objective=Trouble(4, lambda: waits.append(2e3)))
    assert history.seconds == pytest.approx(3e3, abs=100)
    assert [row[4] for row in history.rows if row[0] == 4] == pytest.approx([1e3, 1e3], abs=100)


# ---- Ctrl-C ----------------------------------------------------------------------------------------------------------
def test_ctrl_c_keeps_the_step_and_the_history_and_in_the_last_step_the_finished_run(digits, val, path, whole):
    rows, losses, *_ = whole("sgd, one cycle")
    for pieces, words in ((7,), "after step 7; the same call goes on from"), ((7, 8), "at the end of the run"):
        with pytest.raises(KeyboardInterrupt, match=words):
            trained(digits, path, val=val, objective=Trouble(pieces[-1], press_ctrl_c))
        history = read_history(path)
        assert history.step_losses == losses[: sum(pieces)]
        assert [row[:4] for row in history.rows] == [row for row in rows if row[0] <= sum(pieces)]
    idle = Trouble()
    assert len(trained(digits, path, val=val, objective=idle)[1].step_losses) == 15 and idle.steps == 0


def test_a_second_ctrl_c_does_not_wait(digits, path):
    done, handler = [], signal.getsignal(signal.SIGINT)
    twice = (done.append(press_ctrl_c()) for _ in range(2))
    with pytest.raises(KeyboardInterrupt):
        trained(digits, path, objective=Trouble(7, lambda: list(twice)))
    assert len(done) == 1 and len(read_history(path).step_losses) == 4
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_background_job_goes_on_ignoring_ctrl_c_and_another_thread_has_a_checkpoint_all_the_same(digits, path):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert len(trained(digits, path, objective=Trouble(2, press_ctrl_c))[1].step_losses) == 15
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    path.unlink()
    thread = threading.Thread(target=trained, args=(digits, path))  # only the main thread may handle signals
    thread.start()
    thread.join()
    assert len(read_history(path).step_losses) == 15


# ---- killed ----------------------------------------------------------------------------------------------------------
KILLED = dict(build=dict(dropout=0.2), epochs=None, steps=60, evaluate_every=1, augment=shift(1))


@pytest.fixture(scope="module")
def unharmed(digits):
    return outcome(*trained(digits, objective=Trouble(), **KILLED))


def test_killed_at_random_moments(digits, path, unharmed):
    """Half of the time goes into saving (a record at every step, a slow disk), so that kills hit that as well."""

    def child():
        os.fsync = lambda descriptor: time.sleep(0.01)
        trained(digits, path, objective=Trouble(), **KILLED)

    moments, patience, kills, reached = random.Random(), 0.15, 0, []
    while True:
        process = forked(child)
        process.join(moments.uniform(0.03, patience))
        if not process.is_alive():
            break
        process.kill()
        process.join()
        kills += 1
        patience *= 1.1  # a slow machine must not be killed for ever before its first step
        if path.exists():
            reached.append(len(read_history(path).step_losses))
    assert process.exitcode == 0 and kills >= 4 and reached == sorted(reached)
    assert outcome(*trained(digits, path, objective=Trouble(1, crash), **KILLED)) == unharmed


@pytest.mark.parametrize("moment", ["half written", "not yet in place", "just in place"])
def test_killed_in_the_middle_of_a_save(digits, path, unharmed, moment):
    def child():
        saves, fsync, replace = [], os.fsync, os.replace

        def dying_fsync(descriptor):
            saves.append(1)
            if len(saves) == 4 and moment == "half written":  # the first save is at step 0
                os.truncate(descriptor, 1000)
                kill()
            fsync(descriptor)

        def dying_replace(draft, place):
            if len(saves) < 4 or moment == "just in place":
                replace(draft, place)
            if len(saves) == 4:
                kill()

        os.fsync, os.replace = dying_fsync, dying_replace
        trained(digits, path, objective=Trouble(), **KILLED)

    process = forked(child)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(read_history(path).step_losses) == (3 if moment == "just in place" else 2)
    assert path.with_name("run.pt.new").exists() == (moment != "just in place")
    assert outcome(*trained(digits, path, objective=Trouble(), **KILLED)) == unharmed
    assert [file.name for file in path.parent.iterdir()] == ["run.pt"]


# ---- files that must not be used -------------------------------------------------------------------------------------
def other_objective(model, batch):
    return classification(model, batch)


def ranked(ranking):
    """Orders of one name with tensors of one shape: only the content of the tensors tells them apart."""
    return lambda step, generator: ranking[:64]


FINISHED = {
    "usual": dict(augment=chain(flip, shift(1))),
    "growing order": dict(order=growing(100)),
    "ranking": dict(order=ranked(torch.arange(300))),
}


@pytest.fixture(scope="module")
def contents(digits, val, tmp_path_factory):
    """A function: the checkpoint of a finished run, trained once."""

    @functools.cache
    def content(name):
        place = tmp_path_factory.mktemp("finished") / "run.pt"
        trained(digits, place, val=val, **FINISHED[name])
        return place.read_bytes()

    return content


@pytest.fixture
def refused(digits, val, path, contents):
    """A function: a call fails with one sentence that names the file, and the file stays as it was."""
    path.parent.mkdir()

    def check(match, *, run="usual", content=None, split=digits, **options):
        content = contents(run) if content is None else content
        path.write_bytes(content)
        with pytest.raises(ValueError, match=match) as caught:
            trained(split, path, **{"val": val, **FINISHED[run], **options})
        message = str(caught.value)
        assert str(path) in message and "\n" not in message and "0x" not in message
        assert path.read_bytes() == content and [file.name for file in path.parent.iterdir()] == ["run.pt"]

    return check


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
        (dict(run="growing order", order=None), r"order is .*growing.*first=100.* there and absent here"),
        (dict(run="growing order", order=growing(120)), r"order is .*first=100.* there and .*first=120.* here"),
        (dict(run="growing order", order=growing(100, True)), r"reverse=False.* there and .*reverse=True"),
        (dict(run="ranking", order=ranked(torch.arange(300).flip(0))), "ranking=int64 300, SHA-256 .* there and "),
        (dict(build=dict(hidden=(64,))), r'weight "2\.weight" is float32 128×64 there and float32 64×64 here'),
        (dict(build=dict(hidden=())), r"\(and \d more\)"),
        (dict(build=dict(kind=lambda split: mlp(split).double().half())), "is float32 .* there and float16"),
    ],
)
def test_a_checkpoint_of_another_run(refused, changes, match):
    refused(f"belongs to another run: .*{match}", **changes)


def test_a_checkpoint_of_other_data(refused, digits):
    images, targets = digits.images.clone(), digits.targets.clone()
    images[7, 0, 3, 3] ^= 1
    targets[7] = (targets[7] + 1) % 10
    for one, other in (images, digits.targets), (digits.images, targets):
        split = Split(one, other, digits.classes)
        refused("the split train is .*SHA-256 .* there and .*SHA-256", split=split)


class WithAttribute:
    def __init__(self, held):
        self.held = {"weight": held}

    def __call__(self, model, batch):
        loss, metrics = classification(model, batch)
        return self.held["weight"] * loss, metrics


MAKE = {
    "default": lambda weight: lambda model, batch, held=weight: WithAttribute(held)(model, batch),
    "closure": lambda *weights: lambda model, batch: WithAttribute(sum(weights))(model, batch),
    "attribute": WithAttribute,
}


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_two_objectives_of_one_name_are_two_runs(refused, digits, val, path, make):
    for _ in range(2):  # the second one is found
        trained(digits, path, objective=make(1.0), val=val, **FINISHED["usual"])
    match = r"objective is .*1\.0.* there and .*2\.0.* here"
    refused(match, content=path.read_bytes(), objective=make(2.0))


def test_a_run_goes_on_when_a_function_of_the_package_has_moved_but_not_when_one_of_the_readers_has(
    refused, digits, val, path, contents, monkeypatch
):
    moved = FINISHED["usual"]["augment"]
    contents("usual")
    for ours in (moved, classification, one_cycle):
        assert ours.__module__.startswith("tdnn_helpers.")
        monkeypatch.setattr(ours, "__module__", "tdnn_helpers.another.place")
    path.write_bytes(contents("usual"))
    assert trained(digits, path, val=val, augment=moved)[1] == read_history(path)  # to the seconds: nothing was trained
    monkeypatch.setattr(moved, "__module__", "another_script")
    refused(r"augment is tdnn_helpers\.chain.* there and another_script\.chain.* here")


def test_cut_short_or_altered(refused, contents):
    whole, draw = contents("usual"), random.Random(0)
    for size in (0, 1, len(MAGIC), len(MAGIC) + 10, len(MAGIC) + 32, len(whole) // 2, len(whole) - 1):
        refused("damaged", content=whole[:size])
    for place in [0, len(MAGIC), len(whole) - 1, *(draw.randrange(len(whole)) for _ in range(20))]:
        altered = bytearray(whole)
        altered[place] ^= 1 << draw.randrange(8)
        refused("damaged", content=bytes(altered))
    refused("damaged", content=whole + b"x")


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def saved(value):
    content = io.BytesIO()
    torch.save(value, content)
    return content.getvalue()


def as_checkpoint(content):
    return MAGIC + hashlib.sha256(content).digest() + content


@pytest.mark.parametrize("write", [partial(pickle.dumps, protocol=2), lambda harm: saved({"history": harm})])
def test_a_hostile_file_runs_no_code(refused, tmp_path, write):
    content = write(Hostile(tmp_path / "harm"))
    refused("was not loaded", content=as_checkpoint(content))
    refused("is not a checkpoint of fit", content=content)
    assert not (tmp_path / "harm").exists()
    with contextlib.suppress(RuntimeError):  # of a bare pickle, torch complains when it is too late
        torch.load(io.BytesIO(content), weights_only=False)
    assert (tmp_path / "harm").exists()


def test_checkpoints_of_something_else(refused, path, contents):
    refused("parts of a run are missing", content=as_checkpoint(saved({"weights": torch.zeros(2)})))
    path.write_bytes(contents("usual"))
    checkpoint.write(path, saved({**read(path), "optimizer": {}}))
    refused("does not fit this version", content=path.read_bytes())


def test_places_where_no_checkpoint_can_be(digits, tmp_path):
    (tmp_path / "file").write_text("")
    for place, match in (tmp_path, "cannot be read"), (tmp_path / "file" / "run", "no folder can be made for"):
        with pytest.raises(ValueError, match=match):
            trained(digits, place)
    with pytest.raises(ValueError, match="cannot be read"):
        read_history(tmp_path / "nothing.pt")


def test_a_schedule_that_cannot_be_kept_is_refused_before_the_first_step(digits, path):
    def odd(optimizer, steps):
        schedule = constant(optimizer, steps)
        schedule.note = object()
        return schedule

    idle, match = Trouble(), "plain values only, but the state of the schedule holds a value of type object"
    with pytest.raises(TypeError, match=match):
        trained(digits, path, objective=idle, schedule=odd)
    assert idle.steps == 0 and not path.exists()


def test_every_field_of_a_run_is_kept(digits):
    """A field that somebody adds to Run must be saved or be named here."""
    model, history = trained(digits, epochs=1)
    optimizer = sgd()(model.parameters())
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    run = Run(model, optimizer, constant(optimizer, 1), scaler, torch.Generator(), history, torch.zeros(1))
    renamed = {"scheduler": "schedule", "augment_generator": "augment generator"}
    elsewhere = {"losses", "started"}  # in the history, as its step_losses and seconds
    assert {renamed.get(name, name) for name in vars(run).keys() - elsewhere} | {"random"} == run.state().keys()


# ---- full disk, full memory ------------------------------------------------------------------------------------------
def test_a_full_disk_does_not_stop_the_run(digits, val, path, whole, monkeypatch):
    free, fsync = [2], os.fsync  # there is space for the saves at steps 0 and 4

    def full(descriptor):
        free[0] -= 1
        if free[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    match = re.escape(f"the checkpoint {path} could not be written at step 8 ({os.strerror(errno.ENOSPC)}).")
    match += r".*; the file keeps step 4\.$"
    with monkeypatch.context() as patch, pytest.warns(RuntimeWarning, match=match) as warned:
        patch.setattr(os, "fsync", full)
        assert outcome(*trained(digits, path, val=val, objective=Trouble())) == whole("sgd, one cycle")
    assert len(warned) == 1 and len(read_history(path).step_losses) == 4
    assert [file.name for file in path.parent.iterdir()] == ["run.pt"]
    assert outcome(*trained(digits, path, val=val, objective=Trouble())) == whole("sgd, one cycle")


OUT_OF_MEMORY = {
    "CUDA": partial(torch.cuda.OutOfMemoryError, "CUDA out of memory. Tried to allocate 2.00 GiB."),
    "MPS": partial(RuntimeError, "MPS backend out of memory (MPS allocated: 9 GB)."),
    "CPU of Windows": partial(RuntimeError, "[… alloc_cpu.cpp:75] DefaultCPUAllocator: not enough memory."),
}


@pytest.mark.parametrize("place", OUT_OF_MEMORY)
def test_out_of_memory_names_a_smaller_batch(digits, place):
    for batch_size, match in (
        (64, "batch_size=64 needs more memory than there is: try batch_size=32"),
        (1000, "batch_size=300 needs more memory than there is: try batch_size=150"),
        (1, "try a smaller network or smaller images"),
    ):
        error = OUT_OF_MEMORY[place]()
        with pytest.raises(MemoryError, match=match) as caught:
            trained(digits, batch_size=batch_size, objective=Trouble(1, partial(throw, error)))
        assert caught.value.__cause__ is error and "\n" not in str(caught.value)


def test_the_words_of_this_torch_are_known_and_other_errors_pass(digits):
    for error, match, what in (
        (MemoryError, "try batch_size=32", lambda: torch.empty(10**16)),
        (RuntimeError, "shapes cannot be multiplied", lambda: torch.ones(2, 3) @ torch.ones(2, 3)),
        (ZeroDivisionError, "zero", crash),
    ):
        with pytest.raises(error, match=match):
            trained(digits, objective=Trouble(1, what))


@pytest.mark.parametrize(
    ("fits", "fails", "remedy", "sizes"),
    [
        (10, 0, "try batch_size=8, which fits.", [64, 32, 16, 8]),
        (0, 0, "try a smaller network", [64, 32, 16, 8, 4, 2, 1]),
        (0, 20, "try batch_size=16.$", [64, 32, 16]),  # an attempt that fails in another way ends the search
    ],
)
def test_out_of_memory_tries_what_fits_on_a_copy(digits, fits, fails, remedy, sizes):
    """Nothing but the message comes of the attempts: weights, running statistics and gradients stay."""
    tried = []

    def objective(model, batch):
        tried.append(len(batch.images))
        if tried[-1] > fits:
            throw(IndexError("too few") if tried[-1] < fails else OUT_OF_MEMORY["CUDA"]())
        return classification(model, batch)

    model = network(digits, kind=small_cnn, width=2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(MemoryError, match=remedy):
        fit(model, digits, objective=objective, steps=3, batch_size=64)
    assert tried == sizes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_batch_normalisation_of_a_single_image_says_what_to_do():
    for images, batch_size, left in (301, 50, ", and 301 images in batches of 50 leave 1 over"), (4, 1, ""):
        with pytest.raises(ValueError) as caught:
            train, build = load("digits").take(images, seed=0), dict(kind=small_cnn, width=2)
            trained(train, build=build, batch_size=batch_size)
        assert str(caught.value) == (
            f"batch normalisation cannot train on a single image{left}: choose another batch_size, or a network with "
            'norm="none".'
        )
