"""Predictions and features of a division, in batches, on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from stages.longtail.compute import Compute
from stages.longtail.data.batches import Batches
from stages.longtail.models.network import Network

TEST_BATCH = {"cpu": 500, "cuda": 2500}  # images: few enough for a CPU's caches, enough to fill a GPU


def _parts(images: Batches, compute: Compute, check: Callable[[], None] = lambda: None) -> Iterator[Tensor]:
    """All images, not augmented, in order, a batch at a time. check: called before each, may raise to stop."""
    size = TEST_BATCH[compute.device.type]
    for start in range(0, len(images), size):
        check()
        yield images.plain(start, start + size)


@torch.no_grad()
def predict(network: Network, images: Batches, compute: Compute, check: Callable[[], None] = lambda: None) -> Tensor:
    """Predicted class of every image, not augmented, in evaluation mode: int64 (n,) on the device."""
    network.eval()
    with compute.autocast():
        return torch.cat([network(part).argmax(1) for part in _parts(images, compute, check)])


@torch.no_grad()
def top(network: Network, images: Batches, compute: Compute, k: int = 5) -> Tensor:
    """The k best-scored classes of every image, the best first, or all if there are fewer: int64 (n, k)."""
    network.eval()
    k = min(k, network.architecture["classes"])
    with compute.autocast():
        return torch.cat([network(part).topk(k, 1).indices for part in _parts(images, compute)])


@torch.no_grad()
def features(network: Network, images: Batches, compute: Compute) -> Tensor:
    """Features of every image, not augmented, in evaluation mode: float32 (n, features) on the device."""
    network.eval()
    with compute.autocast():
        return torch.cat([network.features(part).float() for part in _parts(images, compute)])


def class_mean(hits: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean over the classes of their share of hits (n,) bool, as accuracies are averaged: a scalar."""
    hits, labels = hits.cpu(), labels.cpu()  # on CUDA a weighted bincount is not the same bits each time
    each = torch.bincount(labels, weights=hits.double(), minlength=classes)
    return (each / torch.bincount(labels, minlength=classes)).mean()


def confusion(predictions: Tensor, labels: Tensor, classes: int) -> np.ndarray:
    """int64 (classes, classes): rows are true classes, columns predicted ones."""
    pairs = torch.bincount(labels * classes + predictions, minlength=classes * classes)
    return pairs.view(classes, classes).cpu().numpy()
