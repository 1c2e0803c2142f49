"""The learning rate of an epoch, from the epoch alone."""

from __future__ import annotations

import math

from stages.longtail.configuration.recipe import Cosine, MultiStep, Schedule


def learning_rate(schedule: Schedule, base: float, epoch: int, epochs: int) -> float:
    """Rate during `epoch` (0 is the first) of `epochs`.

    Linear warm-up gives the k-th of `warmup` epochs k / warmup of the base rate (Cao et al.'s code). A milestone m
    means that the first m epochs run before the decay. The cosine reaches 0 after the last epoch, not in it.
    """
    if epoch < schedule.warmup:
        return base * (epoch + 1) / schedule.warmup
    if isinstance(schedule, MultiStep):
        return base * schedule.gamma ** sum(epoch >= milestone for milestone in schedule.milestones)
    if isinstance(schedule, Cosine):
        done = (epoch - schedule.warmup) / max(1, epochs - schedule.warmup)
        return base * (1 + math.cos(math.pi * done)) / 2
    return base
