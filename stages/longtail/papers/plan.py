"""A paper's plan: every run that its tables need, in reports/papers/<paper>/plan.yaml, which DVC does not read.

A run is a preset with a row's overrides on one subset; runs that differ only after the branch share a representation.
python -m stages.launch --update writes the plans again from published.csv and conf/.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from stages.longtail.configuration import cells
from stages.longtail.configuration.composition import compose
from stages.longtail.console.errors import UserError
from stages.longtail.files import yaml_files
from stages.longtail.files.artifacts import write_text

# All runs have these unless their row says otherwise: three seeds, since most papers state none, and bf16.
PRECISION = "bf16"
COMMON = ("seeds=[0,1,2]", f"runtime.precision={PRECISION}")
HEAD = "# Written by python -m stages.launch --update from published.csv and conf/: change those.\n"


def subset_name(row: pd.Series) -> str:
    """A name such as cifar10-exp-100; just the data set's name if it is long-tailed already."""
    return row.dataset if pd.isna(row.ratio) else f"{row.dataset}-{row.profile}-{row.ratio:g}"


def run_name(row: pd.Series) -> str:
    """The run behind a published cell, such as cifar10-exp-50-switching-plus5; '' if nothing runs it."""
    if not row.method or not row.protocol:
        return ""
    extra = [part for part in row.overrides.split() if not part.startswith("seeds=")]
    slug = "".join(f"-{key.split('.')[-1]}{value}" for key, value in (part.split("=") for part in extra))
    slug = slug.replace("[", "").replace("]", "").replace(",", ".")
    protocol = row.protocol.removeprefix(row.paper)  # a paper with two protocols for a data set
    protocol = "" if protocol.count("_") < 2 else "-" + protocol.split("_")[-1]
    return f"{subset_name(row)}{protocol}-{row.method}{slug}"


def overrides_of(row: pd.Series) -> list[str]:
    """The overrides that compose a cell's parameters, as Hydra takes them."""
    split = [] if pd.isna(row.ratio) else [f"split.profile={row.profile}", f"split.ratio={row.ratio:g}"]
    common = [f"dataset={row.dataset}", f"protocol={row.protocol}", f"method={row.method}", *split, *COMMON]
    return merged([*common, *row.overrides.split()])


def merged(overrides: list[str]) -> list[str]:
    """Each key once, with its last value."""
    return list({part.split("=")[0]: part for part in overrides}.values())


def seeds_of(overrides: list[str]) -> list[int]:
    last = next(part for part in reversed(overrides) if part.startswith("seeds="))
    return json.loads(last.removeprefix("seeds="))


def with_seeds(overrides: list[str], seeds: list[int]) -> list[str]:
    return merged([*overrides, f"seeds=[{','.join(map(str, sorted(seeds)))}]"])


def build(published_cells: pd.DataFrame, conf: Path, splits: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The plan of one paper: name -> compose, data, split, and of, the run that names its representation.

    splits: the recipes of the subsets of all papers so far, by name; those of this paper are added.
    """
    frame = published_cells.assign(run=[run_name(row) for _, row in published_cells.iterrows()])
    plan: dict[str, dict[str, Any]] = {}
    first: dict[str, str] = {}  # by the recipe of the representation, the run that names it
    for name, rows in frame[frame.run != ""].groupby("run", sort=False):
        row = rows.iloc[0]
        overrides = overrides_of(row)
        seeds = sorted({seed for _, row in rows.iterrows() for seed in seeds_of(overrides_of(row))})
        sections = compose(with_seeds(overrides, seeds), conf)
        split, recipe = subset_name(row), cells.digest(sections, cells.SPLIT)
        if splits.get(split, recipe) != recipe:
            split = f"{split}-{row.paper}"
        splits[split] = recipe
        of = first.setdefault(representation(sections), str(name))
        text = " ".join(with_seeds(overrides, seeds))
        plan[str(name)] = {"compose": text, "data": row.dataset, "split": split, "of": of}
    return plan


def representation(sections: dict[str, Any]) -> str:
    """A hash of what a run's representation is, whatever the seeds."""
    return cells.digest(sections, [name for name in cells.REPRESENTATION if name != "seeds"])


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """Read the plan in a paper's folder."""
    path = folder / "plan.yaml"
    if not path.is_file():
        raise UserError(f"{path} does not exist: write it with python -m stages.launch --update")
    return yaml_files.read(path) or {}


def write(folder: Path, plan: dict[str, dict[str, Any]]) -> None:
    write_text(folder / "plan.yaml", HEAD + yaml_files.dump(plan))
