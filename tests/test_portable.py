"""The key of a banked run is the same on every machine and under every version, and another when anything counts."""

import linecache
import os
import shutil
import subprocess
import sys
import types
import warnings
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from helpers import edited_package
from tdnn_helpers.core.places import data_dir
from tdnn_helpers.data.sets import load
from tdnn_helpers.evidence import fingerprint, portable, store
from tdnn_helpers.evidence.definitions import LISTING
from tdnn_helpers.models.networks import mlp
from tdnn_helpers.train.loop import fit, sgd

PACKAGE = Path(portable.__file__).parents[1]
READS = "def arm(seed):\n    return {'x': len(str(data))}"
cells = count()


def notebook(source, name=None, **variables):
    """What a kernel holds after a cell, whose text is in the line cache as IPython puts it there."""
    name = name or f"<cell {next(cells)}>"
    linecache.cache[name] = len(source), None, source.splitlines(True), name
    names = {"__name__": "__main__", "torch": torch, "np": np, "nn": nn, **variables}
    exec(compile(source, name, "exec"), names)
    return names


def key_of(arm, comparison="rates"):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        around = portable.surroundings(comparison)
        return store.digests({"arm": arm}, portable.PortableWalk, around, "in the bank")["arm"]


def key(source, name=None, **variables):
    return key_of(notebook(source, name, **variables)["arm"])


# No torch in here: other versions of Python read it too.
CELL = '''
import math
from functools import partial
from types import SimpleNamespace
from tdnn_helpers.core.choices import nearest

rate, words = 0.5, {"one", "two", "three"}
size = SimpleNamespace(steps=3, unread=1)
settings = {"a": [1, 2.0, None, True], "b": (range(3), ...)}

def noted(function):
    def wrapper(*given):
        return function(*given)
    return wrapper

class Thing:
    """What it is."""
    factor: int = 3
    @property
    def twice(self): return 2 * self.factor
    def times(self, x):
        return super().__init__() or self.factor * x

@noted
def helper(x, *, scale=1.5):
    """What it does."""
    assert x, "no x"
    try:
        import json
        words.update(f"{y:.2f} {json.dumps(y)}" for y in range(x) if y not in {1, 2})
    finally:
        pass
    return {name: math.sqrt(value) for name, value in settings.items()} | {"x": any(z for z in words)}

pick = {"up": lambda x: x + 1, "down": lambda x: x - 1}
def make(offset, change):
    def arm(seed, more: int = 1):
        class Inner:
            value = offset
            other = rate
        inner = [helper(x) for x in (seed, 2)]
        match seed:
            case 1: return {}
        while (n := len(inner)) > size.steps: inner.pop()  # why
        return {"x": change(offset) + more + Thing().times(3), "y": nearest("a", "b"), "z": partial(helper, n)}
    return arm
arm = make(7, pick["down"])
'''


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("Thing().times(3)", "Thing().times(4)", id="constant of the arm"),
        pytest.param("more: int = 1", "more: int = 2", id="default"),
        pytest.param("make(7", "make(8", id="closure"),
        pytest.param("rate, words = 0.5", "rate, words = 0.25", id="global"),
        pytest.param('"b": (range(3)', '"b": (range(4)', id="inside a container"),
        pytest.param("import json", "import pickle as json", id="import"),
        pytest.param("y not in {1, 2}", "y in {1, 2}", id="function that the arm calls"),
        pytest.param("return function(*given)", "return function(*given[:1])", id="decorator"),
        pytest.param("self.factor * x", "self.factor + x", id="method of a class"),
        pytest.param("factor: int = 3", "factor: int = 4", id="attribute of a class"),
        pytest.param("x - 1}", "x - 2}", id="lambda"),
        pytest.param('pick["down"]', 'pick["up"]', id="another lambda in the same line"),
        pytest.param("steps=3", "steps=4", id="size that is read"),
        pytest.param('nearest("a"', 'partial("a"', id="another function"),
    ],
)
def test_a_change_of_code_or_values_changes_the_key(before, after):
    assert CELL.count(before) == 1
    assert key(CELL) != key(CELL.replace(before, after))


def test_comments_blank_lines_places_versions_and_what_is_not_read_change_nothing(monkeypatch):
    same = [
        CELL.replace('"""What it does."""', '"""Said otherwise."""\n\n    # with a comment'),
        CELL.replace("  # why", ""),
        CELL.replace("unread=1", "unread=2"),
        CELL.replace("class Thing", "unread = 3\n\n\nclass Thing"),
    ]
    whole = CELL[CELL.index("@noted") : CELL.index("pick =")]
    same.append(CELL.replace(whole, "").replace("pick =", f"{whole}pick ="))  # moved behind an empty line
    same.append(CELL.replace("class Thing", f"{whole}class Thing").replace(f"{whole}pick", "pick"))
    first, relu = key(CELL), key(READS, data=nn.ReLU)
    assert [key(cell, "/tmp/ipykernel_7/9.py") for cell in same] == [first] * len(same)
    monkeypatch.setattr(torch, "__version__", "9.9")
    monkeypatch.setattr("platform.python_version", lambda: "9.9")
    fingerprint._version.cache_clear()
    assert (key(CELL), key(READS, data=nn.ReLU)) == (first, relu) and fingerprint._version("torch") == "9.9"
    fingerprint._version.cache_clear()


STAND_INS = """
import sys, types
class StandIn(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        setattr(self, name, type(name, (), {}))
        return vars(self)[name]
root, cell = sys.argv[1:]
sys.path.insert(0, root)
sys.modules |= {name: StandIn(name) for name in ("torch", "torch.nn", "numpy")}
sys.modules["torch"].nn = sys.modules["torch.nn"]
wing = sys.modules["tdnn_helpers.evidence"] = types.ModuleType("tdnn_helpers.evidence")
wing.__path__ = [root + "/tdnn_helpers/evidence"]
from tdnn_helpers.evidence.portable import PortableWalk, surroundings
import linecache
linecache.cache["cell"] = len(cell), None, cell.splitlines(True), "cell"
names = {"__name__": "__main__"}
exec(compile(cell, "cell", "exec"), names)
walk = PortableWalk({})
walk.visit(("arm", surroundings("rates"), names["arm"]))
print(walk.hash.hexdigest())
"""


@pytest.mark.parametrize("minor", sorted({10, 11, 12, 13, 14} - {sys.version_info.minor}))
def test_another_python_finds_the_same_key(minor):
    """It may have neither torch nor numpy: stand-ins take their places."""
    python = shutil.which(f"python3.{minor}")
    command = [python, "-c", STAND_INS, str(PACKAGE.parent), CELL]
    own = os.environ | {"PYENV_VERSION": f"3.{minor}", "PYTHONDONTWRITEBYTECODE": "1"}
    if not python or subprocess.run([python, "-c", ""], env=own, capture_output=True).returncode:
        pytest.skip(f"there is no Python 3.{minor} here")
    done = subprocess.run(command, env=own, capture_output=True, text=True)
    assert done.stdout.strip() == key(CELL), done.stderr


# --- data, and objects of packages ------------------------------------------------------------------------------------


def test_data_networks_and_settings_count_by_content():
    digits = load("digits").take(100, seed=0)
    edited = load("digits").take(100, seed=0)
    edited.images.numpy()[3, 0, 2, 2] ^= 1
    network, hooked = nn.Linear(2, 2), nn.Linear(2, 2)
    hooked.load_state_dict(network.state_dict())
    hooked.register_forward_hook(print)
    things = [digits, load("digits").take(100, seed=1), edited, digits.take, mlp(digits, hidden=(4,)), network, hooked]
    things += [nn.ReLU, nn.ReLU(), sgd(0.1), sgd(0.2), torch.relu, nn.functional.relu, nn.functional.max_pool2d]
    things += [nn.functional.max_pool1d, torch.float32, np.float32(1), np.float64(1), np.dtype("f4"), np.arange(3)]
    things += [types.SimpleNamespace(a=1), types.SimpleNamespace(a=2), torch.arange(3), torch.arange(3.0), np.log]
    keys = [key(READS, data=thing) for thing in things]
    assert len(set(keys)) == len(things)
    assert keys == [key(READS, data=thing) for thing in things]
    assert keys[0] == key(READS, data=load("digits").take(100, seed=0))


def test_the_device_and_what_a_table_says_of_its_making_do_not_count():
    assert key(READS, data=torch.device("cpu")) == key(READS, data=torch.device("cuda", 0))
    assert portable.PortableWalk({})._device(torch.ones(1)) == ""
    one, two = pd.DataFrame({"a": [1.0, 2.0]}), pd.DataFrame({"a": [1.0, 2.0]})
    two.attrs["twin"] = {"here": "another machine"}
    assert key(READS, data=one) == key(READS, data=two) != key(READS, data=two + 1)


def test_another_data_folder_counts_for_arms_that_read_it_if_its_checksums_differ(tmp_path, monkeypatch):
    reads = "from tdnn_helpers.data.shipped import verified\narm = lambda seed: {'name': len(str(verified('a.gz')))}"
    first, other = key(reads), key(CELL)
    shutil.copy(data_dir() / LISTING, tmp_path)
    monkeypatch.setenv("TDNN_DATA", str(tmp_path))
    assert key(reads) == first
    (tmp_path / LISTING).write_text((tmp_path / LISTING).read_text().replace("346e55", "346e56"))
    assert key(reads) != first and key(CELL) == other


DECORATED = """
import functools, contextlib
@torch.no_grad()
def quiet(x): return x + 1
@functools.lru_cache
def cached(x): return x + 2
@contextlib.contextmanager
def inside(): yield 3
@torch.inference_mode(True)
def fast(x): return x + 4
def arm(seed): return quiet, cached, inside, fast
"""


@pytest.mark.parametrize("old", ["1", "2", "3", "4", "True", "no_grad"])
def test_what_a_package_decorates_counts_by_its_own_text(old):
    new = {"True": "False", "no_grad": "enable_grad"}.get(old, f"-{old}")
    assert key(DECORATED) == key(f"\n\n{DECORATED}") != key(DECORATED.replace(old, new))


# --- this package -----------------------------------------------------------------------------------------------------
TRAINS = notebook("arm = lambda seed: fit(mlp(pool), pool, optimizer=rate, steps=1)", fit=fit, mlp=mlp, pool=0,
                  rate=sgd(0.1))["arm"]  # fmt: skip


@pytest.mark.parametrize(
    ("forgets", "old", "new"),
    [
        pytest.param(False, "# nowhere to rise from", "# there is nothing to rise from", id="comment"),
        pytest.param(False, "images.flip(-1)", "images.flip(-2)", id="function that the arm does not reach"),
        pytest.param(True, "self.seen += images", "self.seen += 1", id="class that such a function uses"),
        pytest.param(True, "torch.manual_seed(seed)", "torch.manual_seed(seed + 1)", id="how a run is seeded"),
        pytest.param(True, "weight_decay: float = ", "weight_decay: float = 1 + ", id="function that made a value"),
    ],
)
def test_an_edit_of_this_package_changes_the_key_where_the_arm_reaches_it(monkeypatch, forgets, old, new):
    before = key_of(TRAINS)
    edited_package(monkeypatch, (fingerprint, portable), old, new)
    assert (key_of(TRAINS) != before) == forgets


# --- what has no key --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("arm = eval('lambda seed: 1')", "no source text that can be told from others"),
        ("def arm(seed):\n    return {'x': len(open('f').read())}", '"open" reads what lies outside'),
        ("from dataclasses import dataclass\n@dataclass\nclass A:\n    x: int = 1\ndef arm(seed): return A()",
         'because "A" → .* has no source text'),
    ],
)  # fmt: skip
def test_what_has_no_reliable_digest_is_not_in_the_bank_and_says_so(monkeypatch, source, why):
    monkeypatch.setattr(store, "_said", set())
    with pytest.warns(UserWarning, match=f'The runs of arm "arm" are not in the bank, .*{why}'):
        found = store.digests({"arm": notebook(source)["arm"]}, portable.PortableWalk, (), "in the bank")
    assert found == {}
