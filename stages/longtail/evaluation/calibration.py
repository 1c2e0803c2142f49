"""How good a network's probabilities are: their likelihood, and how far its confidence is from its accuracy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F

from stages.longtail.prediction.accuracy import GROUPS

BINS = 15


def negative_log_likelihood(logits: np.ndarray, labels: np.ndarray, shots: Sequence[str]) -> dict[str, float]:
    """The mean of -log softmax of the true class over the images of each group, in nats.

    Args:
        logits: float16 (n, classes), as softmax takes them: LDAM's cosines are multiplied by its scale.
        labels: int64 (n,).
        shots: many, medium or few, of each class.

    Returns:
        By group; a group without images is left out.
    """
    each = F.cross_entropy(torch.from_numpy(logits).float(), torch.from_numpy(labels), reduction="none")
    return {group: float(each[rows].mean()) for group, rows in _members(labels, shots).items()}


def calibration_error(logits: np.ndarray, labels: np.ndarray, shots: Sequence[str]) -> dict[str, float]:
    """Expected calibration error of the images of each group (Guo et al. 2017, Eq. 5), a fraction.

    The images are put into 15 bins of equal width by their confidence, the probability of the predicted class. The
    error is the mean over the images of their bin's |accuracy - confidence|.

    Args:
        logits, labels, shots: see `negative_log_likelihood`.

    Returns:
        By group; a group without images is left out.
    """
    confidence = torch.from_numpy(logits).float().softmax(1).amax(1).double().numpy()
    right = logits.argmax(1) == labels
    members = {group: rows.numpy() for group, rows in _members(labels, shots).items()}
    return {group: _calibration_error(confidence[rows], right[rows]) for group, rows in members.items()}


def _calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """confidence: float64 (n,). right: bool (n,)."""
    # A bin's gap between accuracy and confidence times its images is the sum of their differences.
    sums, _ = np.histogram(confidence, BINS, (0, 1), weights=right - confidence)
    return float(np.abs(sums).sum() / len(right))


def _members(labels: np.ndarray, shots: Sequence[str]) -> dict[str, torch.Tensor]:
    """The images of each group's classes, bool (n,); a group without images is left out."""
    shot = np.array(shots)[labels]
    groups = {"all": np.ones(len(labels), bool)} | {name: shot == name for name in GROUPS[1:]}
    return {name: torch.from_numpy(rows) for name, rows in groups.items() if rows.any()}
