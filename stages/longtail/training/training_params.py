"""The sections of the parameters that both `represent` and `classify` read."""

from __future__ import annotations

from dataclasses import dataclass

from stages.longtail.configuration.parameters import Params
from stages.longtail.recipe.protocol import Protocol
from stages.longtail.recipe.representation import Representation
from stages.longtail.recipe.schedule import branch_epoch
from stages.longtail.runtime.runtime import Runtime


@dataclass(frozen=True)
class TrainingParams:
    protocol: Protocol
    representation: Representation
    runtime: Runtime
    seeds: tuple[int, ...]

    @classmethod
    def read(cls, params: Params) -> TrainingParams:
        return cls(
            params.section("protocol", Protocol),
            params.section("representation", Representation),
            params.section("runtime", Runtime),
            params.seeds,
        )

    @property
    def branch_epoch(self) -> int:
        """Number of epochs that `represent` trains."""
        return branch_epoch(self.protocol.schedule, self.protocol.epochs, self.representation.branch)
