"""Predictions and features of a division, in batches, on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from stages.longtail.data.batches import Batches
from stages.longtail.models.network import Network
from stages.longtail.runtime.devices import Compute

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
def logits(network: Network, images: Batches, compute: Compute, scale: float = 1.0) -> Tensor:
    """Logits of every image, not augmented, in evaluation mode, less the largest of the image: float16 (n, classes).

    Softmax does not see what is subtracted, and near 0 float16 is fine enough that no two classes of different float32
    logits are tied at the top: the predicted class is that of `predict`. scale: by which the training loss multiplied
    what the head gives, so that softmax of the result is what was trained.
    """
    network.eval()
    parts = []
    with compute.autocast():
        for part in _parts(images, compute):
            values = network(part).float()
            parts.append((scale * (values - values.amax(1, keepdim=True))).half().cpu())
    return torch.cat(parts)


@torch.no_grad()
def features(network: Network, images: Batches, compute: Compute) -> Tensor:
    """Features of every image, not augmented, in evaluation mode: float32 (n, features) on the device."""
    network.eval()
    with compute.autocast():
        return torch.cat([network.features(part).float() for part in _parts(images, compute)])


def confusion(predictions: Tensor, labels: Tensor, classes: int) -> np.ndarray:
    """int64 (classes, classes): rows are true classes, columns predicted ones."""
    pairs = torch.bincount(labels * classes + predictions, minlength=classes * classes)
    return pairs.view(classes, classes).cpu().numpy()
