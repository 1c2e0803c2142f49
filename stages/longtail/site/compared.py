"""The methods that ran under one protocol on one subset, ranked: BOARD.md with its pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from stages.longtail.papers import board
from stages.longtail.site import charts
from stages.longtail.site.recorded import Recorded

LINES = 8  # a chart has at most so many, because a reader cannot tell more of them apart


@dataclass(frozen=True)
class Place:
    """A protocol and subset.

    head has the names of the columns. rows has each run with its cells, which are Markdown as in BOARD.md. ranked and
    by_rank are charts.
    """

    protocol: str
    subset: str
    head: list[str]
    rows: list[tuple[Recorded, list[str]]]
    ranked: dict[str, Any]
    by_rank: dict[str, Any]


def places(tables: dict[tuple[str, str], pd.DataFrame], runs: list[Recorded]) -> list[Place]:
    """tables: see board.tables."""
    found = []
    for (protocol, subset), frame in tables.items():
        here: dict[str, Recorded] = {}
        for run in runs:
            if run.answers and (run.sections["protocol"]["name"], board.subset(run.sections)) == (protocol, subset):
                here.setdefault(run.label, run)
        order = [here[label.strip("`")] for label in frame.method]
        rows = [(run, list(cells)) for run, cells in zip(order, frame.itertuples(index=False), strict=True)]
        found.append(Place(protocol, subset, list(frame.columns), rows, _ranked(order), _by_rank(order)))
    return found


def _ranked(runs: list[Recorded]) -> dict[str, Any]:
    lines = []
    for run in runs:
        low, high = run.interval() or (None, None)
        lines.append({"method": run.short, "accuracy": run.value("last"), "low": low, "high": high})
    return charts.methods(pd.DataFrame(lines))


def _by_rank(runs: list[Recorded]) -> dict[str, Any]:
    """A chart of the best methods and of `joint`, see charts.accuracy_by_rank."""
    first = board.base(run.label for run in runs)
    chosen = [run for run in runs if run.label != first][: LINES - 1]
    chosen += [run for run in runs if run.label == first]
    frames = [run.classes[["rank", "name", "count", "accuracy"]].assign(method=run.short) for run in chosen]
    return charts.accuracy_by_rank(pd.concat(frames).astype({"rank": int, "accuracy": float}))
