"""The table of ratios: how it is made from speeds, and where it is written. What is timed is not tested."""

import pytest
import torch

from benchmarks.__main__ import END, HEAD, START, table, with_table
from benchmarks.loops import bare_loop
from benchmarks.measure import Row, Size, interleaved
from tdnn_helpers.data import load
from tdnn_helpers.models import small_cnn


def test_a_row_takes_its_ratios_within_rounds():
    row = Row("new", "old", [10.0, 40.0, 2000.0], [20.0, 20.0, 1000.0])
    assert row.ratios == [0.5, 2.0, 2.0]
    assert str(row) == "| new | old | 40 | 2.00 (0.50 to 2.00) |"
    assert table([row]).endswith(f"{HEAD}\n{row}")


def test_rounds_are_interleaved_in_turning_order_after_a_warm_up():
    order = []
    arms = {name: lambda name=name: order.append(name) or float(len(order)) for name in "ab"}
    assert interleaved(arms, 2) == {"a": [4.0, 5.0], "b": [3.0, 6.0]}
    assert "".join(order) == "ab" + "ba" + "ab"
    order.clear()
    assert interleaved(arms, 1, warm_up=False) == {"a": [2.0], "b": [1.0]}


def test_the_table_goes_between_the_marks():
    readme = f"before\n{START}\nold\n{END}\nafter\n"
    assert with_table(readme, "new") == f"before\n{START}\nnew\n{END}\nafter\n"
    assert with_table(with_table(readme, "x"), "new") == with_table(readme, "new")
    for broken in ("no marks", START, f"{END} {START}"):
        with pytest.raises(ValueError, match="no place for the table"):
            with_table(broken, "new")


def test_the_bare_loop_trains():
    """The yardstick must do the work: every weight moves, in as many steps as the size says."""
    split = load("digits")[:64]
    torch.manual_seed(0)
    model = small_cnn(split, width=2)
    before = [p.clone() for p in model.parameters()]
    bare_loop(split.images.float() / 255, split.targets, model, 32)
    assert all(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert Size(1, steps=2, batch=32).images == len(split)
