"""How good a trained network is, and what it has learned."""

from .calibration import expected_calibration_error, fit_temperature, reliability
from .corruptions import CORRUPTIONS, robustness
from .embedding import (
    features,
    knn_accuracy,
    knn_predict,
    linear_probe,
    linear_probes,
    project,
    silhouette,
    standardise,
)
from .frozen import pretrained_features, pretrained_maps
from .learning_curve import LearningCurve, fit_power_law, measure_curve
from .retrieval import distances, rank, recall_at, retrieval_scores
