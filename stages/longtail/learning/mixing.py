"""What a method mixes inside a batch before the loss. MFW is `procrustean` Algorithm 1; the rest is cross-entropy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from stages.longtail.params import MajorFeatureWeakening


def mfw_class_weight(counts: np.ndarray, beta: float, deviation: str) -> np.ndarray:
    """s(N_c) = 0.5 * sigmoid((N_c - mu) / (beta * gamma)), float64 (classes,), in [0, 0.5] (`procrustean` Eq. 12).

    mu is the geometric mean of the counts. gamma is their geometric standard deviation, exp(std(log N)), or their
    arithmetic one, both of the population. Equal counts, whose arithmetic gamma is 0, give 0.25.
    """
    logs = np.log(counts)
    mu = np.exp(logs.mean())
    gamma = np.exp(logs.std()) if deviation == "geometric" else counts.std()
    z = np.divide(counts - mu, beta * gamma, out=np.zeros(len(counts)), where=gamma > 0)
    return 0.5 / (1 + np.exp(-np.clip(z, -500, 500)))


class Weakening:
    """Major feature weakening: z~_n = (1 - l_n) z_n + l_n z_p(n), l_n = s(N_y) * Beta(alpha, alpha), label kept."""

    def __init__(self, parameters: MajorFeatureWeakening, counts: np.ndarray):
        self.group = parameters.group
        self.alpha = parameters.alpha
        self.class_weight = mfw_class_weight(counts, parameters.beta, parameters.deviation)

    def draw(self, labels: np.ndarray, batch_size: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """For an epoch in order, labels (n,): each image's lambda, float32 (n,), and its partner in its batch (n,)."""
        mixed = self.class_weight[labels] * random.beta(self.alpha, self.alpha, len(labels))
        batch = np.arange(len(labels)) // batch_size
        # A sort by (batch, random key) permutes every batch within itself.
        partner = np.lexsort((random.random(len(labels)), batch)) - batch * batch_size
        return mixed.astype(np.float32), partner

    @staticmethod
    def mixer(share: Tensor, partner: Tensor) -> Callable[[Tensor], Tensor]:
        """The function that mixes a batch of feature maps (b, ...), given lambda (b,) and the partners (b,)."""

        def mix(features: Tensor) -> Tensor:
            weight = share.view(-1, *[1] * (features.dim() - 1)).to(features.dtype)
            return torch.lerp(features, features[partner], weight)

        return mix
