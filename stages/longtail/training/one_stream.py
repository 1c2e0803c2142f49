"""What a training step computes: the draws of an epoch, and the loss of a batch. Here for one stream of images."""

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
    """An epoch, drawn. arrays: an entry an image, cut into batches; the first are the images that count for the
    training accuracy. variants: an entry a batch, known to the host."""

    arrays: list[np.ndarray]
    variants: list[int]
    streams: int = 1  # pairs of positions and draws with which `arrays` begins


class OneStream:
    """A batch, its logits, a loss; features and labels perhaps mixed. variant: the group after which they are mixed.

    Here as in two_streams, `draw` gives what epoch `epoch` (0 is the first) needs, and `loss` the mean loss of a batch
    and its number of correct predictions, both scalars still on the device. What it is given can be a part of the
    batch `whole`: then it is the part's share of the batch's loss.
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
        else:  # a part's partners are its own images, so that the labels of all partners are the batch's
            loss = self.loss_function(logits, labels, label_share, whole=of) + self.loss_function(
                logits, labels[partner], 1 - label_share, whole=of
            )
        return loss, (logits.argmax(1) == labels).sum()
