"""Everything that the pages show, as csv and as compressed JSON, which repeats the names in every line."""

from __future__ import annotations

import json

import pandas as pd

from stages.longtail.papers import printed_tables
from stages.longtail.site import run_view
from stages.longtail.site.board import RECORDED
from stages.longtail.site.ledger import Line
from stages.longtail.site.recorded import Recorded

COLUMNS = {
    "runs": "every recorded run: its accuracies, and the printed one over all classes where a table has it",
    "cells": "every printed number, and what was reproduced of it by each rule",
    "classes": "accuracy of each class in each recorded run, with its 95% interval from the test images",
    "ledger": "the discrepancy ledger, with the line's number in the file",
}


def frames(
    board: pd.DataFrame, cells: pd.DataFrame, runs: list[Recorded], lines: list[Line]
) -> dict[str, pd.DataFrame]:
    """By the name of the file. board: see board.rows; cells: those of all papers, see results.cells."""
    by_class = [run_view.classes(run).assign(paper=run.paper, run=run.name) for run in runs]
    heads = ["section", "paper, section", "it says", "common code", "we", "difference", "line"]
    whole = printed_tables.tidy(cells)
    whole.insert(0, "paper", cells.paper)
    whole.insert(1, "table", cells.table.astype(int))
    return {
        "runs": board[board.state == RECORDED].drop(columns="state"),
        "cells": whole,
        "classes": pd.concat(by_class, ignore_index=True).round(4) if by_class else pd.DataFrame(),
        "ledger": pd.DataFrame([[line.section, *line.cells, line.number] for line in lines], columns=heads),
    }


def as_json(frame: pd.DataFrame) -> str:
    """A list of objects; what is not known is left out."""
    lines = [
        json.dumps({key: value for key, value in line.items() if value not in (None, "")}, separators=(",", ":"))
        for line in json.loads(frame.to_json(orient="records"))
    ]
    return "[" + ",\n".join(lines) + "]\n"
