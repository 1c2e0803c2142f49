"""Learned and forgotten events of the training images (`switching` appendix A.1)."""

from __future__ import annotations

from typing import Any

import torch

from stages.longtail.data.batches import Batches
from stages.longtail.models.network import Network
from stages.longtail.prediction import predict
from stages.longtail.runtime.devices import Compute
from stages.longtail.training import parallel_seeds


class Regularity:
    """Counts for each training image, int64 (n,), without augmentation and with the network in evaluation mode.

    learned: epochs after which the image was classified correctly (Eq. 9).
    forgotten: epochs after which it no longer was (Eq. 8).
    """

    def __init__(self, images: Batches, compute: Compute):
        self.images, self.compute = images, compute
        self.learned = torch.zeros_like(images.labels)
        self.forgotten = torch.zeros_like(images.labels)
        self.correct = torch.zeros_like(images.labels, dtype=torch.bool)

    def count(self, network: Network) -> None:
        """Count the events of an epoch, after it."""

        def classes(images: Batches) -> torch.Tensor:
            return predict.predict(network, images, self.compute, parallel_seeds.check)

        correct = predict.shared(classes, self.images, self.compute) == self.images.labels
        self.learned += correct
        self.forgotten += self.correct & ~correct
        self.correct = correct

    def state(self) -> dict[str, Any]:
        names = ("learned", "forgotten", "correct")
        return {"labels": self.images.labels, **{name: getattr(self, name).clone() for name in names}}

    def load(self, state: dict[str, Any]) -> None:
        for name in ("learned", "forgotten", "correct"):
            setattr(self, name, state[name].to(self.images.labels.device, copy=True))
