"""A paper's tables as printed, each cell with what was reproduced of it and the page of its run."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from stages.longtail.evaluation.rounding import text
from stages.longtail.papers import printed_tables, results

AGREEMENT = {
    "within": "within the tolerance by the last epoch",
    "best": "within the tolerance by the best test epoch only",
    "outside": "outside the tolerance by both epochs",
    "open": "not run yet; there is a preset for it",
    "copied": "cannot be run here: copied by the paper, or not one of our methods",
}


@dataclass(frozen=True)
class Cell:
    """A printed number and what was reproduced of it.

    agreement is a key of AGREEMENT. last, best and difference (last - published) are texts, '' if it was not run.
    """

    published: str
    agreement: str
    run: str
    last: str = ""
    best: str = ""
    difference: str = ""


@dataclass(frozen=True)
class Table:
    """A table as printed. A row has its label, its method ('' if it has none or several), and a cell or None for each
    column."""

    number: int
    columns: list[str]
    rows: list[tuple[str, str, list[Cell | None]]]

    def count(self, agreement: str) -> int:
        return sum(cell.agreement == agreement for *_, cells in self.rows for cell in cells if cell)


def tables(cells: pd.DataFrame) -> list[Table]:
    """All tables of a paper. cells: see results.cells."""
    return [_table(int(number), printed_tables.with_columns(mine)) for number, mine in cells.groupby("table")]


def _table(number: int, cells: pd.DataFrame) -> Table:
    columns = list(cells.column.unique())
    rows = []
    for label, mine in cells.groupby("row", sort=False):
        shown = {cell.column: _cell(cell) for _, cell in mine.iterrows()}
        methods = mine.method.unique()
        rows.append((str(label), methods[0] if len(methods) == 1 else "", [shown.get(name) for name in columns]))
    return Table(number, columns, rows)


def _cell(cell: pd.Series) -> Cell:
    digits = printed_tables.decimals(cell)
    printed = text(cell.value, digits)
    if pd.isna(cell["last"]):
        return Cell(printed, "open" if cell.run else "copied", cell.run)
    alone = cell.to_frame().T
    agreement = next((name for name, rule in (("within", "last"), ("best", "best")) if _within(alone, rule)), "outside")
    best = "" if pd.isna(cell.best) else text(cell.best, digits)
    difference = text(cell["last"] - cell.value, digits, sign=True)
    return Cell(printed, agreement, cell.run, text(cell["last"], digits), best, difference)


def _within(cell: pd.DataFrame, rule: str) -> bool:
    found = results.within(cell, rule).iloc[0]
    return bool(found) if pd.notna(found) else False
