"""Cells: `--cell procrustean/cifar10-exp-100-mfw` names one run of a paper, with its parameters and its folders.

The requested runs are listed in reports/papers/<paper>/params.yaml, the data sets and subsets that all papers share,
such as `--cell cifar10`, in reports/papers/params.yaml. Each entry says how conf/ composes its parameters (`compose`)
and has a hash of the result (`recipe`), so that a later change of conf/ is noticed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.longtail.configuration.composition import compose
from stages.longtail.console.errors import UserError
from stages.longtail.console.suggestions import suggest
from stages.longtail.files import yaml_files

PAPERS = Path("reports/papers")
SPLIT = ("dataset", "split")
REPRESENTATION = (*SPLIT, "protocol", "representation", "seeds", "runtime")
# The sections that decide each kind of entry.
SECTIONS = {
    "datasets": ("dataset",),
    "images": ("dataset",),  # data sets read from image files; DVC watches a listing of them
    "splits": SPLIT,
    "represent": REPRESENTATION,
    "runs": (*REPRESENTATION, "classifier"),
    "older": (*REPRESENTATION, "classifier"),
}
# Settings that are no part of a recipe: they change no result, or, like the mode, only its last bits.
UNCOUNTED = {
    "dataset": {"root", "watch", "listing", "lists"},
    "protocol": {"name"},
    "runtime": {"mode", "at_once", "processes", "workers"},
}
# The kinds of entry that a stage may be given, by the folder that the stage writes for the current experiment.
KINDS = {
    "data/raw": ("datasets", "images"),
    "data/splits": ("splits",),
    "data/representation": ("represent",),
    "data/classifier": ("runs", "older"),
    "reports": ("runs", "older"),
}
# For each folder of the current experiment, the folder that a cell has instead, below reports/papers/; and the
# manifests of the two stages that train.
FOLDERS = {
    "data/raw": "data/raw/{data}",
    "data/splits": "data/splits/{split}",
    "data/representation": "{paper}/data/representation/{of}",
    "data/classifier": "{paper}/data/classifier/{name}",
    "reports": "{paper}/metrics/{name}",
}
MANIFESTS = {
    "data/representation": "{paper}/metrics/{of}/represent.json",
    "data/classifier": "{paper}/metrics/{name}/manifest.json",
}


@dataclass(frozen=True)
class Cell:
    """One entry of a params.yaml in the papers' folder."""

    path: Path
    kind: str
    name: str
    entry: dict[str, Any]

    def sections(self, conf: Path = Path("conf")) -> dict[str, Any]:
        """The cell's parameters. Raises UserError if conf/ no longer composes to the recipe that the entry has."""
        composed = compose(self.entry["compose"].split(), conf)
        if digest(composed, SECTIONS[self.kind]) != self.entry["recipe"]:
            raise UserError(
                f"{conf} no longer composes to the recipe that {self.path} has for {self.name}: write the lists again "
                "with python -m stages.launch --update; what was run by the older recipe will then run again"
            )
        return composed

    def folder(self, current: str) -> Path:
        """The cell's folder in place of `current`, a folder of the current experiment such as data/raw."""
        return self._place(FOLDERS[current])

    def manifest(self, out: str) -> Path:
        return self._place(MANIFESTS[out])

    def _place(self, pattern: str) -> Path:
        shared = self.kind in ("datasets", "images", "splits")
        papers, paper = (self.path.parent, "") if shared else (self.path.parents[1], self.path.parent.name)
        names = {"data": self.name, "split": self.name, "of": self.name, **self.entry, "name": self.name}
        return papers / pattern.format(paper=paper, **{key: names[key] for key in ("data", "split", "of", "name")})


def find(cell: str, out: str, papers: Path = PAPERS) -> Cell:
    """The entry of `cell` for the stage whose folder for the current experiment is `out`. Raises UserError."""
    paper, _, name = cell.rpartition("/")
    path = papers / paper / "params.yaml"
    content = yaml_files.read(path) if path.is_file() else {}
    entries = {kind: content.get(kind) or {} for kind in KINDS[out]}
    for kind, of_kind in entries.items():
        if name in of_kind:
            return Cell(path, kind, name, of_kind[name])
    known = [known for of_kind in entries.values() for known in of_kind]
    raise UserError(
        f"{path} has no {name} among its {' and '.join(KINDS[out])}{suggest(name, known) if known else ''}: "
        "python -m stages.launch enters a run"
    )


def digest(sections: dict[str, Any], names: Iterable[str]) -> str:
    """A hash of these sections, without what changes no result."""
    counted: dict[str, Any] = {}
    for name in names:
        section = sections[name]
        if isinstance(section, dict):
            section = {key: value for key, value in section.items() if key not in UNCOUNTED.get(name, ())}
            if name == "runtime" and not section.get("observe"):
                section.pop("observe", None)  # nothing observed is the recipe of before it could be
        counted[name] = section
    return key_of(counted)


def recipe(sections: dict[str, Any], kind: str) -> str:
    """The recipe that an entry of this kind has for these sections; of those that there are."""
    return digest(sections, [name for name in SECTIONS[kind] if name in sections])


def key_of(value: Any) -> str:
    """Eight hexadecimal digits, or nine characters where DVC's yaml would take them for a number, as 893884e2."""
    key = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]
    return key if set(key) & set("abcdf") else f"x{key}"
