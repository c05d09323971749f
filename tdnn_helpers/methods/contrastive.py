"""Losses that compare images with each other, and learn a distance (paper, section V-B).

Each takes the embeddings of one batch, float B×D, and says with labels (int B) or with row numbers which of them belong
together. The pairs and triplets come from the batch itself, so a batch should hold several images of each label.
Labels only tell same from different: they may be classes, or one number for each object, and need not start at 0.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..core.choices import check_known
from ..measures.retrieval import distances

MINING = ("random", "semi-hard", "hardest")


def contrastive_loss(embeddings: torch.Tensor, labels: torch.Tensor, margin: float = 1.0) -> torch.Tensor:
    """The mean of d² over the pairs of one label, plus the mean of max(0, margin − d)² over all other pairs; d is the
    Euclidean distance (Hadsell, Chopra and LeCun, CVPR 2006). Both kinds of pairs weigh the same, however many
    there are. A kind that the batch lacks adds 0. ValueError for labels that are not one per row.
    """
    same, different = _pairs(embeddings, labels)
    distance = distances(embeddings)
    too_far, too_near = distance[same], (margin - distance[different]).clamp(min=0)
    return _mean(too_far.square()) + _mean(too_near.square())


def triplet_loss(
    embeddings: torch.Tensor, labels: torch.Tensor, margin: float = 0.2, mining: str = "semi-hard"
) -> torch.Tensor:
    """The mean of max(0, d(anchor, positive) − d(anchor, negative) + margin) over the triplets that
    :func:`find_triplets` chooses; d is the Euclidean distance (Schroff, Kalenichenko and Philbin, CVPR 2015, there
    with d²). Embeddings that have all become one point give exactly the margin. A batch without triplets gives 0.
    """
    distance = distances(embeddings)
    anchor, positive, negative = find_triplets(distance.detach(), labels, mining)
    return _mean((distance[anchor, positive] - distance[anchor, negative] + margin).clamp(min=0))


def find_triplets(
    distance: torch.Tensor, labels: torch.Tensor, mining: str
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Row numbers (anchors, positives, negatives), int64 T: one triplet for every ordered pair of one label.

    Args:
        distance: float B×B, between the embeddings of a batch.
        labels: int B.
        mining: how the negative is chosen among the rows of other labels. "random": any. "hardest": the nearest to the
            anchor. "semi-hard": the nearest that is farther than the positive; if none is, the farthest of all
            (Schroff and others, 2015).

    Raises ValueError for an unknown ``mining``, or labels that are not one per row.
    """
    check_known(mining, MINING, "mining")
    same, different = _pairs(distance, labels, ordered=True)
    anchor, positive = (same & different.any(1, keepdim=True)).nonzero(as_tuple=True)
    if not len(anchor):
        return anchor, positive, anchor
    other, from_anchor = different[anchor], distance[anchor]
    if mining == "random":
        return anchor, positive, torch.multinomial(other.float(), 1).squeeze(1)
    if mining == "hardest":
        return anchor, positive, from_anchor.masked_fill(~other, torch.inf).argmin(1)
    farther = other & (from_anchor > distance[anchor, positive].unsqueeze(1))
    nearest_farther = from_anchor.masked_fill(~farther, torch.inf).argmin(1)
    farthest = from_anchor.masked_fill(~other, -torch.inf).argmax(1)
    return anchor, positive, torch.where(farther.any(1), nearest_farther, farthest)


def nt_xent(a: torch.Tensor, b: torch.Tensor, temperature: float = 0.5) -> torch.Tensor:
    """Normalised temperature-scaled cross-entropy (Chen and others, SimCLR, ICML 2020): each of the 2·B rows must find
    its partner among the 2·B − 1 others, by cosine similarity / temperature.

    ``a`` and ``b``: float B×D; rows i are two views of one image. They are L2-normalised here. The result is a mean in
    nats; embeddings that know nothing give ln(2·B − 1). ValueError for two shapes that are not one B×D.
    """
    if a.ndim != 2 or a.shape != b.shape:
        raise ValueError(f"two views need one shape, B×D, but they have {tuple(a.shape)} and {tuple(b.shape)}.")
    z = F.normalize(torch.cat([a, b]).float(), dim=1)
    similarity = (z @ z.T / temperature).masked_fill(_diagonal(z), -torch.inf)  # never with itself
    partner = torch.arange(len(z), device=z.device).roll(len(a))
    return F.cross_entropy(similarity, partner)


def supervised_contrastive(embeddings: torch.Tensor, labels: torch.Tensor, temperature: float = 0.1) -> torch.Tensor:
    """NT-Xent with any number of partners (Khosla and others, NeurIPS 2020, equation 2): for each row the mean over its
    partners, then the mean over the rows that have one. The rows are L2-normalised here. Labels that occur twice
    each give :func:`nt_xent`. A batch without partners gives 0. ValueError for labels that are not one per row.
    """
    same, _ = _pairs(embeddings, labels, ordered=True)
    z = F.normalize(embeddings.float(), dim=1)
    log_share = (z @ z.T / temperature).masked_fill(_diagonal(z), -torch.inf).log_softmax(1)
    partners = same.sum(1)
    mean_log_share = log_share.masked_fill(~same, 0).sum(1) / partners.clamp(min=1)
    return -_mean(mean_log_share[partners > 0])


def spread(embeddings: torch.Tensor) -> torch.Tensor:
    """Root mean squared distance of the rows, float B×D, from their mean: a scalar tensor. For rows of length 1 it lies
    between 0 (all rows are one point: collapse) and 1 (their mean is 0)."""
    return (embeddings - embeddings.mean(0)).square().sum(1).mean().sqrt()


def _pairs(rows: torch.Tensor, labels: torch.Tensor, ordered: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Which pairs have one label and which have two, bool B×B each, never a row with itself; each pair once, or in both
    orders."""
    if rows.ndim != 2 or labels.shape != rows.shape[:1]:
        raise ValueError(
            f"labels must be one number per row, of shape ({len(rows)},), but their shape is {tuple(labels.shape)}."
        )
    same = labels.unsqueeze(0) == labels.unsqueeze(1)
    pair = ~_diagonal(rows) if ordered else torch.ones_like(same).triu(1)
    return same & pair, ~same & pair


def _diagonal(rows: torch.Tensor) -> torch.Tensor:
    return torch.eye(len(rows), dtype=torch.bool, device=rows.device)


def _mean(values: torch.Tensor) -> torch.Tensor:
    """0 where there is nothing, and not NaN: an epoch may end with a batch that holds no such pair."""
    return values.sum() / max(len(values), 1)
