"""A batch in parts (`protocol.shards`), each normalised by its own statistics, as by a GPU each in DataParallel.

Which process computes a part changes no number but by the order in which gradients are added: two parts give the same
bits in one process and in two. The gradients are those of the whole batch's loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from stages.longtail.runtime import processes


def cut(images: int, shards: int) -> list[slice]:
    """The parts of a batch, as torch's DataParallel cuts it: all of one size, but for a smaller last one.

    A batch that is no multiple of `shards` can have fewer parts: 9 images of 8 shards are 2, 2, 2, 2 and 1.
    """
    size = -(-images // shards)
    return [slice(start, min(start + size, images)) for start in range(0, images, max(size, 1))]


class Compute(Protocol):
    def __call__(
        self, variant: int, batch: Sequence[Tensor], whole: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Loss and number of correct predictions of a batch, or of a part of the batch `whole`, after its backward
        pass."""


class Shards:
    """Goes through this process's parts of a batch, and adds up with the other processes what they come to.

    All gradients lie in one tensor, `gradients`, to be added up at once. It is never None, so that a process that has
    no part of a small last batch takes part in the addition like the others.
    """

    def __init__(self, number: int, network: nn.Module, trained: Sequence[Tensor]) -> None:
        """number: of shards; network: what has running averages; trained: its parameters that get gradients."""
        self.number = number
        self.normalising = [module for module in network.modules() if hasattr(module, "track_running_stats")]
        sizes = [parameter.numel() for parameter in trained]
        self.gradients = torch.zeros(sum(sizes), device=trained[0].device)
        for parameter, gradient in zip(trained, self.gradients.split(sizes), strict=True):
            parameter.grad = gradient.as_strided(parameter.shape, parameter.stride())

    def step(self, compute: Compute, variant: int, batch: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The gradients of a batch. Returns its loss and its number of correct predictions, on the device: of this
        process's parts alone, so that nothing waits; processes.total adds them up."""
        loss = torch.zeros((), device=self.gradients.device)
        hits = torch.zeros((), dtype=torch.int64, device=self.gradients.device)
        for number, part in self.own(len(batch[0])):
            with self._averages(follow=number == 0):
                try:
                    part_loss, part_hits = compute(variant, [tensor[part] for tensor in batch], batch)
                except torch.linalg.LinAlgError:  # the features of this part cannot be whitened
                    if processes.count() == 1:
                        raise
                    # The other processes wait for this one: all are to end in the same way.
                    part_loss, part_hits = torch.full_like(loss, torch.nan), torch.zeros_like(hits)
                    self.gradients.fill_(torch.nan)
            loss, hits = loss + part_loss, hits + part_hits
        processes.total(self.gradients)
        return loss, hits

    def own(self, images: int) -> Iterator[tuple[int, slice]]:
        """The parts of a batch that this process computes, with their numbers."""
        first, stop = (self.number * (processes.rank() + step) // processes.count() for step in (0, 1))
        return ((number, part) for number, part in enumerate(cut(images, self.number)) if first <= number < stop)

    @contextmanager
    def _averages(self, follow: bool) -> Iterator[None]:
        """Running averages follow the first part alone, as they follow the first GPU in DataParallel."""
        for module in self.normalising:
            module.track_running_stats = follow  # type: ignore[assignment]
        try:
            yield
        finally:
            for module in self.normalising:
                module.track_running_stats = True  # type: ignore[assignment]
