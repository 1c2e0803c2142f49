"""Channel whitening of the features before the head (`end_to_end` section 3.3, Eq. 13)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class InverseSquareRoot(torch.autograd.Function):
    """The inverse square root V diag(l)^(-1/2) V' of a symmetric positive definite matrix V diag(l) V', (c, c).

    The gradient needs the divided differences of l^(-1/2). Their closed form never divides by the difference of two
    eigenvalues, so that equal eigenvalues (a singular covariance plus epsilon has them) do no harm.
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
    """ZCA: centred features times the inverse square root of their covariance, with epsilon added to its diagonal.

    Maps features (b, channels) to float32 features of the same shape. Training uses the mean and the covariance of the
    batch, evaluation running averages of both. The covariance is divided by the number of images. Eq. 13 prints the
    number of channels, with which the result would not have the identity covariance that the text states.

    A batch with no more images than channels has a singular covariance. Whitened with a small epsilon, its images
    become the corners of a simplex, all equally far apart: on trained CIFAR-10-LT features (64 images, 64 channels) the
    share of images whose nearest neighbour is of their class falls from 0.67 to 0.12. With epsilon 0.1 it falls only to
    0.59. Eq. 13 has epsilon to prevent a singular covariance and leaves its value open, so such batches get
    `small_batch_epsilon`. Evaluation uses the running average of epsilon, to whiten as training did.

    Computed in float64, since in float32 an eigenvalue of a singular covariance plus epsilon can come out negative.
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
