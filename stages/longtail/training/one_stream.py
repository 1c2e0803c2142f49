"""Training on one stream of images: the draws of an epoch, and the loss of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from stages.longtail.data import random_draws, samplers
from stages.longtail.data.batches import Batches
from stages.longtail.models.network import Network
from stages.longtail.recipe.representation import NoMixing
from stages.longtail.training import losses, mixing
from stages.longtail.training.phase import Phase


@dataclass(frozen=True)
class Draws:
    """All that was drawn for an epoch.

    arrays: each has one entry per image and is cut into batches; the first one is the images, by which the training
        accuracy is counted.
    variants: one number per batch, which the host knows (here the group after which to mix).
    """

    arrays: list[np.ndarray]
    variants: list[int]
    streams: int = 1  # pairs of positions and draws with which `arrays` begins


class OneStream:
    """Ordinary training, in which features and labels may be mixed. `variant` is the group after which they are mixed.

    As in two_streams, `draw` gives all that an epoch (from 0) needs, and `loss` a batch's mean loss and its number of
    correct predictions, both scalars that are still on the device. The images may be a part of the batch `whole`. The
    loss is then this part's share of the batch's loss.
    """

    def __init__(self, phase: Phase, images: Batches, device: torch.device):
        self.phase, self.images = phase, images
        self.counts = np.bincount(images.labels_host)
        self.loss_function = losses.build(phase.loss, phase.weighting, self.counts, device)

    def draw(self, seed: int, epoch: int) -> Draws:
        phase, labels = self.phase, self.images.labels_host
        order = samplers.epoch(
            phase.sampler,
            phase.embedded,
            labels,
            phase.batch_size,
            random_draws.generator(seed, epoch, "sampler", phase.stream),
            epoch,
            phase.epochs,
        )
        crops = self.images.draw(phase.augment, order, random_draws.generator(seed, epoch, "augment", phase.stream))
        if isinstance(phase.mixing, NoMixing):
            return Draws([order, crops], [0] * -(-len(order) // phase.batch_size))
        random = random_draws.generator(seed, epoch, "mixing", phase.stream)
        mixed = mixing.draw(phase.mixing, self.counts, labels[order], phase.batch_size, random, phase.shards)
        arrays = [order, crops, mixed.share, mixed.partner, mixed.label_share]
        return Draws([array for array in arrays if array is not None], mixed.groups.tolist())

    def loss(
        self,
        network: Network,
        variant: int,
        rows: Tensor,
        crops: Tensor,
        share: Tensor | None = None,
        partner: Tensor | None = None,
        label_share: Tensor | None = None,
        *,
        whole: Sequence[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        labels = self.images.labels[rows]
        of = None if whole is None else self.images.labels[whole[0]]
        mix = None
        if share is not None and partner is not None:
            mix = partial(mixing.mix, share=share, partner=partner)
        logits = network.logits(network.features(self.images.training(rows, crops), mix, after=variant))
        if label_share is None:
            loss = self.loss_function(logits, labels, whole=of)
        else:  # partners are from the same part, so the partners of all parts together have the labels of the batch
            loss = self.loss_function(logits, labels, label_share, whole=of) + self.loss_function(
                logits, labels[partner], 1 - label_share, whole=of
            )
        return loss, (logits.argmax(1) == labels).sum()
