"""The base class and the field types of the models that describe the parameters.

The models are frozen and strict and refuse unknown keys. Each section's model is in the module of its name:
sources/dataset.py, splits/split.py, recipe/protocol.py, recipe/representation.py, classification/classifier.py and
runtime/runtime.py.

A choice (of a loss, a sampler...) is a union of models that are told apart by `kind`, written as
`Annotated[A | B, Field(discriminator="kind"), SHORT]`. With SHORT, `loss: ldam` is read as `loss: {kind: ldam}`.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

LIMIT = 2**63  # integers stay below it, since torch and numpy have none above

Count = Annotated[int, Field(ge=1, lt=LIMIT)]
Natural = Annotated[int, Field(ge=0, lt=LIMIT)]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]

Item = TypeVar("Item")
Items = Annotated[tuple[Item, ...], Field(strict=False)]  # a list in YAML


class Section(BaseModel):
    """A section of the parameters, or a part of one."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


def _written_out(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


SHORT = BeforeValidator(_written_out)
