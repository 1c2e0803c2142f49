"""Losses, from logits (b, classes) and labels (b,)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol, assert_never

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stages.longtail.recipe.representation import (
    LDAM,
    ClassDependentTemperatures,
    CrossEntropy,
    EffectiveNumber,
    Focal,
    LogitAdjusted,
    Loss,
    NoWeighting,
    Weighting,
)

Adjustment = Callable[[Tensor, Tensor], Tensor]  # logits (b, classes) and labels (b,) to logits


class LossFunction(Protocol):
    def __call__(
        self, logits: Tensor, labels: Tensor, share: Tensor | None = None, whole: Tensor | None = None
    ) -> Tensor:
        """The batch's loss, a float32 scalar.

        Args:
            logits: float32 (b, classes).
            labels: int64 (b,).
            share: what part of each image's loss to count, float32 (b,); None: all of it.
            whole: the labels of a batch of which these images are a part, int64 (n,). The losses of all its parts add
                up to its own. None: these images are the batch.
        """


def focal(logits: Tensor, labels: Tensor, gamma: float) -> Tensor:
    """(1 - p_y)^gamma times the cross-entropy, per image (b,) (Lin et al. 2017; `decoupling` Eq. 4, with softmax)."""
    cross_entropy = F.cross_entropy(logits, labels, reduction="none")
    doubt = (1 - torch.exp(-cross_entropy)).clamp(
        min=torch.finfo(cross_entropy.dtype).tiny
    )  # 0 has no slope for gamma < 1
    return doubt**gamma * cross_entropy


def ldam_margins(counts: np.ndarray, max_margin: float) -> np.ndarray:
    """Margins proportional to n^(-1/4), the largest `max_margin`, float64 (classes,) (Cao et al. 2019, Eq. 12)."""
    margins = counts.astype(np.float64) ** -0.25
    return margins * (max_margin / margins.max())


def ldam(logits: Tensor, labels: Tensor, margins: Tensor, scale: float) -> Tensor:
    """The logits of LDAM, for a cross-entropy: scale * (logits - margin of the true class) (Cao et al. 2019, Eq. 13).

    Args:
        logits: cosines, float32 (b, classes).
        labels: int64 (b,).
        margins: of the classes, (classes,).
        scale: what the cosines are multiplied by.
    """
    return scale * (logits - F.one_hot(labels, logits.shape[1]) * margins)


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
    """The loss function of a recipe.

    Args:
        loss, weighting: the recipe's.
        counts: training images of each class, (classes,).
        device: where logits and labels are.
    """
    adjust, average = adjustment(loss, counts, device), _average(weighting, counts, device)
    per_image: Callable[[Tensor, Tensor], Tensor]
    match loss:
        case Focal():
            per_image = partial(focal, gamma=loss.gamma)
        case CrossEntropy() | LDAM() | LogitAdjusted() | ClassDependentTemperatures():
            per_image = partial(F.cross_entropy, reduction="none")
        case _:
            assert_never(loss)

    def function(logits: Tensor, labels: Tensor, share: Tensor | None = None, whole: Tensor | None = None) -> Tensor:
        losses = per_image(adjust(logits.float(), labels), labels)
        return average(losses if share is None else share * losses, labels, whole)

    return function


def adjustment(loss: Loss, counts: np.ndarray, device: torch.device) -> Adjustment:
    """How a loss changes the logits before their cross-entropy is taken.

    Args:
        loss: the recipe's.
        counts: training images of each class, (classes,).
        device: where logits and labels are.
    """
    match loss:
        case CrossEntropy() | Focal():
            return lambda logits, labels: logits
        case LDAM():
            return partial(ldam, margins=_tensor(ldam_margins(counts, loss.max_margin), device), scale=loss.scale)
        case LogitAdjusted():
            shift = _tensor(loss.tau * log_prior(counts), device)
            return lambda logits, labels: logits + shift
        case ClassDependentTemperatures():
            inverse = _tensor(1 / temperatures(counts, loss.gamma), device)
            return lambda logits, labels: logits * inverse
        case _:
            assert_never(loss)


Average = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def _average(weighting: Weighting, counts: np.ndarray, device: torch.device) -> Average:
    """A function that makes a batch's loss, a scalar, of its images' losses (b,).

    It takes the losses, their labels (b,) and, if they are only a part of a batch, the labels of the whole batch.
    """
    match weighting:
        case NoWeighting():
            return lambda losses, labels, whole: losses.mean() if whole is None else losses.sum() / len(whole)
        case EffectiveNumber():
            weights = _tensor(effective_number_weights(counts, weighting.beta), device)
        case _:
            assert_never(weighting)
    match weighting.divide_by:
        case "count":
            return lambda losses, labels, whole: (
                (weights[labels] * losses).sum() / len(labels if whole is None else whole)
            )
        case "weights":
            return lambda losses, labels, whole: (
                (weights[labels] * losses).sum() / weights[labels if whole is None else whole].sum()
            )
        case _:
            assert_never(weighting.divide_by)


def _tensor(values: np.ndarray, device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device)
