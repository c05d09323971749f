"""Lesson 8's checks: other right answers are accepted, typical wrong ones get a sentence that helps."""

import numpy as np
import pytest
import torch

from tdnn_helpers.exercises import check, exercises
from tdnn_helpers.exercises.lesson_08 import balanced_ranking, margin_difficulty, own_curriculum, staircase
from tdnn_helpers.methods.curriculum import easy_first


def stairs_by_loop(step, first, factor, every, images):
    while step >= every and first < images:
        step, first = step - every, first * factor
    return min(int(first), images)


def margin_by_loop(scores, targets):
    found = []
    for row, target in zip(scores, targets, strict=True):
        found.append(max(score for c, score in enumerate(row) if c != target) - row[target])
    return torch.tensor(found)


def dealt_out(difficulty, targets):
    piles = [[i for i in np.argsort(difficulty) if targets[i] == c] for c in np.unique(targets)]
    return [i for row in zip(*piles, strict=True) for i in row]


def changes_its_input(scores, targets):
    own = scores[np.arange(len(targets)), targets].copy()
    scores[np.arange(len(targets)), targets] = -np.inf
    return scores.max(1) - own


def own_of(scores, targets):
    return scores[np.arange(len(targets)), targets]


@pytest.mark.parametrize(
    ("id", "answer"),
    [
        ("8.1", [100, 325, 550, 100]),
        ("8.1", {"step": 100.0, "linear": 325.0, "root": 550.0, "hardest": 100}),
        ("8.2", stairs_by_loop),
        ("8.2", lambda step, first, factor, every, images: np.ceil(min(first * factor ** (step // every), images))),
        ("8.3", margin_by_loop),
        ("8.4", dealt_out),
        ("8.4", lambda d, t: easy_first(torch.tensor(d), torch.tensor(t))),
        ("8.4", lambda d, t: np.array(dealt_out(d, t)).astype(float)),
        ("8.5", own_curriculum() | {"curriculum": [83.4, 82.3, 83.9], "verdict": "Helps"}),
        ("8.5", own_curriculum() | {"curriculum": np.array([79.4, 78.1, 79.9]), "verdict": "hurts"}),
    ],
)
def test_other_right_answers_are_right(id, answer):
    feedback = check(id, answer)
    assert feedback.status == "right", feedback.sentence


@pytest.mark.parametrize(
    ("id", "answer", "help"),
    [
        ("8.1", (1000, 325, 550, 100), "still waits"),
        ("8.1", (250, 325, 550, 100), "only the first 10 %"),
        ("8.1", (100, 250, 550, 100), "from the start"),
        ("8.1", (100, 212.5, 550, 100), "a quarter of the way"),
        ("8.1", (100, 325, 600, 100), "only the 900 missing"),
        ("8.1", (100, 325, 418, 100), "a quarter of the way"),
        ("8.1", (100, 325, 700, 100), "right share of the missing"),
        ("8.1", (100, 325, 550, 200), "not at step 200"),
        ("8.1", (100, 325, 550, 0), "easiest 10 %"),
        ("8.1", (100, 325), "four numbers"),
        ("8.2", lambda step, first, factor, every, images: first * factor ** (step // every), "there are only 1000"),
        ("8.2", lambda s, f, x, e, n: min(round(f * x ** (s / e)), n), "`step // every`"),
        ("8.2", lambda s, f, x, e, n: min(f * x * (s // e) if s >= e else f, n), "a power of the factor"),
        ("8.2", lambda s, f, x, e, n: min(f + x * (s // e), n), "by a factor"),
        ("8.2", lambda s, f, x, e, n: min(f * x ** (s // e + 1), n), "is `first` itself"),
        ("8.3", lambda s, t: -margin_difficulty(s, t), "sign is turned round"),
        ("8.3", lambda s, t: s.max(1) - own_of(s, t), "compete with itself"),
        ("8.3", lambda s, t: -own_of(s, t), "scale of all scores"),
        ("8.3", lambda s, t: np.sort(s, 1)[:, -1] - np.sort(s, 1)[:, -2], "ignores the label"),
        ("8.3", lambda s, t: (s.sum(1) - own_of(s, t)) / 3 - own_of(s, t), "not their mean"),
        ("8.3", changes_its_input, "work on a copy"),
        ("8.3", lambda s, t: s, "one number for each"),
        ("8.4", lambda d, t: np.argsort(d), "raw order"),
        ("8.4", lambda d, t: balanced_ranking(d, t)[::-1], "hardest images come first"),
        ("8.4", lambda d, t: balanced_ranking(-d, t), "hardest images come first"),
        ("8.4", lambda d, t: balanced_ranking(d, t)[:30], "60 positions"),
        ("8.4", lambda d, t: np.sort(d), "argsort"),
        ("8.4", lambda d, t: np.argsort(balanced_ranking(d, t)), "one more `argsort`"),
        ("8.4", lambda d, t: balanced_ranking(np.random.default_rng(0).random(60), t), "a harder image comes before"),
        ("8.4", lambda d, t: np.random.default_rng(0).permutation(60), "the classes have"),
        ("8.5", own_curriculum() | {"verdict": "helps"}, "wholly on one side"),
        ("8.5", own_curriculum() | {"verdict": "great"}, "one of: helps"),
        ("8.5", own_curriculum() | {"standard": [80.1]}, "at least 3 seeds"),
        ("8.5", own_curriculum() | {"standard": [80.1, 80.2, 80.3, 80.4]}, "same seeds"),
        ("8.5", own_curriculum() | {"standard": [80.1, 180.2, 80.3]}, "from 0 to 100"),
        ("8.5", own_curriculum() | {"random": [80.1, 80.2, 80.3]}, 'Did you mean "random order"'),
        ("8.5", {arm: [0.8, 0.81, 0.79] for arm in list(own_curriculum())[:4]} | {"verdict": "not shown"}, "per cent"),
        ("8.5", ["not shown"], "dictionary"),
    ],
)
def test_wrong_answers_get_help(id, answer, help):
    feedback = check(id, answer)
    assert feedback.status == "not yet"
    assert help in feedback.sentence, feedback.sentence


@pytest.mark.parametrize("id", [id for id in exercises() if id.startswith("8.")])
def test_a_blank_answer_is_not_accepted(id):
    blank = None if exercises()[id].value else (lambda *args: ...)
    assert check(id, blank).status == "not answered yet"


def test_solutions_agree_with_the_package():
    random = np.random.default_rng(0)
    targets, difficulty = random.permutation(np.repeat(range(5), 8)), random.random(40)
    ranking = easy_first(torch.from_numpy(difficulty), torch.from_numpy(targets)).numpy()
    for n in range(0, 40, 5):  # the same images in each round, if not in the same order
        assert set(balanced_ranking(difficulty, targets)[: n + 5]) == set(ranking[: n + 5])
    assert [staircase(step, 10, 3, 2, 100) for step in range(7)] == [10, 10, 30, 30, 90, 90, 100]
    assert margin_difficulty(np.array([[1.0, 3.0, 2.0]]), np.array([1])).tolist() == [-1.0]
