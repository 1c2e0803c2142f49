"""Channel whitening of the features before the head (`end_to_end` section 3.3, Eq. 13)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class InverseSquareRoot(torch.autograd.Function):
    """The inverse square root V diag(l)^(-1/2) V' of a symmetric positive definite matrix V diag(l) V', (c, c).

    Its gradient needs the divided differences of l^(-1/2), whose closed form never divides by the difference of two
    eigenvalues: equal ones, as those of a singular covariance plus epsilon, are no trouble.
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(matrix)
        ctx.save_for_backward(values, vectors)
        return (vectors * values.rsqrt()) @ vectors.T

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        values, vectors = ctx.saved_tensors
        root = values.sqrt()
        differences = -1 / (root[:, None] * root * (root[:, None] + root))
        inner = vectors.T @ ((gradient + gradient.T) / 2) @ vectors
        return vectors @ (differences * inner) @ vectors.T


class Whitening(nn.Module):
    """ZCA: centred features times the inverse square root of their covariance plus epsilon on its diagonal.

    In training by the batch's mean and covariance (divided by its number of images; Eq. 13 prints the number of
    channels, with which the result would not have the identity covariance that the text states); in evaluation by
    running averages of both. Features (b, channels) in, the same out, float32.

    Computed in float64: in float32 an eigenvalue of a singular covariance plus epsilon can come out negative.
    """

    mean: Tensor
    covariance: Tensor

    def __init__(self, channels: int, epsilon: float, momentum: float):
        super().__init__()
        self.epsilon, self.momentum = epsilon, momentum
        self.register_buffer("mean", torch.zeros(channels, dtype=torch.float64))
        self.register_buffer("covariance", torch.eye(channels, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            x = x.double()
            mean, covariance = self.mean, self.covariance
            if self.training:
                mean = x.mean(0)
                centred = x - mean
                covariance = centred.T @ centred / len(x)
                with torch.no_grad():
                    self.mean.lerp_(mean, self.momentum)
                    self.covariance.lerp_(covariance, self.momentum)
            identity = torch.eye(len(mean), dtype=x.dtype, device=x.device)
            return ((x - mean) @ InverseSquareRoot.apply(covariance + self.epsilon * identity)).float()
