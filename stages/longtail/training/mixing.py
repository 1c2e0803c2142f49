"""MFW, mixup, manifold mixup and Remix: they mix images or feature maps of a batch, and some of them labels too.

Image n becomes (1 - l_n) z_n + l_n z_p(n), with a partner p(n) from the batch. MFW is `procrustean` Algorithm 1; the
paper compares it with the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

import numpy as np
import torch
from torch import Tensor

from stages.longtail.recipe.representation import Deviation, MajorFeatureWeakening, Mixup, Remix
from stages.longtail.training.shards import cut


def mfw_class_weight(counts: np.ndarray, beta: float, deviation: Deviation) -> np.ndarray:
    """s(N_c) = 0.5 * sigmoid((N_c - mu) / (beta * gamma)), float64 (classes,), in [0, 0.5] (`procrustean` Eq. 12).

    mu is the geometric mean of the counts. gamma is their geometric standard deviation, exp(std(log N)), or their
    arithmetic one, both of the population. Equal counts, whose arithmetic gamma is 0, give 0.25.
    """
    logs = np.log(counts)
    mu = np.exp(logs.mean())
    match deviation:
        case "geometric":
            gamma = np.exp(logs.std())
        case "arithmetic":
            gamma = counts.std()
        case _:
            assert_never(deviation)
    z = np.divide(counts - mu, beta * gamma, out=np.zeros(len(counts)), where=gamma > 0)
    return 0.5 / (1 + np.exp(-np.clip(z, -500, 500)))


def remix_label_share(own: np.ndarray, other: np.ndarray, kept: np.ndarray, kappa: float, tau: float) -> np.ndarray:
    """The share of an image's own label, Remix's lambda_y (Chou et al. 2020, Eq. 7).

    Args:
        own, other: training images of the image's class, and of its partner's, (n,).
        kept: the share of the image's own pixels, (n,).
        kappa: a class is the larger one if it has kappa times as many images.
        tau: labels change only for shares below it.

    Returns:
        float64 (n,).
    """
    larger = (own >= kappa * other) & (kept < tau)
    smaller = (other >= kappa * own) & (1 - kept < tau)
    return np.where(larger, 0.0, np.where(smaller, 1.0, kept))


@dataclass(frozen=True)
class Mixed:
    """The draws of an epoch of n images.

    share: lambda of each image, float32 (n,).
    partner: the position of each image's partner in the batch, or in its part if the batch is cut, int64 (n,).
    label_share: the share of each image's own label, float32 (n,); None: labels are not mixed.
    groups: for each batch, the group of convolutions after which to mix, int64 (batches,).
    """

    share: np.ndarray
    partner: np.ndarray
    label_share: np.ndarray | None
    groups: np.ndarray


def draw(
    mixing: MajorFeatureWeakening | Mixup | Remix,
    counts: np.ndarray,
    labels: np.ndarray,
    batch: int,
    random: np.random.Generator,
    shards: int = 1,
) -> Mixed:
    """Draw what is mixed in an epoch.

    Args:
        mixing: the recipe's.
        counts: training images of each class, (classes,).
        labels: of the epoch's images, in order, int64 (n,).
        batch: images per batch.
        random: the epoch's generator.
        shards: parts that a batch is cut into; an image's partner is in its own part.
    """
    begins = _begins(len(labels), batch, shards)
    share = random.beta(mixing.alpha, mixing.alpha, len(labels))
    # A sort by (part, random key) permutes every part of a batch within itself.
    partner = np.lexsort((random.random(len(labels)), begins)) - begins
    label_share: np.ndarray | None = None
    groups: tuple[int, ...]
    match mixing:
        case MajorFeatureWeakening():
            groups = (mixing.group,)
            share = share * mfw_class_weight(counts, mixing.beta, mixing.deviation)[labels]
        case Mixup():
            groups, label_share = mixing.groups, 1 - share
        case Remix():
            groups = mixing.groups
            other = counts[labels[partner + begins]]
            label_share = remix_label_share(counts[labels], other, 1 - share, mixing.kappa, mixing.tau)
        case _:
            assert_never(mixing)
    return Mixed(
        share.astype(np.float32),
        partner,
        None if label_share is None else label_share.astype(np.float32),
        random.choice(groups, -(-len(labels) // batch)),
    )


def _begins(images: int, batch: int, shards: int) -> np.ndarray:
    """For each image, the position in the epoch at which its part of a batch begins, int64 (images,)."""
    sizes = [
        part.stop - part.start for first in range(0, images, batch) for part in cut(min(batch, images - first), shards)
    ]
    return np.repeat(np.cumsum(sizes) - sizes, sizes)


def mix(features: Tensor, share: Tensor, partner: Tensor) -> Tensor:
    """Mix a batch of images or feature maps (b, ...), given lambda (b,) and the partners (b,)."""
    weight = share.view(-1, *[1] * (features.dim() - 1)).to(features.dtype)
    return torch.lerp(features, features[partner], weight)
