"""Learning without labels: a pretext task, and six methods that compare two views of each image (paper, section V-C).

Every method is an objective for :func:`tdnn_helpers.train.fit`. It sees a batch in which the two views of an image
stand side by side, as :func:`two_views` puts them, and a :class:`JointEmbedding`, which holds the networks and all that
the method keeps from step to step. What differs is the loss, and the safeguard against the answer that is always free:
the same embedding for every image (*collapse*).
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from ..data.augment import Augment
from ..train.objectives import Batch
from .contrastive import nt_xent, spread

Measured = tuple[torch.Tensor, dict[str, torch.Tensor]]


# ---- views and parts -------------------------------------------------------------------------------------------------


def two_views(augment: Augment) -> Augment:
    """An augmentation that makes two views of each image: B×C×H×W in, 2B×C×H×W out, views of one image side by side."""

    def views(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return torch.stack([augment(images, generator), augment(images, generator)], dim=1).flatten(0, 1)

    return views


def pair(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """First and second views (B×…) of a batch with two views side by side (2B×…).

    Raises ValueError for an odd number of rows.
    """
    if len(rows) % 2:
        raise ValueError(f"{len(rows)} rows are no pairs: give fit(…, augment=two_views(…)).")
    return rows[0::2], rows[1::2]


def swapped(rows: torch.Tensor) -> torch.Tensor:
    """The same 2B×D rows, each in the place of the other view of its image."""
    return torch.stack(pair(rows)[::-1], dim=1).flatten(0, 1)


def head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Linear → batch norm → ReLU → linear: the projector and the predictor of all methods here."""
    return nn.Sequential(
        nn.Linear(inputs, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True), nn.Linear(hidden, outputs)
    )


class JointEmbedding(nn.Module):
    """An encoder with a projector on top, and the further parts that a method asks for.

    All that lasts from step to step (the target network, the queue) is part of the state dict, so that a checkpoint
    holds it. Only :meth:`follow` and :meth:`enqueue` change it, in training mode alone. A method whose part is missing
    raises ValueError and names it, except the predictor: its absence is what shows the collapse.

    Args:
        encoder: images N×C×H×W → features N×D. It is what remains when the training is over.
        features: D.
        embedding, hidden: outputs and hidden units of the projector.
        predictor: hidden units of a second head on top of the projector (BYOL, SimSiam); 0: none.
        momentum: makes a target network, a copy of encoder and projector that no gradient reaches. Each step moves its
            weights to ``momentum`` · target + (1 − ``momentum``) · online (MoCo, BYOL). 0: always the online weights.
        queue: embeddings of earlier images that are kept as negatives (MoCo).
        prototypes: cluster centres on the unit sphere (SwAV).
    """

    def __init__(
        self,
        encoder: nn.Module,
        features: int,
        *,
        embedding: int = 64,
        hidden: int = 128,
        predictor: int = 0,
        momentum: float | None = None,
        queue: int = 0,
        prototypes: int = 0,
    ):
        super().__init__()
        self.encoder, self.momentum = encoder, momentum
        self.projector = head(features, hidden, embedding)
        self.predictor = head(embedding, predictor, embedding) if predictor else nn.Identity()
        self.prototypes = nn.Parameter(torch.randn(prototypes, embedding)) if prototypes else None
        self.register_buffer("queue", F.normalize(torch.randn(queue, embedding)) if queue else None)
        self.target = None
        if momentum is not None:
            self.target = copy.deepcopy(nn.Sequential(encoder, self.projector)).requires_grad_(False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The embeddings N×E, not normalised."""
        return self.projector(self.encoder(images))

    @torch.no_grad()
    def follow(self, images: torch.Tensor) -> torch.Tensor:
        """What the target network makes of these images, N×E without gradient. In training mode it first takes its
        step towards the online weights."""
        self.need("target", "momentum=0.98")
        if self.training:
            online = [*self.encoder.parameters(), *self.projector.parameters()]
            for mine, other in zip(self.target.parameters(), online, strict=True):
                mine.lerp_(other, 1 - self.momentum)
        return self.target(images)

    @torch.no_grad()
    def enqueue(self, keys: torch.Tensor) -> None:
        """In training mode, put normalised embeddings in front of the queue and drop as many at its end."""
        if self.training:
            self.queue = torch.cat([keys, self.queue])[: len(self.queue)]

    def need(self, part: str, how: str) -> None:
        """ValueError if this part was not asked for."""
        if getattr(self, part) is None:
            raise ValueError(f"this method needs a part that is missing: build JointEmbedding(…, {how}).")


# ---- has it collapsed? -----------------------------------------------------------------------------------------------


def dimensions(embeddings: torch.Tensor) -> torch.Tensor:
    """How many directions N×E embeddings really use, from 1 to E: (Σ λ)² / Σ λ² over the eigenvalues λ of their
    covariance, the participation ratio."""
    centred = embeddings.float() - embeddings.float().mean(0)
    covariance = centred.T @ centred
    return covariance.trace().square() / covariance.square().sum().clamp_min(1e-30)


def collapse(embeddings: torch.Tensor) -> dict[str, torch.Tensor]:
    """Two measures of a batch of embeddings N×E, as metrics of an objective: the *spread* of their directions (0 if all
    point the same way, 1 if they cancel out on average, as two opposite points do), and the number of *dimensions* that
    they use."""
    embeddings = embeddings.detach().float()
    return {"spread": spread(F.normalize(embeddings)), "dimensions": dimensions(embeddings)}


# ---- losses ----------------------------------------------------------------------------------------------------------


def distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """2 − 2 · cosine of each row of ``a`` with the same row of ``b`` (both N×E), averaged: 0 if all agree, at most 4.
    It is the squared distance of the normalised rows (Grill et al., NeurIPS 2020, equation 2)."""
    return 2 - 2 * F.cosine_similarity(a, b).mean()


def info_nce(queries: torch.Tensor, keys: torch.Tensor, negatives: torch.Tensor, temperature: float) -> torch.Tensor:
    """Cross-entropy of picking for each query (B×E) its own key (B×E) among that key and all negatives (K×E), all on
    the unit sphere (He et al., CVPR 2020, equation 1)."""
    own = (queries * keys).sum(1, keepdim=True)
    logits = torch.cat([own, queries @ negatives.T], dim=1) / temperature
    return F.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long))


def sinkhorn(scores: torch.Tensor, *, sharpness: float = 0.05, rounds: int = 3) -> torch.Tensor:
    """Soft assignments of N images to K prototypes from scores N×K: every row sums to 1, and every column to about
    N / K, because columns and rows are normalised in turn (Caron et al., NeurIPS 2020). Large scores do not overflow.
    """
    logs = scores / sharpness
    for _ in range(rounds):
        logs = logs - logs.logsumexp(0)
        logs = logs - logs.logsumexp(1, keepdim=True)
    return logs.exp()


def barlow_loss(a: torch.Tensor, b: torch.Tensor, weight: float) -> torch.Tensor:
    """Σ (1 − C_ii)² + ``weight`` · Σ C_ij² over i ≠ j, where C is the correlation matrix (E×E) between the coordinates
    of ``a`` and those of ``b``, both N×E, over the batch (Zbontar et al., ICML 2021, equation 1).

    0 if the views agree and no two coordinates are correlated; E if every image has the same embedding, because a
    constant coordinate correlates with nothing.
    """
    a, b = (((x - x.mean(0)) / x.std(0, correction=0).clamp_min(1e-4)) for x in (a, b))
    correlation = a.T @ b / len(a)
    diagonal = correlation.diagonal()
    return (1 - diagonal).square().sum() + weight * (correlation.square().sum() - diagonal.square().sum())


# ---- the methods -----------------------------------------------------------------------------------------------------


def rotated(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Square images turned by 0, 90, 180, 270, 0, … degrees anticlockwise in the order of the batch, and the number of
    quarter turns, int64 N: the label that costs nothing (Gidaris, Singh and Komodakis, ICLR 2018)."""
    turns = torch.arange(len(images), device=images.device) % 4
    turned = torch.empty_like(images)
    for k in range(4):
        turned[k::4] = images[k::4].rot90(k, (-2, -1))
    return turned, turns


def rotation(model: nn.Module, batch: Batch) -> Measured:
    """Predict by how many quarter turns an image was turned; ``model`` gives four logits. The targets of the batch are
    never looked at."""
    images, turns = rotated(batch.images)
    logits = model(images)
    return F.cross_entropy(logits, turns), {"accuracy": (logits.argmax(1) == turns).float().mean()}


def simclr(model: JointEmbedding, batch: Batch, *, temperature: float = 0.5) -> Measured:
    """Safeguard: every other image of the batch is a negative (Chen et al., ICML 2020)."""
    a, b = pair(model(batch.images))
    return nt_xent(a, b, temperature), collapse(a)


def attraction(model: JointEmbedding, batch: Batch) -> Measured:
    """No safeguard at all: the two views of an image attract each other, and nothing else happens."""
    a, b = pair(model(batch.images))
    return distance(a, b), collapse(a)


def moco(model: JointEmbedding, batch: Batch, *, temperature: float = 0.2) -> Measured:
    """Safeguard: negatives from a queue, which a slowly moving target network has filled (He et al., CVPR 2020).

    Without the shuffling of images between devices that the article needs for its batch norm on many GPUs.
    """
    model.need("queue", "queue=1024")
    first, second = pair(batch.images)
    embeddings, keys = model(first), F.normalize(model.follow(second))
    loss = info_nce(F.normalize(embeddings), keys, model.queue, temperature)
    model.enqueue(keys)
    return loss, collapse(embeddings)


def byol(model: JointEmbedding, batch: Batch) -> Measured:
    """Safeguard: a predictor on one side, a slowly moving target on the other (Grill et al., NeurIPS 2020)."""
    embeddings = model(batch.images)
    return distance(model.predictor(embeddings), swapped(model.follow(batch.images))), collapse(embeddings)


def simsiam(model: JointEmbedding, batch: Batch, *, stop_gradient: bool = True) -> Measured:
    """Safeguard: a predictor on one side, no gradient on the other (Chen and He, CVPR 2021)."""
    embeddings = model(batch.images)
    targets = embeddings.detach() if stop_gradient else embeddings
    return distance(model.predictor(embeddings), swapped(targets)), collapse(embeddings)


def swav(model: JointEmbedding, batch: Batch, *, temperature: float = 0.1, balance: Callable = sinkhorn) -> Measured:
    """Safeguard: Sinkhorn's rounds give every prototype an equal share of the images (Caron et al., NeurIPS 2020).

    Each view predicts the prototypes of the other; ``balance`` makes the codes from the scores. Two views only: the
    article adds small crops."""
    model.need("prototypes", "prototypes=64")
    embeddings = model(batch.images)
    scores = F.normalize(embeddings) @ F.normalize(model.prototypes).T
    codes = torch.cat([balance(part) for part in pair(scores.detach())])
    guesses = torch.cat(pair(swapped(scores)))
    loss = -(codes * F.log_softmax(guesses / temperature, dim=1)).sum(1).mean()
    return loss, collapse(embeddings)


def barlow_twins(model: JointEmbedding, batch: Batch, *, weight: float = 0.01) -> Measured:
    """Safeguard: no two coordinates may say the same (Zbontar et al., ICML 2021)."""
    a, b = pair(model(batch.images))
    return barlow_loss(a, b, weight), collapse(a)
