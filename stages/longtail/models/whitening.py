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

    A batch that has no more images than channels has a singular covariance, and whitening it by a small epsilon makes
    its images the corners of a simplex, every two of them equally far apart: the share of images whose nearest one is
    of their class falls from 0.67 to 0.12 (trained CIFAR-10-LT features, 64 images and channels), but to 0.59 by an
    epsilon of 0.1. Eq. 13 leaves epsilon open, there to prevent "a singular" covariance: such a batch is whitened by
    `small_batch_epsilon`. The running average of epsilon makes evaluation what training was.

    Computed in float64: in float32 an eigenvalue of a singular covariance plus epsilon can come out negative.
    """

    mean: Tensor
    covariance: Tensor
    running_epsilon: Tensor

    def __init__(self, channels: int, epsilon: float, momentum: float, small_batch_epsilon: float = 0.1):
        super().__init__()
        self.epsilon, self.momentum = epsilon, momentum
        self.track_running_stats = True  # as torch's batch normalisation has it: do the averages follow the batches?
        self.small_batch_epsilon = max(epsilon, small_batch_epsilon)
        self.register_buffer("mean", torch.zeros(channels, dtype=torch.float64))
        self.register_buffer("covariance", torch.eye(channels, dtype=torch.float64))
        self.register_buffer("running_epsilon", torch.tensor(epsilon, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            x = x.double()
            mean, covariance, epsilon = self.mean, self.covariance, self.running_epsilon
            if self.training:
                small = len(x) <= x.shape[1]
                epsilon = torch.full_like(epsilon, self.small_batch_epsilon if small else self.epsilon)
                mean = x.mean(0)
                centred = x - mean
                covariance = centred.T @ centred / len(x)
                if self.track_running_stats:
                    self._follow(mean, covariance, epsilon)
            identity = torch.eye(len(mean), dtype=x.dtype, device=x.device)
            return ((x - mean) @ InverseSquareRoot.apply(covariance + epsilon * identity)).float()

    @torch.no_grad()
    def _follow(self, mean: Tensor, covariance: Tensor, epsilon: Tensor) -> None:
        self.mean.lerp_(mean, self.momentum)
        self.covariance.lerp_(covariance, self.momentum)
        self.running_epsilon.lerp_(epsilon, self.momentum)
