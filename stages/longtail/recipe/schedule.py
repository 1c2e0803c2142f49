"""Schedules: the learning rate of each epoch, and the epoch at which a method branches."""

from __future__ import annotations

import math
from typing import Annotated, Literal, assert_never

from pydantic import Field

from stages.longtail.configuration.schema import SHORT, Count, Items, Natural, Positive, Section
from stages.longtail.console.errors import UserError


class Constant(Section):
    kind: Literal["constant"] = "constant"
    warmup: Natural  # epochs of linear warm-up


class MultiStep(Section):
    kind: Literal["multistep"] = "multistep"
    warmup: Natural
    milestones: Items[Count]  # after so many epochs the rate is multiplied by gamma
    gamma: Positive


class Cosine(Section):
    kind: Literal["cosine"] = "cosine"
    warmup: Natural


Schedule = Annotated[Constant | MultiStep | Cosine, Field(discriminator="kind"), SHORT]


class Branch(Section):
    """The epoch at which `classify` takes over from `represent`."""

    at: Literal["start", "last_milestone", "deferred", "end"]  # deferred: after 80% of the epochs (Cao et al. 2019)
    plus: Natural  # so many epochs later


def learning_rate(schedule: Schedule, base: float, epoch: int, epochs: int) -> float:
    """The learning rate during an epoch.

    Linear warm-up gives the k-th of `warmup` epochs k / warmup of the base rate (public code of Cao et al. 2019). The
    first m epochs run before the decay at a milestone m. The cosine reaches 0 after the last epoch, not in it.

    Args:
        schedule: of the protocol.
        base: the rate before any decay.
        epoch: from 0.
        epochs: of the whole training.
    """
    if epoch < schedule.warmup:
        return base * (epoch + 1) / schedule.warmup
    match schedule:
        case Constant():
            return base
        case MultiStep():
            return base * schedule.gamma ** sum(epoch >= milestone for milestone in schedule.milestones)
        case Cosine():
            done = (epoch - schedule.warmup) / max(1, epochs - schedule.warmup)
            return base * (1 + math.cos(math.pi * done)) / 2
        case _:
            assert_never(schedule)


def never_reached(schedule: Schedule, epochs: int) -> str:
    """A note if milestones lie beyond the last epoch, where the rate never falls; '' if none does."""
    beyond = [milestone for milestone in getattr(schedule, "milestones", ()) if milestone >= epochs]
    if not beyond:
        return ""
    where = "milestone" if len(beyond) == 1 else "milestones"
    return f"the learning rate does not fall at {where} {', '.join(map(str, beyond))}: training ends at epoch {epochs}"


def branch_epoch(schedule: Schedule, epochs: int, branch: Branch) -> int:
    """How many epochs `represent` trains before `classify` takes over.

    It may be more than the protocol's epochs; the last rate then goes on.

    Args:
        schedule, epochs: of the protocol.
        branch: where the method branches.

    Raises:
        UserError: the branch is at the last milestone of a schedule that has none.
    """
    match branch.at:
        case "start":
            return branch.plus
        case "last_milestone":
            if not isinstance(schedule, MultiStep) or not schedule.milestones:
                raise UserError(
                    "representation.branch.at is last_milestone, but protocol.schedule has no milestones: use start "
                    "or end"
                )
            return schedule.milestones[-1] + branch.plus
        case "deferred":
            return epochs * 4 // 5 + branch.plus
        case "end":
            return epochs + branch.plus
        case _:
            assert_never(branch.at)
