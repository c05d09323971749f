"""What every unit test starts from: one thread, the standard budget, runs that land in a temporary folder; and the data
and models that several files look at. Those are made once: a test that changes one works on a copy."""

import random

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from tdnn_helpers import session
from tdnn_helpers.data.sets import load
from tdnn_helpers.evidence import banked, making
from tdnn_helpers.models.backbone import pretrained
from tdnn_helpers.models.networks import small_cnn
from tdnn_helpers.train.loop import fit


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):  # of NumPy's and scikit-learn's libraries
        yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    """A unit test sees none of the settings of the run around it, and writes nothing into the checkout but the
    unpacked copy of the data. What it draws from torch, no other test notices."""
    for name in ("TDNN_BUDGET", "TDNN_DATA", "TDNN_STATIC", "TDNN_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TDNN_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("TDNN_DEVICE", "cpu")
    with torch.random.fork_rng(devices=[]):
        yield


@pytest.fixture
def empty_bank(monkeypatch, tmp_path):
    """Lesson 01_checklist runs, with an empty bank; no run has been repeated yet in this process."""
    monkeypatch.setenv("TDNN_BANK", str(tmp_path / "bank"))
    monkeypatch.setattr(session, "_lesson", "01_checklist")
    for kept in (banked._twins, making.audited):
        kept.clear()


@pytest.fixture
def random_state_is_left_alone():
    before = torch.get_rng_state(), random.getstate(), repr(np.random.get_state(legacy=False))
    yield
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1] and repr(np.random.get_state(legacy=False)) == before[2]


@pytest.fixture(scope="session")
def digits():
    return load("digits")


@pytest.fixture(scope="session")
def few(digits):
    return digits.take(120, seed=0)


@pytest.fixture(scope="session")
def trained(digits):
    """A small network that reads digits; whoever asks it puts it into the mode it needs."""
    torch.manual_seed(0)
    model = small_cnn(digits, width=4)
    fit(model, digits, steps=100, seed=0, device="cpu")
    return model


@pytest.fixture(scope="session")
def backbone():
    return pretrained()


@pytest.fixture(scope="session")
def emoji():
    return load("emoji").take(6, seed=0)
