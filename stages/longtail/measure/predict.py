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
def top(network: Network, images: Batches, compute: Compute, k: int = 5) -> Tensor:
    """The k best-scored classes of every image, the best first, or all if there are fewer: int64 (n, k)."""
    network.eval()
    best = []
    with compute.autocast():
        for start in range(0, len(images), TEST_BATCH):
            logits = network(images.plain(start, start + TEST_BATCH))
            best.append(logits.topk(min(k, logits.shape[1]), 1).indices)
    return torch.cat(best)


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


def class_mean(hits: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean over the classes of their share of hits (n,) bool, as accuracies are averaged: a scalar."""
    each = torch.bincount(labels, weights=hits.double(), minlength=classes)
    return (each / torch.bincount(labels, minlength=classes)).mean()


def confusion(predictions: Tensor, labels: Tensor, classes: int) -> np.ndarray:
    """int64 (classes, classes): rows are true classes, columns predicted ones."""
    pairs = torch.bincount(labels * classes + predictions, minlength=classes * classes)
    return pairs.view(classes, classes).cpu().numpy()
