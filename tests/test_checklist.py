"""The checklist: each planted fault is found under its own point, healthy ones raise no alarm, all stays as it was."""

import copy
import random
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import binomtest
from torch import nn

from refusals import refused
from tdnn_helpers.checklist import Finding, Report, check_model
from tdnn_helpers.checklist.labels import _votes
from tdnn_helpers.core.progress_bars import quiet
from tdnn_helpers.data.sets import load
from tdnn_helpers.evidence.effects import wilson
from tdnn_helpers.models.networks import mlp, small_cnn
from tdnn_helpers.train.loop import fit
from tdnn_helpers.train.run import History

TRAIN, VAL = load("digits").split(0.7, seed=0)
FEW = {"train": TRAIN.take(300, seed=0), "val": VAL.take(150, seed=0)}  # enough for a fault of the model


def trained(train, val, epochs=3):
    torch.manual_seed(0)
    model = small_cnn(train, width=8)
    return model, fit(model, train, val=val, epochs=epochs, batch_size=64, device="cpu")


@pytest.fixture(scope="module", autouse=True)
def on_the_cpu():
    with pytest.MonkeyPatch.context() as patch, quiet():
        patch.setenv("TDNN_DEVICE", "cpu")
        yield


@pytest.fixture(scope="module")
def healthy():
    """(model, history) of a pipeline without a fault."""
    return trained(TRAIN, VAL)


@pytest.fixture(scope="module")
def healthy_report(healthy):
    return check_model(healthy[0], TRAIN, VAL, history=healthy[1])


@pytest.fixture
def examine(healthy):
    """``examine(point, status, words …)``: the report on the healthy pipeline with something else in it. The point has
    that status, and its texts hold these words."""

    def run(point, status, *words, model=healthy[0], train=TRAIN, val=VAL, **settings):
        report = check_model(model, train, val, **settings)
        finding = report[point]
        assert finding.status == status, finding
        assert all(word in f"{finding.evidence} {finding.advice}" for word in words), finding
        return report

    return run


def untrained(*after, train=TRAIN, seed=0, **choices):
    """A small perceptron, with other layers behind it."""
    torch.manual_seed(seed)
    return nn.Sequential(*mlp(train, hidden=(32,), **choices), *after)


def two_classes(split):
    return split[split.targets < 2].with_targets(split.targets[split.targets < 2], split.classes[:2])


def test_a_healthy_pipeline_raises_no_alarm(healthy_report):
    assert [finding.status for finding in healthy_report.findings] == ["fine"] * 6 + ["look"], healthy_report
    assert healthy_report.worst == "look" and "No external split" in healthy_report[7].evidence
    assert "penultimate features: 9" in healthy_report[5].evidence and "an untrained copy" in healthy_report[5].evidence


def test_a_healthy_pipeline_on_1500_clothes_has_nothing_wrong():
    train, val = load("fashion-mnist").take(1500, seed=0).split(0.7, seed=0)
    model, history = trained(train, val, epochs=2)
    report = check_model(model, train, val, history=history)
    assert report.worst != "wrong", report
    assert [report[point].status for point in (1, 2, 3, 4)] == ["fine"] * 4, report


@pytest.mark.parametrize("seed", range(6))
def test_an_untrained_network_has_no_fault_in_its_output(examine, seed):
    train, val = map(two_classes, (TRAIN, VAL))  # two small logits often lie in [0, 1] by chance
    examine(4, "fine", model=untrained(train=train, seed=seed), train=train, val=val)


def test_an_untrained_network_has_no_curves_and_nothing_to_lose(examine):
    report = examine(7, "not checked", model=untrained())
    assert "No history" in report[5].evidence and "untrained" in report[5].evidence


# --- Faults of the data: points 1, 3, 6 and 7


def changed(split, rows, pixels):
    """A split in which some images have other pixels."""
    images = split.images.clone()
    images[rows] = pixels
    return replace(split, images=images)


def joined(a, b):
    return replace(a, images=torch.cat([a.images, b.images]), targets=torch.cat([a.targets, b.targets]))


def numbered(split, first):
    """Each image has a group of its own."""
    return split.with_extra(group=torch.arange(len(split)) + first)


THREES, AN_EIGHT = TRAIN.targets == 3, TRAIN.images[(TRAIN.targets == 8).nonzero()[0]]
NUDGED = changed(TRAIN[:30], slice(30), TRAIN.images[:30])
NUDGED.images[:, :, 0, 0] += 1
FOURS = TRAIN.targets == 4
RARE = TRAIN[~FOURS | (torch.arange(len(TRAIN)) < 100)]
UNEVEN = VAL[(VAL.targets > 4) | (torch.arange(len(VAL)) < 200)]
NOISY_FEW = VAL.with_label_noise(0.3, seed=0).take(100, seed=1)


@pytest.mark.parametrize(
    ("point", "status", "words", "splits"),
    [
        (1, "wrong", ["7.95 %"], dict(train=changed(TRAIN, slice(100), 0))),
        (3, "wrong", [f"{int(THREES.sum()) + 1} training images"], dict(train=changed(TRAIN, THREES, AN_EIGHT))),
        (1, "look", ["exact copies"], dict(train=changed(TRAIN, THREES, AN_EIGHT))),
        (3, "look", ["balanced accuracy"], dict(train=RARE)),
        (3, "wrong", ['"4" has no training image'], dict(train=TRAIN[~FOURS])),
        (6, "wrong", ["20 validation images (3.7 %)"], dict(train=joined(TRAIN, VAL[:20]))),
        (6, "look", ["almost identical"], dict(val=joined(VAL, NUDGED))),
        (6, "wrong", ["5 groups are on both sides"], dict(train=numbered(TRAIN, 0), val=numbered(VAL, len(TRAIN) - 5))),
        (6, "fine", [], dict(train=numbered(TRAIN, 0), val=numbered(VAL, len(TRAIN)))),
        (6, "wrong", [], dict(val=VAL.with_targets(VAL.targets, VAL.classes[::-1]))),
        (6, "look", ["no image of 1 classes"], dict(val=VAL[VAL.targets != 4])),
        (6, "look", ["class shares differ"], dict(val=UNEVEN)),
        # The maximum of 20 normal draws is +1.87 sd, and one sd is 4.6 pp.
        (6, "look", ["would seem 8.", "k-fold"], dict(val=NOISY_FEW)),
        (7, "fine", [], dict(val=VAL[:300], external=VAL[300:])),
        (7, "wrong", [], dict(external=replace(VAL, images=torch.roll(VAL.images, 2, dims=3)))),
        (7, "wrong", ["also in the training split"], dict(external=TRAIN[:50])),
    ],
)
def test_faults_of_the_data(examine, point, status, words, splits):
    examine(point, status, *words, **splits)


def test_images_that_say_nothing_about_the_class(examine):
    train, val = (s.with_targets(s.targets[torch.randperm(len(s))], s.classes) for s in (TRAIN, VAL))
    report = examine(1, "look", "no better than naming", train=train, val=val)
    assert report[3].status == "not checked" and report.suspects == []


def test_flipped_labels_and_where_they_are(examine, healthy_report):
    noisy = TRAIN.with_label_noise(0.1, seed=1)
    suspects, flipped = examine(3, "wrong", train=noisy).suspects, noisy.extra["flipped"]
    assert flipped[suspects].float().mean() > 0.9 and len(suspects) > 0.8 * flipped.sum()
    assert flipped[suspects[:10]].all()
    assert len(healthy_report.suspects) < 0.01 * len(TRAIN)


def test_neighbours_never_count_the_image_itself():
    space, targets = torch.tensor([[0.0], [0.1], [0.2], [9.0]]), torch.tensor([0, 1, 1, 0])
    expected = [[1 / 3, 2 / 3], [2 / 3, 1 / 3], [2 / 3, 1 / 3], [1 / 3, 2 / 3]]
    assert torch.allclose(_votes(space, targets, 2), torch.tensor(expected))


@pytest.mark.parametrize("level", [0.95, 0.999])
def test_intervals_are_scipys_for_numbers_and_for_tensors(level):
    counts = [(0, 7), (3, 20), (20, 20), (50, 100)]
    known = [(0.0, 1.0), *(binomtest(k, n).proportion_ci(level, method="wilson") for k, n in counts)]
    share, n = torch.tensor([(0, 0), *((k / n, n) for k, n in counts)], dtype=torch.float64).T
    assert torch.allclose(torch.stack(wilson(share, n, level), 1), torch.tensor(known, dtype=torch.float64))
    assert [wilson(*pair, level) for pair in zip(share.tolist(), n.tolist())] == [pytest.approx(ends) for ends in known]


# --- Faults of the model: points 1, 2, 4 and 5


class Through(nn.Module):
    """A layer without weights."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, images):
        return self.function(images)


def times(factor):
    return Through(lambda images: images * factor)


@pytest.mark.parametrize(("stages", "status"), [(3, "fine"), (4, "look")])
def test_an_image_that_shrinks_away_before_the_last_convolution(examine, stages, status):
    stage = nn.Conv2d(1, 1, 3, padding=1), nn.MaxPool2d(2, ceil_mode=True)
    layers = [copy.deepcopy(layer) for _ in range(stages) for layer in stage]
    report = examine(1, status, model=nn.Sequential(*layers, nn.Flatten(), nn.Linear(1, 10)), **FEW)
    assert ("1×1 and thus" in report[1].evidence) == (status == "look")


@pytest.mark.parametrize(
    ("model", "status", "words"),
    [
        (untrained(inputs=nn.Identity()), "fine", ""),
        (untrained(inputs=times(255.0)), "wrong", "to 255."),
        (small_cnn(TRAIN, width=8, inputs=times(255.0)), "look", "may hide"),
        (untrained(inputs=times(1 / 255)), "wrong", "hardly varies"),
        (untrained(inputs=Through(lambda images: images.to(torch.uint8).float())), "wrong", "only 2 are left"),
        (untrained(inputs=times(float("nan"))), "wrong", "not all finite"),
    ],
)
def test_the_range_of_the_inputs(examine, model, status, words):
    report = examine(2, status, words, model=model, **FEW)
    if "finite" in words:
        assert report[4].status == "wrong" and report[7].status == "not checked"
    if "255" in words:
        assert report[4].status == "wrong" and "far too large at the start" in report[4].advice


def bce(out, y):
    return F.binary_cross_entropy_with_logits(out[:, 0], y.float())


def smooth(out, y):
    return F.cross_entropy(out, y, label_smoothing=0.1)


def nll_of_softmax(out, y):
    return F.nll_loss(out.clamp_min(1e-8).log(), y)


def edited(change):
    model = untrained()
    with torch.no_grad():
        change(model)
    return model


@pytest.mark.parametrize(
    ("model", "loss", "status", "words"),
    [
        # A perfect answer then has the loss ln(e + 9) − 1.
        (untrained(nn.Softmax(1)), None, "wrong", ["a softmax inside the model", "a loss of 1.46"]),
        (untrained(), lambda out, y: F.cross_entropy(out.softmax(1), y), "wrong", ["a softmax inside the loss"]),
        (untrained(nn.Softmax(1)), nll_of_softmax, "fine", ["the loss expects that"]),
        (untrained(), F.cross_entropy, "fine", []),
        (untrained(), smooth, "fine", []),
        (untrained(nn.LogSoftmax(1)), F.nll_loss, "fine", []),
        (untrained(nn.Sigmoid()), None, "wrong", ["a sigmoid inside the model"]),
        (untrained(nn.ReLU()), None, "look", ["No output can be negative"]),
        (untrained(outputs=1), None, "wrong", ["1 output,"]),
        (untrained(outputs=9), None, "wrong", ["9 outputs"]),
        (untrained(outputs=12), None, "look", ["12 outputs"]),
        # A small loss alone is no fault: equal outputs have the same.
        (untrained(), lambda out, y: 0.1 * F.cross_entropy(out, y) - 0.1 * out.mean(), "fine", []),
        (untrained(), lambda out, y: (out.argmax(1) != y).float().mean(), "wrong", ["no gradient"]),
        (untrained(), lambda out, y: F.cross_entropy(out, y).item(), "wrong", ["no tensor but a float", ".item()"]),
        (untrained(), lambda out, y: None, "wrong", ["no tensor but a NoneType"]),
        (untrained(), lambda out, y: F.cross_entropy(out, y, reduction="none"), "wrong", ["one finite number"]),
        (untrained(inputs=Through(lambda images: images * 0 + 0.5)), None, "wrong", ["by heart"]),
        (edited(lambda model: [p.zero_() for p in model[-1].parameters()]), None, "fine", []),  # a usual start
        (untrained().insert(4, Through(torch.Tensor.detach)), None, "wrong", ["2.weight, 2.bias"]),
    ],
)
def test_output_and_loss(examine, model, loss, status, words):
    examine(4, status, *words, model=model, loss=loss, **FEW)


@pytest.mark.parametrize(
    ("after", "loss", "status", "words"),
    [
        ((), None, "wrong", ()),
        ((), F.cross_entropy, "wrong", ()),
        ((), lambda out, y: F.cross_entropy(out, y[:, None].float()), "wrong", ("exactly 0", "binary_cross_entropy")),
        ((), bce, "fine", ()),
        ((nn.Sigmoid(),), bce, "wrong", ()),
    ],
)
def test_one_output_for_two_classes(examine, after, loss, status, words):
    train, val = map(two_classes, (TRAIN, VAL))
    model = untrained(*after, train=train, outputs=1)
    examine(4, status, *words, model=model, train=train, val=val, loss=loss)


class Leak(nn.Linear):
    """Knows the label from the first pixel."""

    def forward(self, images):
        told = F.one_hot((images[:, 0, 0, 0] * 255).round().clamp(0, 9).long(), 10)
        return 0.01 * super().forward(images.flatten(1)) + 9 * told - 4


def test_a_loss_below_that_of_knowing_nothing(examine):
    splits = {side: replace(split, images=split.images.clone()) for side, split in FEW.items()}
    for split in splits.values():
        split.images[:, 0, 0, 0] = split.targets.to(torch.uint8)
    examine(4, "wrong", "means a leak", model=Leak(64, 10), **splits)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Through(lambda images: (images, images)), ""),
        (nn.Sequential(nn.Flatten(), nn.Linear(7, 10)), ""),
        (nn.Conv2d(1, 10, 3), ""),
        (edited(lambda model: model[2].weight[0, 0].fill_(float("nan"))), "2.weight"),
        (untrained(Through(lambda outputs: outputs[:, :0])), ""),
    ],
)
def test_a_model_that_cannot_be_run_is_a_finding(examine, model, words):
    assert examine(4, "wrong", words, model=model, **FEW)[7].status == "not checked"


def curves(train, val=()):
    return {"train loss": list(train), "val loss": list(val)}


OVERFITTED = curves([1.5, 0.8, 0.4, 0.1], [1.5, 1.0, 1.2, 1.9])


@pytest.mark.parametrize(
    ("history", "status", "words"),
    [
        (OVERFITTED, "wrong", "over-fitting"),
        (curves([2.31, 2.30, 2.31], [2.3, 2.3, 2.3]), "wrong", "has not learned"),
        (curves([2.0, float("nan")]), "wrong", "NaN"),
        (curves([2.0, 1.5, 1.0], [2.1, 1.6, 1.1]), "look", "still falling"),
        (curves([2.0, 1.5, 1.0], [2.1, 1.6, 1.6]), "fine", "2 → 1"),
        (curves([2.0, 0.5, 0.48], [2.1, 0.6, 0.6]), "fine", "2 → 0.48"),
        (History(diverged_at=3), "wrong", "NaN"),
    ],
)
def test_curves(examine, healthy, history, status, words):
    examine(5, status, words, model=untrained() if "fitting" in words else healthy[0], history=history, **FEW)


def test_the_best_weights_of_an_overfitted_run_are_fine(examine):
    examine(5, "fine", "its best weights back", history=OVERFITTED, **FEW)


@pytest.mark.parametrize("history", [[2.3, 0.9], "train loss", pd.DataFrame({"loss": [2.3, 0.9]})])
def test_a_history_of_another_kind_gets_one_clear_sentence(healthy, history):
    with pytest.raises(ValueError, match=f"history must be a History.*not this {type(history).__name__}"):
        check_model(healthy[0], TRAIN, VAL, history=history)


def test_a_single_record_is_a_curve(examine):
    examine(5, "fine", "Training loss 0.5 → 0.5", history={"train loss": 0.5})


def test_a_history_and_its_frame_say_the_same(examine, healthy, healthy_report):
    assert examine(5, "fine", history=healthy[1].frame())[5] == healthy_report[5]


def test_dead_units(examine, healthy):
    model = copy.deepcopy(healthy[0])
    with torch.no_grad():  # the last norm now gives −100 before its ReLU
        model[-5].weight.zero_(), model[-5].bias.fill_(-100.0)
    examine(5, "wrong", "100 % of the 32 penultimate features", model=model, **FEW)


# --- Manners, and the report


class Noisy(nn.Sequential):
    """Draws from every generator there is, in every forward pass."""

    def forward(self, images):
        random.random(), np.random.rand(), torch.rand(1)
        return F.dropout(super().forward(images), 0.1, self.training)


@pytest.mark.parametrize("training", [True, False])
def test_model_and_random_state_are_untouched(training):
    model = Noisy(*mlp(TRAIN), nn.BatchNorm1d(10)).train(training)
    model(torch.rand(8, 1, 8, 8)).sum().backward()
    before = copy.deepcopy(model.state_dict()), [p.grad.clone() for p in model.parameters()]
    states = random.getstate(), np.random.get_state()[2], torch.get_rng_state()
    check_model(model, **FEW)
    assert all(torch.equal(value, before[0][name]) for name, value in model.state_dict().items())
    assert all(torch.equal(p.grad, grad) for p, grad in zip(model.parameters(), before[1], strict=True))
    assert all(module.training == training for module in model.modules())
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert (random.getstate(), np.random.get_state()[2]) == states[:2] and torch.equal(torch.get_rng_state(), states[2])


def test_the_same_seed_gives_the_same_report_from_a_history_or_its_frame(healthy, healthy_report):
    again = check_model(healthy[0], TRAIN, VAL, history=healthy[1].frame())
    assert again.findings == healthy_report.findings and again.suspects == healthy_report.suspects


def checked(**splits):
    return partial(check_model, untrained(), **FEW | splits)


test_bad_splits_get_one_clear_sentence = refused(
    (checked(val=VAL.with_targets(VAL.targets.float())), "needs class labels, but val holds regression targets"),
    (checked(external=VAL[:0]), "external is empty"),
    (checked(val=VAL.resize(4)), r"val are \(1, 4, 4\), but those of train are \(1, 8, 8\)"),
    (checked(train=TRAIN.with_targets(TRAIN.targets * 0, ["all"])), "one class only"),
)


def test_a_finding_has_the_status_of_its_worst_part_and_begins_with_it():
    look = ("look", "D.", "Do b.", "a guess.")
    parts = [("fine", "A."), ("wrong", "B.", "Do b.", "exact"), ("not checked", "C."), look]
    expected = Finding("wrong", "B. D. C. A.", "Do b.", "Exact. A guess.", (), "Labels")
    assert Finding.of("Labels", (Finding(*part) for part in parts)) == expected


def test_report_as_text_table_and_frame(healthy_report, tmp_path):
    text, page, frame = str(healthy_report), healthy_report._repr_html_(), healthy_report.frame()
    assert "✓ 3 Labels: fine" in text and max(map(len, text.splitlines())) <= 120
    assert text.splitlines()[-1].startswith("1 look, 6 fine")
    assert page.count("<tr") == 8 and "currentColor" in page and "#" not in page
    assert page in healthy_report.save(tmp_path / "page.html").read_text(encoding="utf-8")
    assert list(frame.columns) == ["title", "status", "evidence", "sure", "advice", "files"]
    assert [title[:2] for title in frame["title"]] == [f"{point} " for point in range(1, 8)]
    odd = Report((Finding("look", "a < b", title="<T>"),), 1.0)
    assert "a &lt; b" in odd._repr_html_() and "<T>" not in odd._repr_html_() and odd.worst == "look"
