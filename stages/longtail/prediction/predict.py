"""Predictions and features of a division, in batches, on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from stages.longtail.data.batches import Batches
from stages.longtail.models.network import Network
from stages.longtail.runtime import processes
from stages.longtail.runtime.devices import Compute

TEST_BATCH = {"cpu": 500, "cuda": 2500}  # images: few enough for a CPU's caches, enough to fill a GPU


def own(images: int, compute: Compute) -> np.ndarray:
    """Positions of the images, of so many, that this process tests, int64: as many whole batches as the others have.

    Whole ones, as the last bits of an answer can depend on the images that share its batch.
    """
    size = TEST_BATCH[compute.device.type]
    batches = -(-images // size)
    first, stop = (batches * (processes.rank() + step) // processes.count() * size for step in (0, 1))
    return np.arange(first, min(stop, images))


def shared(work: Callable[[Batches], Tensor], images: Batches, compute: Compute) -> Tensor:
    """What `work` gives for all images, (n, ...), where every process has them and each does its own."""
    if processes.count() == 1:
        return work(images)
    return processes.collected(work(images.only(own(len(images), compute))))


def _parts(images: Batches, compute: Compute, check: Callable[[], None] = lambda: None) -> Iterator[Tensor]:
    """All images, not augmented, in order, a batch at a time. check: called with each, may raise to stop."""
    for part in images.parts(TEST_BATCH[compute.device.type]):
        check()
        yield part


@torch.no_grad()
def predict(network: Network, images: Batches, compute: Compute, check: Callable[[], None] = lambda: None) -> Tensor:
    """Predicted class of every image, not augmented, in evaluation mode: int64 (n,) on the device."""
    network.eval()
    with compute.autocast():
        return torch.cat([images.labels[:0], *(network(part).argmax(1) for part in _parts(images, compute, check))])


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
        none = torch.empty((0, network.features_size), device=compute.device)
        return torch.cat([none, *(network.features(part).float() for part in _parts(images, compute))])


def confusion(predictions: Tensor, labels: Tensor, classes: int) -> np.ndarray:
    """int64 (classes, classes): rows are true classes, columns predicted ones."""
    pairs = torch.bincount(labels * classes + predictions, minlength=classes * classes)
    return pairs.view(classes, classes).cpu().numpy()
