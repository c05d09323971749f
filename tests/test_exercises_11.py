"""Lesson 11: other right answers, wrong ones that are no registered mistake, and what the solutions must give."""

import numpy as np
import torch
import torch.nn.functional as F

from tdnn_helpers.exercises.lesson_11 import come_back, mish, slopes

RIGHT = slopes()


def one_by_one(batches):
    columns = range(batches[0].shape[1])
    return [all(batch[row, unit] == 0 for batch in batches for row in range(len(batch))) for unit in columns]


ALSO_RIGHT = {
    "11.1": [[1e-6, 1, 0, 0.5], np.array([0.25**10, 1, 0, 0.5])],
    "11.2": [lambda x: x * torch.tanh(torch.logaddexp(x, torch.zeros_like(x)))],
    "11.3": [
        one_by_one,
        lambda batches: (sum(batch.ne(0).sum(0) for batch in batches) == 0).int(),
        lambda batches: np.max([batch.abs().amax(0).numpy() for batch in batches], axis=0) == 0,
    ],
    "11.4": [{case: int(right) for case, right in come_back().items()}],
}
WRONG = {
    "11.1": [
        ((1e-3, 1, 0, 0.5), "0.5 is the output"),
        ((1e-2, 1, 0, 0.5), "0.01 is not it"),
        ((RIGHT[0], 0.5, 0, 0.5), "the same at 0.001 and at 1,000"),
        ((RIGHT[0], 1, 0, 1), "1 is not it; it is σ(0)"),
    ],
    "11.2": [
        (lambda x: x * torch.tanh(torch.log(1 + torch.exp(x))), "a number on the way overflows"),
        (lambda x: x * torch.log1p(torch.exp(x)).tanh(), "a number on the way overflows"),
        (F.relu, "it is x · tanh"),
        (lambda x: mish(x.detach()), "cut off"),
        (lambda x: mish(x.clamp(-20, 20)), "should be [100, "),
        (lambda x: mish(x).flatten(), "The shape must be (2, 3, 4)"),
        (lambda x: mish(x).numpy(), "Return a tensor"),
        (F.mish, "does the whole task"),
    ],
    "11.3": [
        (lambda batches: torch.cat(batches).mean(0) == 0, "negative outputs"),
        (lambda batches: (torch.cat(batches) == 0).all(1), "shape must be (7,)"),
        (lambda batches: torch.zeros(7, dtype=torch.bool), "every image of every batch"),
    ],
    "11.4": [(come_back() | {"third layer, plain SGD": "yes"}, "answer True or False")],
}


def test_solutions_agree_with_the_definitions():
    chain, above, below, swish = slopes()
    x = torch.tensor([0.001, -0.001], requires_grad=True)
    assert torch.autograd.grad(F.relu(x).sum(), x)[0].tolist() == [above, below]
    zeros = torch.zeros(1, requires_grad=True)
    assert torch.autograd.grad(F.silu(zeros).sum(), zeros)[0].item() == swish
    assert torch.autograd.grad(torch.sigmoid(zeros).sum(), zeros)[0].item() ** 10 == chain
    assert torch.allclose(mish(torch.linspace(-9, 9, 50)), F.mish(torch.linspace(-9, 9, 50)), atol=1e-6)


def test_what_weight_decay_does_to_a_dead_unit_of_the_first_layer():
    """The two answers of 11.4 about weight decay, by training such a unit."""
    image, target = torch.tensor([[0.2, 0.9]]), torch.tensor([[1.0]])
    for biases_decay, case in ((True, "weights and bias"), (False, "weights only, bias above 0")):
        unit = torch.nn.Linear(2, 1)
        with torch.no_grad():
            unit.weight.fill_(-1.0)
            unit.bias.fill_(0.3)
        decayed = [unit.weight, unit.bias] if biases_decay else [unit.weight]
        optimizer = torch.optim.SGD(decayed, lr=0.1, weight_decay=0.1)
        for _ in range(500):
            optimizer.zero_grad()
            (torch.relu(unit(image)) - target).square().sum().backward()
            optimizer.step()
        assert (unit(image).item() > 0) is come_back()[f"first layer, weight decay on {case}"]
