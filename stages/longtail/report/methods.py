"""The README's table of methods, from conf/method/ and data/published/; with --rows, the rows of the papers.

python -m stages.longtail.report.methods [--rows [PAPER]]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from stages.longtail import errors
from stages.longtail.report import published


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


def rows(folder: Path, paper: str = "") -> pd.DataFrame:
    """Every printed row that a preset runs: paper, table, row, data, number of cells, and what to pass with -S."""
    cells = published.read_all(folder)
    cells = cells[(cells.method != "") & (cells.paper.isin([paper]) if paper else True)]
    keys = ["paper", "table", "row", "method", "overrides", "dataset"]
    counted = cells.groupby(keys, sort=False).size().rename("cells").reset_index()
    counted["table"] = counted["table"].astype(int)
    counted["-S"] = ("method=" + counted.method + " " + counted.overrides).str.strip()
    return counted[["paper", "table", "row", "dataset", "cells", "-S"]]


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
        print(rows(args.published, args.rows).to_markdown(index=False))


if __name__ == "__main__":
    errors.run(main)
