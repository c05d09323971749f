"""Lesson 2's checks: other right answers are accepted, typical wrong ones get a sentence that helps."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tdnn_helpers.exercises import check, exercises
from tdnn_helpers.exercises.checks_02 import POINTS
from tdnn_helpers.exercises.lesson_02 import (
    confused_labels,
    diagnosis,
    dropout,
    early_stopping,
    noisy_ceiling,
    one_at_a_time,
)

ENTROPY = 1.5518


def by_history(losses, patience):
    best, since, value = 0, 0, math.inf
    for now, loss in enumerate(losses):
        best, since, value = (now, 0, loss) if loss < value else (best, since + 1, value)
        if since == patience:
            break
    return torch.tensor(best), now


def dropout_where(x, p, training):
    return torch.where(torch.rand_like(x) < p, torch.zeros_like(x), x / (1 - p)) if training else x


def by_copying(base, changes):
    arms = {"base": base.copy()}
    for name, change in changes.items():
        arms[name] = base.copy()
        arms[name].update(change)
    return arms


def with_numpy(targets, confusion, seed):
    random = np.random.default_rng(seed)
    rows = confusion.double().numpy()
    return np.array([random.choice(3, p=rows[t] / rows[t].sum()) for t in targets.numpy()])


def by_cumulative_sum(targets, confusion, seed):
    random = torch.rand(len(targets), 1, generator=torch.Generator().manual_seed(seed))
    return (random > confusion.cumsum(1)[targets][:, :-1]).sum(1)


@pytest.mark.parametrize(
    ("id", "answer"),
    [
        ("2.1", (0.6, 1.55)),
        ("2.1", {"accuracy": np.float64(0.6), "loss": torch.tensor(ENTROPY)}),
        ("2.2", by_history),
        ("2.2", lambda losses, patience: list(early_stopping(losses, patience))),
        ("2.3", dropout_where),
        ("2.3", lambda x, p, training: F.dropout(x, p, training)),
        ("2.4", by_copying),
        ("2.5", with_numpy),
        ("2.5", by_cumulative_sum),
        ("2.6", dict.fromkeys(POINTS, "not done")),
    ],
)
def test_other_right_answers(id, answer):
    feedback = check(id, answer)
    assert feedback.status == "right", feedback.sentence


@pytest.mark.parametrize("id", [id for id in exercises() if id.startswith("2.")])
def test_the_solution_is_right_and_the_stub_is_not(id):
    exercise = exercises()[id]
    solution = exercise.solution() if exercise.value else exercise.solution
    assert check(id, solution).status == "right"
    blank = eval(exercise.value) if exercise.value else lambda *args: ...
    assert check(id, blank).status == "not answered yet"


def first_rise(losses, patience):
    stop = next((i for i in range(1, len(losses)) if losses[i] > losses[i - 1]), len(losses) - 1)
    return int(np.argmin(losses[: stop + 1])), stop


def fixed_mask(x, p, training):
    return x * (torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) >= p) / (1 - p) if training else x


def rows_dropped(x, p, training):
    return x * (torch.rand(len(x), 1) >= p) / (1 - p) if training else x


def in_place(x, p, training):
    return x.mul_((torch.rand_like(x) >= p) / (1 - p)) if training else x


def piled_up(base, changes):
    arms, settings = {"base": dict(base)}, dict(base)
    for name, change in changes.items():
        settings = settings | change
        arms[name] = settings
    return arms


def in_the_base(base, changes):
    arms = {"base": base}
    for name, change in changes.items():
        base.update(change)
        arms[name] = dict(base)
    return arms


def drawn_from(rows_of):
    def answer(targets, confusion, seed):
        generator = torch.Generator().manual_seed(seed)
        return torch.multinomial(rows_of(targets, confusion), 1, generator=generator)[:, 0]

    return answer


@pytest.mark.parametrize(
    ("id", "answer", "help"),
    [
        ("2.1", (1.0, ENTROPY), "labels as given"),
        ("2.1", (0.64, ENTROPY), "right by luck"),
        ("2.1", (60, ENTROPY), "fraction"),
        ("2.1", (0.4, ENTROPY), "flipped labels"),
        ("2.1", (0.5, ENTROPY), "count the labels"),
        ("2.1", (0.6, 0.0), "to be known"),
        ("2.1", (0.6, -ENTROPY), "sign"),
        ("2.1", (0.6, ENTROPY / math.log(2)), "bits"),
        ("2.1", (0.6, 0.673), "nine classes"),
        ("2.1", (0.6, 0.5108), "right labels only"),
        ("2.1", (0.6, 2.3026), "knows nothing"),
        ("2.1", (0.6, 3.0), "average minus the logarithm"),
        ("2.1", 0.6, "two numbers"),
        ("2.2", lambda losses, patience: early_stopping(losses, patience)[::-1], "exchanged"),
        ("2.2", lambda losses, patience: (int(np.argmin(losses)), early_stopping(losses, patience)[1]), "the future"),
        ("2.2", lambda losses, patience: (early_stopping(losses, patience)[1],) * 2, "lowest loss before it"),
        ("2.2", lambda losses, patience: (early_stopping(losses, patience)[0],) * 2, "nobody knows yet"),
        ("2.2", lambda losses, patience: early_stopping(losses, patience - 1), "it stops at record 5"),
        ("2.2", first_rise, "it stops at record"),
        ("2.2", lambda losses, patience: 3, "Return two"),
        ("2.3", lambda x, p, training: dropout(x, p, True), "Outside training"),
        ("2.3", lambda x, p, training: x * (torch.rand_like(x) >= p) if training else x, "not scaled"),
        (
            "2.3",
            lambda x, p, training: x * (torch.rand_like(x) < p) / p if training else x,
            "not the share that is kept",
        ),
        ("2.3", lambda x, p, training: x * (torch.rand_like(x) >= p) * (1 - p) if training else x, "multiplied"),
        ("2.3", lambda x, p, training: x * (torch.rand_like(x) >= p) / p if training else x, "not by p"),
        ("2.3", fixed_mask, "draw anew"),
        ("2.3", rows_dropped, "Whole rows"),
        ("2.3", in_place, "in place"),
        ("2.3", lambda x, p, training: dropout(x, p, training).detach(), "cut off"),
        ("2.4", piled_up, "cures before it"),
        ("2.4", in_the_base, "changed the base"),
        ("2.4", lambda base, changes: {"base": base, **changes}, "only what it changes"),
        (
            "2.4",
            lambda base, changes: {name: {**base, **c} for name, c in changes.items()},
            "untreated network is missing",
        ),
        ("2.4", lambda base, changes: dict.fromkeys(["base", *changes], base), "was not applied"),
        ("2.4", lambda base, changes: one_at_a_time(base, changes) | {"all": {}}, "The names must be"),
        ("2.4", lambda base, changes: list(changes), "dictionary"),
        ("2.5", drawn_from(lambda t, c: c.mean(0).expand(len(t), 3)), "do not depend"),
        ("2.5", drawn_from(lambda t, c: c.T[t]), "columns"),
        ("2.5", lambda t, c, s: c[t].argmax(1), "most probable"),
        ("2.5", lambda t, c, s: torch.multinomial(c[t], 1, generator=torch.Generator().manual_seed(s)), "[:, 0]"),
        ("2.5", lambda t, c, s: torch.multinomial(c[t], 1)[:, 0], "same seed"),
        ("2.5", lambda t, c, s: confused_labels(t, c, 0), "Every seed"),
        ("2.5", lambda t, c, s: t, "row 0 asks"),
        ("2.5", lambda t, c, s: c[t], "one label for each image"),
        ("2.6", diagnosis() | {"effect": "", "test": None}, "Still empty, 2 of 6"),
        ("2.6", diagnosis() | {"symptons": "x"}, 'Did you mean "symptom"'),
        ("2.6", ["all fine"], "dictionary"),
    ],
)
def test_wrong_answers_get_help(id, answer, help):
    feedback = check(id, answer)
    assert feedback.status == "not yet"
    assert help in feedback.sentence


def test_solutions_agree_with_the_definitions():
    accuracy, loss = noisy_ceiling()
    probabilities = torch.tensor([0.6] + [0.4 / 9] * 9)
    assert accuracy == 0.6 and loss == pytest.approx(torch.distributions.Categorical(probabilities).entropy().item())
    assert early_stopping([1.0, 0.5, 0.6, 0.7], 2) == (1, 3) and early_stopping([1.0, 0.5, 0.6], 2) == (1, 2)
    assert one_at_a_time({"a": 1, "b": 2}, {"x": {"a": 3}}) == {"base": {"a": 1, "b": 2}, "x": {"a": 3, "b": 2}}
    assert confused_labels(torch.tensor([0, 1]), torch.tensor([[0.0, 1.0], [1.0, 0.0]]), 0).tolist() == [1, 0]
