"""The checklist: each planted fault is found under its own point, healthy pipelines raise no alarm, nothing is touched."""

import copy
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tdnn_helpers.checklist import Finding, Note, Report, checklist
from tdnn_helpers.checklist.case import interval
from tdnn_helpers.checklist.labels import _votes
from tdnn_helpers.data import load
from tdnn_helpers.models import mlp, small_cnn
from tdnn_helpers.session import quiet
from tdnn_helpers.train import Diverged, History, fit, regression


def trained(train, val, epochs=3, **choices):
    torch.manual_seed(0)
    model = small_cnn(train, width=8, **choices)
    with quiet():
        return model, fit(model, train, val=val, epochs=epochs, batch_size=64, device="cpu")


@pytest.fixture(scope="module", autouse=True)
def on_the_cpu():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TDNN_DEVICE", "cpu")
        yield


@pytest.fixture(scope="module")
def digits():
    return load("digits").split(0.7, seed=0)


@pytest.fixture(scope="module")
def healthy(digits):
    """(model, history) of a pipeline without a fault."""
    return trained(*digits)


@pytest.fixture(scope="module")
def healthy_report(digits, healthy):
    return checklist(healthy[0], *digits, history=healthy[1])


def untrained(train, *after, seed=0, **choices):
    """A small perceptron, with other layers behind it."""
    torch.manual_seed(seed)
    return nn.Sequential(*mlp(train, hidden=(32,), **choices), *after)


def two_classes(split, outputs=None):
    return split[split.targets < 2].with_targets(split.targets[split.targets < 2], split.classes[:2])


# Health


def test_a_healthy_pipeline_raises_no_alarm(healthy_report):
    assert [finding.status for finding in healthy_report.findings] == ["fine"] * 6 + ["look"], healthy_report
    assert healthy_report.worst == "look" and "No external split" in healthy_report[7].evidence


def test_a_healthy_pipeline_on_1500_clothes_has_nothing_wrong():
    train, val = load("fashion-mnist").take(1500, seed=0).split(0.7, seed=0)
    model, history = trained(train, val, epochs=2)
    report = checklist(model, train, val, history=history)
    assert report.worst != "wrong", report
    assert [report[point].status for point in (1, 2, 3, 4)] == ["fine"] * 4, report


@pytest.mark.parametrize("seed", range(6))
def test_an_untrained_network_has_no_fault_in_its_output(digits, seed):
    train, val = (two_classes(split) for split in digits)  # two small logits often lie in [0, 1] by chance
    assert checklist(untrained(train, seed=seed), train, val)[4].status == "fine"


def test_an_untrained_network_has_no_curves_and_nothing_to_lose(digits):
    report = checklist(untrained(digits[0]), *digits)
    assert "No history" in report[5].evidence and "untrained" in report[5].evidence
    assert report[7].status == "not checked"


# Point 1


def test_constant_images(digits, healthy):
    train, val = digits
    images = train.images.clone()
    images[:100] = 0
    report = checklist(healthy[0], replace(train, images=images), val)
    assert report[1].status == "wrong" and "7.95 %" in report[1].evidence


def test_images_that_say_nothing_about_the_class(digits, healthy):
    train, val = (s.with_targets(s.targets[torch.randperm(len(s))], s.classes) for s in digits)
    report = checklist(healthy[0], train, val)
    assert report[1].status == "look" and "no better than naming" in report[1].evidence
    assert report[3].status == "not checked" and report.suspects == []


def test_an_image_that_shrinks_away_before_the_last_convolution(digits):
    train, val = digits
    stage = [nn.Conv2d(1, 1, 3, padding=1), nn.MaxPool2d(2)]
    model = nn.Sequential(*copy.deepcopy(stage * 4), nn.Flatten(), nn.Linear(1, 10))
    assert checklist(model, train, val)[1].status == "fine"  # 8, 4, 2, then 1 after the last of three poolings
