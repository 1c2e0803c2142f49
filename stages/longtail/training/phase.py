"""A `Phase` says what is trained and how, over a number of epochs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from stages.longtail.recipe.protocol import Augment, Protocol
from stages.longtail.recipe.representation import (
    Auxiliary,
    Embedded,
    Loss,
    Mixing,
    NoAuxiliary,
    NoMixing,
    NotEmbedded,
    Representation,
    Sampler,
    Weighting,
)
from stages.longtail.recipe.schedule import Schedule


@dataclass(frozen=True)
class Phase:
    """All settings of a stretch of training, without the data, the seed and the network."""

    sampler: Sampler
    loss: Loss
    weighting: Weighting
    schedule: Schedule
    lr: float
    weight_decay: float
    momentum: float
    batch_size: int
    epochs: int  # the schedule's number of epochs
    augment: Augment
    stop: int  # the epoch at which this phase ends; below `epochs` if another phase follows
    last: int  # the run's last epoch, which is always tested
    embedded: Embedded = field(default=NotEmbedded())
    mixing: Mixing = field(default=NoMixing())
    auxiliary: Auxiliary = field(default=NoAuxiliary())
    stream: int = 0  # of random draws; see random_draws.generator
    # The rest is frozen. last_block and head are those of a classifier; tuned: the last block, and all that is added to
    # a backbone: the projection and the heads.
    trained: Literal["all", "tuned", "last_block", "head", "scale"] = "all"
    trunk: float = 1.0  # rate of all but the heads, times lr
    frozen: Literal["running", "batch"] = "running"  # batch: frozen layers are in training mode
    nesterov: bool = False
    shards: int = 1  # parts of a batch; see shards.Shards
    drop_last: bool = False  # leave out an epoch's last batch if it is smaller than the others
    stage: str = "represent"  # the stage that trains it, for messages

    @classmethod
    def of(cls, protocol: Protocol, representation: Representation) -> Phase:
        """The representation, trained to the protocol's last epoch. All other phases are made from this one with
        `dataclasses.replace`."""
        return cls(
            sampler=representation.sampler,
            loss=representation.loss,
            weighting=representation.weighting,
            schedule=protocol.schedule,
            lr=protocol.lr,
            weight_decay=protocol.weight_decay,
            momentum=protocol.momentum,
            batch_size=protocol.batch_size,
            epochs=protocol.epochs,
            augment=protocol.augment,
            nesterov=protocol.nesterov,
            drop_last=protocol.drop_last,
            shards=protocol.shards,
            trained="tuned" if protocol.trained == "last_block" else "all",
            trunk=(protocol.trunk_lr or protocol.lr) / protocol.lr,
            stop=protocol.epochs,
            last=protocol.epochs,
            embedded=representation.embedded,
            mixing=representation.mixing,
            auxiliary=representation.auxiliary,
        )
