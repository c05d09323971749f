"""Two processes train the network that one would train, and neither waits for ever when something goes wrong."""

import errno
import json
import os
import re
import signal
import socket
import sys
import threading
import time
import warnings
from functools import partial

import pytest
import torch
import torch.distributed.run
from torch import nn

from helpers import exit_codes, forked, network, press_ctrl_c
from tdnn_helpers.core.progress_bars import progress
from tdnn_helpers.data.augment import chain, flip, shift
from tdnn_helpers.data.sets import load
from tdnn_helpers.evidence.comparison import compare
from tdnn_helpers.models.networks import mlp, small_cnn
from tdnn_helpers.train import checkpoint
from tdnn_helpers.train.checkpoint import read_history
from tdnn_helpers.train.distributed import Team
from tdnn_helpers.train.faults import Diverged
from tdnn_helpers.train.loop import constant, evaluate, fit, sgd
from tdnn_helpers.train.objectives import classification

digits = pytest.fixture(lambda: load("digits").take(301, seed=0), scope="module")
val = pytest.fixture(lambda: load("digits").take(101, seed=1), scope="module")


def free_port():
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return str(place.getsockname()[1])


def torchrun_environment(rank, port):
    group = dict(TORCHELASTIC_RUN_ID="test", WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    return group | dict(RANK=str(rank), LOCAL_RANK=str(rank))


def in_two_processes(folder, work):
    """What ``work(rank)`` gives in each of two processes that find themselves as torchrun would start them."""
    port = free_port()

    def process(rank):
        os.environ.update(torchrun_environment(rank, port))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        torch.save(work(rank), folder / f"result {rank}")

    assert exit_codes([forked(process, rank) for rank in range(2)]) == [0, 0]
    return [torch.load(folder / f"result {rank}") for rank in range(2)]


def error_of(work):
    """(name, sentence) of the error that this raises."""
    try:
        work()
    except BaseException as error:
        return type(error).__name__, str(error)


def trained(train, build=None, **options):
    """(history without times, losses, best step, weights, what was warned of) of a run."""
    model = network(train, **build or {})
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        history = fit(model, train, **options)
    ours = [str(one.message) for one in said if re.search("normalises|could not be written", str(one.message))]
    return [row[:4] for row in history.rows], history.step_losses, history.best_step, model.state_dict(), ours


def same(one, other):
    return one[:3] == other[:3] and all(torch.equal(one[3][name], other[3][name]) for name in one[3])


# ---- the same as one process -----------------------------------------------------------------------------------------
SHORT = dict(epochs=3, batch_size=50, evaluate_every=4)  # 7 steps an epoch, the last with a single image
STOPS = dict(optimizer=sgd(1.0), schedule=constant, batch_size=32, evaluate_every=1, patience=3, epochs=8)
EQUAL = {
    "perceptron, augmentation": ({}, dict(augment=chain(flip, shift(1)))),
    "convolutions": (dict(kind=small_cnn, width=4, norm="none"), dict(augment=shift(1), seed=2)),
    "adam, odd batches": ({}, dict(optimizer=partial(torch.optim.AdamW, lr=3e-3), batch_size=47)),
    "growing order": ({}, dict(order=lambda step, drawn: torch.randperm(60 + 10 * step, generator=drawn)[:50])),
    "fewer images than processes": (dict(hidden=()), dict(epochs=None, steps=9, batch_size=1)),
    "early stopping": (dict(hidden=()), STOPS),
}


@pytest.fixture(scope="module")
def outcomes(digits, val, tmp_path_factory):
    """Those of each case by name: in a process alone, and in the first and in the second of two processes."""
    folder = tmp_path_factory.mktemp("together")
    warned = {
        "batch normalisation": (dict(kind=small_cnn, width=4), dict(epochs=None, steps=6)),
        "full disk": ({}, dict(checkpoint=folder / "run")),
    }

    def train(cases):
        return {name: trained(digits, build, val=val, **SHORT | options) for name, (build, options) in cases.items()}

    def refuse(path, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def work(rank):
        checkpoint.write = refuse
        return train(EQUAL | warned)

    return train(EQUAL), *in_two_processes(folder, work)


@pytest.mark.parametrize("case", EQUAL)
def test_two_processes_equal_one(outcomes, case):
    alone, first, second = (outcome[case] for outcome in outcomes)
    assert same(first, second) and first[4] == second[4] == []
    torch.testing.assert_close(dict(first[3]), dict(alone[3]), rtol=1e-4, atol=1e-5)
    assert [row[:3] for row in first[0]] == [row[:3] for row in alone[0]] and first[2] == alone[2]
    assert [row[3] for row in first[0]] == pytest.approx([row[3] for row in alone[0]], rel=1e-4, abs=1e-5)
    assert first[1] == pytest.approx(alone[1], rel=1e-4, abs=1e-5)
    assert case != "early stopping" or len(alone[1]) < 80


def test_only_the_first_process_warns_and_all_hold_the_same_network(outcomes):
    for case, sentence in (
        ("batch normalisation", 'On CPUs each of the 2 processes normalises its part.*norm="none"'),
        ("full disk", "the checkpoint .*run could not be written"),
    ):
        first, second = (outcome[case] for outcome in outcomes[1:])
        assert same(first, second)
        assert len(first[4]) == 1 and re.match(sentence, first[4][0]) and not second[4]


def test_each_process_sees_its_part_and_a_validation_split_may_be_tiny(digits, val, tmp_path):
    def work(rank):
        seen, draws = [], []

        def objective(model, batch):
            draws.append(torch.rand(()).item())
            seen.append((model.training, batch.indices.tolist()))
            assert progress(1, "only the first process shows a bar").disable == (rank > 0)
            return classification(model, batch)

        torch.manual_seed(rank)  # the second process starts from the weights of the first
        model = mlp(digits, hidden=(4,))
        start = {name: value.clone() for name, value in model.state_dict().items()}
        before = torch.get_rng_state()
        history = fit(model, digits, objective=objective, val=val[:1], epochs=1, batch_size=50)
        assert torch.equal(torch.get_rng_state(), before)
        return seen, history.last("val", "loss"), start, model.state_dict(), draws

    (one, loss, start, weights, draws), (two, other_loss, *_, other_draws) = in_two_processes(tmp_path, work)
    assert not set(draws) & set(other_draws)  # what one drops, the other may keep
    training = [a + b for (is_training, a), (_, b) in zip(one, two, strict=True) if is_training]
    assert sorted(sum(training[:-1], []) + training[-1][:1]) == list(range(301))
    assert all(abs(len(a) - len(b)) <= 1 for (_, a), (_, b) in zip(one, two, strict=True))
    model = mlp(digits, hidden=(4,))
    model.load_state_dict(start)
    fit(model, digits, epochs=1, batch_size=50)
    torch.testing.assert_close(dict(model.state_dict()), dict(weights), rtol=1e-4, atol=1e-5)
    assert loss == other_loss == pytest.approx(evaluate(model, val[:1])["loss"], rel=1e-3)


def test_batch_normalisation_on_gpus_is_synchronised_while_it_trains(digits, monkeypatch):
    monkeypatch.setattr(nn.parallel, "DistributedDataParallel", lambda step: step)
    model = nn.Sequential(small_cnn(digits, width=2), nn.BatchNorm1d(10))
    names, norms = list(model.state_dict()), [part for part in model.modules() if "BatchNorm" in type(part).__name__]
    with Team(0, 2, torch.device("cuda")).averaging(model, classification):
        synchronised = [part for part in model.modules() if isinstance(part, nn.SyncBatchNorm)]
        assert len(synchronised) == 4
        synchronised[0].running_mean += 1
    assert [part for part in model.modules() if "BatchNorm" in type(part).__name__] == norms
    assert list(model.state_dict()) == names and norms[0].running_mean.tolist() == [1, 1]


# ---- checkpoints -----------------------------------------------------------------------------------------------------
def test_ctrl_c_in_one_process_stops_all_after_the_same_step_and_all_go_on(digits, val, tmp_path):
    path, build = tmp_path / "deep" / "run.pt", dict(dropout=0.5)
    options = {**SHORT, "val": val, "augment": shift(1)}

    def work(rank):
        if rank == 1:
            checkpoint.write = None  # only the first process writes
        whole = trained(digits, build, **options)

        def objective(model, batch):
            steps.append(model.training)
            if rank == 1 and model.training and sum(steps) == 6:
                press_ctrl_c()
            return classification(model, batch)

        said = []
        while True:
            steps = []
            try:
                return whole, trained(digits, build, objective=objective, checkpoint=path, **options), said
            except KeyboardInterrupt as error:
                said.append(str(error))

    for whole, pieces, said in in_two_processes(tmp_path, work):
        assert said == [f"after step {step}; the same call goes on from {path}." for step in (6, 12, 18)]
        assert same(whole, pieces)
    assert [file.name for file in path.parent.iterdir()] == ["run.pt"]
    with pytest.raises(ValueError, match="belongs to another run: .*processes is 2 there and absent here"):
        fit(network(digits, **build), digits, checkpoint=path, **options)
    path.write_bytes(path.read_bytes()[:-9])
    damaged = f"the checkpoint {path} is damaged: cut short or altered. Move it away to start anew."
    errors = in_two_processes(tmp_path, lambda rank: error_of(lambda: trained(digits, checkpoint=path, **options)))
    assert errors == [("ValueError", damaged)] * 2


# ---- failures --------------------------------------------------------------------------------------------------------
def out_of_memory():
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


SMALLER = "a training step with batch_size=64 needs more memory than there is: try batch_size=32."


@pytest.mark.parametrize(
    ("where", "stop", "said"),
    [
        pytest.param(0, out_of_memory, ("MemoryError", SMALLER), id="memory of the first"),
        pytest.param(1, out_of_memory, ("MemoryError", SMALLER), id="memory of the second"),
        pytest.param(1, press_ctrl_c, ("KeyboardInterrupt", ""), id="Ctrl-C"),
        pytest.param(1, lambda: 1 / 0, ("ZeroDivisionError", "division by zero"), id="bug"),
        pytest.param(1, lambda: os._exit(0), None, id="death"),
    ],
)
def test_no_process_waits_for_one_that_has_stopped_and_none_can_go_on(digits, tmp_path, where, stop, said):
    def work(rank):
        steps = []

        def objective(model, batch):
            steps.append(1)
            if rank == where and len(steps) == 3:
                stop()
            return classification(model, batch)

        torch.save((None, None), tmp_path / f"result {rank}")
        error = error_of(lambda: trained(digits, objective=objective, steps=5, batch_size=64))
        return error, error_of(lambda: trained(digits, steps=5, batch_size=32))

    results = in_two_processes(tmp_path, work)
    lost = f"process {1 - where} (of 2) has lost another one"
    assert results[where][0] == said
    assert results[1 - where][0][0] == "PartnerLost" and results[1 - where][0][1].startswith(lost)
    for _, again in results:
        assert again is said is None or again[0] == "PartnerLost" and "start all anew" in again[1]


def test_an_error_that_all_share_is_the_same_in_both_and_they_can_go_on(digits, tmp_path):
    """Calls that differ, weights that are not used, and a loss that diverges in one process only."""

    def work(rank):
        model, steps = network(digits), []
        model.spare = nn.Linear(2, 2)

        def infinite(model, batch):
            steps.append(1)
            loss, metrics = classification(model, batch)
            return loss * (float("inf") if rank == 1 and len(steps) == 3 else 1), metrics

        errors = (
            error_of(lambda: fit(network(digits), digits, steps=5 + rank)),
            error_of(lambda: fit(model, digits, steps=1, objective=lambda m, b: classification(m[:-1], b))),
            error_of(lambda: fit(network(digits), digits, objective=infinite, steps=30, optimizer=sgd(0.2))),
        )
        return errors, trained(digits, **SHORT)

    (first, outcome), (second, other) = in_two_processes(tmp_path, work)
    differ, unused, diverged = first
    assert first == second and same(outcome, other)
    assert differ == ("ValueError", "every process must be called alike, but steps differs between them: [5, 6].")
    assert unused[0] == "ValueError" and 'does not depend on the weights "spare.weight"' in unused[1]
    assert diverged[0] == Diverged.__name__ and "the loss is inf at step 3 of 30" in diverged[1]


def test_what_cannot_be_done_together_is_refused(monkeypatch):
    for name, value in torchrun_environment(1, "1").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for words, call in (
        ("more processes than GPUs here: torchrun --nproc-per-node 1", lambda: Team.join(torch.device("cuda"))),
        ('on CPUs or on NVIDIA GPUs, not on "mps"', lambda: Team.join(torch.device("mps"))),
        ("one network.*Dask", lambda: compare({"a": lambda seed: {"x": 1}}, seeds=1)),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert Team.join(torch.device("mps")).size == 1


# ---- torchrun itself -------------------------------------------------------------------------------------------------
SCRIPT = """
import json, os, sys, time
from pathlib import Path
import torch
from tdnn_helpers.data import load
from tdnn_helpers.models import mlp
from tdnn_helpers.train import classification, evaluate, fit

def slowly(model, batch):
    time.sleep(float(os.environ.get("SLOW", "0")))
    return classification(model, batch)

digits = load("digits").take(301, seed=0)
torch.manual_seed(0)
model = mlp(digits)
history = fit(model, digits, objective=slowly, steps=100, batch_size=50, checkpoint=sys.argv[1])
accuracy = evaluate(model, digits)["accuracy"]
Path(sys.argv[2] + os.environ["RANK"]).write_text(json.dumps([history.step_losses, accuracy]))
"""


def test_a_script_goes_on_under_torchrun_where_ctrl_c_stopped_it(digits, tmp_path):
    """Ctrl-C at a terminal reaches every process, and each at another moment."""
    script, path = tmp_path / "script.py", tmp_path / "run"
    script.write_text(SCRIPT)

    def interrupted(rank):
        def press_ctrl_c():
            while not path.exists():
                time.sleep(0.01)
            time.sleep(0.05 + 0.1 * rank)
            os.kill(os.getpid(), signal.SIGINT)

        os.environ["SLOW"], sys.argv = "0.02", [str(script), str(path), str(tmp_path / "outcome")]
        threading.Thread(target=press_ctrl_c, daemon=True).start()
        return error_of(lambda: exec(SCRIPT, {"__name__": "__main__"}))

    first, second = in_two_processes(tmp_path, interrupted)
    done = len(read_history(path).step_losses)
    assert first == second == ("KeyboardInterrupt", f"after step {done}; the same call goes on from {path}.")
    assert 0 < done < 100

    # Its processes are forked, so that none of them has to import torch again.
    settings = ["--run-path", "--start-method=fork", "--nproc-per-node=2"]
    place = ["--master-addr=127.0.0.1", f"--master-port={free_port()}"]
    command = [*settings, *place, *map(str, (script, path, tmp_path / "outcome"))]
    assert exit_codes([forked(torch.distributed.run.main, command)]) == [0]
    (losses, accuracy), other = (json.loads((tmp_path / f"outcome{rank}").read_text()) for rank in range(2))
    assert other == [losses, accuracy] and losses[:done] == read_history(path).step_losses[:done]
    model = network(digits)
    assert losses == pytest.approx(fit(model, digits, steps=100, batch_size=50).step_losses, rel=1e-2, abs=1e-3)
    assert accuracy == pytest.approx(evaluate(model, digits)["accuracy"], abs=0.01)
