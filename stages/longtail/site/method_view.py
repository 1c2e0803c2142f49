"""What a method's page shows: the same as `python -m stages.methods NAME`, with links."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from stages.longtail.papers import explanation, implementation, methods, plan
from stages.longtail.site.recorded import Recorded


@dataclass(frozen=True)
class Printed:
    """A table with numbers of a method, the labels of its rows and the data of its cells."""

    paper: str
    table: int
    numbers: int
    rows: list[str]
    subsets: list[str]


def context(
    method: str, cells: pd.DataFrame, runs: list[Recorded], conf: Path, papers: Path
) -> dict[str, Any]:  # fmt: skip
    """For the template.

    Args:
        method: its preset's name.
        cells: those of all papers, see results.cells.
        runs: all that are recorded.
        conf: the presets.
        papers: the papers' folder.
    """
    mine = cells[cells.method == method]
    named = explanation.papers_of(method, mine, conf, papers)
    return {
        "method": method,
        "sentence": methods.sentence(method, conf),
        "references": {paper: explanation.reference(papers / paper / "about.md") for paper in named},
        "differences": explanation.difference_lines(explanation.differences(method, conf)),
        "places": [
            (place.path.relative_to(implementation.LIBRARY.parents[1]).as_posix(), place)
            for place in explanation.functions(method, conf)
        ],
        "printed": printed(mine),
        "touching": list(explanation.touching(method, conf, named, papers / "DISCREPANCIES.md")),
        "runs": [run for run in runs if run.method == method],
    }


def printed(cells: pd.DataFrame) -> list[Printed]:
    """The tables of these cells."""
    found = []
    for (paper, table), mine in cells.groupby(["paper", "table"], sort=False):
        subsets = dict.fromkeys(plan.subset_name(cell) for _, cell in mine.iterrows())
        found.append(Printed(str(paper), int(table), len(mine), list(mine.row.unique()), list(subsets)))
    return found
