"""The README's table of methods, from conf/method/ and data/published/; with --rows, the rows of the papers.

python -m stages.longtail.papers.methods [--rows [PAPER]]
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from stages.longtail.configuration.schema import suggest
from stages.longtail.console import errors
from stages.longtail.console.errors import UserError
from stages.longtail.papers import grid, published


def table(conf: Path, folder: Path) -> str:
    """Markdown: each preset, its comment, the tables that it stands in, the axes that it sets, its command."""
    where = tables(folder)
    rows = []
    for path in sorted((conf / "method").glob("*.yaml")):
        text = path.read_text()
        preset: dict[str, Any] = yaml.safe_load(text)
        chosen = {key.split("/")[1]: name for item in preset.get("defaults", []) for key, name in item.items()}
        rows.append(
            {
                "method": f"`{path.stem}`",
                "what": text.splitlines()[1].removeprefix("# "),
                "tables": where.get(path.stem, ""),
                "representation": _axes(chosen.get("representation", "plain"), preset.get("representation", {})),
                "classifier": _axes(chosen.get("classifier", "continue"), preset.get("classifier", {})),
                "command": f"`dvc exp run -S method={path.stem}`",
            }
        )
    return pd.DataFrame(rows).to_markdown(index=False)


def tables(folder: Path) -> dict[str, str]:
    """The papers' tables in which each method stands: method -> 'switching 1, 4; procrustean 1'."""
    cells = published.read_all(folder)
    cells = cells[cells.method != ""]
    result = {}
    for method, mine in cells.groupby("method"):
        papers = mine.groupby("paper", sort=False).table.unique()
        result[str(method)] = "; ".join(
            f"{paper} {', '.join(str(int(number)) for number in sorted(numbers))}" for paper, numbers in papers.items()
        )
    return result


def rows(folder: Path, conf: Path, paper: str = "") -> pd.DataFrame:
    """Every printed row that a preset runs, a line for each run: where it stands, its cells, and what runs it."""
    cells = published.read_all(folder, conf)
    if paper and paper not in set(cells.paper):
        raise UserError(f"{folder} has no paper '{paper}'{suggest(paper, cells.paper.unique())}")
    cells = cells[(cells.method != "") & (cells.protocol != "") & (cells.paper.isin([paper]) if paper else True)]
    cells = cells.assign(run=[grid.run_name(cell) for _, cell in cells.iterrows()], table=cells.table.astype(int))
    result = []
    for (where, table, row, _), mine in cells.groupby(["paper", "table", "row", "run"], sort=False):
        flags = " ".join(f"-S {shlex.quote(flag)}" for flag in grid.overrides_of(mine.iloc[0]))
        result.append({"paper": where, "table": table, "row": row, "cells": len(mine), "run": f"dvc exp run {flags}"})
    return pd.DataFrame(result)


def _axes(group: str, changes: dict[str, Any]) -> str:
    """The group file's name and what the preset changes of it, but for the branch."""
    parts = [f"`{group}`"]
    for axis, value in changes.items():
        if axis != "branch":
            shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
            parts.append(f"{axis} {shown}")
    return ", ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="?", const="", metavar="PAPER", help="list the papers' rows instead")
    parser.add_argument("--conf", type=Path, default=Path("conf"), help="folder (conf)")
    parser.add_argument("--published", type=Path, default=Path("data/published"), help="folder (data/published)")
    args = parser.parse_args()
    if args.rows is None:
        print(table(args.conf, args.published))
    else:
        print(rows(args.published, args.conf, args.rows).to_markdown(index=False))


if __name__ == "__main__":
    errors.run(main)
