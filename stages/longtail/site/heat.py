"""How far apart reproduced and printed accuracies are, by paper and table."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from stages.longtail.evaluation.rounding import text
from stages.longtail.papers import scoreboard

STEPS = (1.0, 2.0, 4.0)  # points; the more of them a difference exceeds, the darker its cell


@dataclass(frozen=True)
class Cell:
    """A table of a paper.

    apart is the mean absolute difference of the last epoch, '' if nothing was run. level is how many STEPS it exceeds,
    -1 if nothing was run. run and runnable count the table's numbers.
    """

    apart: str
    level: int
    run: int
    runnable: int


def cells(papers: dict[str, pd.DataFrame]) -> dict[str, dict[int, Cell]]:
    """By paper and table. papers: the cells of each, see results.cells."""
    return {paper: {int(n): _cell(mine) for n, mine in frame.groupby("table")} for paper, frame in papers.items()}


def _cell(cells: pd.DataFrame) -> Cell:
    found = scoreboard.apart(cells, "last")
    run, runnable = int(cells["last"].notna().sum()), int((cells.run != "").sum())
    if pd.isna(found):
        return Cell("", -1, run, runnable)
    return Cell(text(found, 1), sum(found > step for step in STEPS), run, runnable)
