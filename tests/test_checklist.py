"""The checklist: each planted fault is found under its own point, healthy ones raise no alarm, all stays as it was."""

import copy
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import binomtest
from torch import nn

from tdnn_helpers.checklist import Finding, Report, check_model
from tdnn_helpers.checklist.labels import _votes
from tdnn_helpers.core.progress import quiet
from tdnn_helpers.data.sets import load
from tdnn_helpers.evidence.effects import wilson
from tdnn_helpers.models.networks import mlp, small_cnn
from tdnn_helpers.train.loop import History, fit


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
    return check_model(healthy[0], *digits, history=healthy[1])


def untrained(train, *after, seed=0, **choices):
    """A small perceptron, with other layers behind it."""
    torch.manual_seed(seed)
    return nn.Sequential(*mlp(train, hidden=(32,), **choices), *after)


def two_classes(split):
    return split[split.targets < 2].with_targets(split.targets[split.targets < 2], split.classes[:2])


# Health


def test_a_healthy_pipeline_raises_no_alarm(healthy_report):
    assert [finding.status for finding in healthy_report.findings] == ["fine"] * 6 + ["look"], healthy_report
    assert healthy_report.worst == "look" and "No external split" in healthy_report[7].evidence


def test_a_healthy_pipeline_on_1500_clothes_has_nothing_wrong():
    train, val = load("fashion-mnist").take(1500, seed=0).split(0.7, seed=0)
    model, history = trained(train, val, epochs=2)
    report = check_model(model, train, val, history=history)
    assert report.worst != "wrong", report
    assert [report[point].status for point in (1, 2, 3, 4)] == ["fine"] * 4, report


@pytest.mark.parametrize("seed", range(6))
def test_an_untrained_network_has_no_fault_in_its_output(digits, seed):
    train, val = (two_classes(split) for split in digits)  # two small logits often lie in [0, 1] by chance
    assert check_model(untrained(train, seed=seed), train, val)[4].status == "fine"


def test_an_untrained_network_has_no_curves_and_nothing_to_lose(digits):
    report = check_model(untrained(digits[0]), *digits)
    assert "No history" in report[5].evidence and "untrained" in report[5].evidence
    assert report[7].status == "not checked"


# Point 1


def test_constant_images(digits, healthy):
    train, val = digits
    images = train.images.clone()
    images[:100] = 0
    report = check_model(healthy[0], replace(train, images=images), val)
    assert report[1].status == "wrong" and "7.95 %" in report[1].evidence


def test_images_that_say_nothing_about_the_class(digits, healthy):
    train, val = (s.with_targets(s.targets[torch.randperm(len(s))], s.classes) for s in digits)
    report = check_model(healthy[0], train, val)
    assert report[1].status == "look" and "no better than naming" in report[1].evidence
    assert report[3].status == "not checked" and report.suspects == []


@pytest.mark.parametrize(("stages", "status"), [(3, "fine"), (4, "look")])
def test_an_image_that_shrinks_away_before_the_last_convolution(digits, stages, status):
    layers = [
        layer for _ in range(stages) for layer in (nn.Conv2d(1, 1, 3, padding=1), nn.MaxPool2d(2, ceil_mode=True))
    ]
    report = check_model(nn.Sequential(*layers, nn.Flatten(), nn.Linear(1, 10)), *digits)
    assert report[1].status == status and ("1×1 and thus" in report[1].evidence) == (status == "look")


# Point 2


class Scale(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, images):
        return images * self.factor


class ToBytes(nn.Module):
    def forward(self, images):
        return images.to(torch.uint8).float()


def test_inputs_from_0_to_255(digits):
    report = check_model(untrained(digits[0], inputs=Scale(255.0)), *digits)
    assert report[2].status == "wrong" and "to 255." in report[2].evidence
    report = check_model(small_cnn(digits[0], width=8, inputs=Scale(255.0)), *digits)
    assert report[2].status == "look" and "may hide" in report[2].evidence


@pytest.mark.parametrize("inputs", [Scale(1 / 255), ToBytes()])
def test_inputs_that_hardly_vary(digits, inputs):
    assert check_model(untrained(digits[0], inputs=inputs), *digits)[2].status == "wrong"


def test_inputs_that_are_not_finite(digits):
    report = check_model(untrained(digits[0], inputs=Scale(float("nan"))), *digits)
    assert report[2].status == "wrong" and "not all finite" in report[2].evidence
    assert report[4].status == "wrong" and report[7].status == "not checked"


def test_inputs_from_0_to_1_are_fine(digits):
    assert check_model(untrained(digits[0], inputs=nn.Identity()), *digits)[2].status == "fine"


# Point 3


def test_flipped_labels_and_where_they_are(digits, healthy, healthy_report):
    train, val = digits
    noisy = train.with_label_noise(0.1, seed=1)
    report = check_model(healthy[0], noisy, val)
    assert report[3].status == "wrong"
    flipped = noisy.extra["flipped"]
    assert flipped[report.suspects].float().mean() > 0.9 and len(report.suspects) > 0.8 * flipped.sum()
    assert flipped[report.suspects[:10]].all()
    assert len(healthy_report.suspects) < 0.01 * len(train)


def test_neighbours_never_count_the_image_itself():
    space, targets = torch.tensor([[0.0], [0.1], [0.2], [9.0]]), torch.tensor([0, 1, 1, 0])
    expected = [[1 / 3, 2 / 3], [2 / 3, 1 / 3], [2 / 3, 1 / 3], [1 / 3, 2 / 3]]
    assert torch.allclose(_votes(space, targets, 2), torch.tensor(expected))


def test_identical_images_with_different_labels(digits, healthy):
    train, val = digits
    images = train.images.clone()
    images[train.targets == 3] = images[(train.targets == 8).nonzero()[0]]
    report = check_model(healthy[0], replace(train, images=images), val)
    count = int((train.targets == 3).sum()) + 1
    assert report[3].status == "wrong" and f"{count} training images" in report[3].evidence
    assert "exact copies" in report[1].evidence


def test_classes_of_different_size(digits, healthy):
    train, val = digits
    rare = train[(train.targets != 4) | (torch.arange(len(train)) < 100)]
    report = check_model(healthy[0], rare, val)
    assert report[3].status == "look" and "balanced accuracy" in report[3].advice
    report = check_model(healthy[0], train[train.targets != 4], val)
    assert report[3].status == "wrong" and '"4" has no training image' in report[3].evidence


# Point 4


class Detached(nn.Module):
    def forward(self, images):
        return images.detach()


class Blank(nn.Module):
    def forward(self, images):
        return images * 0 + 0.5


class Tuple(nn.Module):
    def forward(self, images):
        return images, images


def test_softmax_inside_the_model(digits):
    report = check_model(untrained(digits[0], nn.Softmax(1)), *digits)
    assert report[4].status == "wrong" and "a softmax inside the model" in report[4].evidence
    assert "a loss of 1.46" in report[4].evidence  # ln(e + 9) − 1


def test_softmax_inside_the_loss(digits):
    report = check_model(untrained(digits[0]), *digits, loss=lambda out, y: F.cross_entropy(out.softmax(1), y))
    assert report[4].status == "wrong" and "a softmax inside the loss" in report[4].evidence


def test_softmax_that_the_loss_expects(digits):
    model = untrained(digits[0], nn.Softmax(1))
    report = check_model(model, *digits, loss=lambda out, y: F.nll_loss(out.clamp_min(1e-8).log(), y))
    assert report[4].status == "fine" and "the loss expects that" in report[4].evidence


@pytest.mark.parametrize("loss", [F.cross_entropy, lambda out, y: F.cross_entropy(out, y, label_smoothing=0.1)])
def test_common_losses_are_fine(digits, loss):
    assert check_model(untrained(digits[0]), *digits, loss=loss)[4].status == "fine"
    assert check_model(untrained(digits[0], nn.LogSoftmax(1)), *digits, loss=F.nll_loss)[4].status == "fine"


def test_sigmoid_or_relu_behind_the_last_layer(digits):
    report = check_model(untrained(digits[0], nn.Sigmoid()), *digits)
    assert report[4].status == "wrong" and "a sigmoid inside the model" in report[4].evidence
    report = check_model(untrained(digits[0], nn.ReLU()), *digits)
    assert report[4].status == "look" and "No output can be negative" in report[4].evidence


def test_one_output_for_two_classes(digits):
    train, val = (two_classes(split) for split in digits)
    one = untrained(train, outputs=1)
    assert check_model(one, train, val)[4].status == "wrong"
    assert check_model(one, train, val, loss=F.cross_entropy)[4].status == "wrong"
    always_zero = check_model(one, train, val, loss=lambda out, y: F.cross_entropy(out, y[:, None].float()))
    assert "exactly 0" in always_zero[4].evidence and "binary_cross_entropy" in always_zero[4].advice

    def binary(out, y):
        return F.binary_cross_entropy_with_logits(out[:, 0], y.float())

    assert check_model(one, train, val, loss=binary)[4].status == "fine"
    assert check_model(untrained(train, nn.Sigmoid(), outputs=1), train, val, loss=binary)[4].status == "wrong"


@pytest.mark.parametrize(("outputs", "status"), [(1, "wrong"), (9, "wrong"), (12, "look")])
def test_wrong_number_of_outputs(digits, outputs, status):
    report = check_model(untrained(digits[0], outputs=outputs), *digits)
    assert report[4].status == status and f"{outputs} output" in report[4].evidence


def test_inputs_from_0_to_255_show_in_the_loss_at_the_start(digits):
    report = check_model(untrained(digits[0], inputs=Scale(255.0)), *digits)
    assert report[4].status == "wrong" and "far too large at the start" in report[4].advice


def test_a_loss_below_that_of_knowing_nothing(digits):
    report = check_model(
        untrained(digits[0]), *digits, loss=lambda out, y: 0.1 * F.cross_entropy(out, y) - 0.1 * out.mean()
    )
    assert report[4].status == "fine"  # a small loss alone is no fault: equal outputs have the same

    class Leak(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(64, 10)

        def forward(self, images):
            return (
                0.01 * self.layer(images.flatten(1))
                + 9 * F.one_hot((images[:, 0, 0, 0] * 255).round().clamp(0, 9).long(), 10)
                - 4
            )

    train, val = (replace(s, images=s.images.clone()) for s in digits)
    for split in (train, val):
        split.images[:, 0, 0, 0] = split.targets.to(torch.uint8)
    report = check_model(Leak(), train, val)
    assert report[4].status == "wrong" and "means a leak" in report[4].evidence


def test_parameters_that_are_not_finite(digits):
    model = untrained(digits[0])
    with torch.no_grad():
        model[2].weight[0, 0] = float("nan")
    report = check_model(model, *digits)
    assert report[4].status == "wrong" and "2.weight" in report[4].evidence
    assert report[7].status == "not checked"


def test_a_part_without_gradient(digits):
    model = untrained(digits[0])
    report = check_model(nn.Sequential(*model[:4], Detached(), *model[4:]), *digits)
    assert report[4].status == "wrong" and "2.weight, 2.bias" in report[4].evidence


def test_a_loss_without_gradient(digits):
    report = check_model(untrained(digits[0]), *digits, loss=lambda out, y: (out.argmax(1) != y).float().mean())
    assert report[4].status == "wrong" and "no gradient" in report[4].evidence


def test_a_network_that_cannot_learn_one_batch(digits):
    model = untrained(digits[0], inputs=Blank())
    report = check_model(model, *digits)
    assert report[4].status == "wrong" and "by heart" in report[4].advice


@pytest.mark.parametrize("model", [Tuple(), nn.Sequential(nn.Flatten(), nn.Linear(7, 10)), nn.Conv2d(1, 10, 3)])
def test_a_model_that_cannot_be_run_is_a_finding(digits, model):
    report = check_model(model, *digits)
    assert report[4].status == "wrong" and report[7].status == "not checked"


def test_a_last_layer_of_zeros_is_a_usual_start(digits):
    model = untrained(digits[0])
    nn.init.zeros_(model[-1].weight), nn.init.zeros_(model[-1].bias)
    assert check_model(model, *digits)[4].status == "fine"


# Point 5


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
    ],
)
def test_curves(digits, healthy, history, status, words):
    noisy = untrained(digits[0]) if "fitting" in words else healthy[0]
    finding = check_model(noisy, *digits, history=history)[5]
    assert finding.status == status and words in finding.evidence


def test_the_best_weights_of_an_overfitted_run_are_fine(digits, healthy):
    finding = check_model(healthy[0], *digits, history=OVERFITTED)[5]
    assert finding.status == "fine" and "its best weights back" in finding.evidence


def test_a_run_that_diverged_and_a_frame(digits, healthy):
    model, history = healthy
    assert check_model(model, *digits, history=history.frame())[5] == check_model(model, *digits, history=history)[5]
    diverged = check_model(model, *digits, history=History(diverged_at=3))
    assert diverged[5].status == "wrong"


def test_features_are_compared_with_an_untrained_copy(healthy_report):
    assert "penultimate features: 9" in healthy_report[5].evidence and "an untrained copy" in healthy_report[5].evidence


def test_dead_units(digits, healthy):
    model = copy.deepcopy(healthy[0])
    with torch.no_grad():  # the last norm now gives −100 before its ReLU
        model[-5].weight.zero_(), model[-5].bias.fill_(-100.0)
    finding = check_model(model, *digits)[5]
    assert finding.status == "wrong" and "100 % of the 32 penultimate features" in finding.evidence


# Point 6


def joined(a, b):
    return replace(a, images=torch.cat([a.images, b.images]), targets=torch.cat([a.targets, b.targets]))


def test_overlap_of_train_and_validation(digits, healthy):
    train, val = digits
    report = check_model(healthy[0], joined(train, val[:20]), val)
    assert report[6].status == "wrong" and "20 validation images (3.7 %)" in report[6].evidence


def test_almost_identical_images(digits, healthy):
    train, val = digits
    images = train.images[:30].clone()
    images[:, :, 0, 0] += 1
    report = check_model(healthy[0], train, joined(val, replace(train[:30], images=images)))
    assert report[6].status == "look" and "almost identical" in report[6].evidence


def test_groups_on_both_sides(digits, healthy):
    train, val = digits
    grouped = replace(train, extra={"group": torch.arange(len(train))})
    straddling = replace(val, extra={"group": torch.arange(len(val)) + len(train) - 5})
    apart = replace(val, extra={"group": torch.arange(len(val)) + len(train)})
    report = check_model(healthy[0], grouped, straddling)
    assert report[6].status == "wrong" and "5 groups are on both sides" in report[6].evidence
    assert check_model(healthy[0], grouped, apart)[6].status == "fine"


def test_splits_that_do_not_match(digits, healthy):
    train, val = digits
    renamed = val.with_targets(val.targets, val.classes[::-1])
    assert check_model(healthy[0], train, renamed)[6].status == "wrong"
    assert "no image of 1 classes" in check_model(healthy[0], train, val[val.targets != 4])[6].evidence
    uneven = val[(val.targets > 4) | (torch.arange(len(val)) < 200)]
    assert "class shares differ" in check_model(healthy[0], train, uneven)[6].evidence


def test_a_small_validation_split_and_its_optimism(digits, healthy):
    train, val = digits
    finding = check_model(healthy[0], train, val.with_label_noise(0.3, seed=0).take(100, seed=1))[6]
    assert finding.status == "look" and "k-fold" in finding.advice
    assert "would seem 8." in finding.evidence  # the maximum of 20 normal draws is +1.87 sd, and one sd is 4.6 pp


@pytest.mark.parametrize("level", [0.95, 0.999])
def test_intervals_are_scipys_for_numbers_and_for_tensors(level):
    counts = [(0, 7), (3, 20), (20, 20), (50, 100)]
    known = [(0.0, 1.0), *(binomtest(k, n).proportion_ci(level, method="wilson") for k, n in counts)]
    share, n = torch.tensor([(0, 0), *((k / n, n) for k, n in counts)], dtype=torch.float64).T
    assert torch.allclose(torch.stack(wilson(share, n, level), 1), torch.tensor(known, dtype=torch.float64))
    assert [wilson(*pair, level) for pair in zip(share.tolist(), n.tolist())] == [pytest.approx(ends) for ends in known]


# Point 7


def test_an_external_split(digits, healthy):
    train, val = digits
    inside = check_model(healthy[0], train, val[:300], external=val[300:])
    assert inside[7].status == "fine"
    far = replace(val, images=torch.roll(val.images, 2, dims=3))
    assert check_model(healthy[0], train, val, external=far)[7].status == "wrong"
    assert "also in the training split" in check_model(healthy[0], train, val, external=train[:50])[7].evidence


# Manners


class Noisy(nn.Module):
    """Draws from every generator there is, in every forward pass."""

    def __init__(self, split):
        super().__init__()
        self.body = mlp(split)
        self.norm = nn.BatchNorm1d(10)

    def forward(self, images):
        random.random(), np.random.rand(), torch.rand(1)
        return F.dropout(self.norm(self.body(images)), 0.1, self.training)


@pytest.mark.parametrize("training", [True, False])
def test_model_and_random_state_are_untouched(digits, training):
    model = Noisy(digits[0]).train(training)
    model(torch.rand(8, 1, 8, 8)).sum().backward()
    before = copy.deepcopy(model.state_dict()), [p.grad.clone() for p in model.parameters()]
    states = random.getstate(), np.random.get_state()[1:3], torch.get_rng_state()
    check_model(model, *digits)
    assert all(torch.equal(value, before[0][name]) for name, value in model.state_dict().items())
    assert all(torch.equal(p.grad, grad) for p, grad in zip(model.parameters(), before[1], strict=True))
    assert all(module.training == training for module in model.modules())
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert random.getstate() == states[0] and np.random.get_state()[2] == states[1][1]
    assert torch.equal(torch.get_rng_state(), states[2])


def test_the_same_seed_gives_the_same_report(digits, healthy, healthy_report):
    again = check_model(healthy[0], *digits, history=healthy[1])
    assert again.findings == healthy_report.findings and again.suspects == healthy_report.suspects


def test_bad_splits_get_one_clear_sentence(digits):
    train, val = digits
    model = untrained(train)
    with pytest.raises(ValueError, match="needs class labels, but val holds regression targets"):
        check_model(model, train, val.with_targets(val.targets.float()))
    with pytest.raises(ValueError, match="external is empty"):
        check_model(model, train, val, external=val[:0])
    with pytest.raises(ValueError, match=r"val are \(1, 4, 4\), but those of train are \(1, 8, 8\)"):
        check_model(model, train, val.resize(4))
    with pytest.raises(ValueError, match="one class only"):
        check_model(model, train.with_targets(train.targets * 0, ["all"]), val)


# The report


def test_a_finding_has_the_status_of_its_worst_note_and_begins_with_it():
    parts = [
        ("fine", "A."),
        ("wrong", "B.", "Do b.", "exact"),
        ("not checked", "C."),
        ("look", "D.", "Do b.", "a guess."),
    ]
    expected = Finding("wrong", "B. D. C. A.", "Do b.", "Exact. A guess.", (), "Labels")
    assert Finding.of("Labels", (Finding(*part) for part in parts)) == expected


def test_report_as_text_table_and_frame(healthy_report):
    text, page, frame = str(healthy_report), healthy_report._repr_html_(), healthy_report.frame()
    assert "✓ 3 Labels: fine" in text and max(map(len, text.splitlines())) <= 120
    assert text.splitlines()[-1].startswith("1 look, 6 fine")
    assert page.count("<tr") == 8 and "currentColor" in page and "#" not in page
    assert list(frame.columns) == ["title", "status", "evidence", "sure", "advice", "files"]
    assert [title[:2] for title in frame["title"]] == [f"{point} " for point in range(1, 8)]
    odd = Report((Finding("look", "a < b", title="<T>"),), 1.0)
    assert "a &lt; b" in odd._repr_html_() and "<T>" not in odd._repr_html_() and odd.worst == "look"
