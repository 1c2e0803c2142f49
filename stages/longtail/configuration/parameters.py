"""Reads the parameter file: `params.yaml`, composed from conf/. Nothing else reads it.

A key that is unknown, missing, of a wrong type or out of range is refused with one line that names it. Every stage
imports this module. The models of the sections are in other modules (see schema.py), and a stage imports only those
that it reads. So a new loss makes neither `download` nor `split` stale.
"""

from __future__ import annotations

import importlib
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from stages.longtail.configuration import validation_messages
from stages.longtail.console.errors import UserError
from stages.longtail.files import yaml_files

Seeds = Annotated[
    tuple[Annotated[int, Field(strict=True, ge=0, le=2**31 - 1)], ...],
    Field(strict=False),
]


class Params:
    """The sections of one parameter file: all are validated at once, and each is parsed when a stage asks for it.

    `read` has the names of the sections that were asked for.
    """

    def __init__(self, raw: dict[str, Any], path: Path):
        self.path = path
        self.read: set[str] = set()
        self._raw = raw
        # This also validates the sections that the stage does not read. No stage declares the code that does it, as it
        # can only refuse: hence the import by name, which tools that follow imports do not see.
        validation = importlib.import_module("stages.longtail.validation.whole_file")
        validation.check(deepcopy(raw), path)

    def section(self, name: str, form: Any) -> Any:
        """The section `name` as the type that `form` describes. Raises UserError if it is missing or does not fit."""
        if name not in self._raw:
            raise UserError(f"{self.path}: section '{name}' is missing: compose it with dvc exp run, or add it")
        self.read.add(name)
        return parse(form, self._raw[name], f"{self.path}: {name}")

    @property
    def plain(self) -> dict[str, Any]:
        """All sections as the file has them, also those that no stage reads here."""
        return deepcopy(self._raw)

    @property
    def method(self) -> str:
        return self.section("method", str)

    @property
    def seeds(self) -> tuple[int, ...]:
        return self.section("seeds", Seeds)


@cache
def _adapter(form: Any) -> TypeAdapter[Any]:
    return TypeAdapter(form)


def parse(form: Any, value: Any, name: str) -> Any:
    """Parse a plain value as the type that `form` describes.

    Args:
        form: a model of a section, or any type that pydantic knows.
        value: plain YAML.
        name: where the value stands, for messages.

    Raises:
        UserError: the value does not fit; the message begins with `name` and the key.
    """
    try:
        return _adapter(form).validate_python(value)
    except ValidationError as error:
        raise UserError(validation_messages.explain(error, form, name)) from None


def load(path: Path) -> Params:
    """Read and validate a parameter file; raises UserError with one line that names the key."""
    raw = yaml_files.read(path)
    if not isinstance(raw, dict):
        raise UserError(f"{path}: expected sections such as dataset and split, found {type(raw).__name__}")
    return Params(raw, path)
