"""Lists of the methods, from conf/method/ and the papers' printed numbers, and of the printed rows that they run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pandas as pd

from stages.longtail.console.errors import UserError
from stages.longtail.files import yaml_files
from stages.longtail.papers import plan, published


def names(conf: Path) -> list[str]:
    """The names of all methods, which are those of their presets."""
    return sorted(path.stem for path in (conf / "method").glob("*.yaml"))


def sentence(method: str, conf: Path) -> str:
    """What a method is: the comment at the head of its preset."""
    return (conf / "method" / f"{method}.yaml").read_text().splitlines()[1].removeprefix("# ")


def table(conf: Path, folder: Path) -> str:
    """Markdown: each preset, its comment, and the tables that print it."""
    where = tables(folder)
    lines = [
        {"method": f"`{name}`", "what": sentence(name, conf), "printed in tables": where.get(name, "")}
        for name in names(conf)
    ]
    return pd.DataFrame(lines).to_markdown(index=False)


def axes(conf: Path) -> str:
    """Markdown: the group files that each preset uses, and what it changes in them."""
    lines = []
    for name in names(conf):
        preset: dict[str, Any] = yaml_files.read(conf / "method" / f"{name}.yaml")
        chosen = {key.split("/")[1]: group for item in preset.get("defaults", []) for key, group in item.items()}
        lines.append(
            {
                "method": f"`{name}`",
                "representation": _axes(chosen.get("representation", "plain"), preset.get("representation", {})),
                "branch": _branch(preset),
                "classifier": _axes(chosen.get("classifier", "continue"), preset.get("classifier", {})),
            }
        )
    return pd.DataFrame(lines).to_markdown(index=False)


def page(text: str, conf: Path, folder: Path) -> str:
    """docs/methods.md with its two tables, those of `table` and `axes`, made again."""
    parts = re.split(r"^(?:\|.*\n)+", text, flags=re.M)
    if len(parts) != 3:
        raise UserError(f"expected a page with two tables, found {len(parts) - 1}")
    return f"{parts[0]}{table(conf, folder)}\n{parts[1]}{axes(conf)}\n{parts[2]}"


def tables(folder: Path) -> dict[str, str]:
    """The papers' tables in which each method stands: method -> 'switching 1, 4; procrustean 1'."""
    cells = published.read_all(folder)
    cells = cells[cells.method != ""]
    result = {}
    for method, mine in cells.groupby("method"):
        papers = mine.groupby("paper", sort=False).table.unique()
        result[str(method)] = "; ".join(
            f"{paper} {', '.join(str(int(number) or 'text') for number in sorted(numbers))}"
            for paper, numbers in papers.items()
        )
    return result


def rows(folder: Path, conf: Path, paper: str = "") -> pd.DataFrame:
    """The printed rows that a preset runs, one row per run: where it is printed, its cells, and the command."""
    cells = published.read_all(folder, conf)
    if paper:
        published.folder_of(folder, paper)
    cells = cells[(cells.method != "") & (cells.protocol != "") & (cells.paper.isin([paper]) if paper else True)]
    cells = cells.assign(run=[plan.run_name(cell) for _, cell in cells.iterrows()], table=cells.table.astype(int))
    result = []
    for (where, table, row, _), mine in cells.groupby(["paper", "table", "row", "run"], sort=False):
        flags = " ".join(f"-S {shlex.quote(flag)}" for flag in plan.overrides_of(mine.iloc[0]))
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


def _branch(preset: dict[str, Any]) -> str:
    """The epoch at which `classify` takes over, such as 'last_milestone + 1'."""
    branch = preset.get("representation", {}).get("branch")
    return "" if branch is None else branch["at"] + (f" + {branch['plus']}" if branch["plus"] else "")
