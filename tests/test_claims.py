"""Verdicts: every way a claim can be settled, what is recorded, and a ledger whose prose and data say the same."""

import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tdnn_helpers import session
from tdnn_helpers.evidence import claims
from tdnn_helpers.evidence.claims import by_todays_rule, exact, judge, reading
from tdnn_helpers.evidence.effects import Effect
from tdnn_helpers.evidence.rules import AXES, each_part
from tdnn_helpers.evidence.verdict import OWN

LESSON = "01_checklist"
EXPERIMENTS = {row["id"]: row for row in claims.ledger()["claims"] if row["kind"] == "experiment"}
RECORDED = Path(__file__).parents[1] / "notebooks" / "verdicts"
ABOVE, BELOW, ACROSS = (Effect(mean, mean - half, mean + half, 5, "pp") for mean, half in ((3, 1), (-3, 1), (0.5, 1.5)))


@pytest.fixture
def lesson(monkeypatch, tmp_path):
    """A running lesson of standard size whose records go to a temporary folder."""
    monkeypatch.setenv("TDNN_BUDGET", "standard")
    monkeypatch.setenv("TDNN_RUNS", str(tmp_path))
    monkeypatch.setattr(session, "_lesson", LESSON)
    monkeypatch.setattr(claims, "_smoke", {})
    return tmp_path


@pytest.fixture
def ledger_of(monkeypatch):
    """A ledger of one claim, C900."""

    def only(**entries):
        row = dict(id="C900", section="I", claim="It is so.", kind="experiment", lesson=LESSON, rule="x") | entries
        row["decide"] = dict(parts=1, unit="pp", budgets=["standard"]) | row.get("decide", {})
        monkeypatch.setattr(claims, "ledger", lambda: {"claims": [row], "repairs": []})

    return only


def joined(folder):
    return json.loads((folder / "verdicts" / f"{LESSON}.json").read_text(encoding="utf-8"))


# Verdicts


@pytest.mark.parametrize(
    "verdict, cases",  # ^: above zero, v: below zero, ~: across zero; one sign for each part
    [
        ("holds here", "above 0 ^, below 0 v, above 0 ^^, within 3 ~, within 5 ^"),
        ("refuted here", "below 0 ^, above 0 v, above 5 ^, above 0 ^v, below 0 ~^, within 1 ^, within 1 v"),
        # An interval that touches the threshold decides nothing.
        ("not shown at this scale", "above 0 ~, below 0 ~, above 2 ^, above 0 ^~, within 3 ^, within 1 ~"),
    ],
)
def test_judge(lesson, ledger_of, verdict, cases):
    for side, number, parts in map(str.split, cases.split(", ")):
        limits = {"within": int(number)} if side == "within" else {"expect": side, "than": int(number)}
        ledger_of(decide=limits | {"parts": len(parts)})
        assert judge("C900", *({"^": ABOVE, "v": BELOW, "~": ACROSS}[part] for part in parts)).verdict == verdict


def test_the_sentence_names_the_unit_of_each_part(lesson, ledger_of):
    ledger_of(decide={"expect": "above", "than": 0, "parts": 3, "unit": ["decades", "pp", "pp"]})
    effects = [replace(ABOVE, unit=unit) for unit in ("decades", "pp", "pp")]
    assert judge("C900", *effects).evidence == "each 95 % interval lies wholly above 0 decades or pp"
    ledger_of(decide={"within": 5, "parts": 2})
    assert judge("C900", ABOVE, ABOVE).evidence == "the 95 % interval lies wholly within ±5 pp"


def test_bad_calls_are_explained(lesson, monkeypatch):
    for (claim, *effects), why in {
        ("C008", ABOVE): "C008 is decided by 2 effects, not by 1",
        ("C006",): "C006 is decided by 1 effect, not by 0",
        ("C008", ABOVE, Effect(1, 0, 2, 5, "nats")): 'effect 2 of C008 is in "nats", but its rule is in "pp"',
        ("C08", ABOVE): 'no claim "C08".*Did you mean "C',
        ("C003", ABOVE): 'C003 is of the kind "exact" in the ledger, not "experiment"',
    }.items():
        for budget in ("smoke", "standard"):
            monkeypatch.setenv("TDNN_BUDGET", budget)
            with pytest.raises(ValueError, match=why):
                judge(claim, *effects)
    with pytest.raises(ValueError, match='not "exact"'):
        exact("C008", True, "an experiment can't be settled by one check")
    for running, why in {
        "05_attention": 'C006 belongs to lesson "01_checklist", but the running lesson is "05_att',
        None: "call session.start first",
    }.items():
        monkeypatch.setattr(session, "_lesson", running)
        with pytest.raises(ValueError, match=why):
            judge("C006", ABOVE)
    assert not (lesson / "verdicts").exists()


def test_the_budgets_and_the_seeds_of_the_rule_are_asked_for(lesson, ledger_of, monkeypatch):
    ledger_of(decide={"expect": "above", "than": 0, "seeds": [0, 1, 2]})
    effect = Effect(2, 1, 3, 3, "pp")
    assert judge("C900", effect).verdict == judge("C900", replace(effect, n=2, dropped=1)).verdict == "holds here"
    record = claims.records(LESSON)
    for others, why in {
        (("n", 2),): "it comes from 2 seeds instead of 3",
        (("seeds", (0, 1, 3)),): "it comes from other seeds than 0, 1, 2",
        (("own", True),): "its arms were changed",
    }.items():
        verdict = judge("C900", replace(effect, mean=1.9, **dict(others)))
        assert verdict.verdict == OWN and why in repr(verdict) and claims.records(LESSON) == record
    monkeypatch.setenv("TDNN_BUDGET", "full")
    with pytest.raises(ValueError, match='C900 is decided at the budget standard; a run at "full" records no verdict'):
        judge("C900", effect)


def along(*means, half=1, seeds=range(10), **more):
    """key → an effect, at 100, 1000, … updates."""
    effect = dict(n=10, unit="pp", what="a − b", seeds=tuple(seeds)) | more
    return {100 * 10**i: Effect(mean, mean - half, mean + half, **effect) for i, mean in enumerate(means)}


@pytest.fixture
def second(ledger_of):
    """C900 as a claim of the second edition, at 100 and 1000 updates."""

    def only(mode="fact", parts=1, **decide):
        plain = dict(expect="above", than=0, parts=parts, needs="all", unit="pp", smallest=1, at=[100, 1000])
        plain |= dict(axis="budget", seeds=[*range(10)], again=[*range(50, 60)])
        ledger_of(edition=2, mode=mode, decide=plain | decide)

    return only


@pytest.mark.parametrize(
    ("first", "again", "verdict", "said"),
    [
        ((3, 4), (2, 2), "holds", "holds at 100 and 1,000; again: same"),
        ((-3, -4), (-3, -4), "refuted", "refuted at 100 and 1,000; again: same"),
        # Wholly on the other side, but not beyond the smallest effect of interest.
        ((-1.5, -1.5), (-3, -4), "not shown", "would have shown 1.4 pp or more); again: otherwise (refuted at"),
        (
            (-3, 3),
            (-3, 0.5),
            "depends on the budget",
            "refuted at 100; holds at 1,000; the mean changes its sign between",
        ),
        ((0.5, 3), (0.5, 3), "depends on the budget", "not shown at 100 (would have shown"),
    ],
)
def test_a_verdict_of_the_second_edition_is_one_along_an_axis(lesson, second, first, again, verdict, said):
    second()
    found = judge("C900", along(*first), again=along(*again, seeds=range(50, 60)))
    assert found.verdict == verdict and said in found.said
    assert claims.records(LESSON)["C900"]["same_again"] == ("again: same" in found.said)
    record = json.loads(json.dumps(claims.records(LESSON)["C900"]))
    assert record["verdict"] == verdict and list(record["effects"]) == ["100", "1000"] and "said" in record
    assert claims.effects_of(record)["100"] == [along(*first)[100]]
    html = found._repr_html_()
    assert html.index("It is so.") < html.index("<details>") < html.index("Rule, written before the runs")


def test_what_can_be_is_not_refuted_and_one_of_several_parts_is_adjusted(lesson, second):
    second(mode="can", parts=2, needs="one", at=[100])

    def verdict(*means, half=1.0):
        first, other = (
            {100: [along(mean, half=half, seeds=s)[100] for mean in means]} for s in (range(10), range(50, 60))
        )
        return judge("C900", first, again=other).verdict

    assert verdict(3, -3) == verdict(3, 3) == "holds" and verdict(-3, -3) == "not shown"
    assert verdict(1.05, 0) == verdict(1.05, 1.05) == "not shown"  # p = 0.04, and there are two parts
    assert verdict(1.3, 0) == "holds"  # p = 0.017
    second(parts=2, needs="one", at=[100])
    assert verdict(-3, -3) == "refuted" and verdict(-3, 0) == "not shown"


def test_only_the_runs_of_the_rule_settle_it(lesson, second):
    second(arms=[["a", "b"]])
    first, again = (along(3, 4, seeds=seeds, arms=("b", "a")) for seeds in (range(10), range(50, 60)))
    assert judge("C900", first, again=again).verdict == "holds"
    record = claims.records(LESSON)
    for change, why in {
        "n": (2, "from 2 seeds instead of 10"), "seeds": ((*range(9), 70), "from other seeds"),
        "own": (True, "arms were changed"), "arms": (("a", "c"), "it compares a and c instead of a and b"),
    }.items():  # fmt: skip
        mine = judge("C900", {key: replace(one, **{change: why[0]}) for key, one in first.items()}, again=again)
        assert mine.verdict == OWN and why[1] in repr(mine) and claims.records(LESSON) == record
    own = {100: replace(first[100], own=True)}  # the smallest budget only
    assert judge("C900", own, again=own).verdict == OWN
    for given, repeated, why in (
        ({100: first[100]}, again, "C900 also needs effects at 1000"),
        (first | {5: first[100]}, again, "is decided at 100, 1000, not at 5"),
        (first, None, "the rule of C900 asks for runs again"),
        (first[100], again, "is decided by one mapping, from 100, 1000 to effects"),
        ({key: [one, one] for key, one in first.items()}, again, "decided by 1 effect at 100, not by 2"),
        ({key: replace(one, seeds=()) for key, one in first.items()}, again, "through from_runs"),
        ({key: replace(one, unit="s") for key, one in first.items()}, again, 'is in "s"'),
    ):
        with pytest.raises(ValueError, match=why):
            judge("C900", given, again=repeated)


def test_banked_runs_are_judged_on_a_smoke_run_too_and_a_younger_rule_is_said(lesson, second, monkeypatch):
    second()
    first, again = (along(3, 4, seeds=seeds, banked=True) for seeds in (range(10), range(50, 60)))
    late = {key: replace(one, revised=True) for key, one in first.items()}
    assert "Rule, revised after these runs" in repr(judge("C900", late, again=again))
    monkeypatch.setenv("TDNN_BUDGET", "smoke")
    shutil.rmtree(lesson / "verdicts")
    found = judge("C900", first, again=again)
    assert found.verdict == "holds" and "all runs are from the evidence bank" in repr(found)
    assert judge("C900", along(3, 4), again=again).verdict == "not judged on a smoke run"
    assert not (lesson / "verdicts").exists()


def test_reading_has_a_direction(lesson, ledger_of):
    ledger_of(kind="reading", edition=2)
    found = reading("C900", "It was.", "Author 2015", "right then, dated now")
    assert found.verdict == "by reading: right then, dated now" and claims.records(LESSON)["C900"]["verdict"] in repr(
        found
    )
    for direction in ("wrong", None):
        with pytest.raises(ValueError, match="right then, dated now"):
            reading("C900", "It was.", "Author 2015", direction)


def test_exact_passes_refutes_and_fails_and_reading_names_its_source(lesson, ledger_of):
    assert exact("C003", True, "largest difference 0").verdict == "holds exactly"
    assert exact("C004", True, "more parameters than said", refutes=True).verdict == "refuted exactly"
    for refutes in (False, True):
        with pytest.raises(AssertionError, match="C017.*constant.*accuracy was 0.7"):
            exact("C017", False, "constant model: accuracy was 0.7", refutes=refutes)
    assert set(joined(lesson)) == {"C003", "C004"}
    ledger_of(kind="reading")
    verdict = reading("C900", "It is.", "Author 2021")
    assert verdict.verdict == "settled by reading" and verdict.evidence == "It is. Source: Author 2021"


def test_a_smoke_run_judges_and_records_nothing_but_exact_claims_still_fail(lesson, monkeypatch):
    monkeypatch.setenv("TDNN_BUDGET", "smoke")
    assert judge("C006", ABOVE).verdict == judge("C007", ACROSS).verdict == "not judged on a smoke run"
    assert exact("C003", True, "0").verdict == "not judged on a smoke run"
    with pytest.raises(AssertionError):
        exact("C004", False, "0")
    assert not (lesson / "verdicts").exists()
    table = claims.report(LESSON).frame.set_index("id")["verdict"]
    assert (table[["C003", "C006", "C007"]] == "not judged on a smoke run").all() and table["C004"] == "open"


# Records, report, card


def test_records_say_how_they_came_about_and_merge(lesson):
    judge("C006", Effect(30, 29, 31, 5, "pp"))
    exact("C003", True, "largest difference 0")
    judge("C024", ACROSS)
    judge("C006", BELOW)  # judged again: the newer verdict stays
    found = joined(lesson)
    assert found == claims.records(LESSON) and list(found) == ["C003", "C006", "C024"]
    record = found["C006"]
    assert record["verdict"] == "refuted here" and record["budget"] == "standard" and record["threads"] >= 1
    assert Effect(**record["effects"][0]) == BELOW and record["rule"].startswith("Blood smears")
    assert set(record["versions"]) == {"python", "torch", "numpy"} and record["device"]
    assert not [path for path in lesson.rglob("*") if path.name.startswith(".")]  # no half-written file is left


def test_writers_at_the_same_time_lose_nothing(lesson, monkeypatch):
    own = (row for row in EXPERIMENTS.values() if row["lesson"] == LESSON and row["decide"]["unit"] == "pp")
    rules = {row["id"]: row["decide"] for row in own}
    effects = [[replace(ABOVE, n=len(rule["seeds"]))] * rule["parts"] for rule in rules.values()]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda claim_id, given: judge(claim_id, *given), rules, effects))
    assert set(joined(lesson)) == set(rules) and len(rules) >= 8
    shutil.rmtree(lesson / "verdicts")
    write = claims._write

    def write_late(path, content):
        if path.name == f"{LESSON}.json":  # another kernel writes its claim after this one has looked at the folder
            write(path.with_suffix("") / "C009.json", {"verdict": "holds here"})
        write(path, content)

    monkeypatch.setattr(claims, "_write", write_late)
    judge("C006", ABOVE)
    assert set(joined(lesson)) == {"C006", "C009"}


def test_a_verdict_stands_only_while_its_rule_is_the_same_in_prose_and_as_data(lesson, ledger_of):
    given = {"than": 0, "expect": "above", "seeds": [0, 1, 2, 3, 4], "smallest": 1}
    ledger_of(decide=given)
    judge("C900", ABOVE)
    (record,) = claims.records(LESSON).values()
    old = {name: value for name, value in record.items() if name != "decide"}  # from before it was kept

    def standing(**entries):
        ledger_of(decide=given | entries)
        (claim,) = claims.ledger()["claims"]
        assert (claims.report(LESSON).frame["verdict"][0] == "holds here") == by_todays_rule(record, claim)
        return by_todays_rule(record, claim), by_todays_rule(old, claim)

    assert standing() == (True, True)
    for entries in ({"than": 1}, {"expect": "below"}, {"unit": "%"}, {"parts": 2}, {"seeds": [0, 1]}, {"within": 9}):
        assert standing(**entries) == (False, False), entries
    assert standing(seeds=[5, 6, 7, 8, 9]) == standing(smallest=2) == (False, True)  # the effects cannot tell
    ledger_of(decide=given, rule="another")
    (claim,) = claims.ledger()["claims"]
    assert not by_todays_rule(record, claim) and not by_todays_rule(old, claim) and not by_todays_rule({}, claim)
    ledger_of(kind="exact")
    exact("C900", True, "0")
    assert claims.report(LESSON).summary == "✓ holds exactly: 1"


def test_report_lists_every_claim_and_counts(lesson):
    judge("C013", ABOVE)
    judge("C018", Effect(3.0, 2.0, 4.0, len(EXPERIMENTS["C018"]["decide"]["seeds"]), "nats"))
    exact("C003", True, "largest difference 0")
    exact("C004", True, "counted")
    path = lesson / "verdicts" / LESSON / "C004.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"rule": "an older rule"}))
    report = claims.report(LESSON)
    table = report.frame.set_index("id")[["verdict", "measured"]]
    assert list(table.index) == [row["id"] for row in claims.ledger()["claims"] if row["lesson"] == LESSON]
    assert tuple(table.loc["C013"]) == ("holds here", "+3.0 pp [2.0, 4.0], n = 5")
    assert table.loc["C003", "measured"] == "largest difference 0"
    assert tuple(table.loc["C004"]) == ("open", "")  # its rule has changed
    summary = f"✓ holds here: 1 · ✓ holds exactly: 1 · ✗ refuted here: 1 · … open: {len(table) - 3}"
    assert report.summary == summary and summary in repr(report) and summary in report._repr_html_()
    assert report._repr_html_().count("<tr>") == len(table) + 1
    with pytest.raises(ValueError, match='no lesson "01_checklst".*"01_checklist"'):
        claims.report("01_checklst")


def test_the_card_and_the_report_escape_what_they_show(lesson, ledger_of):
    ledger_of(claim="a < b & <b>c</b>", rule="x<script>y", decide={"expect": "above", "than": 0.1, "unit": ""})
    verdict = judge("C900", Effect(1, 0.5, 1.5, 5, what="<img src=x>"))
    card = verdict._repr_html_()
    shown = "a &lt; b &amp; &lt;b&gt;c&lt;/b&gt;", "x&lt;script&gt;y", "&lt;img src=x&gt;: 1.00", "wholly above 0.1<"
    assert all(text in card for text in (*shown, "✓", "holds here"))
    for page in (card, claims.report(LESSON)._repr_html_()):
        assert not re.search("<script|<img|<b>c", page)
    assert not re.search(r"#[0-9a-fA-F]{3}|rgb|(?<!-)color:(?!inherit)", card)  # it takes its colours from the page
    assert all(text in repr(verdict) for text in ("C900: holds here", "x<script>y", ": 1.00 [0.50, 1.50], n = 5"))


# Ledger


def test_every_claim_is_well_formed():
    rows = claims.ledger()["claims"]
    assert len({row["id"] for row in rows}) == len(rows)
    for row in rows:
        decide = {"decide"} if row["kind"] == "experiment" else set()
        fields = {"id", "section", "claim", "kind", "lesson", "rule", "quote", "mode"} | decide
        assert set(row) - {"reread", "edition", "first"} == fields, row
        assert not {"edition", "reread"} <= set(row) and row.get("edition", 2) == 2, row
        if first := row.get("first"):
            assert set(first) == {"claim", "rule", "verdict", "why"} and row["edition"] == 2, row
        assert re.fullmatch(r"C\d{3}", row["id"]) and re.fullmatch(r"[IV]+(-[A-Z]\d?)?", row["section"]), row
        assert row["kind"] in ("exact", "experiment", "reading") and re.fullmatch(r"\d\d_\w+", row["lesson"]), row
        assert row["claim"].endswith(".") and row["rule"].endswith("."), row
        # A rule names what is measured and when it holds or is refuted.
        parts = {"experiment": ("tatistic", "95 % interval", "olds if", "refuted if"), "exact": ("Holds exactly",)}
        assert all(part in row["rule"] for part in parts.get(row["kind"], ())), row


def test_every_repair_is_well_formed():
    ledger = claims.ledger()
    known = {row["id"] for row in ledger["claims"]} | {"reading"}
    assert len({row["id"] for row in ledger["repairs"]}) == len(ledger["repairs"])
    for row in ledger["repairs"]:
        assert set(row) == {"id", "section", "statement", "repair", "lesson", "shown_by", "reread"}, row
        assert re.fullmatch(r"Q\d\d", row["id"]) and row["repair"].endswith("."), row
        assert row["shown_by"] and set(row["shown_by"]) <= known, row


HOLDS = re.compile(
    r"olds if (?:the|both|all|the other)(?: (two|three|four))? 95 % intervals?(?: of the mean over seeds)?"
    r" lies? wholly (above|below|within ±) ?(−?[\d.]*\d) ?([^\s,.;]*)"
)
REFUTED = re.compile(r"refuted if (?:wholly|one(?: of them)? lies wholly) (\w+)")


def contradictions(rule, decide):
    """Where the prose of a rule and its data don't say the same."""
    if "at" in decide:
        return contradictions_along(rule, decide)
    many, side, number, unit = HOLDS.search(rule).groups(default="")
    words = {"two": 2, "three": 3, "four": 4}
    parts = words.get(many, 2 if "olds if both" in rule else 1)  # "the", "both", "all three", "the other four"
    listed = [words[word.lower()] for word in re.findall(r"(Two|Three|Four) statistics", rule)]
    expect, limit = decide.get("expect", "within ±"), decide.get("within", decide.get("than"))
    number, units = float(number.replace("−", "-")), set(each_part(decide, "unit"))
    asked = re.findall(r"(\d+)(?: fresh)?(?: paired)? (?:seeds|initialisations|repeats)", rule)
    said = {
        "side": side == expect and (side != "within ±" or parts == 1),
        "other side": REFUTED.search(rule)[1] == {"above": "below", "below": "above"}.get(expect, "outside"),
        "threshold": number == limit and set(decide) & {"than", "within"} == {"within" if side[0] == "w" else "than"},
        "parts": {parts, *listed} == {decide["parts"]},
        "unit": units <= {unit, f"{unit}s"} if unit else number == 0 or units <= {"", "×"},
        "seeds": len(set(decide["seeds"])) == len(decide["seeds"]) >= max(map(int, asked), default=2),
    }
    return [what for what, agrees in said.items() if not agrees]


def contradictions_along(rule, decide):
    """The same for a claim of the second edition: every number and side of the data stands in the prose."""
    text = rule.replace("−", "-").replace(",", "")
    numbers = {float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", text)} | {0.0}
    said = {
        "threshold": {*each_part(decide, "than"), *each_part(decide, "smallest")} <= numbers,
        "side": all(side in rule for side in each_part(decide, "expect")),
        "axis": {key for key in decide["at"] if not isinstance(key, str)} <= numbers,
        "seeds": len(decide["seeds"]) in numbers and not set(decide["seeds"]) & set(decide.get("again", ())),
        "parts": decide["parts"] == 1 or (decide["needs"] == "one") == ("Holm" in rule),
        "again": ("again" in decide) == ("gain" in rule),
    }
    return [what for what, agrees in said.items() if not agrees]


def test_the_data_of_every_rule_say_what_its_prose_says():
    needed, free = {"parts", "unit", "smallest", "budgets", "seeds"}, {"expect", "than", "within", "repeats"}
    along = {"at", "axis", "needs", "again", "again_at", "arms"}
    for row in EXPERIMENTS.values():
        decide = row["decide"]
        optional = free | along if row.get("edition") == 2 else free
        assert needed <= set(decide) <= needed | optional and set() < set(decide["budgets"]) <= {"standard", "full"}, (
            row
        )
        if row.get("edition") == 2:
            assert {"at", "axis", "needs"} <= set(decide) and decide["axis"] in AXES and len(decide["seeds"]) >= 10, row
            assert decide["needs"] in ("all", "one") and len(decide.get("arms", [0])) in (1, decide["parts"]), row
        assert all(len(each_part(decide, name)) == decide["parts"] for name in ("unit", "smallest", "repeats")), row
        assert contradictions(row["rule"], decide) == [], row["id"]
    for claim, edit, caught in (
        ("C006", {"than": 20}, "threshold"),
        ("C006", {"expect": "below"}, "side"),
        ("C007", {"within": 4}, "threshold"),
        ("C058", {"than": 1}, "threshold"),
        ("C111", {"parts": 2}, "parts"),
        ("C008", {"parts": 1}, "parts"),
        ("C006", {"unit": "%"}, "unit"),
        ("C018", {"seeds": [0, 1, 2, 3, 4]}, "seeds"),
    ):
        row = EXPERIMENTS[claim]
        assert caught in contradictions(row["rule"], row["decide"] | edit), (claim, edit)


@pytest.mark.parametrize("path", sorted(RECORDED.rglob("*.json")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_recorded_verdict_follows_from_its_effects_and_the_ledger(lesson, path, monkeypatch):
    """Of each rule that is still the ledger's: that no claim is left without such a record, others test."""
    monkeypatch.setattr(session, "_lesson", path.stem)
    for claim, record in json.loads(path.read_text(encoding="utf-8")).items():
        if claim not in EXPERIMENTS or record["rule"] != EXPERIMENTS[claim]["rule"] or not record["effects"]:
            continue
        if "said" in record:
            assert by_todays_rule(record, EXPERIMENTS[claim])
            monkeypatch.setenv("TDNN_BUDGET", record["budget"])
            decide, keys = EXPERIMENTS[claim]["decide"], {str(key): key for key in EXPERIMENTS[claim]["decide"]["at"]}
            first, second = (
                {keys[key]: effects for key, effects in claims.effects_of(record, part).items()}
                for part in ("effects", "again")
            )
            judge(claim, first, **({"again": second} if "again" in decide else {}))
            again = json.loads(json.dumps(claims.records(path.stem)[claim]))
            for part in ("verdict", "evidence", "measured", "effects", "again", "said", "same_again", "rule"):
                assert again.get(part) == record.get(part), (claim, part)
        else:
            assert by_todays_rule(record, EXPERIMENTS[claim])
            monkeypatch.setenv("TDNN_BUDGET", record["budget"])
            judge(claim, *(Effect(**effect) for effect in record["effects"]))
            again = claims.records(path.stem)[claim]
            for part in ("verdict", "evidence", "measured", "effects", "rule", "budget"):
                assert again[part] == record[part], (claim, part)
            decide = EXPERIMENTS[claim]["decide"]
            for effect, counted in zip(record["effects"], each_part(decide, "repeats")):
                wanted = {None: len(decide["seeds"]), "pairs of seeds": len(decide["seeds"]) // 2}.get(counted)
                assert record["budget"] != "standard" or wanted in (None, effect["n"] + effect["dropped"]), claim
