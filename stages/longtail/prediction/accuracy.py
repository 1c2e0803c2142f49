"""Accuracy from confusion matrices: per class, and the mean over the classes of a group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

GROUPS = ("all", "many", "medium", "few")


def per_class(matrix: np.ndarray) -> np.ndarray:
    """Accuracy of each class in percent, float64 (classes,), from a confusion matrix whose rows are true classes."""
    return 100 * matrix.diagonal() / matrix.sum(1)


def by_group(accuracy: np.ndarray, shots: Sequence[str]) -> dict[str, float]:
    """Mean accuracy over the classes of each group, percent. A group without classes is left out.

    `all` is the mean over all classes, which on a balanced test set is the plain top-1 accuracy.
    """
    groups = {"all": accuracy}
    for name in GROUPS[1:]:
        members = accuracy[[shot == name for shot in shots]]
        if len(members):
            groups[name] = members
    return {name: float(members.mean()) for name, members in groups.items()}
