"""The machinery of the exercises, and for every exercise of the course: the solution passes, the stub is unanswered,
every mistake gets its sentence. ``exercise_answers.py`` holds more answers."""

import ast
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

from exercise_answers import ALSO_RIGHT, MISTAKEN, WRONG
from tdnn_helpers import exercises as package
from tdnn_helpers.exercises import all_exercises, blocks, check, stub
from tdnn_helpers.exercises.answers import distance, parts
from tdnn_helpers.exercises.lesson_01 import initial_losses
from tdnn_helpers.exercises.lesson_02 import noisy_ceiling
from tdnn_helpers.exercises.lesson_03 import linear_shifts
from tdnn_helpers.exercises.lesson_09 import losses_of_one_point
from tdnn_helpers.exercises.lesson_10 import losses_that_know_nothing
from tdnn_helpers.exercises.lesson_11 import come_back, slopes
from tdnn_helpers.exercises.lesson_12 import four_rules
from tdnn_helpers.methods import barlow_loss, nt_xent
from tdnn_helpers.methods import distance as cosine_distance
from tdnn_helpers.methods.contrastive import contrastive_loss, triplet_loss
from tdnn_helpers.methods.curriculum import easy_first

ALL = all_exercises()
OPEN = [id for id in ALL if ALL[id].points]
VALUES = [id for id, one in ALL.items() if one.parts or one.value and (one.open or not one.check)]
each_exercise = pytest.mark.parametrize("id", ALL)
NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"


def solved(id):
    """The answer that the course gives."""
    exercise = all_exercises()[id]
    return exercise.solution() if exercise.value else exercise.solution


@each_exercise
def test_right_answers_are_right_and_leave_the_random_state_alone(id):
    exercise, state = ALL[id], torch.get_rng_state()
    for answer in (solved(id), *ALSO_RIGHT.get(id, ())):
        feedback = check(id, answer)
        status = "complete" if exercise.open else "right"  # only its reader can judge an open one
        assert (feedback.status, feedback.exercise.id) == (status, id), feedback.sentence
        assert torch.equal(torch.get_rng_state(), state)


def test_the_numbers_of_registered_mistakes():
    for id, one in ALL.items():
        numbers = {
            name: [value for value, _ in known if type(value) is not bool] for name, (_, known) in one.parts.items()
        }
        numbers = {name: values for name, values in numbers.items() if values}
        assert numbers == {name: pytest.approx(values, rel=1e-4) for name, values in MISTAKEN.get(id, {}).items()}, id


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


@each_exercise
def test_at_least_two_typical_wrong_answers_get_help(id):
    tried = [*mistakes(id), *WRONG.get(id, ())]
    assert id in OPEN or len(tried) >= 2
    for n, (answer, help) in enumerate(tried):
        feedback = check(id, answer)
        assert feedback.status == "not yet" and help in feedback.sentence, (n, feedback.sentence)


def test_ids_are_in_order_and_belong_to_their_lesson():
    assert sorted(ALL, key=lambda id: tuple(map(int, id.split(".")))) == list(ALL)
    for id, exercise in ALL.items():
        lesson = int(exercise.solution.__module__.rsplit("_", 1)[1])
        assert exercise.id == id and int(id.split(".")[0]) == lesson
    assert {*ALSO_RIGHT, *WRONG} <= set(ALL)


def test_numbers_that_are_asked_for_follow_from_their_definitions():
    assert initial_losses() == pytest.approx((4.60517, 0.19852), abs=1e-5)
    probabilities = torch.tensor([0.6] + [0.4 / 9] * 9)
    entropy = torch.distributions.Categorical(probabilities).entropy().item()
    assert noisy_ceiling() == pytest.approx((0.6, entropy))
    assert linear_shifts() == pytest.approx((0.49192, 0.017569), rel=1e-4)
    one, labels = torch.ones(128, 5), torch.arange(64).repeat(2)
    losses = contrastive_loss(one, labels), triplet_loss(one, labels), nt_xent(one[:64], one[64:])
    assert losses_of_one_point() == pytest.approx([float(loss) for loss in losses], abs=1e-5)
    one, constant, (east, north) = torch.ones(128, 8), torch.full((128, 64), 0.3), torch.eye(2)[:, None]
    losses = nt_xent(one, one), cosine_distance(east, north), barlow_loss(constant, constant, 0.01)
    assert list(losses_that_know_nothing().values())[1:] == pytest.approx([float(loss) for loss in losses])
    views = np.array([[0.90, 0.09, 0.01], [0.02, 0.38, 0.60], [0.20, 0.35, 0.45]])
    votes = np.bincount(views.argmax(1))
    scores = {"mean": views.mean(0), "vote": votes, "product": views.prod(0), "max": views.max(0)}
    assert four_rules() == {rule: "ABC"[score.argmax()] for rule, score in scores.items()}


def test_slopes_are_those_of_torch():
    chain, above, below, swish = slopes()
    x, zero = torch.tensor([0.001, -0.001], requires_grad=True), torch.zeros(1, requires_grad=True)
    assert torch.autograd.grad(F.relu(x).sum(), x)[0].tolist() == [above, below]
    assert torch.autograd.grad(F.silu(zero), zero)[0].item() == swish
    assert torch.autograd.grad(torch.sigmoid(zero), zero)[0].item() ** 10 == chain


@pytest.mark.parametrize(("biases_decay", "case"), [(True, "weights and bias"), (False, "weights only, bias above 0")])
def test_what_weight_decay_does_to_a_dead_unit_of_the_first_layer(biases_decay, case):
    """The two answers of 11.4 about weight decay, by training such a unit."""
    image, target, unit = torch.tensor([[0.2, 0.9]]), torch.tensor([[1.0]]), torch.nn.Linear(2, 1)
    torch.nn.init.constant_(unit.weight, -1.0)
    torch.nn.init.constant_(unit.bias, 0.3)
    optimizer = torch.optim.SGD([unit.weight, unit.bias][: 1 + biases_decay], lr=0.1, weight_decay=0.1)
    for _ in range(500):
        optimizer.zero_grad()
        (torch.relu(unit(image)) - target).square().sum().backward()
        optimizer.step()
    assert (unit(image).item() > 0) is come_back()[f"first layer, weight decay on {case}"]


# --- Answers of another kind


@pytest.mark.parametrize("id", [id for id in VALUES if id not in OPEN])
def test_a_value_with_a_part_missing_or_of_another_kind_gets_help(id):
    exercise, right = ALL[id], ALL[id].solution()
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


@pytest.mark.parametrize("id", [id for id in ALL if ALL[id].cases])
def test_a_result_of_another_kind_gets_help(id):
    exercise = ALL[id]

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


@pytest.mark.parametrize("id", [id for id in ALL if not ALL[id].value])
def test_a_result_in_float64_is_right_too(id):
    def double(result):
        parts = tuple(map(double, result)) if isinstance(result, tuple) else result
        return result.double() if torch.is_tensor(result) and result.is_floating_point() else parts

    assert check(id, lambda *args: double(ALL[id].solution(*args))).status == "right"


@pytest.mark.parametrize("id", OPEN)
def test_an_open_exercise_is_complete_at_most_and_says_what_is_missing(id):
    points, plan = ALL[id].points, ALL[id].solution()
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


@each_exercise
def test_answer_that_is_nothing_or_raises_is_never_right(id):
    for answer in (None, ..., "", lambda *args: None, lambda *args: "word", lambda *args: (), 3, "word", [], {}):
        assert check(id, answer).status in ("not answered yet", "not yet")

    def answer(*args):
        raise KeyError("no such thing")

    if not ALL[id].value:
        line = answer.__code__.co_firstlineno + 1
        sentence = f"Your answer raised KeyError in line {line} of the cell: 'no such thing'"
        assert (check(id, answer).status, check(id, answer).sentence) == ("not yet", sentence)


def test_not_implemented_and_a_missing_return_are_no_answer():
    def answer(*args):
        raise NotImplementedError

    assert check("1.3", answer).status == "not answered yet"
    assert "`return`" in check("1.3", lambda correct, sizes: None).sentence


def test_unknown_exercise_names_the_nearest():
    with pytest.raises(ValueError, match=r'no exercise "1\.22"\. Did you mean "1\.2"'):
        check("1.22", None)
    with pytest.raises(ValueError, match="There are: 1.1, 1.2"):
        stub("nonsense")


# --- The parts of the machinery


@blocks.exercise("0.1 a mean", hint="", hint2="", cases=[(torch.tensor([1.0, 2.0, 6.0]),)], otherwise="add and divide.",
          gradient="x", write_it=("mean", "average"), right="Right.")  # fmt: skip
def mean(x):
    """The mean."""
    return x.sum() / len(x)


mean.mistakes((lambda x: x.sum(), "divide by the number."))
WHOLE_TASK = "which does the whole task; write it yourself from its parts."


@pytest.mark.parametrize(
    ("answer", "status", "sentence"),
    [
        (lambda x: x.sum() / 3, "right", "Right."),
        (lambda x: np.float64(3.0), "right", "Right."),  # NumPy has no gradient
        (lambda x: x.mean(), "not yet", f"You call `mean`, {WHOLE_TASK}"),
        (lambda x: (lambda y: np.average(y.numpy()))(x.detach()), "not yet", "You call `average`, which does"),
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


def test_the_parts_of_two_answers_and_their_distance():
    nan, inf = np.array([np.nan, 1.0]), np.array([np.inf, 1.0])
    assert distance(nan, nan) == distance(inf, inf) == distance(True, 1) == distance("A", "A") == 0
    assert distance(nan, inf) == distance(inf, nan) == distance("A", "B") == distance(nan, np.ones(3)) == np.inf
    assert distance(np.array([1.0, 5.0]), np.array([1.0, 4.0])) == 0.25 and distance(inf, np.ones(2)) == np.inf
    assert [part.tolist() for part in parts([1, 2], (3, torch.tensor(4)))] == [[1, 2]]  # single numbers are one part
    assert [part.shape for part in parts((np.ones(2), np.ones(3)), (np.zeros(2), np.zeros(3)))] == [(2,), (3,)]


# --- Stubs, and what is shown


def cells_of(lesson):
    """The code cells of a lesson's notebook."""
    (path,) = NOTEBOOKS.glob(f"{lesson:02}*.ipynb")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]).strip() for cell in cells if cell["cell_type"] == "code"]


@each_exercise
def test_its_notebook_holds_its_stub_which_is_no_answer_yet(id):
    exercise, source, given = ALL[id], stub(id), []
    assert [cell for cell in cells_of(int(id.split(".")[0])) if f'check("{id}", ' in cell] == [source]
    exec(source, {"check": lambda *args: given.append(args)})
    assert [check(*args).status for args in given] == ["not answered yet"]
    if not exercise.value:
        (function, _call) = ast.parse(source).body
        arguments = [argument.arg for argument in function.args.args]
        assert arguments == list(inspect.signature(exercise.solution).parameters)
        assert inspect.cleandoc(ast.get_docstring(function)) == inspect.getdoc(exercise.solution)


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


@each_exercise
def test_html_is_balanced_without_script_and_folds(id):
    tags = Tags()
    tags.feed(check(id, None)._repr_html_())
    assert tags.open == [] and "script" not in tags.seen
    assert tags.summaries == ["Hint 1", "Hint 2", "Solution"]


def test_html_shows_the_solution_and_escapes_what_an_answer_says_and_text_says_the_verdict():
    def answer(correct, sizes):
        raise ValueError("<script>alert(1)</script>")

    page = check("1.3", answer)._repr_html_()
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert "return sum(correct_per_batch) / sum(sizes)" in page
    text = repr(check("1.3", lambda correct, sizes: 0.0))
    assert text.startswith("Exercise 1.3, accuracy with an uneven last batch: not yet.\n")
    assert "sum(sizes)" not in text
