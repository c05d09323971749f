"""Several seeds of one small network trained as one: each operation runs once for all of them (``torch.func``)."""

import copy
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap

from tdnn_helpers.data.split import Split
from tdnn_helpers.models.networks import mlp
from tdnn_helpers.train.loop import sgd

from .loops import bare_loop, ready, training_images
from .measure import Row, Size, speeds

SEEDS = 5
HIDDEN = {"a linear model": (), "MLP (128 hidden)": (128,)}


def networks(split: Split, hidden: tuple[int, ...]) -> list[nn.Module]:
    models = []
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        models.append(mlp(split, hidden=hidden))
    return models


def one_by_one(models: list[nn.Module], images: torch.Tensor, targets: torch.Tensor, batch: int) -> None:
    for model in models:
        bare_loop(images, targets, model, batch)


def as_one(models: list[nn.Module], images: torch.Tensor, targets: torch.Tensor, batch: int) -> dict[str, torch.Tensor]:
    """The same steps for all models at once. Returns their parameters, stacked along the first axis."""
    parameters, buffers = stack_module_state(models)
    skeleton = copy.deepcopy(models[0]).to("meta")

    def loss(parameters, buffers, x, y):
        return F.cross_entropy(functional_call(skeleton, (parameters, buffers), (x,)), y)

    gradients = vmap(grad(loss), in_dims=(0, 0, None, None))
    optimizer = sgd()(parameters.values())
    for x, y in zip(images.split(batch), targets.split(batch), strict=True):
        detached = {name: parameter.detach() for name, parameter in parameters.items()}
        for name, gradient in gradients(detached, buffers, x, y).items():
            parameters[name].grad = gradient
        optimizer.step()
    return parameters


def rows(size: Size) -> list[Row]:
    train = training_images(size)
    images, rows = ready(train), []
    for name, hidden in HIDDEN.items():

        def work(way, hidden=hidden):
            way(networks(train, hidden), *images, size.batch)

        works = {way: partial(work, way) for way in (one_by_one, as_one)}
        alone, together = speeds(works, SEEDS * size.images, size.rounds).values()
        rows.append(Row(f"{SEEDS} seeds of {name} as one stacked model", "one after the other", together, alone))
    return rows
