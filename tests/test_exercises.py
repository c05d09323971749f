"""The machinery of the exercises, and for every exercise of the course: the solution passes, the stub is unanswered."""

import ast
import importlib
import inspect
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from tdnn_helpers.exercises import check, exercises, stub

ALL = list(exercises())
NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"


def solved(id):
    exercise = exercises()[id]
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
    assert (feedback.status, feedback.exercise.id) == ("right", id), feedback.sentence


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


@pytest.mark.parametrize("id", [id for id in ALL if not exercises()[id].value])
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
    for id, exercise in exercises().items():
        lesson = int(exercise.solution.__module__.rsplit("_", 1)[1])
        assert exercise.id == id and int(id.split(".")[0]) == lesson


@pytest.mark.parametrize("lesson", sorted({id.split(".")[0] for id in ALL}, key=int))
def test_every_check_was_tried_with_two_typical_wrong_answers(lesson):
    module = importlib.import_module(f"test_exercises_{int(lesson):02d}")
    (mark,) = module.test_wrong_answers_get_help.pytestmark
    tried = [case[0] for case in mark.args[1]]
    assert {id for id in ALL if id.split(".")[0] == lesson and tried.count(id) < 2} == set()


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
    assert text.startswith("Exercise 1.3, accuracy with an uneven last batch: not yet.\nFor ")
    assert "sum(sizes)" not in text


@pytest.mark.parametrize("id", ALL)
def test_stub_and_solution_have_the_same_arguments(id):
    exercise = exercises()[id]
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
