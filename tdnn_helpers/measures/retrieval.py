"""How good a distance is: ranked answers to queries, and how well it tells same from different.

A query searches a gallery, and an answer is right if it has the query's label. Everything follows from the distances
between queries and gallery, float Q×G (:func:`distances`); what must not be an answer, such as the query itself, is
said with ``never``.
"""

from __future__ import annotations

import torch

from ..core.randomness import random_stream


def rank(distance: torch.Tensor, never: torch.Tensor | None = None) -> torch.Tensor:
    """The rows of the gallery for each query, nearest first: int64 Q×G. Equally near rows come in an order that is
    drawn once and for all: in that of the gallery, often sorted by label, a constant embedding would score well.

    ``never``: bool Q×G, what must not be an answer. It must leave out equally many rows, M, for each query; the result
    is then Q×(G − M). ValueError for another shape, or if it does not.
    """
    drawn = torch.randperm(distance.shape[1], generator=random_stream(0, "ties")).to(distance.device)
    never = torch.zeros_like(distance, dtype=torch.bool) if never is None else never
    if never.shape != distance.shape:
        raise ValueError(f"never has the shape {tuple(never.shape)}, but the distances {tuple(distance.shape)}.")
    left_out = never.sum(1)
    if (left_out != left_out[:1]).any():
        fewest, most = int(left_out.min()), int(left_out.max())
        raise ValueError(f"never must leave out equally many rows for each query, not {fewest} to {most}.")
    order = drawn[distance.masked_fill(never, torch.inf)[:, drawn].argsort(dim=1, stable=True)]
    return order[:, : distance.shape[1] - int(left_out[:1].sum())]


def recall_at(hits: torch.Tensor, k: int) -> float:
    """The share of queries (0 to 1) with a right answer among the first ``k``. ``hits``: bool Q×G, whether each ranked
    answer is right. ValueError for ``k`` below 1."""
    if k < 1:
        raise ValueError(f"recall is counted among the first 1 or more answers, not {k}.")
    return float(hits[:, :k].any(1).float().mean())


def mean_average_precision(hits: torch.Tensor) -> float:
    """The mean over queries of the average precision (0 to 1): the precision at the rank of each right answer, averaged
    over the right answers. ``hits`` as for :func:`recall_at`. With one right answer it is the mean of 1 / rank.

    ValueError for a query without any right answer: its precision is not defined.
    """
    right = hits.sum(1)
    if (right == 0).any():
        raise ValueError(f"{int((right == 0).sum())} queries have no right answer in the gallery: leave them out.")
    precision = hits.cumsum(1) / torch.arange(1, hits.shape[1] + 1, device=hits.device)
    return float(((precision * hits).sum(1) / right).mean())


def same_different_auroc(distance: torch.Tensor, same: torch.Tensor) -> float:
    """The probability (0 to 1) that a pair of one label is nearer than a pair of two; ties count half, and 0.5 means
    that the distance says nothing. ``distance`` float and ``same`` bool, of one shape, one entry per pair.

    ValueError if all pairs are of one kind.
    """
    from sklearn.metrics import roc_auc_score

    if same.all() or not same.any():
        raise ValueError("an AUROC needs pairs of both kinds, same and different.")
    return float(roc_auc_score(same.flatten().cpu().numpy(), -distance.flatten().float().cpu().numpy()))


def retrieval_scores(
    queries: torch.Tensor,
    query_labels: torch.Tensor,
    gallery: torch.Tensor,
    gallery_labels: torch.Tensor,
    never: torch.Tensor | None = None,
) -> dict[str, float]:
    """``{"AUROC", "recall@1", "recall@5", "mAP"}``, each from 0 to 1, of embeddings float Q×D and G×D with labels int Q
    and int G. What ``never`` leaves out (see :func:`rank`) counts nowhere. Raises ValueError as the parts do."""
    distance = distances(queries.cpu(), gallery.cpu())
    order = rank(distance, None if never is None else never.cpu())
    hits = (query_labels.unsqueeze(1) == gallery_labels.unsqueeze(0)).cpu().gather(1, order)
    return {
        "AUROC": same_different_auroc(distance.gather(1, order), hits),
        "recall@1": recall_at(hits, 1),
        "recall@5": recall_at(hits, 5),
        "mAP": mean_average_precision(hits),
    }


def distances(rows: torch.Tensor, others: torch.Tensor | None = None) -> torch.Tensor:
    """Euclidean distances between all rows, float B×D → float32 B×B, or from each row to each of the others, float
    G×D → B×G. The gradient where two rows agree is 0. For rows of length 1 the order is that of the cosine similarity.
    """
    rows, others = rows.float(), (rows if others is None else others).float()
    # The quicker way, by a matrix product, takes the difference of two near-equal numbers where rows are close.
    return torch.cdist(rows, others, compute_mode="donot_use_mm_for_euclid_dist")
