"""A batch in parts (`protocol.shards`), each normalised by its own statistics, as DataParallel does with one GPU each.

The gradients are those of the whole batch's loss. Which process computes a part matters only for the order in which
gradients are added, so two parts give the same bits in one process and in two. torch's DistributedDataParallel is not
used: it takes one part per process and averages the gradients of equal parts, while here one process can have several
parts, or none of a small last batch, and parts of different sizes count by their images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from stages.longtail.runtime import processes


def cut(images: int, shards: int) -> list[slice]:
    """The parts of a batch, cut as by torch's DataParallel: all of the same size, except for a smaller last one.

    There can be fewer parts than shards: 9 images in 8 shards are cut into 2, 2, 2, 2 and 1.
    """
    size = -(-images // shards)
    return [slice(start, min(start + size, images)) for start in range(0, images, max(size, 1))]


class Compute(Protocol):
    def __call__(
        self, variant: int, batch: Sequence[Tensor], whole: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Go forward and backward through a batch, or through a part of the batch `whole`.

        Args:
            variant: which of the objective's steps this is.
            batch: what the objective has drawn for each image, (b, ...) each.
            whole: the same of all parts; None: `batch` is not a part.
        Returns:
            The loss and the number of correct predictions, on the device.
        """


class Shards:
    """Computes this process's parts of a batch, and adds their gradients to those of the other processes.

    All gradients lie in one tensor, `gradients`, which is added up in one operation. It always exists, so that a
    process without a part of a small last batch takes part in the addition as well.
    """

    def __init__(self, number: int, network: nn.Module, trained: Sequence[Tensor]) -> None:
        """Give the parameters their places in `gradients`.

        Args:
            number: of shards.
            network: whose running averages are to follow the first part.
            trained: those of its parameters that get gradients.
        """
        self.number = number
        self.normalising = [module for module in network.modules() if hasattr(module, "track_running_stats")]
        sizes = [parameter.numel() for parameter in trained]
        self.gradients = torch.zeros(sum(sizes), device=trained[0].device)
        for parameter, gradient in zip(trained, self.gradients.split(sizes), strict=True):
            parameter.grad = gradient.as_strided(parameter.shape, parameter.stride())

    def step(self, compute: Compute, variant: int, batch: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Compute the gradients of a batch.

        Args:
            compute: goes through one part.
            variant, batch: see Compute.
        Returns:
            The loss and the number of correct predictions of this process's parts, on the device. processes.total adds
            them up once per epoch, so that a step does not wait for it.
        """
        loss = torch.zeros((), device=self.gradients.device)
        hits = torch.zeros((), dtype=torch.int64, device=self.gradients.device)
        for number, part in self.own(len(batch[0])):
            with self._averages(follow=number == 0):
                try:
                    part_loss, part_hits = compute(variant, [tensor[part] for tensor in batch], batch)
                except torch.linalg.LinAlgError:  # the features of this part cannot be whitened
                    if processes.count() == 1:
                        raise
                    # The other processes wait for this one. NaN ends all of them in the same way.
                    part_loss, part_hits = torch.full_like(loss, torch.nan), torch.zeros_like(hits)
                    self.gradients.fill_(torch.nan)
            loss, hits = loss + part_loss, hits + part_hits
        processes.total(self.gradients)
        return loss, hits

    def own(self, images: int) -> Iterator[tuple[int, slice]]:
        """The numbers of this process's parts of a batch, and the parts."""
        first, stop = (self.number * (processes.rank() + step) // processes.count() for step in (0, 1))
        return ((number, part) for number, part in enumerate(cut(images, self.number)) if first <= number < stop)

    @contextmanager
    def _averages(self, follow: bool) -> Iterator[None]:
        """Let only the first part update running averages, as only the first GPU does in DataParallel."""
        for module in self.normalising:
            module.track_running_stats = follow  # type: ignore[assignment]
        try:
            yield
        finally:
            for module in self.normalising:
                module.track_running_stats = True  # type: ignore[assignment]
