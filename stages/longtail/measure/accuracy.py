"""Accuracy from predictions: per class, and the mean over the classes of a group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from stages.longtail.compute import Compute
from stages.longtail.data.batches import Batches
from stages.longtail.models.network import Network

GROUPS = ("all", "many", "medium", "few")
TEST_BATCH = 500


@torch.no_grad()
def predict(network: Network, images: Batches, compute: Compute) -> Tensor:
    """Predicted class of every image, not augmented, in evaluation mode: int64 (n,) on the device."""
    network.eval()
    predictions = []
    with compute.autocast():
        for start in range(0, len(images), TEST_BATCH):
            predictions.append(network(images.plain(start, start + TEST_BATCH)).argmax(1))
    return torch.cat(predictions)


@torch.no_grad()
def features(network: Network, images: Batches, compute: Compute) -> Tensor:
    """Features of every image, not augmented, in evaluation mode: float32 (n, features) on the device."""
    network.eval()
    with compute.autocast():
        parts = [
            network.features(images.plain(start, start + TEST_BATCH)).float()
            for start in range(0, len(images), TEST_BATCH)
        ]
    return torch.cat(parts)


def confusion(predictions: Tensor, labels: Tensor, classes: int) -> np.ndarray:
    """int64 (classes, classes): rows are true classes, columns predicted ones."""
    pairs = torch.bincount(labels * classes + predictions, minlength=classes * classes)
    return pairs.view(classes, classes).cpu().numpy()


def per_class(matrix: np.ndarray) -> np.ndarray:
    """Accuracy of each class in percent, float64 (classes,), from a confusion matrix."""
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
