"""A paper's grid: the runs behind the cells of its tables, as reports/<paper>/params.yaml names them for DVC.

A run is a preset with a row's overrides on one subset; runs that differ only after the branch share a representation.
python -m stages.longtail.papers.grid writes the files again from data/published/ and conf/.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from stages.longtail.configuration import cells
from stages.longtail.configuration.composition import compose
from stages.longtail.configuration.messages import suggest
from stages.longtail.console import errors
from stages.longtail.console.errors import UserError
from stages.longtail.files.artifacts import write_text
from stages.longtail.papers import published

REPORTS = Path("reports")
# What all runs have unless a row says otherwise: three seeds where a paper says nothing, bf16 as declared precision.
COMMON = ("seeds=[0,1,2]", "runtime.precision=bf16")


def subset_name(row: pd.Series) -> str:
    """Such as cifar10-exp-100, or the data set's name alone where it is long-tailed as it comes."""
    return row.dataset if pd.isna(row.ratio) else f"{row.dataset}-{row.profile}-{row.ratio:g}"


def run_name(row: pd.Series) -> str:
    """The run behind a published cell, such as cifar10-exp-50-switching-plus5; '' where nothing runs it."""
    if not row.method or not row.protocol:
        return ""
    extra = [part for part in row.overrides.split() if not part.startswith("seeds=")]
    slug = "".join(f"-{key.split('.')[-1]}{value}" for key, value in (part.split("=") for part in extra))
    slug = slug.replace("[", "").replace("]", "").replace(",", ".")
    protocol = row.protocol.removeprefix(row.paper)  # a paper with two protocols for a data set
    protocol = "" if protocol.count("_") < 2 else "-" + protocol.split("_")[-1]
    return f"{subset_name(row)}{protocol}-{row.method}{slug}"


def overrides_of(row: pd.Series, seeds: Iterable[int] = ()) -> list[str]:
    """What composes a cell's parameters; `seeds` replaces the row's."""
    split = [] if pd.isna(row.ratio) else [f"split.profile={row.profile}", f"split.ratio={row.ratio:g}"]
    common = [f"dataset={row.dataset}", f"protocol={row.protocol}", f"method={row.method}", *split, *COMMON]
    given = [*common, *row.overrides.split()]
    last = {part.split("=")[0]: part for part in given}  # the row's seeds and the like win over the common ones
    if seeds:
        last["seeds"] = f"seeds=[{','.join(map(str, sorted(seeds)))}]"
    return list(last.values())


@dataclass
class Grid:
    """What the params.yaml files say, by name."""

    datasets: dict[str, dict[str, Any]] = field(default_factory=dict)
    splits: dict[str, dict[str, Any]] = field(default_factory=dict)
    representations: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    alone: dict[str, dict[str, Any]] = field(default_factory=dict)  # runs that share no representation


def build(published_cells: pd.DataFrame, conf: Path, shared: Grid, fewer: dict[str, list[int]] | None = None) -> Grid:
    """The grid of one paper's cells. Data sets and splits go into `shared`, which all papers use.

    fewer: by the name of a subset, the seeds of all its runs where not all that the rows ask for are run yet.
    """
    grid = Grid()
    frame = published_cells.assign(run=[run_name(row) for _, row in published_cells.iterrows()])
    subsets = {subset_name(row) for _, row in frame[frame.run != ""].iterrows()}
    for name in fewer or {}:
        if name not in subsets:
            raise UserError(f"seeds.yaml names {name}, on which no run is{suggest(name, subsets)}")
    planned: dict[str, list[tuple[str, pd.Series, set[int]]]] = {}  # runs by the digest of their representation
    for name, rows in frame[frame.run != ""].groupby("run", sort=False):
        seeds = set((fewer or {}).get(subset_name(rows.iloc[0]), ()))
        seeds = seeds or {seed for _, row in rows.iterrows() for seed in compose_seeds(row)}
        sections = compose(overrides_of(rows.iloc[0], seeds), conf)
        key = cells.digest(sections, [name for name in cells.REPRESENTATION if name != "seeds"])
        planned.setdefault(key, []).append((str(name), rows.iloc[0], seeds))
    for members in planned.values():
        _enter(grid, shared, members, conf)
    return grid


def _enter(grid: Grid, shared: Grid, members: list[tuple[str, pd.Series, set[int]]], conf: Path) -> None:
    """The runs of one representation, each with a row and its seeds. One that nothing shares is a single stage."""
    name, row, _ = members[0]
    union = set().union(*(seeds for _, _, seeds in members))
    sections = compose(overrides_of(row, union), conf)
    data, split = _subset(shared, row, sections, conf)
    entry = {"data": data, "split": split, "golden": row.method}
    if len(members) == 1:
        recipe = cells.digest(sections, cells.SECTIONS["alone"])
        grid.alone[name] = {"compose": " ".join(overrides_of(row, union)), "recipe": recipe, **entry}
        return
    recipe = cells.digest(sections, cells.REPRESENTATION)
    grid.representations[name] = {"compose": " ".join(overrides_of(row, union)), "recipe": recipe, **entry}
    for member, its, seeds in members:
        overrides = overrides_of(its, seeds)
        recipe = cells.digest(compose(overrides, conf), cells.SECTIONS["runs"])
        run = {"compose": " ".join(overrides), "recipe": recipe, **entry, "golden": its.method, "of": name}
        grid.runs[member] = run


def compose_seeds(row: pd.Series) -> list[int]:
    last = next(part for part in overrides_of(row) if part.startswith("seeds="))
    return json.loads(last.removeprefix("seeds="))


def _subset(shared: Grid, row: pd.Series, sections: dict[str, Any], conf: Path) -> tuple[str, str]:
    """The names of the data set and of the split, entered into `shared`."""
    common = [f"dataset={row.dataset}"]
    shared.datasets[row.dataset] = {
        "compose": " ".join(common),
        "recipe": cells.digest(compose(common, conf), ["dataset"]),
    }
    recipe = cells.digest(sections, cells.SPLIT)
    name = subset_name(row)
    if shared.splits.get(name, {"recipe": recipe})["recipe"] != recipe:
        name = f"{name}-{row.paper}"
    shared.splits[name] = {"compose": " ".join(overrides_of(row)), "recipe": recipe, "data": row.dataset}
    return row.dataset, name


def write(folder: Path, conf: Path, reports: Path) -> None:
    """Write the params.yaml of every paper in `folder` and, for data sets and splits, that of `reports`."""
    shared = Grid()
    seeds = reports / "seeds.yaml"
    fewer = (yaml.safe_load(seeds.read_text()) if seeds.is_file() else None) or {}
    if unknown := fewer.keys() - {path.stem for path in folder.glob("*.csv")}:
        raise UserError(f"{seeds} names {', '.join(sorted(unknown))}, which {folder} has no file of")
    for path in sorted(folder.glob("*.csv")):
        grid = build(published.read(path, conf).assign(paper=path.stem), conf, shared, fewer.get(path.stem))
        content = {"representations": grid.representations, "runs": grid.runs, "alone": grid.alone}
        _dump(reports / path.stem / "params.yaml", content)
    _dump(reports / "params.yaml", {"datasets": shared.datasets, "splits": shared.splits})


def _dump(path: Path, content: dict[str, Any]) -> None:
    head = "# Written by python -m stages.longtail.papers.grid from data/published/ and conf/: change those.\n"
    write_text(path, head + yaml.safe_dump(content, sort_keys=False, width=1000))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--published", type=Path, default=Path("data/published"), help="folder (data/published)")
    parser.add_argument("--conf", type=Path, default=Path("conf"), help="folder (conf)")
    parser.add_argument("--reports", type=Path, default=REPORTS, help="folder (reports)")
    args = parser.parse_args()
    write(args.published, args.conf, args.reports)


if __name__ == "__main__":
    errors.run(main)
