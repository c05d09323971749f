"""Exercises of lesson 9: contrastive learning."""

from __future__ import annotations

import math

import numpy as np
import torch

from .answers import array, expect
from .blocks import exercise


@exercise(
    "9.1 predict three losses of a network that has collapsed",
    value="(None, None, None)  # contrastive (margin 1), triplet (margin 0.2), NT-Xent (64 pairs)",
    hint="Put d = 0 into each formula. In NT-Xent all similarities are equal: what is the probability of the right one "
    "among the others?",
    hint2="64 pairs are 128 rows, and a row is never compared with itself. Cross-entropy of a guess among n is ln n.",
    within=0.002,
    right="1, the margin 0.2, and ln 127 = 4.84: if a loss stands still at such a number, the network learns nothing.",
)
def losses_of_one_point():
    """Every embedding is the same point, so every distance is 0 and every similarity is equal."""
    contrastive = 0**2 + max(0, 1 - 0) ** 2  # the pairs of one label, and the other pairs
    triplet = max(0, 0 - 0 + 0.2)  # the margin
    nt_xent = math.log(2 * 64 - 1)  # each row guesses among the 127 others
    return contrastive, triplet, nt_xent


part, PAIRS = losses_of_one_point.part, "that counts pairs; every row looks for its partner among 127 others."
part(
    "contrastive",
    "with d = 0 it is d² = 0 for one kind of pairs, and (margin − d)² for the other.",
    (0, "the pairs of one label are perfect, but the other pairs should be a margin apart, and are not."),
    (0.5, "that is the mean of both kinds of pairs; this loss adds the mean of each kind."),
)
part("triplet", "both distances are 0; what is left of the formula?", (0, "the negative should be a margin farther."))
part(
    "NT-Xent",
    "all similarities are equal, so the right row has the probability 1 / 127.",
    (math.log(128), "ln 128 lets a row find itself, but it is compared with the 127 others."),
    (math.log(64), PAIRS),
    (math.log(63), PAIRS),
    (math.log2(127), "that is in bits; take the natural logarithm."),
    (math.log10(127), "that is a decimal logarithm; take the natural one."),
    (127, "take the logarithm."),
    (0, "a guess among 127 rows is not right by itself."),
)


def neighbours():
    draws = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 8, (24,), generator=draws)
    embeddings = torch.randn(24, 3, generator=draws) + 0.2 * labels[:, None]
    yield embeddings, labels, 1
    yield embeddings, labels, 3
    yield embeddings[:6].repeat(2, 1), torch.arange(6).repeat(2), 1  # each image has a copy, at distance 0


@exercise(
    "9.2 recall at k without the query itself",
    hint="`torch.cdist(embeddings, embeddings)` gives all distances. Which places of it must never be an answer?",
    hint2="Set the diagonal to infinity, then `topk(k, largest=False)`. A query counts once, however many of its "
    "answers are right: `any`.",
    cases=neighbours,
    otherwise="for each image, is there a right one among the k nearest others?",
    right="Forget the diagonal, and every network, trained or not, finds everything.",
)
def recall_without_self(embeddings, labels, k):
    """The share of images with at least one image of the same label among their k nearest.

    embeddings: float (N, D). labels: int (N,). Every image asks all *others*; it is
    never an answer to itself. Euclidean distance.
    """
    distance = torch.cdist(embeddings, embeddings)
    distance.fill_diagonal_(math.inf)
    answers = distance.topk(k, largest=False).indices
    hits = labels[answers] == labels[:, None]
    return hits.any(1).float().mean()


def hits(distance, y, k):
    return (y[distance.topk(k, largest=False).indices] == y[:, None]).float()


def apart(e):
    return torch.cdist(e, e).where(torch.cdist(e, e) > 0, math.inf)


ONCE = "a query counts once, however many of its answers are right."
recall_without_self.mistakes(
    (lambda e, y, k: hits(apart(e), y, k).amax(1).mean(), "leave out the query by its row, not by its distance."),
    (lambda e, y, k: hits(torch.cdist(e, e), y, k).amax(1).mean(), "every image finds itself, at distance 0."),
    (lambda e, y, k: 100 * recall_without_self(e, y, k), "give a fraction from 0 to 1, not per cent."),
    (lambda e, y, k: len(y) * recall_without_self(e, y, k), "divide by the number of queries."),
    (lambda e, y, k: hits(apart(e), y, k).mean(), f"that is the precision: {ONCE}"),
    (lambda e, y, k: hits(apart(e), y, k).sum(1).mean(), ONCE),
    (lambda e, y, k: hits(apart(e), y, k).amin(1).mean(), "one right answer is enough: `any`, not `all`."),
    (lambda e, y, k: hits(-torch.cdist(e, e), y, k).amax(1).mean(), "those are the farthest images."),
    (lambda e, y, k: hits(apart(e), y, k - 1).any(1).float().mean(), "one too few: leave the query out, then take k."),
)


@exercise(
    "9.3 the semi-hard negative",
    hint="Two conditions: another label, and farther than the positive. Which of the rows that are left is nearest?",
    hint2="`distance.masked_fill(~allowed, math.inf).argmin()` finds the nearest allowed row. If no row is allowed, "
    "take the farthest of another label.",
    cases=(
        (torch.tensor([0.0, 0.5, 0.3, 0.9, 0.7, 0.6, 1.4]), torch.tensor([0, 0, 1, 2, 1, 0, 3]), 0, 1),
        (torch.tensor([0.0, 0.5, 0.8, 0.55, 0.1, 2.0, 0.2]), torch.tensor([0, 0, 1, 2, 1, 0, 3]), 0, 1),
        (torch.tensor([0.0, 0.5, 0.5, 0.6, 0.4, 0.55, 0.7]), torch.tensor([0, 0, 1, 2, 1, 0, 3]), 0, 1),
        (torch.tensor([0.0, 0.9, 0.3, 0.5, 0.2, 1.0, 0.8]), torch.tensor([0, 0, 1, 2, 1, 0, 3]), 0, 1),  # none farther
        (torch.tensor([0.4, 0.0, 0.2, 0.6, 0.3]), torch.tensor([5, 5, 9, 9, 5]), 1, 4),
    ),
    otherwise="of the rows of another label, the nearest that is farther than the positive, or else the farthest.",
    right="Hard enough to teach something, and still on the right side, so that single wrong labels pull less.",
)
def semi_hard_negative(distance, labels, anchor, positive):
    """The row of the semi-hard negative of one anchor and its positive.

    distance: float (N,), of the anchor to every row. labels: int (N,). anchor, positive:
    two row numbers. Returns the nearest row of another label that is farther than the
    positive; if there is none, the farthest row of another label.
    """
    other = labels != labels[anchor]
    farther = other & (distance > distance[positive])
    if farther.any():
        return distance.masked_fill(~farther, math.inf).argmin()
    return distance.masked_fill(~other, -math.inf).argmax()


def nearest(distance, rows):
    return distance.masked_fill(~rows, 9).argmin()


semi_hard_negative.mistakes(
    (lambda d, y, a, p: semi_hard_negative(d, y, 0, 1), "use both numbers, anchor and positive."),
    (lambda d, y, a, p: nearest(d, y != y[a]), "that is the hardest negative, nearer than the positive."),
    (lambda d, y, a, p: nearest(-d, y != y[a]), "that is the easiest negative; take the nearest that is farther."),
    (lambda d, y, a, p: nearest(d, d > d[p]), "that row has the label of the anchor."),
    (lambda d, y, a, p: nearest(d, (y != y[a]) & (d > d[p])), "no negative is farther here, so take the farthest."),
    (lambda d, y, a, p: nearest(d, (y != y[a]) & (d >= d[p])), "that row is as far as the positive, not farther."),
)


def check_batches(answer):
    labels = torch.repeat_interleave(10 * torch.arange(7), torch.tensor([6, 1, 5, 2, 7, 4, 5]))
    labels = labels[torch.randperm(30, generator=torch.Generator().manual_seed(3))]
    rows, again, other, *more = (array(answer(labels.clone(), 4, 3, seed)) for seed in (0, 0, *range(1, 60)))
    kind = f"p = 4 labels with k = 3 images each are a list of 12 row numbers; yours has the shape {rows.shape}."
    expect(rows.shape == (12,), kind)
    span = f"Rows are whole numbers from 0 to 29; yours go from {rows.min():g} to {rows.max():g}. Are those labels?"
    expect(set(rows) <= set(range(30)), span)
    expect(len(set(rows)) == 12, "A row occurs twice: a pair of an image with itself teaches nothing.")
    counts = labels[rows.astype(int)].unique(return_counts=True)[1].tolist()
    share = f"The labels of the batch have {counts} images; it should be 4 labels with 3 each."
    expect(counts == [3] * 4, f"{share} Draw only among labels with at least 3 images.")
    expect(set(again) == set(rows), "The same seed gave another batch: use the seed for every draw.")
    expect(set(other) != set(rows), "Every seed gives the same batch: draw with the seed.")
    came = np.unique([rows, other, *more]).astype(int)
    possible = np.flatnonzero([(labels == label).sum() >= 3 for label in labels])
    drawn, wanted = (labels[one].unique().tolist() for one in (came, possible))
    expect(drawn == wanted, f"In 60 batches only the labels {drawn} came; each of {wanted} should.")
    expect(len(came) == len(possible), "Some images never come, in 60 batches: draw k rows at random, not the first.")


@exercise(
    "9.4 a batch with several images of each label",
    hint="First draw p labels among those that occur at least k times, then k rows of each.",
    hint2="`labels.unique(return_counts=True)` counts; `torch.randperm(n, generator=…)[:k]` draws k of n without "
    "repeats.",
    check=check_batches,
    right="Each image of such a batch has 2 partners; a random batch may have none.",
)
def batch_rows(labels, p, k, seed):
    """Row numbers of a batch with p different labels and k different images of each.

    labels: int (N,). Only labels with at least k images can be drawn. The draw follows
    from seed. Returns p · k row numbers.
    """
    draws = torch.Generator().manual_seed(seed)
    values, counts = labels.unique(return_counts=True)
    values = values[counts >= k]
    chosen = values[torch.randperm(len(values), generator=draws)[:p]]
    rows = []
    for label in chosen:
        members = (labels == label).nonzero().flatten()
        rows.append(members[torch.randperm(len(members), generator=draws)[:k]])
    return torch.cat(rows)


@exercise(
    "9.5 plan a search of your own",
    hint="Begin with `same`: two people should agree on it for ten pairs of images.",
    hint2="An honest `not done` is an answer too. It shows you what to do next.",
    points={
        "same": "which two images are the same thing, and which near misses are not?",
        "pairs": "how many things with two images or more, and what does a batch hold?",
        "split": "whole things, with their variants, on one side; the test part is new in the way that use will be "
        "new.",
        "baselines": "recall@1 of raw pixels, of frozen pretrained features, and of your network before training.",
        "measure": "which queries, which gallery, and what must not be an answer?",
        "alarm": "which number tells you, in the first minutes, that the network does not learn?",
    },
)
def plan():
    """An example: finding the same wooden chair in the catalogues of other shops."""
    return {
        "same": "two photographs of one model of chair; another colour of it is not the same",
        "pairs": "4,100 models with 2 to 9 photographs each, from 11 shops; batches of 32 models × 4 photographs",
        "split": "by model and its variants: 600 models validate, 600 test; one shop is in the test part only",
        "baselines": "recall@1 on the test part: pixels 0.04, ImageNet features 0.41, the same network untrained 0.07",
        "measure": "recall@1 and recall@5 from shop to shop, never within one; the query is not in the gallery",
        "alarm": "spread of the embeddings below 0.1, or a triplet loss that stays at its margin for 50 steps",
    }
