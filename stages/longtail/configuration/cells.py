"""One entry of a grid, reports/<paper>/params.yaml, as parameters, composed from conf/ and checked to be its recipe."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from stages.longtail.configuration.composition import compose
from stages.longtail.console.errors import UserError

SPLIT = ("dataset", "split")
REPRESENTATION = (*SPLIT, "protocol", "representation", "seeds", "runtime")
# The sections that decide each kind of entry.
SECTIONS = {
    "datasets": ("dataset",),
    "splits": SPLIT,
    "representations": REPRESENTATION,
    "runs": (*REPRESENTATION, "classifier"),
    "alone": (*REPRESENTATION, "classifier"),
}
# They change no result, or, as the mode, only its last bits.
UNCOUNTED = {"dataset": {"root", "watch"}, "protocol": {"name"}, "runtime": {"mode", "at_once"}}


def digest(sections: dict[str, Any], names: Iterable[str]) -> str:
    """A hash of these sections, without what changes no result."""
    counted: dict[str, Any] = {}
    for name in names:
        section = sections[name]
        if isinstance(section, dict):
            section = {key: value for key, value in section.items() if key not in UNCOUNTED.get(name, ())}
        counted[name] = section
    key = hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()[:8]
    return key if set(key) & set("abcdf") else f"x{key}"  # in DVC's yaml 893884e2 is a number


def sections(path: Path, cell: str, conf: Path = Path("conf")) -> dict[str, Any]:
    """The parameters of `cell`, such as runs.cifar10-exp-100-joint, of the grid at `path`."""
    kind, _, name = cell.partition(".")
    try:
        entry = yaml.safe_load(path.read_text())[kind][name]
    except (KeyError, TypeError):
        raise UserError(f"{path} has no {cell}: its names are below {', '.join(SECTIONS)}") from None
    composed = compose(entry["compose"].split(), conf)
    if digest(composed, SECTIONS[kind]) != entry["recipe"]:
        raise UserError(
            f"{conf} no longer composes to the recipe that {path} has for {cell}: write the grids again with "
            "python -m stages.longtail.papers.grid"
        )
    return composed
