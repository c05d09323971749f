"""What every unit test starts from: one thread, the standard budget, and runs that land in a temporary folder."""

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    """A unit test sees none of the settings of the run around it, and writes nothing into the checkout but the
    unpacked copy of the data."""
    for name in ("TDNN_BUDGET", "TDNN_DATA", "TDNN_STATIC", "TDNN_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TDNN_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("TDNN_DEVICE", "cpu")
