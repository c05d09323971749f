"""Retrieval: ranks, recall, mean average precision and AUROC against loops, scikit-learn and cases by hand."""

import pytest
import torch
from sklearn.metrics import average_precision_score

from refusals import refused
from tdnn_helpers.measures import distances, knn_accuracy, rank, recall_at, retrieval_scores
from tdnn_helpers.measures.retrieval import mean_average_precision, same_different_auroc


def cloud(n, seed):
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))


def test_rank_by_hand_and_without_what_is_left_out():
    assert rank(torch.tensor([[0.3, 0.1, 0.2], [0.5, 0.5, 0.1]])).tolist() == [[1, 2, 0], [2, 0, 1]]
    rows = torch.tensor([[1000.0], [1000.001], [1000.003]]).expand(3, 30)
    assert rank(distances(rows[:1], rows[[2, 1, 0]])).tolist() == [[2, 1, 0]]
    rows = cloud(9, 0)
    order = rank(distances(rows, rows), torch.eye(9, dtype=torch.bool))
    assert order.shape == (9, 8)
    assert all(i not in order[i] for i in range(9))
    assert rank(distances(rows, rows))[:, 0].tolist() == list(range(9))
    for never in (None, torch.zeros(0, 9, dtype=torch.bool)):
        assert rank(torch.zeros(0, 9), never).shape == (0, 9)


def test_recall_and_mean_average_precision_by_hand_and_by_scikit_learn():
    hits = torch.tensor([[0, 1, 1], [1, 0, 0], [0, 0, 0], [0, 0, 1]]).bool()
    assert [recall_at(hits, k) for k in (1, 2, 3, 9)] == [0.25, 0.5, 0.75, 0.75]
    by_hand = mean_average_precision(torch.tensor([[1, 0, 1, 0], [0, 0, 0, 1]]).bool())
    assert by_hand == pytest.approx(((1 + 2 / 3) / 2 + 1 / 4) / 2)
    hits = torch.rand(20, 50, generator=torch.Generator().manual_seed(0)) < 0.2
    hits[:, 7] = True
    wanted = [average_precision_score(row.numpy(), -torch.arange(50.0).numpy()) for row in hits]
    assert mean_average_precision(hits) == pytest.approx(sum(wanted) / 20, abs=1e-6)


def test_auroc_is_the_share_of_pairs_in_the_right_order():
    generator = torch.Generator().manual_seed(0)
    distance = torch.randint(0, 10, (6, 7), generator=generator).float()  # with ties
    same = torch.rand(6, 7, generator=generator) < 0.3
    near, far = distance[same], distance[~same]
    wanted = sum((n < f).float() + 0.5 * (n == f).float() for n in near for f in far) / (len(near) * len(far))
    assert same_different_auroc(distance, same) == pytest.approx(float(wanted))


UNEVEN = torch.eye(4, dtype=torch.bool)
UNEVEN[0, 0] = False


test_what_has_no_answer_is_named = refused(
    (lambda: rank(cloud(4, 0), UNEVEN[0]), r"never has the shape \(4,\), but the distances \(4, 4\)"),
    (lambda: rank(cloud(4, 0), UNEVEN), "not 0 to 1"),
    (lambda: recall_at(UNEVEN, 0), "not 0"),
    (lambda: mean_average_precision(UNEVEN), "1 queries have no right answer"),
    (lambda: same_different_auroc(cloud(4, 0), UNEVEN | True), "both kinds"),
)


def test_scores_by_loop_and_what_is_left_out_counts_nowhere():
    queries, labels = cloud(12, 1), torch.arange(12) // 3
    never = torch.eye(12, dtype=torch.bool)
    scores = retrieval_scores(queries, labels, queries, labels, never)
    first, precisions = [], []
    for i in range(12):
        others = sorted((j for j in range(12) if j != i), key=lambda j: (queries[i] - queries[j]).norm())
        hits = [labels[j] == labels[i] for j in others]
        first.append(hits[0])
        right = [rank for rank, hit in enumerate(hits, start=1) if hit]
        precisions.append(sum(n / rank for n, rank in enumerate(right, start=1)) / len(right))
    assert scores["recall@1"] == pytest.approx(sum(first) / 12)
    assert scores["mAP"] == pytest.approx(sum(precisions) / 12)
    distance, same = distances(queries, queries)[~never], (labels[:, None] == labels)[~never]
    assert scores["AUROC"] == pytest.approx(same_different_auroc(distance, same))
    assert scores["recall@1"] <= scores["recall@5"] <= 1
    assert retrieval_scores(queries, labels, queries, labels)["recall@1"] == 1 > scores["recall@1"]


def test_recall_at_one_with_classes_is_nearest_neighbour_accuracy():
    queries, gallery = cloud(30, 1), cloud(40, 2)
    ours = retrieval_scores(queries, torch.arange(30) % 3, gallery, torch.arange(40) % 3)
    wanted = knn_accuracy(gallery, torch.arange(40) % 3, queries, torch.arange(30) % 3, k=1)
    assert ours["recall@1"] == pytest.approx(wanted)
    perfect = retrieval_scores(torch.eye(3), torch.arange(3), torch.eye(3).repeat(2, 1), torch.arange(6) % 3)
    assert perfect == {"AUROC": 1, "recall@1": 1, "recall@5": 1, "mAP": 1}
