"""Lesson 11's checks: other right answers are accepted, typical wrong ones get a sentence that helps."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tdnn_helpers.exercises import check
from tdnn_helpers.exercises.checks_11 import CASES, PARTS
from tdnn_helpers.exercises.lesson_11 import come_back, comparison, dead_units, mish, slopes


def written_out(x):
    return x * torch.tanh(torch.log(1 + torch.exp(x)))


def with_logaddexp(x):
    return x * torch.tanh(torch.logaddexp(x, torch.zeros_like(x)))


def batch_by_batch(batches):
    silent = torch.ones(batches[0].shape[1], dtype=torch.bool)
    for batch in batches:
        silent &= (batch == 0).all(dim=0)
    return silent


def largest_output(batches):
    return np.max([batch.abs().amax(0).numpy() for batch in batches], axis=0) == 0


def one_by_one(batches):
    columns = range(batches[0].shape[1])
    return [all(batch[row, unit] == 0 for batch in batches for row in range(len(batch))) for unit in columns]


@pytest.mark.parametrize(
    ("id", "answer"),
    [
        ("11.1", [9.5e-7, 1, 0, 0.5]),
        ("11.1", np.array([0.25**10, 1, 0, 0.5])),
        ("11.2", F.mish),
        ("11.2", with_logaddexp),
        ("11.3", batch_by_batch),
        ("11.3", largest_output),
        ("11.3", one_by_one),
        ("11.3", lambda batches: batch_by_batch(batches).int()),
        ("11.4", {case: int(right) for case, (right, _) in CASES.items()}),
        ("11.5", dict.fromkeys(PARTS, "not done")),
    ],
)
def test_other_right_answers(id, answer):
    feedback = check(id, answer)
    assert feedback.status == "right", feedback.sentence


def on_batches(how):
    """A wrong count: ``how`` joins the verdicts of the batches."""
    return lambda batches: how(torch.stack([batch.eq(0).all(0) for batch in batches]))


def answering(case):
    return come_back() | {case: not CASES[case][0]}


RIGHT = slopes()


@pytest.mark.parametrize(
    ("id", "answer", "help"),
    [
        ("11.1", (0.25, 1, 0, 0.5), "slope of one"),
        ("11.1", (2.5, 1, 0, 0.5), "adds the slopes"),
        ("11.1", (0.5**10, 1, 0, 0.5), "not the slope"),
        ("11.1", (1, 1, 0, 0.5), "each slope is below 1"),
        ("11.1", (1e-3, 1, 0, 0.5), "0.001 is not it"),
        ("11.1", (RIGHT[0], 0.001, 0, 0.5), "is the output there"),
        ("11.1", (RIGHT[0], 1, 1, 0.5), "below zero the output is 0"),
        ("11.1", (RIGHT[0], 0.5, 0.5, 0.5), "does not depend on the distance"),
        ("11.1", (RIGHT[0], 1, 0, 0), "its slope is not"),
        ("11.1", (RIGHT[0], 1, 0, 0.25), "slope of the sigmoid"),
        ("11.1", (RIGHT[0], 1, 0, 1), "1 is not σ(0)"),
        ("11.1", (1, 2, 3), "four numbers"),
        ("11.2", written_out, "eˣ overflows on the way back"),
        ("11.2", lambda x: x * torch.log1p(torch.exp(x)).tanh(), "eˣ overflows on the way back"),
        ("11.2", lambda x: x * (((1 + x.exp()) ** 2 - 1) / ((1 + x.exp()) ** 2 + 1)), "the value is nan"),
        ("11.2", F.silu, "that is Swish"),
        ("11.2", lambda x: torch.tanh(F.softplus(x)), "the factor x"),
        ("11.2", lambda x: x * F.softplus(x), "the tanh is missing"),
        ("11.2", lambda x: x * torch.tanh(torch.exp(x)), "take ln"),
        ("11.2", F.relu, "Mish is"),
        ("11.2", lambda x: mish(x.detach()), "cut off"),
        ("11.2", lambda x: mish(x).sum(), "shape must stay"),
        ("11.2", lambda x: 0.5, "Return a tensor"),
        ("11.2", lambda x: mish(x.clamp(-20, 20)), "should be 100"),
        ("11.2", lambda x: mish(x).flatten(), "Work on each element"),
        ("11.3", on_batches(lambda silent: silent.any(0)), "must be silent on every batch"),
        ("11.3", on_batches(lambda silent: silent[0]), "first batch only"),
        ("11.3", on_batches(lambda silent: silent[-1]), "last batch only"),
        ("11.3", lambda batches: torch.cat(batches).eq(0).any(0), "`all`, not `any`"),
        ("11.3", lambda batches: ~dead_units(batches), "exchanged"),
        ("11.3", lambda batches: torch.cat(batches).mean(0) == 0, "Negative outputs"),
        ("11.3", lambda batches: (torch.cat(batches) == 0).all(1), "one True or False for each"),
        ("11.3", lambda batches: dead_units(batches).sum(), "one True or False for each"),
        ("11.3", lambda batches: torch.cat(batches).sum(0), "Return True for a dead unit"),
        ("11.3", lambda batches: torch.zeros(7, dtype=torch.bool), "every image of every batch"),
        *[("11.4", answering(case), why) for case, (_, why) in CASES.items()],
        ("11.4", come_back() | {"third layer, plain SGD": "yes"}, "answer True or False"),
        ("11.4", {"first layer, plain SGD": False}, "Still empty: first layer, weight decay"),
        ("11.4", {"first layer, plain SDG": False}, 'Did you mean "first layer, plain SGD"'),
        ("11.4", [False, False, True, True, True], "dictionary"),
        ("11.5", comparison() | {"seeds": "", "time": None}, "Still empty, 2 of 6"),
        ("11.5", comparison() | {"sedes": "8"}, 'Did you mean "seeds"'),
        ("11.5", ["fine"], "dictionary"),
    ],
)
def test_wrong_answers_get_help(id, answer, help):
    feedback = check(id, answer)
    assert feedback.status == "not yet"
    assert help in feedback.sentence


def test_solutions_agree_with_the_definitions():
    chain, above, below, swish = slopes()
    x = torch.tensor([0.001, -0.001], requires_grad=True)
    assert torch.autograd.grad(F.relu(x).sum(), x)[0].tolist() == [above, below]
    zeros = torch.zeros(1, requires_grad=True)
    assert torch.autograd.grad(F.silu(zeros).sum(), zeros)[0].item() == swish
    assert torch.autograd.grad(torch.sigmoid(zeros).sum(), zeros)[0].item() ** 10 == chain
    assert torch.allclose(mish(torch.linspace(-9, 9, 50)), F.mish(torch.linspace(-9, 9, 50)), atol=1e-6)


@pytest.mark.parametrize(("decayed", "case"), [("both", 1), ("weights", 2)])
def test_what_weight_decay_does_to_a_dead_unit_of_the_first_layer(decayed, case):
    """The two answers of 11.4 about weight decay, by training such a unit."""
    image, target = torch.tensor([[0.2, 0.9]]), torch.tensor([[1.0]])
    unit = torch.nn.Linear(2, 1)
    with torch.no_grad():
        unit.weight.fill_(-1.0)
        unit.bias.fill_(0.3)
    decay = {"weights": [unit.weight], "both": [unit.weight, unit.bias]}[decayed]
    optimizer = torch.optim.SGD(decay, lr=0.1, weight_decay=0.1)
    for _ in range(500):
        optimizer.zero_grad()
        (torch.relu(unit(image)) - target).square().sum().backward()
        optimizer.step()
    assert (unit(image).item() > 0) is list(CASES.values())[case][0]
