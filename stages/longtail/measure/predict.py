"""Predictions and features of a division, in batches, on the device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from stages.longtail.compute import Compute
from stages.longtail.data.batches import Batches
from stages.longtail.models.network import Network

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
