"""Measures over several runs of one recipe: bias and variance, and the regularity of training images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd


def decomposition(predictions: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Squared bias, variance and their sum, the total error, over repeated runs (`switching` Table 9), as fractions.

    The paper does not define them. Here they decompose half the squared distance between the one-hot prediction and the
    one-hot label, averaged over the images of each class and then over the classes, as accuracies are. So the total
    error is one minus the mean accuracy.

    Args:
        predictions: predicted classes, int64 (runs, n).
        labels: int64 (n,).

    Returns:
        bias2, variance and total_error, each from 0 to 1.
    """
    classes = int(max(predictions.max(), labels.max())) + 1
    votes = np.stack([(predictions == c).mean(0) for c in range(classes)], axis=1)
    target = labels[:, None] == np.arange(classes)
    sizes = np.bincount(labels)
    share = 1 / (sizes[labels] * np.count_nonzero(sizes))  # of an image in the mean over the classes
    bias = float(share @ ((votes - target) ** 2).sum(1) / 2)
    variance = float(share @ (1 - (votes**2).sum(1)) / 2)
    return {"bias2": bias, "variance": variance, "total_error": bias + variance}


def mean_events(runs: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each training image's learned and forgotten events, averaged over runs, float64 (n,), and the labels (n,).

    runs: see training.regularity.Regularity.state.
    """
    learned, forgotten = (np.mean([np.asarray(run[name]) for run in runs], 0) for name in ("learned", "forgotten"))
    return learned, forgotten, np.asarray(runs[0]["labels"])


def irregularity(learned: np.ndarray, forgotten: np.ndarray, labels: np.ndarray, classes: int) -> pd.DataFrame:
    """The irregularity of each class (`switching` Eq. 10 to 12, Table 12).

    Args:
        learned, forgotten: events of each training image, averaged over runs, float64 (n,).
        labels: int64 (n,).
        classes: number of classes.

    Returns:
        One row per class, with the columns f_norm and irregularity.
    """
    rows = []
    for label in range(classes):
        events = np.stack([values[labels == label] for values in (learned, forgotten)])
        covariance = np.cov(events, bias=True)
        norm = float(np.sqrt((covariance**2).sum()))
        rows.append({"f_norm": norm, "irregularity": norm / events.shape[1]})
    return pd.DataFrame(rows)


def pearson(first: np.ndarray, second: np.ndarray) -> float:
    """The correlation of two quantities over the classes (`switching` Eq. 13); 0 if one of them does not vary."""
    if first.std() == 0 or second.std() == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])
