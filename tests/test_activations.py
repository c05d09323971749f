"""Swish against its formula, its limits and its gradients; the activations of the networks against naive formulas."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tdnn_helpers.models.activations import Swish
from tdnn_helpers.models.networks import ACTIVATIONS, count_parameters, mlp

X = torch.linspace(-6, 6, 97, dtype=torch.float64)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def swish(x, beta):
    return x * sigmoid(beta * x)


FORMULAS = {
    "relu": lambda x: max(x, 0.0),
    "leaky_relu": lambda x: x if x > 0 else 0.01 * x,
    "silu": lambda x: x * sigmoid(x),
    "swish": lambda x: x * sigmoid(x),
    "mish": lambda x: x * math.tanh(math.log(1 + math.exp(x))),
    "gelu": lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2,
    "tanh": math.tanh,
    "sigmoid": sigmoid,
}
LAYERS = {name: (ACTIVATIONS[name], formula) for name, formula in FORMULAS.items()}
LAYERS |= {f"beta {b}": (partial(Swish, b), partial(swish, beta=b)) for b in (0.0, 0.5, 1.0, 4.0, -2.0)}


@pytest.mark.parametrize("name", LAYERS)
def test_activations_are_their_formulas(name):
    make, formula = LAYERS[name]
    expected = torch.tensor([formula(x) for x in X.tolist()], dtype=torch.float64)
    assert torch.allclose(make().double()(X.clone()), expected, atol=1e-12)


def test_swish_between_half_the_identity_and_relu():
    assert torch.equal(Swish(0.0).double()(X), X / 2)
    assert torch.allclose(Swish(1.0).double()(X), F.silu(X), atol=1e-12)
    assert torch.allclose(Swish(1e4).double()(X), F.relu(X), atol=1e-4)
    far = torch.tensor([-1e4, -200.0, 200.0, 1e4], requires_grad=True)  # where nothing overflows
    y = Swish()(far)
    y.sum().backward()
    assert y.tolist() == [0, 0, 200, 1e4] and far.grad.tolist() == [0, 0, 1, 1]


def test_gradient_of_beta_is_the_sum_over_the_layer():
    layer = Swish(0.75).double()
    layer(X).sum().backward()
    expected = sum(x * x * sigmoid(0.75 * x) * (1 - sigmoid(0.75 * x)) for x in X.tolist())
    assert layer.beta.grad.item() == pytest.approx(expected, rel=1e-9)
    assert torch.autograd.gradcheck(layer, (X.clone().requires_grad_(),))


def test_beta_is_trained_or_kept_and_saved_with_the_weights_either_way():
    trained, fixed = Swish(2.0), Swish(2.0, trainable=False)
    assert (count_parameters(trained), count_parameters(fixed)) == (1, 0)
    for layer in (trained, fixed):
        other = Swish(0.5, trainable=layer is trained)
        other.load_state_dict(layer.state_dict())
        assert other.beta.item() == 2.0
    assert repr(trained) == "Swish(beta=2, trainable=True)" and "trainable=False" in repr(fixed)


def test_every_layer_of_a_network_learns_its_own_beta(few):
    model = mlp(few, hidden=(8, 8), activation="swish")
    layers = [layer for layer in model if isinstance(layer, Swish)]
    assert len({id(layer.beta) for layer in layers}) == 2
    model(torch.rand(5, 1, 8, 8)).square().sum().backward()
    assert all(layer.beta.grad.abs() > 0 for layer in layers)
    assert count_parameters(model) == count_parameters(mlp(few, hidden=(8, 8), activation="mish")) + 2


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_linear_layers_stay_what_they_are_with_every_activation(few, name):
    def weights(activation):
        torch.manual_seed(0)
        layers = mlp(few, hidden=(4,), activation=activation)
        return [layer.weight for layer in layers if isinstance(layer, nn.Linear)]

    assert all(torch.equal(a, b) for a, b in zip(weights(name), weights("relu"), strict=True))
