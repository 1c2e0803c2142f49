"""Heads: classifiers on features. Each maps float (b, features) to logits (b, classes)."""

from __future__ import annotations

from typing import Literal, assert_never

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Distance = Literal["cosine", "euclidean"]
Kind = Literal["linear", "cosine", "scaled", "scaled_bias", "ncm_cosine", "ncm_euclidean"]


class CosineHead(nn.Module):
    """The cosine between the features and each class's weight vector, in [-1, 1].

    The LDAM loss multiplies it by its scale (Cao et al. 2019, section 5).
    """

    def __init__(self, features: int, classes: int):
        super().__init__()
        self.weight = nn.Parameter(F.normalize(torch.empty(classes, features).uniform_(-1, 1), dim=1))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(F.normalize(x.float(), dim=1), F.normalize(self.weight, dim=1))


class ScaledHead(nn.Module):
    """LWS: logits f_j * (w_j . x) + b_j (`decoupling` section 4). The linear layer is frozen, the scales f start at 1.

    With `bias` the scales multiply the bias too: f_j * (w_j . x + b_j), as in the paper's public code.
    """

    def __init__(self, features: int, classes: int, bias: bool = False):
        super().__init__()
        self.bias = bias
        self.linear = nn.Linear(features, classes)
        self.scale = nn.Parameter(torch.ones(classes))

    def forward(self, x: Tensor) -> Tensor:
        bias = self.linear.bias * self.scale if self.bias else self.linear.bias
        return F.linear(x, self.linear.weight * self.scale[:, None], bias)


class NearestMeanHead(nn.Module):
    """Logits are similarities of the centred, L2-normalised features to the class means (`decoupling` section 4).

    For the distance `cosine` that is the cosine, for `euclidean` minus the squared distance. `euclidean` takes the
    means as they are, without normalising them again.
    """

    def __init__(self, features: int, classes: int, distance: Distance):
        super().__init__()
        self.distance = distance
        self.centre: Tensor
        self.means: Tensor
        self.register_buffer("centre", torch.zeros(features))
        self.register_buffer("means", torch.zeros(classes, features))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # bf16 would blur the distances
            x = F.normalize(x.float() - self.centre, dim=1)
            match self.distance:
                case "cosine":
                    return x @ F.normalize(self.means, dim=1).T
                case "euclidean":
                    return -torch.cdist(x, self.means).square()
                case _:
                    assert_never(self.distance)


def build(kind: Kind, features: int, classes: int) -> nn.Module:
    match kind:
        case "linear":
            return nn.Linear(features, classes)
        case "cosine":
            return CosineHead(features, classes)
        case "scaled":
            return ScaledHead(features, classes)
        case "scaled_bias":
            return ScaledHead(features, classes, bias=True)
        case "ncm_cosine":
            return NearestMeanHead(features, classes, "cosine")
        case "ncm_euclidean":
            return NearestMeanHead(features, classes, "euclidean")
        case _:
            assert_never(kind)


def class_means(features: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """The means of nearest-class-mean classification.

    Args:
        features: float (n, features).
        labels: int64 (n,).
        classes: number of classes.

    Returns:
        The mean of all samples, (features,), and for each class the mean of its samples after that mean was subtracted
        and they were L2-normalised, (classes, features).
    """
    centre = features.mean(0)
    unit = F.normalize(features - centre, dim=1)
    sums = torch.zeros(classes, features.shape[1], dtype=features.dtype, device=features.device)
    sums.index_add_(0, labels, unit)
    return centre, sums / torch.bincount(labels, minlength=classes)[:, None]


def tau_normalised(weight: Tensor, tau: float) -> Tensor:
    """w_i / ||w_i||^tau (`decoupling` Eq. 3). weight: (classes, features)."""
    return weight / weight.norm(dim=1, keepdim=True) ** tau
