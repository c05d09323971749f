"""The checks of lesson 2's exercises: properties and naive references, and a sentence for each typical mistake."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import torch

from .answers import NotYet, all_answered, array, expect, number, numbers, pair


def check_noisy_ceiling(answer: Any) -> str:
    accuracy, loss = numbers(answer, "accuracy", "cross-entropy in nats")
    entropy = -(0.6 * math.log(0.6) + 0.4 * math.log(0.4 / 9))
    mistakes = (
        (1.0, "A perfect answer is the true class, but it is compared with the labels as given."),
        (0.64, "Here a flipped label never is the true class again, so nothing is right by luck."),
        (60.0, "Give the accuracy as a fraction from 0 to 1."),
        (0.4, "That is the share of flipped labels: on those the perfect answer counts as wrong."),
    )
    for value, sentence in mistakes:
        expect(not math.isclose(accuracy, value, rel_tol=0.01), f"Accuracy: {sentence}")
    expect(math.isclose(accuracy, 0.6, rel_tol=0.01), f"Accuracy: {accuracy:g} is not it; count the labels that agree.")
    mistakes = (
        (0.0, "a loss of 0 needs the flips to be known."),
        (-entropy, "the sign is wrong: the loss is minus the logarithm."),
        (entropy / math.log(2), "that is in bits; PyTorch's cross-entropy uses the natural logarithm (nats)."),
        (-(0.6 * math.log(0.6) + 0.4 * math.log(0.4)), "the 0.4 is spread over nine classes: each gets 0.4/9."),
        (-math.log(0.6), "that is the loss of the right labels only; average over all, each kind with its share."),
        (math.log(10), "that is the loss of a network that knows nothing; this one knows the true class."),
    )
    for value, sentence in mistakes:
        expect(not math.isclose(loss, value, rel_tol=0.01, abs_tol=1e-3), f"Cross-entropy: {sentence}")
    expect(
        math.isclose(loss, entropy, rel_tol=0.01),
        f"Cross-entropy: {loss:g} is not it; average minus the logarithm of the probability of the given label.",
    )
    return (
        f"On these labels a perfect network scores 60 % with a loss of {entropy:.3f} nats. More on the training labels "
        "means that it has learned flips by heart."
    )


def _stopping(losses: list[float], patience: int) -> tuple[int, int]:
    for stop in range(len(losses)):
        best = min(range(stop + 1), key=lambda i: losses[i])
        if stop - best >= patience:
            return best, stop
    return min(range(len(losses)), key=lambda i: losses[i]), len(losses) - 1


def check_early_stopping(answer: Any) -> str:
    cases = (
        ([1.0, 0.7, 0.6, 0.65, 0.7, 0.8, 0.5], 3),  # a lower loss comes, but too late
        ([1.0, 0.9, 0.95, 0.8, 0.85, 0.82, 0.7, 0.75], 3),  # never three in a row
        ([1.0, 0.8, 0.8, 0.8, 0.4], 2),  # a tie is not lower
        ([0.5, 0.6, 0.7, 0.2], 2),
        ([3.0, 2.0, 1.0], 1),
        ([0.9, 1.2, 1.1, 1.0, 0.95, 0.1], 4),  # falling, but never below the lowest
    )
    for losses, patience in cases:
        kept, stop = (int(number(one)) for one in pair(answer(list(losses), patience), "positions: best and last"))
        right_kept, right_stop = _stopping(losses, patience)
        case = f"For the losses {losses} with patience {patience}"
        expect(
            (kept, stop) != (right_stop, right_kept) or kept == stop,
            f"{case} you exchanged the two: first the record to keep, then the one at which training stops.",
        )
        expect(
            stop == right_stop or not (kept == stop == right_kept),
            f"{case} training cannot stop at the lowest loss: nobody knows yet that it is the lowest.",
        )
        expect(
            not (stop == right_stop and kept == stop and kept != right_kept),
            f"{case} it stops at record {stop}, but the weights to keep are those of the lowest loss before it.",
        )
        expect(
            not (kept == int(np.argmin(losses)) and kept > right_stop),
            f"{case} you looked into the future: training had stopped before record {kept}.",
        )
        expect(
            stop == right_stop,
            f"{case} it stops at record {right_stop}, not {stop}: after {patience} records in a row that are not lower "
            "than the lowest before them.",
        )
        expect(kept == right_kept, f"{case} the lowest loss so far is at record {right_kept}, not {kept}.")
    return "It waits, it never looks ahead, and it keeps the best weights instead of the last ones."


def check_dropout(answer: Any) -> str:
    torch.manual_seed(0)
    x = torch.rand(200, 500) + 1
    before = x.clone()
    expect(
        np.array_equal(array(answer(x, 0.5, False)), array(before)),
        "Outside training the result must be x itself: nothing is dropped, nothing is scaled.",
    )
    for p in (0.2, 0.7):
        out = answer(x, p, True)
        values = array(out)
        expect(bool((x == before).all()), "Your function changed x in place; make a new tensor.")
        expect(values.shape == tuple(x.shape), f"The shape must stay {tuple(x.shape)}; yours is {values.shape}.")
        zeros = float((values == 0).mean())
        expect(
            not (abs(zeros - (1 - p)) < 0.02 and abs(zeros - p) > 0.02),
            f"With p = {p} you set {zeros:.0%} to zero: p is the share that is dropped, not the share that is kept.",
        )
        expect(abs(zeros - p) < 0.02, f"With p = {p} about {p:.0%} must be 0; in yours {zeros:.0%} are.")
        by_row, by_column = (values == 0).mean(axis=1), (values == 0).mean(axis=0)
        expect(
            by_row.std() < 0.1 and by_column.std() < 0.1,
            "Whole rows or columns are dropped together; draw one random number for each number of x.",
        )
        kept = values != 0
        factor = values[kept] / array(x)[kept]
        expect(
            not np.allclose(factor, 1),
            f"The numbers that stay are not scaled: the mean falls to {1 - p:.1f} of what it was; divide by 1 − p.",
        )
        expect(not np.allclose(factor, 1 - p), "You multiplied by 1 − p; the numbers that stay must be divided by it.")
        expect(
            not np.allclose(factor, 1 / p) or math.isclose(p, 1 - p), "Divide by 1 − p, the share that stays, not by p."
        )
        expect(np.allclose(factor, 1 / (1 - p), rtol=1e-4), "Each number that stays must be x / (1 − p).")
        again = array(answer(x, p, True))
        expect(not np.array_equal(again == 0, values == 0), "Two calls dropped the same numbers: draw anew each time.")
    expect(np.allclose(array(answer(x, 0.0, True)), array(x)), "With p = 0 nothing may change.")
    x.requires_grad_()
    out = answer(x, 0.5, True)
    expect(isinstance(out, torch.Tensor) and out.requires_grad, "The result is cut off from x: no gradient reaches it.")
    (slope,) = torch.autograd.grad(out.sum(), x)
    expect(
        torch.allclose(slope, torch.where(out == 0, 0.0, 2.0)),
        "The gradient must be 1 / (1 − p) where a number stays and 0 where it is dropped.",
    )
    return "The share of zeros is p, the mean stays, and outside training it does nothing."


def check_one_at_a_time(answer: Any) -> str:
    base = {"width": 512, "dropout": 0.0, "weight decay": 0.0, "images": 1_000}
    changes = {
        "narrow": {"width": 32},
        "dropout": {"dropout": 0.5},
        "weight decay": {"weight decay": 0.01},
        "data": {"images": 4_000},
        "label smoothing": {"smoothing": 0.1},
    }
    mine, theirs = copy.deepcopy(base), copy.deepcopy(changes)
    result = answer(mine, theirs)
    expect(isinstance(result, dict), f"Return a dictionary, name → settings, not a {type(result).__name__}.")
    expect(mine == base, "Your function changed the base itself: work on a copy (`dict(base)`).")
    expect(theirs == changes, "Your function changed the dictionary of changes: work on copies.")
    names = ["base", *changes]
    expect("base" in result, 'The untreated network is missing: add it under the name "base".')
    expect(set(result) == set(names), f"The names must be {', '.join(names)}; yours are {', '.join(map(str, result))}.")
    seen: dict[str, Any] = {}
    for name in names:
        wanted = base | changes.get(name, {})
        seen |= changes.get(name, {})
        expect(isinstance(result[name], dict), f'The settings of "{name}" must be a dictionary.')
        settings = dict(result[name])
        if settings == wanted:
            continue
        expect(settings != changes.get(name), f'"{name}" holds only what it changes; the other settings are missing.')
        expect(settings != base, f'"{name}" is the base: its change was not applied.')
        piled = settings == base | seen
        expect(not piled, f'"{name}" also holds the cures before it: if it helps, nobody knows which one did.')
        raise NotYet(f'"{name}" should be {wanted}, but it is {settings}.')
    expect(next(iter(result)) == "base", '"base" must come first: it is what the others are compared with.')
    result["narrow"]["width"] = -1
    expect(
        mine == base and all(result[name].get("width") != -1 for name in names if name != "narrow"),
        "Two entries are the same dictionary: a change in one changes the other.",
    )
    return "Each cure differs from the base in its own settings only, so what it buys can be named."


def check_confused_labels(answer: Any) -> str:
    confusion = torch.tensor([[0.7, 0.3, 0.0], [0.0, 1.0, 0.0], [0.5, 0.1, 0.4]])
    targets = torch.arange(3).repeat_interleave(4_000)[
        torch.randperm(12_000, generator=torch.Generator().manual_seed(1))
    ]
    before = targets.clone()
    labels = answer(targets, confusion, 0)
    expect(bool((targets == before).all()), "Your function changed the true labels in place; return a new tensor.")
    values = array(labels)
    expect(
        values.shape == (12_000,),
        f"Return one label for each image, shape (12000,); yours is {values.shape}"
        + (": take the column, `[:, 0]`." if values.shape == (12_000, 1) else "."),
    )
    expect(
        np.isin(values, (0, 1, 2)).all() and (not isinstance(labels, torch.Tensor) or labels.dtype == torch.int64),
        "The labels must be the whole numbers 0, 1, 2 (int64).",
    )
    found = np.array([[(values[before.numpy() == i] == j).mean() for j in range(3)] for i in range(3)])
    wanted = confusion.numpy()
    expect(
        not np.allclose(found, np.eye(3)[wanted.argmax(1)]),
        "Every image got the most probable label; draw the label by the probabilities of its row.",
    )
    expect(
        not np.allclose(found, np.broadcast_to(wanted.mean(0), (3, 3)), atol=0.04),
        "The labels do not depend on the true class: take the row of each image, `confusion[targets]`.",
    )
    columns = wanted.T / wanted.T.sum(1, keepdims=True)
    expect(not np.allclose(found, columns, atol=0.04), "You took columns; row i belongs to the images of class i.")
    expect(
        np.allclose(found, wanted, atol=0.04),
        f"Of class 0 you label {_percent(found[0])} as 0, 1, 2; row 0 asks for {_percent(wanted[0])}.",
    )
    same = array(answer(targets, confusion, 0))
    expect(np.array_equal(values, same), "The same seed gave other labels: use the seed for every random choice.")
    expect(not np.array_equal(values, array(answer(targets, confusion, 1))), "Every seed gives the same labels.")
    return "The mistakes follow the classes, as those of real annotators do: class 1 is never wrong, class 2 often is."


def _percent(shares: np.ndarray) -> str:
    return ", ".join(f"{share:.0%}" for share in shares)


POINTS = {
    "symptom": "two accuracies, training and validation, and what the validation loss does.",
    "labels": "how many of the images with the highest loss are wrongly labelled?",
    "baseline": "what does a linear model reach on the same split?",
    "cures": "which ones, each alone, with the same number of updates?",
    "effect": "paired differences with an interval, from several seeds.",
    "test": "opened once, after every choice was made.",
}


def check_diagnosis(answer: Any) -> str:
    return all_answered(answer, POINTS)
