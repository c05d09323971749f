"""The machinery of the exercises, and for every exercise of the course: the solution passes, the stub is unanswered,
every mistake gets its sentence. The tables ALSO_RIGHT and WRONG of ``test_exercises_NN.py`` hold more answers."""

import ast
import importlib
import inspect
import json
import sys
from functools import cache, partial
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import balanced_accuracy_score

from tdnn_helpers import exercises as package
from tdnn_helpers.exercises import all_exercises, blocks, check, stub
from tdnn_helpers.exercises.answers import distance, parts
from tdnn_helpers.methods.curriculum import easy_first

ALL = list(all_exercises())
OPEN = [id for id in ALL if all_exercises()[id].points]
VALUES = [id for id, one in all_exercises().items() if one.parts or one.value and (one.open or not one.check)]
TABLES = [importlib.import_module(path.stem) for path in sorted(Path(__file__).parent.glob("test_exercises_*.py"))]
ALSO_RIGHT = {id: answers for table in TABLES for id, answers in getattr(table, "ALSO_RIGHT", {}).items()}
WRONG = {id: answers for table in TABLES for id, answers in getattr(table, "WRONG", {}).items()}
NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"


def solved(id):
    exercise = all_exercises()[id]
    return exercise.solution() if exercise.value else exercise.solution


def run_cell(source):
    """Run a cell; the feedback that its last line, a call of check, returned."""
    results = []
    exec(source, {"check": lambda id, answer: results.append(check(id, answer))})
    (feedback,) = results
    return feedback


@pytest.mark.parametrize("id", ALL)
def test_solution_is_right(id):
    feedback = check(id, solved(id))
    status = "complete" if feedback.exercise.open else "right"  # only its reader can judge an open one
    assert (feedback.status, feedback.exercise.id) == (status, id), feedback.sentence


def mistakes(id):
    """Every registered mistake of an exercise as an answer, with its sentence."""
    exercise = all_exercises()[id]
    yield from exercise.known
    for place, (name, (_, known)) in enumerate(exercise.parts.items()):
        right = exercise.solution()
        for value, sentence in known:
            keys = right if isinstance(right, dict) else range(len(right))
            put = {key: right[key] for key in keys} | {name if isinstance(right, dict) else place: value}
            yield put if isinstance(right, dict) else tuple(put.values()), f"{name}: {sentence}"


@pytest.mark.parametrize(("id", "n"), [(id, n) for id in ALL for n, _ in enumerate(mistakes(id))])
def test_each_mistake_gets_its_sentence(id, n):
    answer, sentence = list(mistakes(id))[n]
    feedback = check(id, answer)
    assert feedback.status == "not yet" and sentence in feedback.sentence, feedback.sentence


@pytest.mark.parametrize(("id", "n"), [(id, n) for id in WRONG for n in range(len(WRONG[id]))])
def test_wrong_answers_get_help(id, n):
    answer, help = WRONG[id][n]
    feedback = check(id, answer)
    assert feedback.status == "not yet" and help in feedback.sentence, feedback.sentence


@pytest.mark.parametrize(("id", "n"), [(id, n) for id in ALSO_RIGHT for n in range(len(ALSO_RIGHT[id]))])
def test_other_right_answers(id, n):
    feedback = check(id, ALSO_RIGHT[id][n])
    assert feedback.status == ("complete" if feedback.exercise.open else "right"), feedback.sentence


@pytest.mark.parametrize("id", [id for id in VALUES if id not in OPEN])
def test_a_value_with_a_part_missing_or_of_another_kind_gets_help(id):
    exercise, right = all_exercises()[id], all_exercises()[id].solution()
    if isinstance(right, dict):
        key = next(iter(right))
        missing = [right | {key: None}, {key: right[key]}] if len(right) > 1 else [{}]
        assert all(check(id, answer).sentence.startswith("Still empty: ") for answer in missing)
        assert f'Did you mean "{key}"' in check(id, {key[:-1]: right[key]}).sentence
        assert "dictionary" in check(id, list(right.values())).sentence
        return
    for answer in (right[0], right[:-1], (*right, 1), *((*right[:-1], last) for last in (None, "word", np.nan))):
        sentence = check(id, answer).sentence
        assert sentence.startswith("Give ") and all(name in sentence for name in exercise.parts), (answer, sentence)
    assert f"{next(iter(exercise.parts))}: 7.7e+09 is not it" in check(id, (7.7e9, *right[1:])).sentence


@pytest.mark.parametrize("id", [id for id in ALL if all_exercises()[id].cases])
def test_a_result_of_another_kind_gets_help(id):
    exercise = all_exercises()[id]

    def changed(change):
        return check(id, lambda *args: change(exercise.solution(*args))).sentence

    result = exercise.solution(*next(iter(exercise.cases() if callable(exercise.cases) else exercise.cases)))
    if isinstance(result, tuple):
        assert "Return " in changed(lambda result: result[0]) and "Return " in changed(lambda result: (*result, 1))
        assert "Return numbers" in changed(lambda result: ("word",) * len(result))
        return
    assert "Return numbers" in changed(lambda result: {})
    twice = changed(lambda result: [result, result] if np.ndim(result) == 0 else torch.as_tensor(result)[None])
    assert ("Return one number" if np.ndim(result) == 0 else "shape must be") in twice


@pytest.mark.parametrize("id", [id for id in ALL if not all_exercises()[id].value])
def test_a_result_in_float64_is_right_too(id):
    def double(result):
        parts = tuple(map(double, result)) if isinstance(result, tuple) else result
        return result.double() if torch.is_tensor(result) and result.is_floating_point() else parts

    assert check(id, lambda *args: double(all_exercises()[id].solution(*args))).status == "right"


@pytest.mark.parametrize("id", OPEN)
def test_an_open_exercise_is_complete_at_most_and_says_what_is_missing(id):
    points, plan = all_exercises()[id].points, all_exercises()[id].solution()
    assert list(plan) == list(points)
    feedback = check(id, dict.fromkeys(points, "not done"))
    assert feedback.status == "complete" and "Only you can judge" in feedback.sentence
    assert "●" in feedback._repr_html_() and "✓" not in feedback._repr_html_()
    first, second, *_ = points
    for empty in ({first: " "}, {first: "", second: None}, {second: []}):
        feedback = check(id, plan | empty)
        assert feedback.status == "not yet" and f"Still empty, {len(empty)} of {len(points)}" in feedback.sentence
        assert {point for point in points if points[point] in feedback.sentence} == set(empty)
    assert f"Still empty, {len(points) - 1} of {len(points)}" in check(id, {first: "seen"}).sentence
    assert f'Did you mean "{first}"' in check(id, plan | {first[:-1]: "x"}).sentence
    assert "dictionary" in check(id, ["all fine"]).sentence


@blocks.exercise("0.1 a mean", hint="", hint2="", cases=[(torch.tensor([1.0, 2.0, 6.0]),)], otherwise="add and divide.",
          gradient="x", write_it=("mean", "average"), right="Right.")  # fmt: skip
def mean(x):
    """The mean."""
    return x.sum() / len(x)


mean.mistakes((lambda x: x.sum(), "divide by the number."))


@pytest.mark.parametrize(
    ("answer", "status", "sentence"),
    [
        (lambda x: x.sum() / 3, "right", "Right."),
        (lambda x: np.float64(3.0), "right", "Right."),  # NumPy has no gradient
        (
            lambda x: x.mean(),
            "not yet",
            "You call `mean`, which does the whole task; write it yourself from its parts.",
        ),
        (
            lambda x: (lambda y: np.average(y.numpy()))(x.detach()),
            "not yet",
            "You call `average`, which does",
        ),
        (torch.mean, "not yet", "You call `mean`, which"),
        (lambda x: x.mean() * 3, "not yet", "With x = [1, 2, 6] it should be 3; yours is 9: divide by the number."),
        (lambda x: x[0] * 0.5, "not yet", "With x = [1, 2, 6] it should be 3; yours is 0.5: add and divide."),
        (lambda x: x.detach().sum() / 3, "not yet", "it is cut off from `x`"),
        (lambda x: x[1] + x[0], "not yet", "should be [0.33333, 0.33333, 0.33333]; yours is [1, 1, 0]"),
        (lambda x: float("nan"), "not yet", "yours is nan: add and divide."),
    ],
)
def test_the_verdict_on_a_small_exercise(monkeypatch, answer, status, sentence):
    monkeypatch.setattr(package, "all_exercises", lambda: {"0.1": mean})
    feedback = check("0.1", answer)
    assert feedback.status == status and sentence in feedback.sentence, feedback.sentence


def test_names_in_a_function_are_those_it_uses():
    assert {"mean", "sum"} <= blocks.names_in(lambda x: [y.mean() for y in x.sum()])
    assert "mean" not in blocks.names_in(lambda mean: mean)
    assert "mean" in blocks.names_in(torch.mean) and "mean" not in blocks.names_in(mean.solution)  # written as `mean`


average, doubled, layer = torch.mean, partial(torch.mean, dim=0), torch.nn.Mish()


def helper(x, again=True):
    return another(x) if again else x.sum() / average(x)


def another(x):
    return helper(x, again=False)


@torch.no_grad()
def decorated(x):
    return F.softplus(x)


def made(function):
    return lambda x: function(x)


class Reader:
    def method(self, x):
        return average(x)


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (lambda x: average(x), "mean"),
        (lambda x: [doubled(y) for y in x], "mean"),
        (partial(torch.mean, dim=0), "mean"),
        (partial(lambda function, x: function(x), torch.mean), "mean"),
        (partial(lambda x, function: function(x), function=torch.mean), "mean"),
        (lambda x: helper(x), "mean"),  # two levels down, in functions that call each other
        (lambda x, function=average: function(x), "mean"),
        (lambda x, *, function=average: function(x), "mean"),
        (made(average), "mean"),
        (made(helper), "mean"),
        (Reader().method, "mean"),
        (lambda x: decorated(x), "softplus"),
        (cache(lambda x: F.softplus(x)), "softplus"),
        (lambda x: layer(x), "Mish"),
        (torch.nn.Mish, "Mish"),
        (balanced_accuracy_score, "balanced_accuracy_score"),
        (partial(easy_first, fraction=1), "easy_first"),
    ],
)
def test_what_stands_behind_another_name_is_noticed(answer, name):
    assert name in blocks.names_in(answer)


def test_what_an_answer_does_not_use_is_not_noticed():
    assert "softplus" not in blocks.names_in(lambda x: x.decorated())  # an attribute of the name of a function
    assert "softplus" not in blocks.names_in(lambda x: F.mish(x))  # a library is not read


@pytest.mark.parametrize("write", [lambda x: act(x), partial(F.mish), lambda x: my_mish(x)])
def test_a_library_call_under_another_name_is_no_right_answer(write):
    assert "You call `mish`, which does the whole task" in check("11.2", write).sentence


act = F.mish


def my_mish(x):
    return act(x)


def test_the_readers_own_function_may_have_the_name_of_the_librarys():
    def mish(x):
        return x * torch.tanh(F.softplus(x))

    own = {"mish": mish}
    exec("def answer(x):\n    return mish(x)", own)
    for answer in (own["answer"], lambda x: mish(x), mish):
        assert check("11.2", answer).status == "right"


@pytest.fixture(scope="module", params=["first", "later"])
def in_float64(request):
    """A reader has made float64 the usual type: before an exercise was checked, or afterwards."""
    before = {name: module for name, module in sys.modules.items() if name.startswith(f"{package.__name__}.lesson_")}
    torch.set_default_dtype(torch.float64)
    if request.param == "first":
        for name in before:
            del sys.modules[name]
        all_exercises.cache_clear()
    yield
    torch.set_default_dtype(torch.float32)
    all_exercises.cache_clear()
    sys.modules.update(before)


@pytest.mark.parametrize("id", ALL)
def test_another_usual_type_of_numbers_changes_nothing(in_float64, id):
    assert check(id, solved(id)).status in ("right", "complete")
    for answer, sentence in mistakes(id):
        assert sentence in check(id, answer).sentence
    assert torch.get_default_dtype() == torch.float64


def test_an_answer_makes_tensors_of_the_type_of_the_cases(in_float64):
    def blur(maps):
        row = torch.tensor([1.0, 2.0, 1.0]) / 4
        blur = (row[:, None] * row).expand(maps.shape[1], 1, 3, 3)
        return F.conv2d(F.pad(maps, (1, 1, 1, 1), mode="replicate"), blur, stride=2, groups=maps.shape[1])

    assert check("5.3", blur).status == "right"


def test_the_distance_of_two_answers():
    nan, inf = np.array([np.nan, 1.0]), np.array([np.inf, 1.0])
    assert distance(nan, nan) == distance(inf, inf) == distance(True, 1) == distance("A", "A") == 0
    assert distance(nan, inf) == distance(inf, nan) == distance("A", "B") == distance(nan, np.ones(3)) == np.inf
    assert distance(np.array([1.0, 5.0]), np.array([1.0, 4.0])) == 0.25 and distance(inf, np.ones(2)) == np.inf


def test_single_numbers_are_one_part_and_arrays_are_several():
    assert [part.tolist() for part in parts([1, 2], (3, torch.tensor(4)))] == [[1, 2]]
    assert [part.shape for part in parts((np.ones(2), np.ones(3)), (np.zeros(2), np.zeros(3)))] == [(2,), (3,)]


@pytest.mark.parametrize("id", ALL)
def test_a_check_leaves_the_random_state_alone(id):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    check(id, solved(id))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("id", ALL)
def test_stub_is_not_answered_yet(id):
    assert run_cell(stub(id)).status == "not answered yet"


@pytest.mark.parametrize("id", ALL)
def test_answer_that_is_nothing_is_never_right_and_never_raises(id):
    for answer in (None, ..., "", lambda *args: None, lambda *args: "word", lambda *args: (), 3, "word", [], {}):
        assert check(id, answer).status in ("not answered yet", "not yet")


@pytest.mark.parametrize("id", [id for id in ALL if not all_exercises()[id].value])
def test_answer_that_raises_is_reported_with_its_line(id):
    def answer(*args):
        raise KeyError("no such thing")

    line = answer.__code__.co_firstlineno + 1
    feedback = check(id, answer)
    assert feedback.status == "not yet"
    assert feedback.sentence == f"Your answer raised KeyError in line {line} of the cell: 'no such thing'"


def test_not_implemented_is_not_answered():
    def answer(*args):
        raise NotImplementedError

    assert check("1.3", answer).status == "not answered yet"


def test_missing_return_is_named():
    assert "`return`" in check("1.3", lambda correct, sizes: None).sentence


def test_unknown_exercise_names_the_nearest():
    with pytest.raises(ValueError, match=r'no exercise "1\.22"\. Did you mean "1\.2"'):
        check("1.22", None)
    with pytest.raises(ValueError, match="There are: 1.1, 1.2"):
        stub("nonsense")


def test_ids_are_in_order_and_belong_to_their_lesson():
    assert sorted(ALL, key=lambda id: tuple(map(int, id.split(".")))) == ALL
    for id, exercise in all_exercises().items():
        lesson = int(exercise.solution.__module__.rsplit("_", 1)[1])
        assert exercise.id == id and int(id.split(".")[0]) == lesson


@pytest.mark.parametrize("id", ALL)
def test_every_exercise_was_tried_with_two_typical_wrong_answers(id):
    assert id in OPEN or len([*mistakes(id), *WRONG.get(id, ())]) >= 2


class Tags(HTMLParser):
    """Checks that tags are balanced; notes what each kind holds."""

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.summaries = [], set(), []

    def handle_starttag(self, tag, attributes):
        self.seen.add(tag)
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1] == "summary":
            self.summaries.append(data)


@pytest.mark.parametrize("id", ALL)
def test_html_is_balanced_without_script_and_folds(id):
    tags = Tags()
    tags.feed(check(id, None)._repr_html_())
    assert tags.open == [] and "script" not in tags.seen
    assert tags.summaries == ["Hint 1", "Hint 2", "Solution"]


def test_html_escapes_what_an_answer_says():
    def answer(correct, sizes):
        raise ValueError("<script>alert(1)</script>")

    page = check("1.3", answer)._repr_html_()
    assert "<script>" not in page and "&lt;script&gt;" in page


def test_html_shows_the_source_of_the_solution():
    page = check("1.3", None)._repr_html_()
    assert "return sum(correct_per_batch) / sum(sizes)" in page


def test_plain_text_says_the_verdict_and_not_the_solution():
    text = repr(check("1.3", lambda correct, sizes: 0.0))
    assert text.startswith("Exercise 1.3, accuracy with an uneven last batch: not yet.\n")
    assert "sum(sizes)" not in text


@pytest.mark.parametrize("id", ALL)
def test_stub_and_solution_have_the_same_arguments(id):
    exercise = all_exercises()[id]
    if exercise.value:
        return
    (function, _call) = ast.parse(stub(id)).body
    assert [argument.arg for argument in function.args.args] == list(inspect.signature(exercise.solution).parameters)
    assert inspect.cleandoc(ast.get_docstring(function)) == inspect.getdoc(exercise.solution)


def cells_with(id):
    """The code cells that check this exercise, or None if its lesson has no notebook yet."""
    paths = list(NOTEBOOKS.glob(f"{int(id.split('.')[0]):02d}*.ipynb"))
    cells = [cell for path in paths for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    sources = ["".join(cell["source"]).strip() for cell in cells if cell["cell_type"] == "code"]
    return [source for source in sources if f'check("{id}", ' in source] if paths else None


@pytest.mark.parametrize("id", ALL)
def test_notebook_holds_the_stub_of_each_exercise(id):
    cells = cells_with(id)
    if cells is None:
        pytest.skip("no notebook of this lesson")
    assert cells == [stub(id)]
