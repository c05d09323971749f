"""The committed rows of the evidence bank: each lesson finds those that it asks for, and they come out again."""

import subprocess

import pytest

from course import NOTEBOOKS, ROOT, experiments
from course.running import paths_of
from tdnn_helpers.evidence import bank, making

LESSONS = sorted(path.stem for path in (NOTEBOOKS / "bank").glob("*.jsonl"))


@pytest.mark.parametrize("lesson", LESSONS)
def test_no_row_is_missing_or_left_over(lesson):
    (path,) = paths_of([lesson])
    now, rows = experiments.keys(path), bank.read(lesson)
    lost = {(row["comparison"], row["arm"]) for row in rows if row["key"] != now[row["comparison"]][row["arm"]][0]}
    assert lost == set(), "these rows are of other arms than the lesson's: python -m course renew OLD LESSON"
    with experiments.told("estimate"):
        late = [error for error in experiments.execute(path) if isinstance(error, making.NotRun)]
    assert late == []


@pytest.mark.skipif(not LESSONS, reason="no rows yet")
def test_rows_that_the_commit_draws_come_out_again():
    """The first ten updates of five rows. Elsewhere than where they were made, the last bits differ."""
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    seed = int(found.stdout.strip() or "0", 16) if found.returncode == 0 else 0
    assert experiments.audit(seed, 5, begin=True) == 0
    for _, row in experiments.draw(seed, 5, begin=True):
        audited = making.audited[row["check"]]
        assert audited["losses"] < 0.02, (row["comparison"], row["arm"], row["seed"], audited["said"])
        assert not audited["difference"] > max(0.01, 2 * audited["spread"]), (
            row["comparison"],
            row["arm"],
            audited["said"],
        )


def test_the_rows_stay_small():
    sizes = {path.name: path.stat().st_size / 1e6 for path in (NOTEBOOKS / "bank").glob("*.jsonl")}
    assert all(size <= 2 for size in sizes.values()) and sum(sizes.values()) <= 20, sizes
