"""Losses, from logits (b, classes) and labels (b,)."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stages.longtail.recipe.representation import (
    LDAM,
    ClassDependentTemperatures,
    EffectiveNumber,
    Focal,
    LogitAdjusted,
    Loss,
    Weighting,
)


class LossFunction(Protocol):
    def __call__(self, logits: Tensor, labels: Tensor, share: Tensor | None = None) -> Tensor:
        """The batch's loss, a float32 scalar. share (b,): what part of each image's loss to count, all if None."""


def focal(logits: Tensor, labels: Tensor, gamma: float) -> Tensor:
    """(1 - p_y)^gamma times the cross-entropy, per sample (b,) (Lin et al. 2017; `decoupling` Eq. 4, softmax)."""
    cross_entropy = F.cross_entropy(logits, labels, reduction="none")
    doubt = (1 - torch.exp(-cross_entropy)).clamp(
        min=torch.finfo(cross_entropy.dtype).tiny
    )  # 0 has no slope for gamma < 1
    return doubt**gamma * cross_entropy


def ldam_margins(counts: np.ndarray, max_margin: float) -> np.ndarray:
    """Margins ~ n^(-1/4), float64 (classes,), the largest `max_margin` (Cao et al. 2019, Eq. 12 and section 5)."""
    margins = counts.astype(np.float64) ** -0.25
    return margins * (max_margin / margins.max())


def ldam(logits: Tensor, labels: Tensor, margins: Tensor, scale: float) -> Tensor:
    """Cross-entropy of scale * (cosines, the true class's less its margin), per sample (b,) (Cao et al., Eq. 13)."""
    shifted = logits - F.one_hot(labels, logits.shape[1]) * margins
    return F.cross_entropy(scale * shifted, labels, reduction="none")


def effective_number_weights(counts: np.ndarray, beta: float) -> np.ndarray:
    """(1 - beta) / (1 - beta^n), float64 (classes,), scaled to a mean of 1 (Cui et al. 2019, Eq. 12 and section 4)."""
    weights = (1 - beta) / (1 - np.power(beta, counts.astype(np.float64)))
    return weights * (len(weights) / weights.sum())


def temperatures(counts: np.ndarray, gamma: float) -> np.ndarray:
    """CDT's a_c = (n_max / n_c)^gamma, float64 (classes,), by which training logits are divided (Ye et al. 2020)."""
    return (counts.max() / counts.astype(np.float64)) ** gamma


def log_prior(counts: np.ndarray) -> np.ndarray:
    """Logarithm of each class's share of the training images, float64 (classes,)."""
    return np.log(counts / counts.sum())


def build(loss: Loss, weighting: Weighting, counts: np.ndarray, device: torch.device) -> LossFunction:
    """The loss for a training set with `counts` (classes,) images a class."""

    def on_device(values: np.ndarray) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=device)

    margins = on_device(ldam_margins(counts, loss.max_margin)) if isinstance(loss, LDAM) else None
    shift = on_device(loss.tau * log_prior(counts)) if isinstance(loss, LogitAdjusted) else None
    inverse = on_device(1 / temperatures(counts, loss.gamma)) if isinstance(loss, ClassDependentTemperatures) else None
    weights = None
    if isinstance(weighting, EffectiveNumber):
        weights = on_device(effective_number_weights(counts, weighting.beta))

    def each(logits: Tensor, labels: Tensor) -> Tensor:
        if isinstance(loss, LDAM):
            return ldam(logits, labels, margins, loss.scale)  # type: ignore[arg-type]
        if isinstance(loss, Focal):
            return focal(logits, labels, loss.gamma)
        if shift is not None:
            logits = logits + shift
        if inverse is not None:
            logits = logits * inverse
        return F.cross_entropy(logits, labels, reduction="none")

    def function(logits: Tensor, labels: Tensor, share: Tensor | None = None) -> Tensor:
        losses = each(logits.float(), labels)
        if share is not None:
            losses = share * losses
        if weights is None:
            return losses.mean()
        weight = weights[labels]
        total = weight.sum() if weighting.divide_by == "weights" else len(labels)  # type: ignore[union-attr]
        return (weight * losses).sum() / total

    return function
