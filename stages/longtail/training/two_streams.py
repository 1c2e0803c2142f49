"""Training on two batches at once, each with a sampler of its own: auxiliary tasks (`balance`), and BBN."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stages.longtail.data import augment, random_draws, samplers
from stages.longtail.data.batches import Batches
from stages.longtail.models import resnet_cifar
from stages.longtail.models.network import Network
from stages.longtail.recipe.representation import AuxiliaryTasks, Bilateral, NotEmbedded
from stages.longtail.training import losses
from stages.longtail.training.one_stream import Draws
from stages.longtail.training.phase import Phase


class TwoStreams:
    """What both have in common. In an epoch each sampler draws as many images as there are training images."""

    def __init__(self, phase: Phase, images: Batches, device: torch.device):
        assert isinstance(phase.auxiliary, AuxiliaryTasks | Bilateral)
        self.phase, self.images, self.task = phase, images, phase.auxiliary
        self.loss_function = losses.build(phase.loss, phase.weighting, np.bincount(images.labels_host), device)

    def draw(self, seed: int, epoch: int) -> Draws:
        """Draw an epoch: the arrays are rows and crops of the main stream, then those of the second stream."""
        phase, labels = self.phase, self.images.labels_host
        arrays: list[np.ndarray] = []
        streams = ((phase.sampler, "sampler", "augment"), (self.task.sampler, "auxiliary_sampler", "auxiliary_augment"))
        for sampler, which, how in streams:
            random = random_draws.generator(seed, epoch, which, phase.stream)  # type: ignore[arg-type]
            order = samplers.epoch(sampler, NotEmbedded(), labels, phase.batch_size, random, epoch, phase.epochs)
            random = random_draws.generator(seed, epoch, how, phase.stream)  # type: ignore[arg-type]
            arrays += [order, self.images.draw(phase.augment, order, random)]
        return Draws(arrays, [0] * -(-len(labels) // phase.batch_size), streams=2)

    def loss(
        self,
        network: Network,
        variant: int,
        rows: Tensor,
        crops: Tensor,
        second_rows: Tensor,
        second_crops: Tensor,
        extra: Tensor | None = None,
        *,
        whole: Sequence[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As OneStream.loss, for one batch of each stream.

        Args:
            network: trained by it.
            variant: unused, as there is only one.
            rows, crops: of the main stream, int64 (b,) and (b, 3 to 5).
            second_rows, second_crops: the same of the second stream.
            extra: what else was drawn: quarter turns of the images of both streams, int64 (b, 2), or BBN's alpha,
                float32 (b,).
            whole: the arrays of the whole batch, if these are a part of it.
        """
        raise NotImplementedError


class Tasks(TwoStreams):
    """`balance` Eq. 2: lambda1 l(h, B_main) + lambda2 l(h_a, B_second) + lambda3 l(h_s, rotated [B_main; B_second]).

    l(h) is the recipe's loss, the others are cross-entropies. All images go through the trunk in one forward pass. With
    rotation `augment` the rotated images are more images of their classes for h and h_a, without h_s (Table 5).
    """

    task: AuxiliaryTasks

    def draw(self, seed: int, epoch: int) -> Draws:
        drawn = super().draw(seed, epoch)
        if self.task.rotation != "none":
            random = random_draws.generator(seed, epoch, "rotation", self.phase.stream)
            drawn.arrays.append(random.integers(0, 4, (len(drawn.arrays[0]), 2)))
        return drawn

    def loss(
        self,
        network: Network,
        variant: int,
        rows: Tensor,
        crops: Tensor,
        second_rows: Tensor,
        second_crops: Tensor,
        extra: Tensor | None = None,
        *,
        whole: Sequence[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        turns, task, size = extra, self.task, len(rows)
        share = 1.0 if whole is None else size / len(whole[0])
        copies = 1 if turns is None else 2
        images, windows = torch.cat([rows, second_rows]), torch.cat([crops, second_crops])
        labels = self.images.labels[images].view(2, size)
        if turns is not None:
            turned = turns.T.reshape(-1)
            upright = augment.rotate(windows, torch.zeros_like(turned))
            images, windows = images.repeat(2), torch.cat([upright, augment.rotate(windows, turned)])
        features = network.features(self.images.training(images, windows)).view(copies, 2, size, -1)

        classified = features if task.rotation == "augment" else features[:1]
        labels = labels.repeat(1, len(classified))
        logits = network.logits(classified[:, 0].flatten(0, 1))
        second = network.auxiliary["second"](classified[:, 1].flatten(0, 1))
        of = None if whole is None else self.images.labels[whole[0]].repeat(len(classified))
        loss = task.lambda1 * self.loss_function(logits, labels[0], whole=of)
        loss = loss + task.lambda2 * share * F.cross_entropy(second.float(), labels[1])
        if task.rotation == "task":
            guess = network.auxiliary["rotation"](features[1].flatten(0, 1))
            loss = loss + task.lambda3 * share * F.cross_entropy(guess.float(), turned)
        return loss, (logits[:size].argmax(1) == labels[0, :size]).sum()


class Branches(TwoStreams):
    """BBN (Zhou et al. 2020, Eq. 1 to 4): two last blocks whose features and losses are mixed by alpha = 1 - (t / T)^2.

    alpha moves the weight from the branch of the main sampler to that of the second. As in the authors' code the
    weights of the features are doubled, so that tests, which use both at full weight, correspond to alpha = 0.5.
    """

    task: Bilateral

    def draw(self, seed: int, epoch: int) -> Draws:
        drawn = super().draw(seed, epoch)
        alpha = self.task.alpha(epoch, self.phase.epochs)
        drawn.arrays.append(np.full(len(drawn.arrays[0]), alpha, np.float32))
        return drawn

    def loss(
        self,
        network: Network,
        variant: int,
        rows: Tensor,
        crops: Tensor,
        second_rows: Tensor,
        second_crops: Tensor,
        extra: Tensor | None = None,
        *,
        whole: Sequence[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        assert extra is not None
        alpha, size = extra, len(rows)
        labels, second_labels = self.images.labels[rows], self.images.labels[second_rows]
        images, windows = torch.cat([rows, second_rows]), torch.cat([crops, second_crops])
        shared = network.shared(self.images.training(images, windows))
        first = resnet_cifar.pool(network.last_block(shared[:size]))
        second = resnet_cifar.pool(network.second_block(shared[size:]))
        weight = alpha[:, None]
        logits = network.logits(2 * torch.cat([weight * first, (1 - weight) * second], 1))
        of, second_of = (None if whole is None else self.images.labels[whole[stream]] for stream in (0, 2))
        loss = self.loss_function(logits, labels, alpha, whole=of)
        loss = loss + self.loss_function(logits, second_labels, 1 - alpha, whole=second_of)
        return loss, (logits.argmax(1) == labels).sum()
