"""A paper's room: reports/<paper>/README.md, from about.md, the results and the ledger."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from stages.longtail.files.artifacts import write_text
from stages.longtail.papers import results, scoreboard


def write(paper: str, cells: pd.DataFrame, folder: Path, ledger: Path) -> None:
    """about.md is written by hand: the reference, and what the tables claim."""
    about = (folder / "about.md").read_text().rstrip()
    parts = [about, "## What came out", _outcome(cells), "## Tables", _tables(cells), "## Choices and discrepancies"]
    write_text(folder / "README.md", "\n\n".join([*parts, entries(paper, ledger), _commands(paper)]) + "\n")


def _outcome(cells: pd.DataFrame) -> str:
    numbers = scoreboard.counts(cells)
    lines = [pd.DataFrame([numbers]).to_markdown(index=False, disable_numparse=True)]
    run = cells[cells["last"].notna()]
    if run.empty:
        return "\n\n".join(["Nothing was run yet.", *lines])
    outside = run[~results.within(run, "last").astype(bool)]
    names = sorted(set(outside.run))
    lines.append(
        "Every cell that was run is within the tolerance by its last epoch."
        if not names
        else f"Outside the tolerance by the last epoch: {', '.join(f'`{name}`' for name in names)}."
    )
    if between := sorted(set(run[results.between(run).fillna(False)].run)):
        lines.append(
            "Published numbers above our last epoch's and not above our best test epoch's, reached on the way but not "
            f"kept: {', '.join(f'`{name}`' for name in between)}."
        )
    return "\n\n".join(lines)


def _tables(cells: pd.DataFrame) -> str:
    lines = []
    for number, mine in cells.groupby("table", sort=True):
        run, runnable = int(mine["last"].notna().sum()), int((mine.run != "").sum())
        stem = f"table{int(number)}"
        lines.append(f"- [{stem}]({stem}.md) ([LaTeX]({stem}.tex), [csv]({stem}.csv)): {run} of {runnable} cells run")
    return "\n".join(lines)


def entries(paper: str, ledger: Path) -> str:
    """The ledger's rows of a paper, and those of all papers."""
    rows = [line for line in ledger.read_text().splitlines() if line.startswith("| ")]
    head = next(line for line in rows if line.startswith("| paper, section"))
    mine = [line for line in rows if f"`{paper}`" in line.split("|")[1] or line.split("|")[1].strip().startswith("all")]
    rule = "|" + "---|" * (head.count("|") - 1)
    return "\n".join([head, rule, *mine])


def _commands(paper: str) -> str:
    return (
        f"## Running it\n\n`dvc repro --keep-going reports/{paper}/dvc.yaml` runs every cell, `python -m stages.tables "
        f"--paper {paper} --missing` lists those not yet run with the command of each, `make tables` these pages."
    )
