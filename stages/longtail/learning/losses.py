"""Losses. Each takes logits (b, classes) and labels (b,) and gives their mean loss, a float32 scalar."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor
from torch.nn import functional as F

LossFunction = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits.float(), labels)


def build(name: str, counts: np.ndarray) -> LossFunction:
    """The loss called `name` for a training set with `counts` (classes,) images a class."""
    return {"cross_entropy": cross_entropy}[name]
