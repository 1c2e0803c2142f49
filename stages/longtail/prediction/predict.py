"""Predictions, logits and features of a division, computed in batches on the device."""

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
    """All images in order and without augmentation, batch by batch. check: called with each batch; may raise."""
    for part in images.parts(TEST_BATCH[compute.device.type]):
        check()
        yield part


@torch.no_grad()
def predict(network: Network, images: Batches, compute: Compute, check: Callable[[], None] = lambda: None) -> Tensor:
    """The predicted class of every image, without augmentation and in evaluation mode.

    Args:
        network: trained.
        images: n of them.
        compute: the device and the precision.
        check: called before each batch; may raise to stop.

    Returns:
        int64 (n,), on the device.
    """
    network.eval()
    with compute.autocast():
        return torch.cat([images.labels[:0], *(network(part).argmax(1) for part in _parts(images, compute, check))])


@torch.no_grad()
def logits(network: Network, images: Batches, compute: Compute, scale: float = 1.0) -> Tensor:
    """The logits of every image, without augmentation and in evaluation mode; each image's largest is subtracted.

    The softmax does not change by that, and near 0 float16 is fine enough to keep the largest logit apart from the
    next. So the largest is at the class that `predict` gives.

    Args:
        network: trained.
        images: n of them.
        compute: the device and the precision.
        scale: by which the training loss multiplied the head's outputs; with it a softmax gives what was trained.

    Returns:
        float16 (n, classes), on the CPU.
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
    """The features of every image, without augmentation and in evaluation mode: float32 (n, features) on the device."""
    network.eval()
    with compute.autocast():
        none = torch.empty((0, network.features_size), device=compute.device)
        return torch.cat([none, *(network.features(part).float() for part in _parts(images, compute))])


def confusion(predictions: Tensor, labels: Tensor, classes: int) -> np.ndarray:
    """The confusion matrix, int64 (classes, classes): rows are true classes, columns predicted ones.

    Args:
        predictions, labels: int64 (n,).
        classes: number of classes.
    """
    pairs = torch.bincount(labels * classes + predictions, minlength=classes * classes)
    return pairs.view(classes, classes).cpu().numpy()
