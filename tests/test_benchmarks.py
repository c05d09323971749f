"""The table of ratios: how it is made from speeds, and where it is written. What is timed is not tested."""

import subprocess
import sys

import nbformat
import pytest
import torch

from benchmarks import accuracy, before, compiled, course, frameworks, gpu, loops, memory, settings, vectorised, workers
from benchmarks.__main__ import ASKED, HEAD, LONG, RESULTS, USUAL, table
from benchmarks.loops import bare_loop
from benchmarks.measure import Row, Size, Skipped, images_per_second, interleaved, watched
from course.readme import marked
from helpers import network
from recorder import Recorder
from tdnn_helpers.core.progress_bars import progress
from tdnn_helpers.data.sets import load
from tdnn_helpers.evidence.comparison import compare
from tdnn_helpers.models.networks import small_cnn
from tdnn_helpers.train import captured

TINY = Size(1, steps=2, batch=8)


def names(rows):
    return [row.what for row in rows]


def test_a_row_takes_its_ratios_within_rounds_or_shows_its_spread_and_a_skipped_one_says_why():
    row = Row("new", "old", [10.0, 40.0, 2000.0], [20.0, 20.0, 1000.0])
    assert row.ratios == [0.5, 2.0, 2.0]
    assert str(row) == "| new | old | 40 images/s | 2.00 (0.50 to 2.00) |"
    assert table([row]).endswith(f", torch {torch.__version__}:\n\n{HEAD}\n{row}")
    assert str(Row("time", "3 seeds", [12.34, 9.0, 4321.0], unit="s")) == "| time | 3 seeds | 12.3 (9 to 4,321) s | |"
    assert str(Row("time", "", [99.96], unit="s")) == "| time |  | 100 s | |"
    assert str(Row("memory", "old", [300.0], [200.0], "MB")) == "| memory | old | 300 MB | 1.50 |"
    assert str(Skipped("a framework", "not installed")) == "| a framework | | not installed | |"


def test_rounds_are_interleaved_in_turning_order_after_a_warm_up():
    order = []
    arms = {name: lambda name=name: order.append(name) or float(len(order)) for name in "ab"}
    assert interleaved(arms, 2) == {"a": [4.0, 5.0], "b": [3.0, 6.0]}
    assert "".join(order) == "ab" + "ba" + "ab"
    order.clear()
    assert interleaved(arms, 1, warm_up=False) == {"a": [2.0], "b": [1.0]}


def test_what_is_timed_draws_its_progress_bar_but_nobody_sees_it(capsys):
    """Else the price of the bar would not be in the table."""
    with watched():
        assert progress(3, "").mininterval < 1
    images_per_second(lambda: print("noise"), 1)()
    assert capsys.readouterr() == ("", "")


def test_the_bare_loop_trains(digits):
    """The yardstick must do the work: every weight moves, in as many steps as the size says."""
    split, size = digits[:64], Size(1, steps=2, batch=32)
    model, before = (network(split, kind=small_cnn, width=2) for _ in range(2))
    bare_loop(split.images.float() / 255, split.targets, model, size.batch)
    assert all(not torch.equal(a, b) for a, b in zip(before.parameters(), model.parameters(), strict=True))
    assert size.images == len(split)


def test_fit_pays_for_validation_and_checkpoints(monkeypatch):
    seen = {}
    monkeypatch.setattr(loops, "fit", lambda model, train, **options: seen.update(options))
    assert len(loops.rows(TINY)) == 4
    assert len(seen["val"]) == 1 and seen["checkpoint"] is not None and seen["epochs"] == 1


def test_an_absent_framework_is_skipped(monkeypatch):
    monkeypatch.setattr(frameworks, "installed", lambda name: name.startswith("`DataLoader`, 0"))
    rows = frameworks.rows(TINY)
    assert names(rows) == list(frameworks.ARMS) and "not installed" in str(rows[-1])
    assert [type(row) for row in rows] == [Row] + [Skipped] * (len(rows) - 1)


@pytest.mark.parametrize("name", frameworks.ARMS)
def test_every_framework_that_is_installed_trains(name):
    if not frameworks.installed(name):
        pytest.skip("not installed")
    with watched():
        frameworks.work(name, TINY)()


def test_resident_batches_visit_every_image_once(digits):
    images, targets = zip(*frameworks.Resident(digits[:50], 16, augment=False), strict=True)
    assert list(map(len, images)) == [16, 16, 16, 2] and len(frameworks.Resident(digits[:50], 16, True)) == 4
    sums, expected = (some.sum((1, 2, 3)).sort().values for some in (torch.cat(images), digits[:50].images / 255))
    torch.testing.assert_close(sums, expected)
    assert torch.cat(targets).bincount().equal(digits[:50].targets.bincount())


def test_peak_memory_counts_child_processes():
    block = "import time; block = bytearray(300_000_000); time.sleep(0.2)"
    child = memory.peak(lambda: subprocess.run([sys.executable, "-c", block], check=True))
    assert child - memory.peak(lambda: None) > 250


def test_memory_is_measured_in_a_process_of_its_own_for_each_arm(monkeypatch):
    asked = []
    monkeypatch.setattr(memory, "in_process", lambda module, name, *_: asked.append(name) or 100.0 * len(asked))
    monkeypatch.setattr(frameworks, "installed", lambda name: "torchvision" in frameworks.ARMS[name][0])
    rows = memory.rows(TINY)
    assert asked == [frameworks.FIT, *filter(frameworks.installed, frameworks.ARMS), *memory.COMPARE]
    assert len(rows) == len(frameworks.ARMS) + 2 and rows[1].ratios == [2.0]
    assert str(rows[-1]) == "| memory: `compare`, 2 workers | memory: `compare`, 1 worker | 500 MB | 1.25 |"


def test_settings_compare_with_the_plain_loop(monkeypatch):
    monkeypatch.setattr(settings, "in_process", lambda module, keep, *_: 2.0 if keep else 1.0)
    monkeypatch.setattr(settings, "has_amx", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    threads = torch.get_num_threads()
    rows = settings.rows(TINY)
    assert torch.get_num_threads() == threads
    skipped = names(row for row in rows if isinstance(row, Skipped))
    assert skipped == ["`fit` on a GPU, float16", "`fit` on a GPU, bfloat16"]
    kept = next(row for row in rows if row.what.endswith("kept"))
    assert kept.ratios == [2.0, 2.0] and any("AMX" in row.what for row in rows)


def test_compiling_is_skipped_without_a_compiler_and_says_when_it_pays(monkeypatch):
    monkeypatch.setattr(compiled.shutil, "which", lambda name: None)
    assert "no C++ compiler" in str(compiled.rows(TINY)[0])
    # 100 images a step: 1 s eager, 0.5 s compiled. 10 s of start are made good after 20 steps.
    assert compiled.paid_back(10.0, Row("", "", [200.0], [100.0]), 100) == "paid back after 20 steps"
    assert "never" in compiled.paid_back(10.0, Row("", "", [90.0], [100.0]), 100)


@pytest.mark.parametrize("hidden", [(), (5,)])
def test_seeds_trained_as_one_model_give_the_same_weights(digits, hidden):
    ready = digits.images[:64].float() / 255, digits.targets[:64]
    first, models = (vectorised.networks(digits[:64], hidden) for _ in range(2))
    together = vectorised.as_one(first, *ready, 16)
    vectorised.one_by_one(models, *ready, 16)
    for seed, model in enumerate(models):
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(together[name][seed], parameter)
    assert not torch.equal(together[name][0], together[name][1])


def test_a_comparison_trains_as_many_images_as_its_speed_counts(monkeypatch):
    monkeypatch.setattr(workers, "fit", lambda model, train, **options: {"images": len(train)})
    frame = workers.work(TINY, 1, 1)()
    assert frame["value"].sum() == workers.images(TINY) and len(frame) == len(workers.RATES) * workers.SEEDS


def test_time_to_accuracy_shows_seconds_and_what_was_reached(monkeypatch):
    monkeypatch.setattr(accuracy, "RECIPES", (accuracy.Recipe(90, width=2, epochs=1, pixels=1, seeds=2),))
    (row,) = accuracy.rows(TINY)
    assert row.what == "90 % test accuracy: width 2, 1 epochs, flip, shift 1" and len(row.values) == 2
    assert "mean of 2 seeds" in row.against and str(row).count(" s |") == 1


def test_the_course_takes_what_its_notebooks_say(tmp_path, monkeypatch):
    for place, seconds in enumerate((60, 120, None)):
        notes = {"tdnn": {"seconds": seconds, "device": "cpu", "cpus": 2, "budget": "standard"}} if seconds else {}
        nbformat.write(nbformat.v4.new_notebook(metadata=notes), tmp_path / f"{place}.ipynb")
    row = course.row("standard", course.noted(tmp_path))
    assert str(row) == "| the whole course at `standard` | 2 of 3 lessons, 2 cores | 3 minutes | |"
    monkeypatch.setattr(course, "smoke", lambda folder: None)
    assert names(course.rows(TINY)) == [f"the whole course at `{budget}`" for budget in ("standard", "smoke")]

    def fail(folder):
        raise subprocess.CalledProcessError(1, "course")

    monkeypatch.setattr(course, "smoke", fail)  # after twenty minutes, the other rows must not be lost
    assert "a lesson failed" in str(course.rows(TINY)[1])


def test_every_subject_is_in_one_of_the_two_runs_and_has_a_place_in_the_results():
    assert not set(USUAL) & set(LONG) and all(callable(subject.rows) for subject in (*USUAL, *LONG, *ASKED))
    for subject in (*USUAL, *LONG, *ASKED):
        name = subject.__name__.rpartition(".")[2]
        assert "| new |" in marked(RESULTS.read_text(encoding="utf-8"), name, table([Row("new", "", [1.0])]))


def test_the_rows_of_a_gpu(monkeypatch):
    """On a CPU, with a recorder for the graph: every row is measured, and a step that is not captured is no row."""
    assert "no GPU: not measured" in str(*gpu.rows(TINY)) or torch.cuda.is_available()
    lessons = []
    monkeypatch.setattr(gpu, "DEVICE", "cpu")
    monkeypatch.setitem(captured.GRAPHS, "cpu", Recorder)
    monkeypatch.setattr(gpu, "WIDTHS", (2,))
    monkeypatch.setattr(gpu, "BATCHES", (8,))
    monkeypatch.setattr(gpu, "RATES", (0.1,))
    monkeypatch.setattr(gpu, "SEEDS", 2)
    monkeypatch.setattr(gpu.accuracy, "RECIPES", (None, accuracy.Recipe(92, width=2, epochs=1, pixels=1, seeds=2)))
    monkeypatch.setattr(gpu, "lesson", lambda name, capture, left: lessons.append((name, capture)) or Skipped(name, ""))
    monkeypatch.setattr(gpu, "compare", lambda arms, seeds, **how: compare(arms, seeds, workers=1, store=False))
    monkeypatch.setattr(gpu, "load", lambda name, part="train": load(name, part)[:80])
    rows = list(gpu.rows(TINY))
    assert lessons == [(name, capture) for name in gpu.LESSONS for capture in "10"]
    assert [row.unit for row in rows if isinstance(row, Row)] == ["%", "steps/s", *["steps/s"] * 2, "images/s", "s"]
    assert rows[0].values[0] < 1e-3
    monkeypatch.setattr(gpu, "LIMIT", 0)
    assert sum("no time left" in str(row) for row in gpu.rows(TINY)) == 5
    del captured.GRAPHS["cpu"]
    with pytest.raises(RuntimeWarning, match="no graphs"):
        list(gpu.rows(TINY))


def test_a_lesson_on_a_gpu_is_given_up_after_a_while(monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda command, **how: print(command[-1], how["env"]["TDNN_CAPTURE"]))
    assert gpu.lesson("04_small_data", "1", 5).what == "lesson 04_small_data at `standard`, captured"

    def late(command, **how):
        raise subprocess.TimeoutExpired(command, how["timeout"])

    monkeypatch.setattr(subprocess, "run", late)
    assert "not done after 5 s" in str(gpu.lesson("04_small_data", "0", 5))


def test_an_older_checkout_is_measured_beside_this_one(monkeypatch, tmp_path):
    monkeypatch.delenv("TDNN_BEFORE", raising=False)
    assert "names no older one" in str(*before.rows(TINY))
    monkeypatch.setenv("TDNN_BEFORE", str(tmp_path))
    monkeypatch.setattr(before, "first_output", lambda code: 1.0 if "start" in code else 2.0)
    monkeypatch.setattr(before, "number", lambda tree, *what: 30.0 if tree == tmp_path else 10.0)
    monkeypatch.setattr(before, "tests", lambda tree: (400.0 if tree == tmp_path else 100.0, "3 passed"))
    rows = list(before.rows(Size(3, 2)))
    assert [round(row.ratios[0], 2) for row in rows] == [0.5, 0.33, 0.33, 0.25]


def test_the_first_line_and_the_last_number_of_another_process(tmp_path):
    assert 0.2 < before.first_output("import time; time.sleep(0.2); print(1, flush=True); time.sleep(0.3)") < 30
    assert before.number(tmp_path, "-c", "print('words 1.5')") == 1.5
