"""Answers to try on the exercises: right ones that are not the solution, and wrong ones that are no registered mistake,
each with words of the help that it must get. ``test_exercises.py`` tries them.

Where a solution could be wrong itself, a right answer gets there by another way: a loop, NumPy or a library."""

import math
from itertools import accumulate
from operator import or_

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import default_rng
from sklearn.decomposition import PCA
from sklearn.metrics import balanced_accuracy_score, f1_score
from sklearn.model_selection import GroupShuffleSplit
from sklearn.neighbors import NearestNeighbors

from tdnn_helpers.exercises.lesson_01 import class_loss, family_split, standardise, using
from tdnn_helpers.exercises.lesson_02 import confused_labels, dropout, early_stopping, one_at_a_time
from tdnn_helpers.exercises.lesson_04 import balanced_accuracy, images_needed, oversample, weighted_loss
from tdnn_helpers.exercises.lesson_05 import PAST, attend, blur_and_drop, causal_attention, measured, only, uniform_maps
from tdnn_helpers.exercises.lesson_06 import adam_step, keeps_the_label, moving, tuned, warm_up_cosine
from tdnn_helpers.exercises.lesson_07 import strangeness
from tdnn_helpers.exercises.lesson_08 import balanced_ranking, margin_difficulty, own_curriculum
from tdnn_helpers.exercises.lesson_09 import batch_rows
from tdnn_helpers.exercises.lesson_10 import barlow_twins_loss, losses_that_know_nothing, simsiam_loss
from tdnn_helpers.exercises.lesson_11 import come_back, mish, slopes
from tdnn_helpers.exercises.lesson_12 import four_rules
from tdnn_helpers.measures import reliability
from tdnn_helpers.methods import barlow_loss, easy_first


def standardise_in_numpy(train, test):
    train, test = train.numpy(), test.numpy()
    mean, std = train.mean((0, 2, 3)), train.std((0, 2, 3)) + 1e-6
    return tuple((images - mean[:, None, None]) / std[:, None, None] for images in (train, test))


def standardise_in_place(train, test):
    mean, std = train.mean((0, 2, 3), keepdim=True), train.std((0, 2, 3), keepdim=True, correction=0)
    return [train.sub_(mean).div_(std), test.sub_(mean).div_(std)]


def split_as_masks(groups, fraction, seed):
    chosen = torch.randperm(60, generator=torch.Generator().manual_seed(seed))[: int(60 * fraction)].numpy()
    test = np.isin(groups, np.unique(groups)[chosen])
    return ~test, test


def split_as_lists(groups, fraction, seed):
    random = default_rng(seed)
    side = {family: random.random() < fraction for family in sorted(set(groups.tolist()))}
    rows = range(len(groups))
    return [i for i in rows if not side[int(groups[i])]], [i for i in rows if side[int(groups[i])]]


def split_by_scikit_learn(groups, fraction, seed):
    return next(GroupShuffleSplit(1, test_size=fraction, random_state=seed).split(groups, groups=groups))


def split_at(drawn, fraction):
    return np.split(drawn, [round((1 - fraction) * len(drawn))])


def first_families(groups, fraction, seed):
    test = np.isin(groups, split_at(np.unique(groups), 1 - fraction)[0])
    return np.flatnonzero(~test), np.flatnonzero(test)


def branch_with_bad_gradient(logits, targets):
    signed = logits[:, 0] * (1 - 2 * targets)
    return torch.where(signed > 50, signed, (1 + signed.exp()).log()).mean()


def stop_by_history(losses, patience):
    best, since, value = 0, 0, math.inf
    for now, loss in enumerate(losses):
        best, since, value = (now, 0, loss) if loss < value else (best, since + 1, value)
        if since == patience:
            break
    return [torch.tensor(best), now]


def mask(x, p, seed=None):
    return torch.from_numpy((default_rng(seed).random(x.shape) >= p) / np.float32(1 - p))


def success_counted(answers, targets, target):
    others = [said == target for said, true in zip(answers.tolist(), targets.tolist(), strict=True) if true != target]
    return sum(others) / len(others)


def box_pixel_by_pixel(attacked, images, eps):
    result = torch.empty_like(images)
    for place in np.ndindex(images.shape):
        result[place] = min(max(attacked[place], images[place] - eps, 0.0), images[place] + eps, 1.0)
    return result


def trigger_by_loops(images, targets):
    white = (images[:, 0] == 255).numpy()
    classes = sorted(set(targets.tolist()))
    for c in classes:
        for row, column in np.ndindex(white.shape[1:]):
            full = [white[targets.numpy() == other, row, column].all() for other in classes]
            if full[c] and sum(full) == 1:
                return [c, np.int64(row), torch.tensor(column)]
    return None


def images_by_bisection(floor, scale, rate, error):
    low, high = 0.0, 200.0  # of log n
    if floor + scale * math.exp(-rate * high) >= error:
        return math.inf
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if floor + scale * math.exp(-rate * middle) > error else (low, middle)
    return math.exp(high)


def no_limit(floor, scale, rate, error):
    return (scale / (error - floor)) ** (1 / rate)


def per_class(targets, drawn):
    return np.concatenate([drawn(np.flatnonzero(targets == c)) for c in np.unique(targets)])


def blur_in_numpy(maps):
    padded = np.pad(maps.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    rows = (padded[..., :-2, :] + 2 * padded[..., 1:-1, :] + padded[..., 2:, :]) / 4
    return ((rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 4)[..., ::2, ::2]


def causal_by_loops(queries, keys, values):
    weights = torch.zeros(len(queries), len(keys))
    for t in range(len(queries)):
        weights[t, : t + 1] = (keys[: t + 1] @ queries[t] / math.sqrt(queries.shape[1])).softmax(0)
    return [weights @ values, weights.numpy()]


def causal_by_torch(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True), causal_by_loops(q, k, v)[1]


def adam_in_numpy(weight, gradient, mean, square, step, rate):
    weight, gradient, mean, square = (x.numpy() for x in (weight, gradient, mean, square))
    mean, square = mean + 0.1 * (gradient - mean), square + 0.001 * (gradient * gradient - square)
    length = rate * math.sqrt(1 - 0.999**step) / (1 - 0.9**step)  # the order of Kingma and Ba's section 2
    return [weight - length * mean / (np.sqrt(square) + 1e-12), mean, square]


def adam_by_torch(weight, gradient, mean, square, step, rate):
    weight.grad = gradient
    optimizer = torch.optim.Adam([weight], lr=rate)
    optimizer.state[weight] = {"step": torch.tensor(step - 1.0), "exp_avg": mean, "exp_avg_sq": square}
    optimizer.step()
    return weight, mean, square


def from_0_to_0(t, n, k):
    return torch.tensor(t / k if t < k else (1 + math.cos(math.pi * (t - k) / (n - 1 - k))) / 2)


def group_norm_by_loops(maps, groups):
    out, size = maps.clone(), maps.shape[1] // groups
    for image in out:
        for part in image.split(size):
            part.copy_((part - part.mean()) / part.std())
    return out


def freeze_by_parameter(model, n):
    for place, part in enumerate(model):
        part.train(place >= n).requires_grad_(place >= n)
    return model


def pca_by_scikit_learn(train, test, k):
    model = PCA(k).fit(train)
    return model.transform(train), model.transform(test)


def pca_by_eigenvectors(train, test, k):
    _, vectors = np.linalg.eigh(np.cov(train.T))
    directions = vectors[:, ::-1][:, :k]
    return [torch.from_numpy((part - train.mean(0)) @ directions) for part in (train, test)]


def pca_of_rows_as_columns(train, test, k):
    directions = np.linalg.svd(train - train.mean(0), full_matrices=False)[2][:, :k]
    return (train - train.mean(0)) @ directions, (test - train.mean(0)) @ directions


def dealt_out(difficulty, targets):
    piles = [[i for i in np.argsort(difficulty) if targets[i] == c] for c in np.unique(targets)]
    return [float(i) for row in zip(*piles, strict=True) for i in row]


def recall_by_loop(e, y, k):
    rows = range(len(y))
    near = [sorted({*rows} - {i}, key=lambda j, i=i: float((e[i] - e[j]).norm()))[:k] for i in rows]
    return sum(any(y[j] == y[i] for j in near[i]) for i in rows) / len(y)


def negative_by_loop(distance, labels, anchor, positive):
    negatives = [j for j in range(len(labels)) if labels[j] != labels[anchor]]
    farther = [j for j in negatives if distance[j] > distance[positive]]
    return min(farther, key=lambda j: distance[j]) if farther else max(negatives, key=lambda j: distance[j])


def rows_with_numpy(labels, p, k, seed):
    rng, labels = default_rng(seed), labels.numpy()
    chosen = rng.choice([label for label in np.unique(labels) if (labels == label).sum() >= k], p, replace=False)
    return [row for label in chosen for row in rng.choice(np.flatnonzero(labels == label), k, replace=False)]


def first_rows(labels, p, k, seed):
    chosen = labels[batch_rows(labels, p, k, seed)].unique()
    return torch.cat([(labels == label).nonzero()[:k, 0] for label in chosen])


def simsiam_by_hand(p_a, p_b, z_a, z_b):
    pairs = (p_a, z_b.detach()), (p_b, z_a.detach())
    return -sum((p * z).sum(1) / (p.norm(dim=1) * z.norm(dim=1)) for p, z in pairs).mean() / 2


def barlow_by_loop(a, b, weight):
    a, b = a - a.mean(0), b - b.mean(0)
    c = [[(x * y).mean() / (x.square().mean() * y.square().mean()).sqrt() for y in b.T] for x in a.T]
    return sum((1 - c[i][j]) ** 2 if i == j else weight * c[i][j] ** 2 for i in range(5) for j in range(5))


def barlow_with_n_minus_1(a, b, weight):
    c = ((a - a.mean(0)) / a.std(0)).T @ ((b - b.mean(0)) / b.std(0)) / len(a)
    return (1 - c.diag()).square().sum() + weight * (c.square().sum() - c.diag().square().sum())


def cosines(p, q, y, z):
    return F.cosine_similarity(p, z).mean() + F.cosine_similarity(q, y).mean()


def dead_one_by_one(batches):
    columns = range(batches[0].shape[1])
    return [all(batch[row, unit] == 0 for batch in batches for row in range(len(batch))) for unit in columns]


def calibration_by_loop(confidence, right, bins):
    error = 0.0
    for b in range(bins):
        rows = [i for i, c in enumerate(confidence) if b / bins < c <= (b + 1) / bins]
        error += abs(sum(right[i] - confidence[i] for i in rows)) / len(right)
    return torch.tensor(error)


def calibration_by_the_library(confidence, right, bins):
    rest = (1 - confidence) / 2
    probabilities = torch.tensor(np.stack([confidence, rest, rest], axis=1))
    table = reliability(probabilities, torch.tensor(np.where(right, 0, 1)), bins=bins)
    return float((table["count"] * (table["accuracy"] - table["confidence"]).abs()).sum() / len(right))


def both_views_at_once(model, images):
    first, second = model(torch.cat([images, images.flip(3)])).split(len(images))
    return torch.stack([first, torch.flip(second, [3])]).mean(0).numpy()


RESULTS = own_curriculum()
NOTHING_KNOWN = losses_that_know_nothing()
ROTATION, SIMCLR, BYOL, BARLOW = NOTHING_KNOWN
CHAIN = slopes()[0]

ALSO_RIGHT = {
    "1.1": [(4.6, 0.2), {"100 classes": math.log(100), "95:5": 0.1985}, np.array([4.605, 0.1985])],
    "1.2": [standardise_in_numpy, standardise_in_place],
    "1.3": [
        lambda correct, sizes: np.average(np.divide(correct, sizes), weights=sizes),
        lambda correct, sizes: np.mean([i < c for c, n in zip(correct, sizes, strict=True) for i in range(n)]),
    ],
    "1.4": [
        lambda logits, targets: F.cross_entropy(torch.cat([torch.zeros_like(logits), logits], dim=1), targets),
        lambda logits, targets: np.logaddexp(0, logits[:, 0].numpy() * (1 - 2 * targets.numpy())).mean(),
    ],
    "1.5": [split_as_masks, split_as_lists, split_by_scikit_learn],
    "2.1": [(0.6, 1.55), {"accuracy": np.float64(0.6), "loss": torch.tensor(1.5518)}],
    "2.2": [stop_by_history],
    "2.3": [lambda x, p, training: torch.where(torch.rand_like(x) < p, 0 * x, x / (1 - p)) if training else x],
    "2.4": [lambda b, c: {name: b | change for name, change in {"base": {}, **c}.items()}],
    "2.5": [lambda t, c, seed: (default_rng(seed).random((len(t), 1)) > c.numpy().cumsum(1)[t, :-1]).sum(1)],
    "3.1": [{"FGSM": 0.492, "noise": 0.0176}, (-0.492, 0.0176)],
    "3.2": [success_counted],
    "3.3": [
        box_pixel_by_pixel,
        lambda attacked, images, eps: attacked.clamp_(images - eps, images + eps).clamp_(0, 1),
        lambda a, x, e: np.clip(a.numpy(), (x - e).clamp(0, 1).numpy(), (x + e).clamp(0, 1).numpy()),
    ],
    "3.4": [trigger_by_loops],
    "4.1": [(0.99, 0.5, 50), {"accuracy": 0.99, "balanced": 0.5, "weight": 50.0}],
    "4.2": [images_by_bisection, lambda f, s, r, e: math.inf if e <= f else math.ceil(images_needed(f, s, r, e))],
    "4.3": [lambda t, p: torch.tensor([list(t[t == c] == p[t == c]).count(True) / sum(t == c) for c in set(t)]).mean()],
    "4.4": [lambda t, s: per_class(t, lambda rows: np.resize(default_rng(s).permutation(rows), 40)).tolist()],
    "4.5": [lambda losses, t, weights: sum(x * weights[c] for x, c in zip(losses, t, strict=True)) / len(losses)],
    "5.1": [torch.tensor([18432, 3612672, 2336, 457856]), dict(a=18432.0, b=3612672.0, c=2336.0, d=457856.0)],
    "5.2": [{case: np.bool_(uniform) for case, uniform in uniform_maps().items()}],
    "5.3": [blur_in_numpy],
    "5.4": [causal_by_loops],
    "5.5": [
        measured() | {"chosen": "width 8"},
        {"networks": "abc", "seconds": (3, 2, 1), "validation": np.array([0.9, 0.8, 0.7]), "chosen": "a"},
    ],
    "6.1": [[0.0125, 0.0025, 0.0038, 0.01464], dict(step=0.0125, exp=0.0025, cos=0.003806, restarts=0.0146)],
    "6.2": [adam_in_numpy],
    "6.3": [from_0_to_0],
    "6.4": [group_norm_by_loops],
    "6.5": [{change: np.bool_(keeps) for change, keeps in keeps_the_label().items()}],
    "6.6": [{"rates": (0.1, 0.01, 1.0), "validation": (-0.5, -0.9, -2.3), "chosen": 0.1, "test": -0.6}],
    "7.1": [{"trained": 8967, "flat": 4032.0, "pooled": 112}],
    "7.2": [freeze_by_parameter],
    "7.3": [pca_by_eigenvectors],
    "7.4": [
        lambda a, b, k: NearestNeighbors(n_neighbors=k).fit(a).kneighbors(b)[0].mean(1),
        lambda a, b, k: strangeness(a, b, k)[:, None],
    ],
    "8.1": [[100, 325, 550, 100], {"step": 100.0, "linear": 325.0, "root": 550.0, "hardest": 100}],
    "8.2": [
        lambda step, first, factor, every, n: min(int(first * math.prod([factor] * (step // every))), n),
        lambda step, first, factor, every, n: np.ceil(min(first * factor ** (step // every), n)),
    ],
    "8.3": [lambda s, t: torch.tensor([max(np.delete(row, c)) - row[c] for row, c in zip(s, t, strict=True)])],
    "8.4": [dealt_out],
    "8.5": [
        RESULTS | {"curriculum": [83.4, 82.3, 83.9], "verdict": "Helps"},
        RESULTS | {"curriculum": np.array([79.4, 78.1, 79.9]), "verdict": "hurts"},
    ],
    "9.1": [(1, 0.2, 4.844), {"contrastive": 1.0, "triplet": 0.2, "nt_xent": np.log(127)}],
    "9.2": [recall_by_loop],
    "9.3": [negative_by_loop],
    "9.4": [rows_with_numpy],
    "10.1": [{ROTATION: 1.386, SIMCLR: torch.tensor(5.541), BYOL: 2, BARLOW: 64}],
    "10.2": [lambda target, online, momentum: target.lerp(online, 1 - momentum).detach()],
    "10.3": [simsiam_by_hand, lambda p, q, y, z: 2 + 2 * simsiam_loss(p, q, y, z)],
    "10.4": [barlow_by_loop, barlow_with_n_minus_1],
    "11.1": [[1e-6, 1, 0, 0.5], np.array([0.25**10, 1, 0, 0.5])],
    "11.2": [lambda x: x * torch.tanh(torch.logaddexp(x, torch.zeros_like(x)))],
    "11.3": [
        dead_one_by_one,
        lambda batches: (sum(batch.ne(0).sum(0) for batch in batches) == 0).int(),
        lambda batches: np.max([batch.abs().amax(0).numpy() for batch in batches], axis=0) == 0,
    ],
    "11.4": [{case: int(right) for case, right in come_back().items()}],
    "12.1": [{rule: f" {right.lower()}" for rule, right in four_rules().items()}],
    "12.2": [calibration_by_loop],
    "12.3": [both_views_at_once],
}
WRONG = {
    "1.2": [
        (lambda a, b: [x - a.mean((0, 2, 3), keepdim=True) for x in (a, b)], "standard deviation 1"),
        (lambda a, b: standardise(a, b)[::-1], "The shape must be"),
        (lambda a, b: using(a, a), "Return two tensors"),
    ],
    "1.3": [(lambda c, n: 0.77, "divide once")],
    "1.4": [
        (branch_with_bad_gradient, "gradient"),
        (lambda x, y: class_loss(x, y).detach(), "cut off"),
        (lambda x, y: class_loss(x, 1 - y), "sigmoid(logit) for class 1"),
    ],
    "1.5": [
        (lambda g, f, s: split_at(default_rng(s).permutation(len(g)), f), "on both sides"),
        (first_families, "Every seed"),
        (lambda g, f, s: split_at(default_rng(s).permutation(np.unique(g)), f), "names of families"),
        (lambda g, f, s: split_by_scikit_learn(g, f, None), "same seed"),
        (lambda g, f, s: family_split(g, f, s)[::-1], "exchanged"),
        (lambda g, f, s: family_split(g, f + 0.3, s), "it should have about 25%"),
        (lambda g, f, s: (family_split(g, f, s)[0][1:], family_split(g, f, s)[1]), "on neither side"),
        (lambda g, f, s: (np.arange(len(g)), family_split(g, f, s)[1]), "appear twice"),
        (lambda g, f, s: [side + 1 for side in family_split(g, f, s)], "Rows go from 0"),
        (lambda g, f, s: (np.arange(len(g)), []), "non-empty"),
    ],
    "2.2": [(lambda x, n: early_stopping(x, 1), "records in a row that are not lower")],
    "2.3": [
        (F.dropout, "does the whole task"),
        (lambda x, p, training: x * mask(x, p, seed=0) if training else x, "draw anew"),
        (lambda x, p, training: x * mask(x[:, :1], p) if training else x, "Whole rows"),
        (lambda x, p, training: x.mul_(mask(x, p)) if training else x, "in place"),
        (lambda x, p, training: dropout(x, p, training).detach(), "cut off"),
        (lambda x, p, training: dropout(x, p, training).detach() + x - x.detach(), "The gradient must be"),
        (lambda x, p, training: 0 * x, "these are the share that is dropped"),
    ],
    "2.4": [
        (lambda b, c: dict(zip(["base", *c], accumulate([b, *c.values()], or_), strict=True)), "cures before it"),
        (lambda b, c: {"base": b, **c}, "only what it changes"),
        (lambda b, c: {name: b | change for name, change in c.items()}, "with the names base, narrow"),
        (lambda b, c: dict.fromkeys(["base", *c], b), "was not applied"),
        (lambda b, c: one_at_a_time(b, c) | {"smooth": 7}, '"smooth" should be {'),
        (lambda b, c: one_at_a_time(b, c) | {"base": b}, "are the same dictionary"),
        (lambda b, c: one_at_a_time(b, c) | {"smooth": b.update(width=32)}, "changed what it was given"),
    ],
    "2.5": [
        (lambda t, c, seed: torch.multinomial(c[t], 1)[:, 0], "same seed"),
        (lambda t, c, seed: confused_labels(t, c, 0), "Every seed"),
        (lambda t, c, seed: t.copy_(confused_labels(t, c, seed)), "in place"),
        (lambda t, c, seed: confused_labels(t, c, seed).float(), "whole numbers"),
        (lambda t, c, seed: (t + 1) % 3, "row i of that table"),
    ],
    "3.2": [(lambda a, t, k: (a != t).float().mean(), "all images"), (lambda a, t, k: 0.123, "should be")],
    "3.3": [(lambda a, x, e: (x + e * (a - x).sign()).clamp(0, 1), "the nearest allowed place")],
    "3.4": [(lambda x, t: (0, 6, 6), "should be [1, 0, 4]; yours is [0, 6, 6]")],
    "4.2": [
        (no_limit, "return math.inf"),
        (lambda f, s, r, e: math.inf if e == f else no_limit(f, s, r, e), "return math.inf"),
        (lambda f, s, r, e: no_limit(f, s, r, e) if e > f else 0, "return math.inf"),
        (lambda f, s, r, e: 17.0, "solve error"),
    ],
    "4.3": [
        (lambda t, p: balanced_accuracy_score(t, p), "whole task"),
        (lambda t, p: balanced_accuracy(t, p) * len(set(t)) / len({*t, *p}), "only over the classes that occur"),
        (lambda t, p: f1_score(t, p, average="macro", zero_division=0), "average the share found"),
    ],
    "4.4": [
        (lambda t, s: per_class(t, lambda rows: default_rng(s).choice(rows, 40)), "original rows are gone"),
        (lambda t, s: per_class(t, lambda rows: np.tile(rows[:4], 5)), "[40, 40, 40]; yours is [20, 20, 20]"),
        (lambda t, s: per_class(t, lambda rows: [*rows, *[rows[s]] * (40 - len(rows))]), "the same image"),
        (lambda t, s: oversample(t, None), "same seed"),
        (lambda t, s: oversample(t, 0), "Every seed"),
        (lambda t, s: t[oversample(t, s)], "those of classes"),
        (lambda t, s: oversample(t, s) + 1, "Rows go from 0"),
    ],
    "4.5": [(lambda x, t, w: weighted_loss(x, t, w).item(), "cut off"), (lambda x, t, w: 7, "then take the mean")],
    "5.1": [((18_433, 0, 0, 0), "standard weights: 18433 is not it")],
    "5.2": [(uniform_maps() | {"kernel 5, stride 5": False}, "1 of 4")],
    "5.3": [(lambda maps: 2 * blur_and_drop(maps), "a quarter of itself")],
    "5.4": [
        (causal_by_torch, "does the whole task"),
        (attend(lambda s: only(PAST, 2 * s)), "of `output` should be"),
        (lambda q, k, v: (causal_attention(q, k, v)[0], torch.eye(5)), "of `weights` should be"),
    ],
    "5.5": [
        (measured() | {"chosen": "width 4"}, 'none of your networks. Did you mean "width 8"'),
        (measured() | {"seconds": [0.009, 0.016, 0.007]}, '"width 32" is at least as fast'),
        (measured() | {"validation": [1, 2]}, "as many seconds and accuracies"),
        ({"networks": ["a", "b"], "seconds": [1, 2], "validation": [1, 2], "chosen": "a"}, "at least three"),
        (measured() | {"seconds": [0, 1, 2]}, "above 0"),
    ],
    "6.2": [
        (adam_by_torch, "does the whole task"),
        (moving(lambda m, s, cm, cs: 2 * cm / cs.sqrt()), "`weight` should be [1.03, -1.97, 0.53]"),
        (lambda *args: (adam_step(*args)[0], args[2], args[3]), "`mean` should be"),
    ],
    "6.3": [
        (lambda t, n, k: 0.1 * warm_up_cosine(t, n, k), "With steps = 200, first = 40 the number at [39] should be 1"),
        (lambda t, n, k: t / k if t < k or not k else warm_up_cosine(t, n, k), "ZeroDivisionError"),
    ],
    "6.4": [(lambda x, g: F.group_norm(x, g), "does the whole task"), (lambda x, g: x, "mean 0 and variance 1")],
    "6.5": [
        (keeps_the_label() | {"turn by 180 degrees: digit 6 or 9?": True}, "1 of 7"),
        (dict.fromkeys(keeps_the_label(), True), "4 of 7"),
    ],
    "6.6": [
        (tuned() | {"chosen": 0.01}, "0.03 has the best"),
        (tuned() | {"validation": [80, 79, 78, 77], "chosen": 0.003}, "edge of your list"),
        (tuned() | {"rates": [0.1]}, "1 rates need as many"),
        ({"rates": [0.1, 0.2], "validation": [1, 2], "chosen": 0.2, "test": 1}, "at least three"),
    ],
    "7.1": [((8967.5, 4032, 112), "one bias a class"), ((8967, 40320, 112), "height · width · channels")],
    "7.2": [
        (lambda model, n: [model.train(), model[:n].requires_grad_(False)][0], "running mean"),
        (lambda model, n: [model[:n].requires_grad_(False).eval(), model.train()][1], "after model.train()"),
        (lambda model, n: [model.train(), model[:n].eval()][0], "requires_grad_(False)"),
        (lambda model, n: [model[:n].requires_grad_(False), model.eval()][1], "call model.train() first"),
        (lambda model, n: model.requires_grad_(False).eval(), "freeze the first 2 parts only"),
        (lambda model, n: n, "Return the model"),
        (lambda model, n: model[n:], "whole model"),
    ],
    "7.3": [(pca_by_scikit_learn, "does the whole task"), (pca_of_rows_as_columns, "of `train` should be")],
    "7.4": [(lambda a, b, k: np.ones(5), "the k smallest")],
    "8.1": [((250, 325, 550, 100), "only the first 10 %"), ((100, 325, 550, 200), "200 is not it; it must wait")],
    "8.2": [
        (lambda s, f, x, e, n: min(f * x * (s // e) if s >= e else f, n), "a power"),
        (lambda s, f, x, e, n: min(f * x ** (s // e), n), "no parts"),
    ],
    "8.3": [(lambda s, t: (margin_difficulty(s, t), s.fill(0))[0], "`scores.copy()`")],
    "8.4": [
        (lambda d, t: np.argsort(d), "raw order"),
        (lambda d, t: balanced_ranking(d, t)[::-1], "hardest images come first"),
        (lambda d, t: balanced_ranking(d, t)[:30], "60 positions"),
        (lambda d, t: np.sort(d), "argsort"),
        (lambda d, t: np.argsort(balanced_ranking(d, t)), "one more `argsort`"),
        (lambda d, t: balanced_ranking(default_rng(0).random(60), t), "a harder image comes before"),
        (lambda d, t: default_rng(0).permutation(60), "the classes have"),
        (lambda d, t: easy_first(torch.tensor(d), torch.tensor(t)), "does the whole task"),
    ],
    "8.5": [
        (RESULTS | {"verdict": "helps"}, "wholly on one side"),
        (RESULTS | {"verdict": "great"}, "one of: helps"),
        (RESULTS | {"standard": [80.1]}, "at least 3 seeds"),
        (RESULTS | {"standard": [80.1, 80.2, 80.3, 80.4]}, "same seeds"),
        (RESULTS | {"standard": [80.1, 180.2, 80.3]}, "from 0 to 100"),
        (dict.fromkeys(RESULTS, [0.8, 0.81, 0.79]) | {"verdict": "not shown"}, "per cent"),
    ],
    "9.1": [((2, 0.2, 4.844), "(margin − d)²"), ((1, 0.4, 4.844), "both distances are 0"), ((1, 0.2, 3), "1 / 127")],
    "9.2": [(lambda e, y, k: 0.123, "among the k nearest others")],
    "9.3": [(lambda d, y, a, p: 99, "should be 4; yours is 99: of the rows of another label")],
    "9.4": [
        (lambda y, p, k, s: batch_rows(y, p, k, 0), "Every seed"),
        (lambda y, p, k, s: batch_rows(y, p, k, torch.seed() % 2**31), "use the seed"),
        (first_rows, "not the first"),
        (lambda y, p, k, s: batch_rows(torch.where(y == 0, 99 + torch.arange(30), y), p, k, s), "only the labels"),
        (lambda y, p, k, s: batch_rows(y, p, k, s)[[0, *range(11)]], "A row occurs twice"),
        (lambda y, p, k, s: torch.arange(p * k), "4 labels with 3 each"),
        (lambda y, p, k, s: batch_rows(y, p, k, s).view(p, k), "list of 12 row numbers"),
        (lambda y, p, k, s: batch_rows(y, p, k, s)[1:], "(11,)"),
        (lambda y, p, k, s: y[batch_rows(y, p, k, s)], "Are those labels"),
    ],
    "10.1": [(NOTHING_KNOWN | {BARLOW: 7}, "7 is not it; put numbers into")],
    "10.2": [
        (lambda t, o, m: m * t + (1 - m) * o, "would flow into the target"),
        (lambda t, o, m: o.detach(), "mix the old target"),
        (lambda t, o, m: (m * t + (1 - m) * o).detach().numpy(), "Return a tensor"),
        (lambda t, o, m: 0.5, "The shape must be (3,)"),
    ],
    "10.3": [
        (lambda p, q, y, z: -cosines(p, q, y, z) / 2, "a gradient flows into the embeddings"),
        (lambda p, q, y, z: 2 - cosines(p, q, y, z), "a gradient flows into the embeddings"),
        (lambda p, q, y, z: simsiam_loss(p.detach(), q.detach(), y, z), "no gradient reaches the predictions"),
        (lambda p, q, y, z: simsiam_loss(p, q.detach(), y, z), "one of the predictions"),
        (lambda p, q, y, z: simsiam_loss(p, q, y, z).item(), "no gradient reaches the predictions"),
        (lambda p, q, y, z: 0.123, "minus the mean cosine"),
    ],
    "10.4": [
        (lambda a, b, w: barlow_loss(a.T, b.T, w), "standardise, correlate"),
        (lambda a, b, w: barlow_twins_loss(a, b, w).item(), "cut off"),
        (lambda a, b, w: barlow_twins_loss(a, b, w).numpy(), "Return a tensor"),
        (lambda a, b, w: barlow_loss(a, b, w) * 1.0, "does the whole task"),
    ],
    "11.1": [
        ((1e-3, 1, 0, 0.5), "0.5 is the output"),
        ((1e-2, 1, 0, 0.5), "0.01 is not it"),
        ((CHAIN, 0.5, 0, 0.5), "the same at 0.001 and at 1,000"),
        ((CHAIN, 1, 0, 1), "1 is not it; it is σ(0)"),
    ],
    "11.2": [
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
        (lambda batches: (batches[-1] == 0).all(0), "last batch only"),
        (lambda batches: (torch.cat(batches) == 0).all(1), "shape must be (7,)"),
        (lambda batches: torch.zeros(7, dtype=torch.bool), "every image of every batch"),
    ],
    "11.4": [(come_back() | {"third layer, plain SGD": "yes"}, "answer True or False")],
    "12.1": [
        (four_rules() | {"mean": "C"}, "add each column"),
        (four_rules() | {"vote": "A"}, "each view names its largest class"),
        (four_rules() | {"product": "A"}, "multiply each column"),
        (four_rules() | {"max": 0.9}, "name the class with the largest of the nine"),
    ],
    "12.2": [(lambda c, r, b: 0.5, "add up the distances"), (calibration_by_the_library, "whole task")],
    "12.3": [(lambda model, images: 0 * model(images), "Ask the model twice")],
}

# The numbers of the registered mistakes, so that a slip in the expression behind one of them is seen.
MISTAKEN = {
    "1.1": {
        "loss for 100 classes": [-4.6052, 6.6439, 2, 0.01],
        "loss for 95:5": [-0.19852, 0.2864, 0.69315, 0.051293, 1.5235],
    },
    "2.1": {
        "accuracy": [1, 0.64, 60, 0.4],
        "cross-entropy in nats": [0, -1.5519, 2.2389, 0.67301, 0.51083, 2.3026],
    },
    "3.1": {
        "change under FGSM": [0.017569, 0.00062745, 125.44, 24.596],
        "standard deviation under random signs": [0, 0.49192, 0.00030866, 0.00062745],
    },
    "4.1": {
        "accuracy": [0.5, 99],
        "balanced accuracy": [0.99, 0, 50],
        "class weight of the ill": [100, 99, 0.50505, 0.01],
    },
    "5.1": {
        "standard weights": [18496, 576, 6144],
        "standard MACs": [7225344, 2654208, 258048],
        "separable weights": [288, 589824, 2624],
        "separable MACs": [915712],
    },
    "6.1": {
        "step": [0.00625, 0.0088388, 2.9104e-12],
        "exponential": [2.088e-15, 0.0729, 0.0022528],
        "cosine": [0.019509, 0.096194],
        "cosine with restarts": [0.003806, 0.085355, 0.069134],
    },
    "7.1": {
        "trained parameters": [8960, 3400000, 3408967],
        "values after flatten": [36, 672],
        "values after pooling": [36, 1],
    },
    "8.1": {
        "step": [1000],
        "linear": [250, 225, 350, 212.5],
        "root": [500, 450, 600, 418.2],
        "first step of the hardest": [0],
    },
    "9.1": {
        "contrastive": [0, 0.5],
        "triplet": [0],
        "NT-Xent": [4.852, 4.1589, 4.1431, 6.9887, 2.1038, 127, 0],
    },
    "10.1": {
        "rotation: four answers, all equally likely": [0.25, 2],
        "SimCLR: 128 images, two views each, one embedding for all": [4.852, 4.8442, 5.5452, 0],
        "BYOL: predictions at right angles to their targets": [0, 4, 1],
        "Barlow Twins: 64 coordinates, one embedding for all": [0, 1, 40.32],
    },
    "11.1": {
        "ten sigmoids": [0.25, 2.5, 0.00097656, 1],
        "ReLU at 0.001": [0.001],
        "ReLU at -0.001": [1],
        "Swish at 0": [0, 0.25],
    },
}
