"""Validates a whole parameter file: every section, including those that a stage does not read, and their combinations.

This package can only refuse: it is given a copy and returns nothing. No result depends on it, so no stage declares it
in dvc.yaml, and a new axis makes no finished stage stale. configuration/parameters.py imports it by name while a stage
runs; tests/test_dag.py knows this one exception.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stages.longtail.classification.classifier import Classifier
from stages.longtail.configuration.parameters import Seeds, parse
from stages.longtail.console.errors import UserError
from stages.longtail.console.suggestions import suggest
from stages.longtail.recipe.protocol import Protocol
from stages.longtail.recipe.representation import Representation
from stages.longtail.runtime.runtime import Runtime
from stages.longtail.sources.dataset import Dataset
from stages.longtail.splits.split import Split
from stages.longtail.validation import combinations

SECTIONS: dict[str, Any] = {
    "method": str,
    "dataset": Dataset,
    "split": Split,
    "protocol": Protocol,
    "representation": Representation,
    "classifier": Classifier,
    "seeds": Seeds,
    "runtime": Runtime,
}


def check(raw: dict[str, Any], path: Path) -> None:
    """Raise UserError with one line that names the file and the key if something is unknown, does not fit or clashes.

    A missing section is not refused here, but by the stage that reads it.

    Args:
        raw: the sections that the file has, as plain values.
        path: the file, for the message.
    """
    for name in raw:
        if name not in SECTIONS:
            raise UserError(f"{path}: unknown section '{name}'{suggest(str(name), SECTIONS)}")
    sections = {name: parse(SECTIONS[name], value, f"{path}: {name}") for name, value in raw.items()}
    try:
        combinations.check(sections)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
