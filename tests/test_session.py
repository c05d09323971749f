"""The opening of a lesson: settings are read, wrong ones are named, seeds are set."""

import random

import matplotlib as mpl
import numpy as np
import pytest
import torch

from tdnn_helpers import session
from tdnn_helpers.core import device, places, progress_bars
from tdnn_helpers.core.choices import nearest
from tdnn_helpers.core.device import pick_device
from tdnn_helpers.core.places import data_dir, runs_dir
from tdnn_helpers.core.progress_bars import quiet
from tdnn_helpers.core.randomness import seed_everything, untouched_random_state
from tdnn_helpers.session import BUDGETS, Session, budget, start


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    """Figure style, lesson, random state and threads are global; a test leaves them as it found them."""
    monkeypatch.setattr(session, "_lesson", None)
    with mpl.rc_context(), untouched_random_state():
        yield
    torch.set_num_threads(1)


def draws():
    return random.random(), np.random.rand(), torch.rand(()).item()


def test_nearest_suggests_only_what_is_similar():
    assert nearest("emojy", ["emoji", "digits"]) == ' Did you mean "emoji"?'
    assert nearest("xyz", ["emoji", "digits"]) == ""
    assert nearest(7, []) == ""


def test_budget_is_read_from_the_environment_and_a_wrong_one_named_with_the_nearest(monkeypatch):
    assert budget() == "standard"
    for name in BUDGETS:
        monkeypatch.setenv("TDNN_BUDGET", name)
        assert budget() == name
    monkeypatch.setenv("TDNN_BUDGET", "smok")
    for call in (budget, lambda: start("a lesson")):
        with pytest.raises(ValueError, match='TDNN_BUDGET is "smok".*Did you mean "smoke"'):
            call()
    assert session.current_lesson() is None


def test_folders_and_device_follow_the_environment(monkeypatch, tmp_path):
    for name, value in (("DATA", tmp_path / "d"), ("RUNS", tmp_path / "r"), ("DEVICE", "meta")):
        monkeypatch.setenv(f"TDNN_{name}", str(value))
    assert (data_dir(), runs_dir(), pick_device()) == (tmp_path / "d", tmp_path / "r", torch.device("meta"))
    monkeypatch.delenv("TDNN_RUNS")
    monkeypatch.delenv("TDNN_DATA")
    assert runs_dir().parts[-2:] == ("build", "runs")
    assert (data_dir() / "checksums.json").exists()
    monkeypatch.setattr(places, "_ROOT", tmp_path)  # where there is no checkout: the user's cache
    monkeypatch.setattr(places.Path, "home", lambda: tmp_path / "home")
    assert runs_dir() == tmp_path / "home" / ".cache" / "tdnn_helpers"


def draws_of(seed):
    seed_everything(seed)
    return draws()


def test_seed_reaches_python_numpy_and_torch_and_a_random_state_is_left_untouched():
    first = draws_of(3)
    assert draws_of(3) == first
    assert all(a != b for a, b in zip(draws_of(4), first, strict=True))
    seed_everything(2**32 + 5)  # NumPy alone takes 32 bits
    seed_everything(3)
    with pytest.raises(KeyError), untouched_random_state():
        draws_of(2)
        raise KeyError
    assert draws() == first


@pytest.mark.parametrize(("options", "threads", "said"), [({}, 1, "1 thread ·"), ({"threads": 2}, 2, "2 threads ·")])
def test_start_says_where_it_runs_and_sets_lesson_seed_threads_and_style(capsys, options, threads, said):
    opened = start("02_inputs", seed=5, **options)
    assert opened.threads == torch.get_num_threads() == threads
    (line,) = capsys.readouterr().out.splitlines()
    assert all(part in line for part in ("02_inputs", "CPU", said, torch.__version__, "standard"))
    assert session.current_lesson() == "02_inputs" and opened.device == torch.device("cpu")
    assert mpl.rcParams["axes.grid"] and not mpl.rcParams["axes.spines.top"]
    assert draws() == draws_of(5)


@pytest.mark.parametrize("name", BUDGETS)
def test_sizes_are_those_of_the_budget(name):
    opened = Session("a lesson", name, torch.device("cpu"), 1)
    sizes = opened.sizes(n=(1, 10, 100), seeds=(2, 5, 9), layers=([1], [1, 2], [1, 2, 3]))
    expected = dict(smoke=(1, 2, 1), standard=(10, 5, 2), full=(100, 9, 3))[name]
    assert (sizes.n, sizes.seeds, len(sizes.layers)) == expected
    for wrong in ((1, 10), 5):
        with pytest.raises(ValueError, match="n needs three sizes"):
            opened.sizes(n=wrong)


def test_allocator_reports_whether_it_could(monkeypatch):
    monkeypatch.setattr(device.platform, "system", lambda: "Darwin")
    assert device.keep_freed_memory() is False


@pytest.mark.skipif(not device.platform.libc_ver()[0].startswith("glibc"), reason="glibc only")
@pytest.mark.parametrize("refused_above", [2 << 30, 32 << 20], ids=["new glibc", "old glibc"])
def test_allocator_takes_the_largest_threshold_that_glibc_allows(monkeypatch, refused_above):
    settings = {}

    class Libc:
        def mallopt(self, parameter, value):
            accepted = parameter != -3 or value <= refused_above
            settings.update({parameter: value} if accepted else {})
            return int(accepted)

    monkeypatch.setattr(device.ctypes, "CDLL", lambda name: Libc())
    assert device.keep_freed_memory() is True
    assert settings == {-3: min(1 << 30, refused_above), -1: 2**31 - 1}


def test_quiet_silences_bars_and_ends_also_after_an_error(monkeypatch):
    def silent():
        with progress_bars.progress(2, "a bar") as bar:
            return bar.disable

    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with pytest.raises(KeyError), quiet():
        assert silent()
        raise KeyError
    assert not silent()
    monkeypatch.setenv("TDNN_STATIC", "1")  # on a page
    assert silent()
