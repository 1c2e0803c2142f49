"""The parameter file: `params.yaml`, composed from conf/, is read here and nowhere else.

What is unknown, missing, of a wrong type or out of range is refused with a line that names the key.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import yaml

from stages.longtail.configuration import checks
from stages.longtail.configuration.recipe import Classifier, Dataset, Protocol, Representation, Runtime, Split
from stages.longtail.configuration.schema import Range, build, suggest
from stages.longtail.console.errors import UserError

SECTIONS: dict[str, Any] = {
    "method": str,
    "dataset": Dataset,
    "split": Split,
    "protocol": Protocol,
    "representation": Representation,
    "classifier": Classifier,
    "seeds": tuple[Annotated[int, Range(0, 2**31 - 1)], ...],
    "runtime": Runtime,
}


class Params:
    """The sections of one parameter file, each parsed when it is first read. `read` holds the names of those read."""

    def __init__(self, raw: dict[str, Any], path: Path):
        self.path = path
        self.read: set[str] = set()
        self._raw = raw
        self._check()
        self.read.clear()

    def _check(self) -> None:
        for name in self._raw:
            if name not in SECTIONS:
                raise UserError(f"{self.path}: unknown section '{name}'{suggest(str(name), SECTIONS)}")
        sections = {name: self._section(name) for name in self.names}
        try:
            checks.check(sections)
        except UserError as error:
            raise UserError(f"{self.path}: {error}") from None

    def _section(self, name: str) -> Any:
        if name not in self._raw:
            raise UserError(f"{self.path}: section '{name}' is missing: compose it with dvc exp run, or add it")
        self.read.add(name)
        return build(SECTIONS[name], self._raw[name], f"{self.path}: {name}")

    @property
    def branch_epoch(self) -> int:
        """Number of epochs that `represent` trains. One beyond the protocol's was refused unless it makes sense."""
        return checks.branch_epoch(self.protocol, self.representation, beyond=True)

    def plain(self, name: str) -> Any:
        """A section as the file has it."""
        self.read.add(name)
        return self._raw.get(name)

    @property
    def method(self) -> str:
        return self._section("method")

    @property
    def dataset(self) -> Dataset:
        return self._section("dataset")

    @property
    def split(self) -> Split:
        return self._section("split")

    @property
    def protocol(self) -> Protocol:
        return self._section("protocol")

    @property
    def representation(self) -> Representation:
        return self._section("representation")

    @property
    def classifier(self) -> Classifier:
        return self._section("classifier")

    @property
    def seeds(self) -> tuple[int, ...]:
        return self._section("seeds")

    @property
    def runtime(self) -> Runtime:
        return self._section("runtime")

    @cached_property
    def names(self) -> list[str]:
        return [name for name in SECTIONS if name in self._raw]


def load(path: Path) -> Params:
    """Read and validate a parameter file; raises UserError with one line that names the key."""
    try:
        raw = yaml.safe_load(path.read_bytes())
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid yaml: {error}") from error
    if not isinstance(raw, dict):
        raise UserError(f"{path}: expected sections {', '.join(SECTIONS)}, found {type(raw).__name__}")
    return Params(raw, path)
