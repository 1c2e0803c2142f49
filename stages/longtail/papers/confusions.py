"""Which classes are taken for which: of the recorded predictions of the test images."""

from __future__ import annotations

import numpy as np


def shares(predicted: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """How often each class is taken for each other.

    Args:
        predicted: classes, int64 (seeds, n).
        labels: int64 (n,).
        classes: how many there are.

    Returns:
        Percent of a class's test images over all seeds, float64 (classes, classes): rows are true classes, columns
        predicted ones.
    """
    both = labels * classes + predicted
    counts = np.bincount(both.ravel(), minlength=classes * classes).reshape(classes, classes)
    return 100 * counts / counts.sum(1, keepdims=True)


def pairs(share: np.ndarray, names: list[str], most: int) -> list[tuple[str, str, float]]:
    """True class, predicted class and share of the `most` largest mistakes that occur, the largest first."""
    size = len(names)
    wrong = np.where(np.eye(size, dtype=bool), 0, share)
    largest = np.argsort(-wrong, axis=None, kind="stable")[:most]
    return [(names[i // size], names[i % size], float(wrong.flat[i])) for i in largest if wrong.flat[i] > 0]
