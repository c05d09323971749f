"""The evidence bank: rows that are never lost or mixed, and comparisons that take what fits and run the rest."""

import json
import linecache
import math
import multiprocessing
import os
import random
import signal
import time
from types import SimpleNamespace

import pytest
from pandas.testing import assert_frame_equal

from helpers import row
from tdnn_helpers import session
from tdnn_helpers.evidence import bank, banked, claims, comparison, effects, making
from tdnn_helpers.evidence.comparison import ArmsFailed, compare
from tdnn_helpers.models.networks import mlp
from tdnn_helpers.train.loop import fit, sgd

LESSON = "01_checklist"  # of the empty bank
CELL = """
def trained(rate, steps=12):
    def arm(seed):
        if rate > 9:
            raise RuntimeError("the dog ate it\\nand more")
        train, test = pool.split(0.7, seed=seed)
        model = mlp(train, hidden=(4,))
        return fit(model, train, val=test, steps=steps, optimizer=sgd(rate), seed=seed, evaluate_every=4)
    return arm
"""


pytestmark = pytest.mark.usefixtures("empty_bank")


@pytest.fixture
def trained(few):
    """A function of a notebook: rate → arm."""
    linecache.cache["<cell>"] = len(CELL), None, CELL.splitlines(True), "<cell>"
    names = {"__name__": "__main__", "fit": fit, "mlp": mlp, "sgd": sgd, "pool": few}
    exec(compile(CELL, "<cell>", "exec"), names)
    return names["trained"]


@pytest.fixture
def arms(trained):
    return {"slow": trained(0.01), "fast": trained(0.1)}


@pytest.fixture
def make(monkeypatch):
    """A function: compare, but it makes rows."""

    def made(arms, seeds=4, name="rates", until="", **settings):
        with monkeypatch.context() as patch:
            patch.setenv("TDNN_EVIDENCE", f"make {until}")
            return compare(arms, seeds, bank=name, workers=1, **settings)

    return made


@pytest.fixture
def calls(monkeypatch):
    """The (arm, seed) that really ran."""
    done, run = [], comparison._run
    monkeypatch.setattr(comparison, "_run", lambda *given: done.append(given[2:4]) or run(*given))
    return done


def rewrite(change):
    """Change the rows of the bank, as if they had been made so."""
    rows = [{**one, **change(one)} for one in bank.read(LESSON)]
    bank.path_of(LESSON).unlink()
    bank.add(LESSON, rows)


# --- the file ---------------------------------------------------------------------------------------------------------


def test_rows_are_sorted_lines_that_come_back_and_equal_ones_are_one():
    rows = [row(2), row(10), row(1, math.nan), row(1, arm="Ä · 0.1"), row(1, machine="N", value=0.7)]
    bank.add(LESSON, rows[:3])
    first = bank.path_of(LESSON).read_text().splitlines()
    bank.add(LESSON, [*rows[3:], row(10, seconds=7.0, versions={"torch": "9"})])
    lines = bank.path_of(LESSON).read_text(encoding="utf-8").splitlines()
    assert [(one["arm"], one["seed"]) for one in map(json.loads, lines)] == [
        *[("a", 1), ("a", 1), ("a", 2), ("a", 10), ("Ä · 0.1", 1)]
    ]
    assert set(first) <= set(lines) and "seven" not in lines and '"seconds": 7.0' not in "".join(lines)
    assert bank.read("02_overfitting") == [] and len(bank.read(LESSON)) == 5


def test_a_curve_keeps_its_ends_and_24_points_of_six_digits():
    rows = [(step, split, "loss", step / 3, 0.1) for step in range(100) for split in ("train", "val")]
    rows.append((100, "test", "loss", 123456.789, 0.2))
    kept = bank.thinned(rows)
    steps = {split: [one[0] for one in kept if one[1] == split] for split in ("train", "val", "test")}
    assert steps["train"] == steps["val"] and len(steps["val"]) == 24 and steps["val"][::23] == [0, 99]
    assert kept[-1] == (100, "test", "loss", 123457.0, 0.2) and kept[2][3] == 1.33333
    assert bank.thinned(kept) == kept and len(bank.thinned(rows[:48])) == 48


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("0.625", "0.635", r'line 2 \(arm "a", seed 1\) cannot be read: its checksum'),
        ('"versions": {}}', '"versi', r'line 2 \(arm "a", seed 1\) cannot be read: it is damaged'),
        ('"arm": "a", "budget"', '<<<<<<< HEAD "budget"', r'line 2 \(arm "\?", seed 1\) .* it is damaged'),
        ('{"answers"', '[{"answers"', "line 2 .*delete the line: the run is then made again"),
    ],
)
def test_a_line_that_is_not_what_was_written_is_refused_by_its_place(old, new, why):
    bank.add(LESSON, [row(0), row(1, 0.625), row(2)])
    path = bank.path_of(LESSON)
    lines = path.read_text().split("\n")
    assert old in lines[1]
    path.write_text("\n".join([lines[0], lines[1].replace(old, new), *lines[2:]]))
    for call in (lambda: bank.read(LESSON), lambda: bank.add(LESSON, [row(7)])):
        with pytest.raises(ValueError, match=f"{LESSON}.jsonl, {why}"):
            call()


def test_two_results_of_one_run_on_one_kind_of_machine_are_refused():
    bank.add(LESSON, [row(0), row(1, 0.25)])
    for other in (row(1, 0.26), row(1, 0.25, losses=[1.0]), row(1, 0.25, failure="it died")):
        with pytest.raises(ValueError, match='the new row and an older line hold two results of arm "a" with seed 1'):
            bank.add(LESSON, [other])
        path = bank.path_of(LESSON)
        before = path.read_text()
        path.write_text(before + bank._line(other) + "\n")
        with pytest.raises(ValueError, match="line 3 and line 2 hold two .* kind of machine, M: delete one of them"):
            bank.read(LESSON)
        path.write_text(before)
    for other in (dict(machine="N"), dict(key="l"), dict(budget="full"), dict(comparison="d")):
        bank.add(LESSON, [row(1, 0.26, **other)])
    assert len(bank.read(LESSON)) == 6


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_two_writers_of_whom_ten_are_killed_lose_no_row(tmp_path):
    """One writes all the time; beside it ten are killed at some moment. Whoever has added a row notes it."""
    noted = tmp_path / "noted"

    def write(first, number):
        for seed in range(first, first + number):
            bank.add(LESSON, [row(seed)])
            with noted.open("a") as file:
                file.write(f"{seed}\n")
        os._exit(0)

    context = multiprocessing.get_context("fork")
    steady = context.Process(target=write, args=(0, 60))
    steady.start()
    for number in range(1, 11):
        killed = context.Process(target=write, args=(1000 * number, 1000))
        killed.start()
        while f"\n{1000 * number}\n" not in f"\n{noted.read_text() if noted.exists() else ''}":
            time.sleep(0.001)  # until its first row is there
        time.sleep(random.uniform(0, 0.1))
        os.kill(killed.pid, signal.SIGKILL)
        killed.join()
    steady.join(60)
    assert steady.exitcode == 0
    seeds = {one["seed"] for one in bank.read(LESSON)}
    finished = {int(seed) for seed in noted.read_text().split()}
    assert finished <= seeds and set(range(60)) <= finished and len(seeds) > 60 and len(seeds - finished) <= 10
    assert {path.suffix for path in bank.path_of(LESSON).parent.iterdir()} <= {".jsonl", ".lock", ".new"}


# --- taking and running -----------------------------------------------------------------------------------------------


def test_compare_takes_what_fits_and_runs_what_is_missing(arms, make, calls, capsys):
    first = make(arms)
    assert len(calls) == 8 and (first["made"] == "bank").all() and first.attrs["twin"] == {}
    kept = bank.read(LESSON)
    assert len(kept) == 8 and all(len(one["losses"]) == 10 and len(one["metrics"]) == 12 for one in kept)
    assert {(one["machine"], one["device"], one["threads"]) for one in kept} == {(bank.machine(), "cpu", 1)}
    assert all(one["versions"].keys() == {"python", "torch", "numpy"} and one["seconds"] > 0 for one in kept)
    found = compare(arms, 4, bank="rates", workers=1)
    assert_frame_equal(first, found)
    assert len(calls) == 9 and found.attrs["own"] is False and found["seconds"].isna().all()
    plain = compare(arms, 4, workers=1)
    assert list(plain.columns) == list(found.columns)[:-1] and len(calls) == 17
    assert plain["value"].map(bank.rounded).equals(found["value"])
    more = compare(arms, 6, bank="rates", workers=1)
    assert sorted(calls[17:]) == [(arm, seed) for arm in ("fast", "slow") for seed in (4, 5)]
    assert more["value"].equals(more["value"].map(bank.rounded))  # a run from here is seen as one from the bank
    again = compare(arms, 6, bank="rates", workers=1)
    assert [list(one.groupby("seed")["made"].first()) for one in (more, again)] == [
        ["bank"] * 4 + [new] * 2 for new in ("here", "kept")
    ]
    assert_frame_equal(more.drop(columns=["made", "seconds"]), again.drop(columns=["made", "seconds"]))
    assert bank.read(LESSON) == kept  # a reader adds nothing
    assert capsys.readouterr().out.count("run here beside its row: the same to the last digit.") == 3


def test_fewer_arms_or_seeds_another_budget_or_name(arms, make, calls, monkeypatch):
    make(arms)
    few = compare({"fast": arms["fast"]}, [2], bank="rates", workers=1)
    assert list(few["made"].unique()) == ["bank"] and not few.attrs["own"]
    calls.clear()
    monkeypatch.setenv("TDNN_BUDGET", "full")
    full = compare(arms, 1, bank="rates", workers=1)
    assert list(full["made"].unique()) == ["here"] and not full.attrs["own"]
    monkeypatch.setenv("TDNN_BUDGET", "standard")
    other = compare(arms, 1, bank="others", workers=1)
    assert list(other["made"].unique()) == ["here"] and not other.attrs["own"] and len(calls) == 4


FIRST, OTHER = "first machine", "other machine"


@pytest.mark.parametrize(
    ("made", "here", "taken"),
    [
        ("a0F b0F a1F b1F", "here", {0: FIRST, 1: FIRST}),
        ("a0F b0O a1F b1F", "here", {1: FIRST}),  # seed 0 comes from two machines
        ("a0F a1F b1F", "here", {1: FIRST}),  # half of seed 0
        ("a0F a1F b1F", FIRST, {0: FIRST, 1: FIRST}),  # the other half is run on the same
        ("a0F b0F a0O b0O b1O", OTHER, {0: OTHER, 1: OTHER}),  # this machine's first
        ("a0F b0F a0O b0O a1O b1O", "here", {0: OTHER, 1: OTHER}),  # then the one with most rows
        ("a0O b0O a1F", FIRST, {0: OTHER, 1: FIRST}),
    ],
)
def test_a_pair_is_of_one_machine(made, here, taken):
    machines = {"F": FIRST, "O": OTHER}
    rows = [row(int(seed), arm=arm, machine=machines[made]) for arm, seed, made in made.split()]
    found = banked.fitting(rows + [row(0, arm="a", key="old")], {"a": "k", "b": "k"}, ["a", "b"], [0, 1, 2], here)
    assert {seed: one["machine"] for (_, seed), one in found.items()} == taken
    assert all((arm, seed) == (one["arm"], one["seed"]) for (arm, seed), one in found.items())


def test_half_of_a_pair_from_elsewhere_is_run_here(arms, make, calls):
    make(arms, 2)
    rewrite(lambda one: {"machine": {"slow": FIRST, "fast": OTHER}[one["arm"]]} if one["seed"] else {})
    calls.clear()
    frame = compare(arms, 2, bank="rates", workers=1)
    assert [("slow", 1), ("fast", 1)] == calls[:2] and len(calls) == 3  # and a twin
    assert frame.groupby("seed")["made"].unique().map(list).to_dict() == {0: ["bank"], 1: ["here"]}


# --- a twin -----------------------------------------------------------------------------------------------------------


def test_the_cheapest_run_is_laid_beside_its_row_once(arms, make, calls, capsys, monkeypatch):
    make(arms)
    rewrite(lambda one: {"seconds": 0.5 if (one["arm"], one["seed"]) == ("slow", 2) else 20.0})
    calls.clear()
    twins = [compare(arms, 4, bank="rates", workers=1).attrs["twin"] for _ in range(2)]
    assert twins[0] == twins[1] and calls == [("slow", 2)]
    assert twins[0]["same"] and (twins[0]["arm"], twins[0]["seed"]) == ("slow", 2)
    assert twins[0]["difference"] == twins[0]["losses"] == 0 and twins[0]["there"] == twins[0]["here"]

    def moved(one):  # as another machine would have it
        *head, (*name, value) = one["metrics"]
        return {
            "machine": FIRST,
            "metrics": [*head, [*name, value + 0.125]],
            "losses": [0.25 + x for x in one["losses"]],
        }

    rewrite(moved)
    twin = compare(arms, 4, bank="rates", workers=1).attrs["twin"]
    values = [one["metrics"][-1][-1] for one in bank.read(LESSON) if one["arm"] == "slow"]
    mean = sum(values) / 4
    assert not twin["same"] and (twin["metric"], twin["there"]) == ("val accuracy", FIRST)
    assert twin["difference"] == pytest.approx(0.125) and twin["losses"] == pytest.approx(0.25, abs=1e-4)
    assert twin["spread"] == pytest.approx(math.sqrt(sum((value - mean) ** 2 for value in values) / 3))
    assert "val accuracy differs by 0.12 (standard deviation" in capsys.readouterr().out

    banked._twins.clear()
    calls.clear()
    rewrite(lambda one: {"seconds": 30.0})
    assert compare(arms, 4, bank="rates", workers=1).attrs["twin"] and calls == [("fast", 0)]
    assert compare({"slow": arms["slow"]}, 4, bank="rates", workers=1).attrs["twin"] == {} and len(calls) == 1
    assert "beside its row" not in capsys.readouterr().out.splitlines()[-1]  # 30 s of 45 s are spent
    rewrite(lambda one: {"seconds": 1.0})
    monkeypatch.setenv("TDNN_BUDGET", "smoke")
    assert compare(arms, 4, bank="rates", workers=1).attrs["twin"] == {}


@pytest.mark.parametrize(
    ("live", "there", "metric", "difference", "losses", "said"),
    [
        (row(), row(), "", 0, 0, "the same to the last digit"),
        (row(value=math.nan), row(value=math.nan), "", 0, 0, "the same to the last digit"),
        (row(value=0.6), row(), "test accuracy", 0.1, 0, "test accuracy differs by 0.1"),
        (row(losses=[1.0, 0.7]), row(), "", 0, 0.2, "the first losses by 0.2 at most"),
        (row(losses=[1.0]), row(), "", 0, math.inf, "losses by inf"),
        (row(metrics=[]), row(), "test accuracy", math.inf, 0, "differs by inf"),
        (row(value=math.nan), row(), "test accuracy", math.inf, 0, "differs by inf"),
        (row(failure="it died"), row(), "", 0, 0, 'it ended with "it died", in the bank with ""'),
    ],
)
def test_how_far_a_run_is_from_its_row(live, there, metric, difference, losses, said):
    found = banked.compared(live, there, [there, row(1, 0.7), row(2, 9.0, machine="N"), row(3, 9.0, key="l")])
    assert said in found["said"] and found["losses"] == pytest.approx(losses)
    assert found["difference"] == pytest.approx(difference) and (not metric or found["metric"] == metric)
    assert math.isnan(there["metrics"][0][-1]) or found["spread"] == pytest.approx(0.2 / math.sqrt(2))


# --- a reader's own run -----------------------------------------------------------------------------------------------


def test_a_changed_arm_is_a_run_of_ones_own(arms, trained, make, calls, capsys, monkeypatch):
    make(arms, 5)
    rewrite(lambda one: {"seconds": 60.0 if one["arm"] == "slow" else 120.0})
    calls.clear()
    changed = compare(arms | {"fast": trained(0.2)}, range(1, 6), bank="rates", workers=1)
    assert calls == [(arm, seed) for seed in (1, 2, 3) for arm in arms] and set(changed["made"]) == {"here"}
    assert changed.attrs["own"] is True and changed.attrs["twin"] == {}
    said = capsys.readouterr().out
    assert "no such fast." in said and "3 seeds, in about 9.0 min" in said
    added = compare(arms | {"new": trained(0.3)}, 2, bank="rates", workers=1)
    assert (
        set(added["seed"]) == {0, 1} and added.attrs["own"] and "2 seeds, in about 9.0 min" in capsys.readouterr().out
    )

    rule = dict(parts=1, unit="pp", budgets=["standard"], expect="above", than=0, seeds=list(range(5)))
    claim = dict(id="C900", section="I", claim="So.", kind="experiment", lesson=LESSON, rule="x", decide=rule)
    monkeypatch.setattr(claims, "ledger", lambda: {"claims": [claim], "repairs": []})
    of = dict(metric="accuracy", split="val", scale=100, unit="pp")
    assert claims.judge("C900", effects.difference(changed, "fast", "slow", **of)).verdict == claims.OWN
    assert claims.records(LESSON) == {}
    kept = compare(arms, 5, bank="rates", workers=1)
    assert claims.judge("C900", effects.difference(kept, "fast", "slow", **of)).verdict != claims.OWN
    (record,) = claims.records(LESSON).values()
    assert "own" not in record["effects"][0]


# --- making -----------------------------------------------------------------------------------------------------------


def test_a_dead_run_is_a_row(trained, make, calls):
    arms = {"good": trained(0.1), "dead": trained(10)}
    for run in (lambda: make(arms, 2), lambda: compare(arms, 2, bank="rates", workers=1)):
        with pytest.warns(UserWarning, match='arm "dead" with seed 1 failed: RuntimeError: the dog ate it$'):
            frame = run()
        assert list(frame["arm"].unique()) == ["good"]
        assert [one[:2] for one in frame.attrs["failures"]] == [("dead", 0), ("dead", 1)]
    assert len(calls) == 5 and bank.read(LESSON)[0]["failure"] == "RuntimeError: the dog ate it"
    with pytest.warns(UserWarning), pytest.raises(ArmsFailed):
        compare({"dead": arms["dead"]}, 2, bank="rates", workers=1)


def test_making_ends_in_time_and_goes_on(arms, make, calls, monkeypatch):
    with pytest.raises(making.NotRun, match="rates: 4 runs to make$"):
        make(arms, 2, until=time.time() - 1)
    now = time.time()
    monkeypatch.setattr(making.time, "time", lambda: now + len(calls))
    with pytest.raises(making.NotRun, match="rates: 1 run to make$"):
        make(arms, 2, until=now + 2.5)
    assert calls == [("slow", 0), ("fast", 0), ("slow", 1)] and len(bank.read(LESSON)) == 3
    rewrite(lambda one: {"seconds": 5.0})
    with pytest.raises(making.NotRun):
        make(arms, 2, until=now + 7)  # the next one takes 5 s, and 3 have gone
    make(arms, 2, until=now + 9)
    assert calls[3:] == [("fast", 1)]


def test_what_is_no_run_of_this_arm_is_no_row(make, calls, monkeypatch):
    linecache.cache["<odd>"] = 1, None, ["small = lambda seed: 1 / 0\n"], "<odd>"
    names = {"__name__": "__main__"}
    exec(compile("small = lambda seed: {'x': 1}\nodd = lambda seed: {'x': 2}", "<odd>", "exec"), names)

    def fails(seed):
        raise MemoryError("too large a batch")

    with pytest.warns(UserWarning, match="MemoryError"):
        make({"small": names["small"], "large": fails}, 1)
    assert [one["arm"] for one in bank.read(LESSON)] == ["small"]
    with pytest.warns(UserWarning, match="not in the bank"), pytest.raises(ValueError, match='"odd" cannot go to'):
        make({"odd": names["odd"]}, 1)
    edited = SimpleNamespace(source=lambda: "a file was edited before the worker started")
    monkeypatch.setattr(making, "Store", edited)
    make({"small": names["small"]}, 2)
    assert len(bank.read(LESSON)) == 1


def test_an_estimate_breaks_training_off(trained, monkeypatch, make, calls):
    monkeypatch.setenv("TDNN_EVIDENCE", "estimate")
    arms = {"long": trained(0.01, 10**6), "short": trained(0.01, 2)}
    begin = time.perf_counter()
    with pytest.raises(making.NotRun, match=r"long and short: 6 runs to make, about \d+\.\d min") as told:
        compare(arms, 3, bank="long and short", workers=1)
    assert time.perf_counter() - begin < 20 and told.value.seconds > 3 * 10**6 * 1e-5 and bank.read(LESSON) == []
    make({"short": arms["short"]}, 1)
    rewrite(lambda one: {"seconds": 60.0})
    with pytest.raises(making.NotRun, match="rates: 2 runs to make, about 2.0 min"):
        compare({"short": arms["short"]}, 3, bank="rates", workers=1)
    assert set(compare({"short": arms["short"]}, 1, bank="rates", workers=1)["made"]) == {"bank"}


def test_rows_know_the_rule_that_they_serve(arms, make, monkeypatch):
    make(arms, 1, claims=["C001", "C002"])
    assert {one["rule"] for one in bank.read(LESSON)} == {bank.rule_digest(("C002", "C001"))}
    read = dict(bank="rates", workers=1)
    assert not compare(arms, 1, claims=("C001", "C002"), **read).attrs["revised"]
    assert compare(arms, 1, claims=("C001",), **read).attrs["revised"] and bank.rule_digest(()) == ""
    rules = {row["id"]: row for row in claims.ledger()["claims"]}
    monkeypatch.setitem(rules["C001"], "decide", {"than": 99})
    assert compare(arms, 1, claims=("C001", "C002"), **read).attrs["revised"]


@pytest.mark.parametrize(
    ("change", "settings", "why"),
    [
        (lambda patch: patch.setattr(session, "_lesson", None), {}, "call session.start first"),
        (lambda patch: None, {"claims": ["C999"]}, 'no claim "C999"'),
        (lambda patch: patch.setenv("TDNN_EVIDENCE", "makes"), {}, 'no TDNN_EVIDENCE "makes"'),
        (lambda patch: None, {"arms": {0.1: len}}, "the name of an arm is a text, not 0.1"),
    ],
)
def test_what_cannot_be_banked_says_why(monkeypatch, arms, calls, change, settings, why):
    change(monkeypatch)
    with pytest.raises(ValueError, match=why):
        compare(**{"arms": arms, "seeds": 1, "bank": "rates"} | settings)
    assert calls == []
