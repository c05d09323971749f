"""Effects and verdicts: against known numbers, by their coverage, and through every way a claim can be settled."""

import itertools
import json
import math
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tdnn_helpers import session
from tdnn_helpers.evidence import claims
from tdnn_helpers.evidence.claims import (
    Effect,
    difference,
    exact,
    judge,
    judge_equal,
    mean_interval,
    rate_difference,
    reading,
)

LESSON = "01_checklist"
ABOVE, BELOW, ACROSS = (
    Effect(3.0, 2.0, 4.0, 5, "pp"),
    Effect(-3.0, -4.0, -2.0, 5, "pp"),
    Effect(0.5, -1.0, 2.0, 5, "pp"),
)


@pytest.fixture
def lesson(monkeypatch, tmp_path):
    """A running lesson of standard size whose records go to a temporary folder."""
    monkeypatch.setenv("TDNN_BUDGET", "standard")
    monkeypatch.setenv("TDNN_RUNS", str(tmp_path))
    monkeypatch.setattr(session, "_lesson", LESSON)
    monkeypatch.setattr(claims, "_smoke", {})
    return tmp_path


def joined(folder):
    return json.loads((folder / "verdicts" / f"{LESSON}.json").read_text(encoding="utf-8"))


def tidy(rows, metric="accuracy", split="test"):
    frame = pd.DataFrame(rows, columns=["arm", "seed", "step", "value"])
    return frame.assign(split=split, metric=metric, seconds=1.0)


# Effects


def test_mean_interval_agrees_with_a_textbook_value_and_with_scipy():
    effect = mean_interval([1, 2, 3, 4, 5], unit="pp", what="gain")
    half = 2.7764451 * math.sqrt(2.5 / 5)  # t(0.975, 4 degrees of freedom) from a table
    assert (effect.mean, effect.n, effect.unit, effect.what) == (3.0, 5, "pp", "gain")
    assert effect.low == pytest.approx(3 - half) and effect.high == pytest.approx(3 + half)
    values = np.random.default_rng(0).normal(2, 3, 11)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    effect = mean_interval(values)
    assert (effect.low, effect.high) == pytest.approx((expected.low, expected.high))


def test_mean_interval_covers_the_truth_95_percent_of_the_time():
    repeats = 4000
    samples = np.random.default_rng(1).normal(0.7, 2.0, (repeats, 5))
    covered = sum(effect.low <= 0.7 <= effect.high for effect in map(mean_interval, samples))
    low, high = stats.binom.interval(0.9999, repeats, 0.95)
    assert low <= covered <= high


@pytest.mark.parametrize("values", [[], [1.0], [[1.0, 2.0], [3.0, 4.0]]])
def test_mean_interval_needs_two_repeats(values):
    with pytest.raises(ValueError, match="at least 2 repeats"):
        mean_interval(values)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_mean_interval_refuses_failed_runs(bad):
    with pytest.raises(ValueError, match="rate_difference"):
        mean_interval([1.0, bad, 2.0])


@pytest.mark.parametrize("numbers", [(1.0, 2.0, 3.0), (math.nan, 0.0, 1.0), (0.0, -math.inf, 1.0)])
def test_an_effect_must_lie_in_its_finite_interval(numbers):
    with pytest.raises(ValueError, match="finite low ≤ mean ≤ high"):
        Effect(*numbers, n=5)


def test_bars_reach_from_the_mean_to_the_ends_of_the_interval():
    assert Effect(3.0, 2.0, 5.0, 5).bars == [[1.0], [2.0]]


def test_effects_read_like_a_sentence():
    assert str(Effect(3.21, 2.12, 4.3, 5, "pp")) == "+3.2 pp [2.1, 4.3], n = 5"
    assert str(Effect(-0.0321, -0.05, -0.0142, 8)) == "−0.032 [−0.050, −0.014], n = 8"
    assert str(Effect(80, 55, 100, 10, "pp", dropped=1)) == "+80 pp [55, 100], n = 10, 1 pair dropped"
    assert str(Effect(-0.001, -1.5, 1.498, 3, dropped=2)) == "0.0 [−1.5, 1.5], n = 3, 2 pairs dropped"
    assert str(Effect(0, 0, 0, 5)) == "0.0 [0.0, 0.0], n = 5"


def test_difference_pairs_by_seed_and_takes_the_last_step_in_any_row_order():
    gains = {0: 0.01, 1: 0.03, 2: 0.02}
    rows = []
    for seed, gain in gains.items():
        base = 0.5 + 0.1 * seed  # seeds differ far more than arms: only pairing gives a narrow interval
        rows += [("a", seed, 10, 0.9), ("a", seed, 200, base + gain), ("b", seed, 10, 0.1), ("b", seed, 200, base)]
    frame = pd.concat([tidy(rows), tidy(rows, metric="loss"), tidy(rows, split="val"), tidy([("c", 0, 200, 0.0)])])
    effect = difference(frame.sample(frac=1, random_state=0), "a", "b", "accuracy", scale=100, unit="pp")
    expected = mean_interval([1, 3, 2])
    assert (effect.mean, effect.low, effect.high) == pytest.approx((expected.mean, expected.low, expected.high))
    assert (effect.n, effect.dropped, effect.unit, effect.what) == (3, 0, "pp", "a − b, test accuracy")
    assert difference(frame, "b", "a", "accuracy").mean == pytest.approx(-0.02)


def test_difference_drops_and_counts_pairs_without_a_result():
    rows = [("a", seed, 0, 0.6) for seed in range(4)] + [("b", seed, 0, 0.5) for seed in (1, 2, 3, 4)]
    rows += [("b", 3, 1, math.nan)]  # seed 3 failed after its first record; seeds 0 and 4 ran in one arm only
    effect = difference(tidy(rows), "a", "b", "accuracy")
    assert (effect.n, effect.dropped, effect.mean) == (2, 3, pytest.approx(0.1))
    assert "3 pairs dropped" in str(effect)


def test_difference_explains_what_does_not_fit():
    frame = tidy([(arm, seed, 0, 0.5) for arm in ("z-score", "raw") for seed in (0, 1)])
    with pytest.raises(ValueError, match='no arm "zscore".*"z-score"'):
        difference(frame, "zscore", "raw", "accuracy")
    with pytest.raises(ValueError, match='no split "tset".*"test"'):
        difference(frame, "z-score", "raw", "accuracy", split="tset")
    with pytest.raises(ValueError, match='no test metric "acuracy".*"accuracy"'):
        difference(frame, "z-score", "raw", "acuracy")
    with pytest.raises(ValueError, match="occurs twice"):
        difference(pd.concat([frame, frame]), "z-score", "raw", "accuracy")
    apart = tidy([("a", 0, 0, 0.5), ("a", 1, 0, 0.5), ("b", 5, 0, 0.5), ("b", 6, 0, 0.5)])
    with pytest.raises(ValueError, match=r"share 0 seed.*\[0, 1\] and \[5, 6\]"):
        difference(apart, "a", "b", "accuracy")


def paired_outcomes(both, only_a, only_b, neither):
    a = [1] * (both + only_a) + [0] * (only_b + neither)
    b = [1] * both + [0] * only_a + [1] * only_b + [0] * neither
    return a, b


def test_rate_difference_against_a_calculation_by_hand():
    effect = rate_difference(*paired_outcomes(both=1, only_a=6, only_b=1, neither=2), what="dead")
    a, b = 7 / 12, 2 / 12  # (6 + 1) / (10 + 2) and (1 + 1) / (10 + 2)
    half = 1.959964 * math.sqrt((a + b - (a - b) ** 2) / 12)
    assert effect.mean == pytest.approx(50) and effect.n == 10 and effect.unit == "pp" and effect.what == "dead"
    assert (effect.low, effect.high) == pytest.approx((100 * (a - b - half), 100 * (a - b + half)), abs=1e-4)


def test_rate_difference_keeps_a_width_and_stays_in_range():
    same = rate_difference([False] * 10, [False] * 10)
    assert same.mean == 0 and same.low == pytest.approx(-same.high) and same.high > 10
    opposite = rate_difference([True] * 10, [False] * 10)
    assert opposite.mean == opposite.high == 100 and 0 < opposite.low < 90
    mirrored = rate_difference([False] * 10, [True] * 10)
    assert (mirrored.low, mirrored.high) == pytest.approx((-opposite.high, -opposite.low))


@pytest.mark.parametrize("n", [10, 20])
@pytest.mark.parametrize(
    "rates", [(0.0, 0.0), (0.1, 0.1), (0.3, 0.1), (0.5, 0.1), (0.6, 0.0), (0.45, 0.45), (0.9, 0.02)]
)
def test_rate_difference_covers_the_truth_at_least_93_percent_of_the_time(n, rates):
    """Not simulated but summed over every possible outcome of n pairs."""
    covered = 0.0
    for only_a, only_b in itertools.product(range(n + 1), repeat=2):
        if only_a + only_b <= n:
            effect = rate_difference(*paired_outcomes(0, only_a, only_b, n - only_a - only_b))
            if effect.low <= 100 * (rates[0] - rates[1]) <= effect.high:
                counts, chances = [only_a, only_b, n - only_a - only_b], [*rates, 1 - sum(rates)]
                covered += stats.multinomial.pmf(counts, n, chances)
    assert covered >= 0.93


@pytest.mark.parametrize("a, b", [([1], [0]), ([1, 0], [1]), ([[1, 0]], [[0, 1]])])
def test_rate_difference_needs_pairs(a, b):
    with pytest.raises(ValueError, match="two lists of one length"):
        rate_difference(a, b)


@pytest.mark.parametrize("bad", [0.5, math.nan])
def test_rate_difference_needs_binary_outcomes(bad):
    with pytest.raises(ValueError, match="0 or 1"):
        rate_difference([1, bad], [0, 0])


# Verdicts


@pytest.mark.parametrize(
    "effects, expect, than, verdict",
    [
        ([ABOVE], ">", 0, "holds here"),
        ([ABOVE], "<", 0, "refuted here"),
        ([BELOW], "<", 0, "holds here"),
        ([BELOW], ">", 0, "refuted here"),
        ([ACROSS], ">", 0, "not shown at this scale"),
        ([ACROSS], "<", 0, "not shown at this scale"),
        ([ABOVE], ">", 2, "not shown at this scale"),  # an interval that touches the threshold decides nothing
        ([ABOVE], ">", 5, "refuted here"),
        ([ABOVE, ABOVE], ">", 0, "holds here"),
        ([ABOVE, ACROSS], ">", 0, "not shown at this scale"),
        ([ABOVE, BELOW], ">", 0, "refuted here"),
        ([ACROSS, ABOVE], "<", 0, "refuted here"),
    ],
)
def test_judge(lesson, effects, expect, than, verdict):
    assert judge("C008", *effects, expect=expect, than=than).verdict == verdict


@pytest.mark.parametrize(
    "effect, margin, verdict",
    [
        (ACROSS, 3, "holds here"),
        (ABOVE, 5, "holds here"),
        (ABOVE, 1, "refuted here"),
        (BELOW, 1, "refuted here"),
        (ABOVE, 3, "not shown at this scale"),
        (ACROSS, 1, "not shown at this scale"),
    ],
)
def test_judge_equal(lesson, effect, margin, verdict):
    assert judge_equal("C026", effect, margin).verdict == verdict


def test_bad_calls_are_explained(lesson):
    with pytest.raises(ValueError, match='expect is ">" or "<"'):
        judge("C008", ABOVE, expect="up")
    with pytest.raises(ValueError, match="at least one effect"):
        judge("C008")
    with pytest.raises(ValueError, match="margin must be above 0"):
        judge_equal("C026", ABOVE, 0)
    with pytest.raises(ValueError, match='no claim "C08".*Did you mean "C'):
        judge("C08", ABOVE)
    with pytest.raises(ValueError, match='C003 is of the kind "exact" in the ledger, not "experiment"'):
        judge("C003", ABOVE)
    with pytest.raises(ValueError, match='not "exact"'):
        exact("C008", True, "an experiment can't be settled by one check")
    assert not (lesson / "verdicts").exists()


def test_a_claim_belongs_to_its_lesson(lesson, monkeypatch):
    monkeypatch.setattr(session, "_lesson", "05_attention")
    with pytest.raises(ValueError, match='C008 belongs to lesson "01_checklist", but the running lesson is "05_att'):
        judge("C008", ABOVE)
    monkeypatch.setattr(session, "_lesson", None)
    with pytest.raises(ValueError, match="call session.start first"):
        judge("C008", ABOVE)


def test_exact_passes_refutes_and_fails(lesson):
    assert exact("C003", True, "largest difference 0").verdict == "holds exactly"
    assert exact("C004", True, "more parameters than said", refutes=True).verdict == "refuted exactly"
    for refutes in (False, True):
        with pytest.raises(AssertionError, match="C017.*constant.*accuracy was 0.7"):
            exact("C017", False, "constant model: accuracy was 0.7", refutes=refutes)
    assert set(joined(lesson)) == {"C003", "C004"}


def test_reading(lesson, monkeypatch):
    row = dict(id="C900", section="I", claim="It is so.", kind="reading", lesson=LESSON, rule="Cite a source.")
    monkeypatch.setattr(claims, "ledger", lambda: {"claims": [row], "repairs": []})
    verdict = reading("C900", "It is.", "Author 2021")
    assert verdict.verdict == "settled by reading" and verdict.evidence == "It is. Source: Author 2021"


def test_a_smoke_run_judges_and_records_nothing_but_exact_claims_still_fail(lesson, monkeypatch):
    monkeypatch.setenv("TDNN_BUDGET", "smoke")
    assert judge("C008", ABOVE).verdict == judge_equal("C026", ACROSS, 3).verdict == "not judged on a smoke run"
    assert exact("C003", True, "0").verdict == "not judged on a smoke run"
    with pytest.raises(AssertionError):
        exact("C004", False, "0")
    assert not (lesson / "verdicts").exists()
    table = claims.report(LESSON).frame.set_index("id")["verdict"]
    assert (table[["C003", "C008", "C026"]] == "not judged on a smoke run").all() and table["C004"] == "open"


# Records, report, card


def test_records_say_how_they_came_about_and_merge(lesson):
    judge("C008", ABOVE, than=1)
    exact("C003", True, "largest difference 0")
    judge("C009", ACROSS)
    judge("C008", BELOW)  # judged again: the newer verdict stays
    found = joined(lesson)
    assert found == claims.records(LESSON) and list(found) == ["C003", "C008", "C009"]
    record = found["C008"]
    assert record["verdict"] == "refuted here" and record["budget"] == "standard" and record["threads"] >= 1
    assert Effect(**record["effects"][0]) == BELOW and record["rule"].startswith("The same network")
    assert set(record["versions"]) == {"python", "torch", "numpy"} and record["device"]
    assert not [path for path in lesson.rglob("*") if path.name.startswith(".")]  # no half-written file is left


def test_writers_at_the_same_time_lose_nothing(lesson):
    ids = [row["id"] for row in claims.ledger()["claims"] if row["kind"] == "experiment" and row["lesson"] == LESSON]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda claim_id: judge(claim_id, ABOVE), ids))
    assert set(joined(lesson)) == set(ids)


def test_a_verdict_that_arrives_while_the_files_are_joined_is_not_lost(lesson, monkeypatch):
    write = claims._write

    def write_late(path, content):
        if path.name == f"{LESSON}.json":  # another kernel writes its claim after this one has looked at the folder
            write(path.with_suffix("") / "C009.json", {"verdict": "holds here"})
        write(path, content)

    monkeypatch.setattr(claims, "_write", write_late)
    judge("C008", ABOVE)
    assert set(joined(lesson)) == {"C008", "C009"}


def test_report_lists_every_claim_and_counts(lesson):
    judge("C008", ABOVE)
    judge("C018", ABOVE, expect="<")
    exact("C003", True, "largest difference 0")
    exact("C004", True, "counted")
    path = lesson / "verdicts" / LESSON / "C004.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"rule": "an older rule"}))
    report = claims.report(LESSON)
    table = report.frame.set_index("id")
    assert list(table.index) == [row["id"] for row in claims.ledger()["claims"] if row["lesson"] == LESSON]
    assert table.loc["C008", "verdict"] == "holds here" and table.loc["C008", "measured"] == "+3.0 pp [2.0, 4.0], n = 5"
    assert table.loc["C003", "measured"] == "largest difference 0"
    assert table.loc["C004", "verdict"] == "open" and table.loc["C004", "measured"] == ""  # its rule has changed
    opened = len(table) - 3
    summary = f"✓ holds here: 1 · ✓ holds exactly: 1 · ✗ refuted here: 1 · … open: {opened}"
    assert report.summary == summary and summary in repr(report) and summary in report._repr_html_()
    assert report._repr_html_().count("<tr>") == len(table) + 1
    with pytest.raises(ValueError, match='no lesson "01_checklst".*"01_checklist"'):
        claims.report("01_checklst")


def test_the_card_and_the_report_escape_what_they_show(lesson, monkeypatch):
    row = dict(id="C901", section="I", claim="a < b & <b>c</b>", kind="experiment", lesson=LESSON, rule="x<script>y")
    monkeypatch.setattr(claims, "ledger", lambda: {"claims": [row], "repairs": []})
    verdict = judge("C901", Effect(1, 0.5, 1.5, 5, what="<img src=x>"), than=0.1)
    card = verdict._repr_html_()
    for text in (
        "a &lt; b &amp; &lt;b&gt;c&lt;/b&gt;",
        "x&lt;script&gt;y",
        "&lt;img src=x&gt;: 1.00",
        "wholly above 0.1",
    ):
        assert text in card
    for page in (card, claims.report(LESSON)._repr_html_()):
        assert not re.search("<script|<img|<b>c", page)
    assert "✓" in card and "holds here" in card
    assert not re.search(r"#[0-9a-fA-F]{3}|rgb|(?<!-)color:(?!inherit)", card)  # it takes its colours from the page
    text = repr(verdict)
    assert "C901: holds here" in text and "x<script>y" in text and ": 1.00 [0.50, 1.50], n = 5" in text


# Ledger


def test_every_claim_is_well_formed():
    rows = claims.ledger()["claims"]
    assert len({row["id"] for row in rows}) == len(rows)
    for row in rows:
        assert set(row) == {"id", "section", "claim", "kind", "lesson", "rule"}, row
        assert re.fullmatch(r"C\d{3}", row["id"]) and re.fullmatch(r"[IV]+(-[A-Z]\d?)?", row["section"]), row
        assert row["kind"] in ("exact", "experiment", "reading") and re.fullmatch(r"\d\d_\w+", row["lesson"]), row
        assert row["claim"].endswith(".") and row["rule"].endswith("."), row
        if row["kind"] == "experiment":  # a rule names what is measured and when it holds or is refuted
            assert all(part in row["rule"] for part in ("tatistic", "95 % interval", "olds if", "refuted if")), row
        if row["kind"] == "exact":
            assert "Holds exactly" in row["rule"], row


def test_every_repair_is_well_formed():
    ledger = claims.ledger()
    known = {row["id"] for row in ledger["claims"]} | {"reading"}
    assert len({row["id"] for row in ledger["repairs"]}) == len(ledger["repairs"])
    for row in ledger["repairs"]:
        assert set(row) == {"id", "section", "statement", "repair", "lesson", "shown_by"}, row
        assert re.fullmatch(r"Q\d\d", row["id"]) and row["repair"].endswith("."), row
        assert row["shown_by"] and set(row["shown_by"]) <= known, row
