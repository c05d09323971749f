"""Lesson 12's checks: other right answers are accepted, typical wrong ones get a sentence that helps."""

import numpy as np
import pytest
import torch

from tdnn_helpers.exercises import check
from tdnn_helpers.exercises.checks_12 import POINTS, RIGHT
from tdnn_helpers.exercises.lesson_12 import calibration_error, plan


def by_loop(confidence, right, bins):
    error = 0.0
    for b in range(bins):
        rows = [i for i, c in enumerate(confidence) if b / bins < c <= (b + 1) / bins]
        error += abs(sum(right[i] - confidence[i] for i in rows)) / len(right)
    return torch.tensor(error)


def both_at_once(model, images):
    first, second = model(torch.cat([images, images.flip(3)])).split(len(images))
    return torch.stack([first, torch.flip(second, [3])]).mean(0).numpy()


@pytest.mark.parametrize(
    ("id", "answer"),
    [
        ("12.1", {rule: f" {right.lower()}" for rule, right in RIGHT.items()}),
        ("12.2", by_loop),
        ("12.3", both_at_once),
        ("12.4", dict.fromkeys(POINTS, "not done")),
    ],
)
def test_other_right_answers(id, answer):
    feedback = check(id, answer)
    assert feedback.status == "right", feedback.sentence


def binned(weighting):
    def answer(confidence, right, bins):
        place = np.ceil(confidence * bins).astype(int)
        parts = [(np.mean(place == b), (right[place == b] - confidence[place == b])) for b in np.unique(place)]
        return weighting([(share, gaps.mean()) for share, gaps in parts])

    return answer


def with_empty_bins(confidence, right, bins):
    place = np.ceil(confidence * bins)
    with np.errstate(invalid="ignore"):
        sums = [
            (np.sum(place == b), np.sum((right.astype(float) - confidence)[place == b])) for b in range(1, bins + 1)
        ]
        return sum(n * abs(np.float64(gap) / n) for n, gap in sums) / len(right)


@pytest.mark.parametrize(
    ("id", "answer", "sentence"),
    [
        ("12.1", RIGHT | {"mean": "C"}, "add each column"),
        ("12.1", RIGHT | {"vote": "A"}, "each view names one class"),
        ("12.1", RIGHT | {"product": "A"}, "multiply each column"),
        ("12.1", RIGHT | {"max": "C"}, "largest of the nine"),
        ("12.1", RIGHT | {"max": 0.9}, "name one class"),
        ("12.1", {"mean": "A"}, "one class for each of mean, vote, product, max"),
        ("12.2", lambda c, r, b: 100 * calibration_error(c, r, b), "not per cent"),
        ("12.2", lambda c, r, b: abs(c.mean() - r.mean()), "cancel"),
        ("12.2", lambda c, r, b: c.mean() - r.mean(), "absolute value"),
        ("12.2", binned(lambda parts: np.mean([abs(gap) for _, gap in parts])), "weight each bin"),
        ("12.2", binned(lambda parts: sum(abs(gap) for _, gap in parts)), "sum over the bins"),
        ("12.2", binned(lambda parts: sum(share * gap for share, gap in parts)), "absolute value"),
        ("12.2", binned(lambda parts: max(abs(gap) for _, gap in parts)), "maximum over the bins"),
        ("12.2", binned(lambda parts: sum(share * gap**2 for share, gap in parts)), "not its square"),
        ("12.2", with_empty_bins, "An empty bin gave NaN"),
        ("12.2", lambda c, r, b: 0.5, "add up the distances"),
        ("12.3", lambda model, images: (model(images) + model(images.flip(-1))) / 2, "mirror the second answer back"),
        ("12.3", lambda model, images: model(images), "for the image alone"),
        ("12.3", lambda model, images: model(images.flip(-1)).flip(-1), "mirror image alone"),
        ("12.3", lambda model, images: model(images) + model(images.flip(-1)).flip(-1), "take the mean"),
        ("12.3", lambda model, images: (model(images) + model(images.flip(-2)).flip(-2)) / 2, "upside down"),
        ("12.3", lambda model, images: (model(images) + model(images).flip(-1)) / 2, "never sees the mirrored image"),
        ("12.3", lambda model, images: torch.zeros(2, 4, 6, 6), "Ask the model twice"),
        ("12.3", lambda model, images: model(images).mean((2, 3)), "maps of the shape"),
        ("12.4", plan() | {"price": " "}, "Still empty, 1 of 6"),
        ("12.4", plan() | {"prize": "low"}, 'Did you mean "price"'),
        ("12.4", "flips", "dictionary"),
    ],
)
def test_wrong_answers_get_help(id, answer, sentence):
    feedback = check(id, answer)
    assert feedback.status == "not yet" and sentence in feedback.sentence, feedback.sentence
