"""The section `split` of the parameters."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stages.longtail.configuration.schema import Count, Natural, Section


class Split(Section):
    profile: Literal["exp", "step", "none"]
    ratio: Annotated[float, Field(ge=1)]  # images of the largest class over images of the smallest
    n_max: Count | None  # images of the largest class; null: as many as the smallest source class has
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)]  # RandomState accepts no larger one
    holdout: Natural  # images of each class kept out of the subset, to choose tau and an epoch on
    many: Natural  # many-shot: more training images than this
    few: Natural  # few-shot: fewer training images than this
