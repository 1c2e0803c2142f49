"""What a run's page shows besides its metrics."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.longtail.evaluation import intervals, rounding
from stages.longtail.papers import confusions, explanation, printed_tables
from stages.longtail.site import charts
from stages.longtail.site.recorded import Recorded

MATRIX = 20  # with more classes the whole matrix is too large to read
CONFUSED = 30  # how many pairs of classes are listed then


@dataclass(frozen=True)
class Confusion:
    """Which classes are taken for which: shares of a class's test images over all seeds, percent.

    matrix has a row for each true class, and is None if there are too many classes. pairs has the true class, the
    predicted class and the share of the most frequent mistakes, the largest first.
    """

    names: list[str]
    matrix: list[list[float]] | None
    pairs: list[tuple[str, str, float]]


def classes(run: Recorded) -> pd.DataFrame:
    """Columns rank, class, name, count, shot, accuracy, low, high (95% from the test images; NaN where no answers were
    kept), the class with most training images first."""
    frame = run.classes[["rank", "class", "name", "count", "shot", "accuracy"]]
    frame = frame.astype({"rank": int, "class": int, "count": int, "accuracy": float}).assign(low=np.nan, high=np.nan)
    if run.answers:
        found = intervals.of_classes(run.answers.predicted, run.answers.labels, len(frame))
        for end in ("low", "high"):
            frame[end] = [getattr(found[label], end) for label in frame["class"]]
    return frame


def confusion(run: Recorded) -> Confusion | None:
    """See Confusion. None if the predictions of the test images were not kept."""
    if run.answers is None:
        return None
    names = run.answers.classes["name"].tolist()
    share = confusions.shares(run.answers.predicted, run.answers.labels, len(names))
    pairs = confusions.pairs(share, names, CONFUSED)
    return Confusion(names, share.tolist() if len(names) <= MATRIX else None, pairs)


def commands(run: Recorded) -> list[str]:
    """What runs it again: as a run of its paper, and as an experiment."""
    request = run.request
    changes = [f"--set {shlex.quote(change)}" for change in request.changes]
    seeds = ",".join(map(str, request.seeds))
    launch = ["python -m stages.launch", run.paper, request.varies or run.name, f"--seeds {seeds}", *changes]
    return [" ".join(launch), " ".join(["dvc exp run", *(f"-S {shlex.quote(part)}" for part in run.overrides)])]


def context(run: Recorded, cells: pd.DataFrame, conf: Path, ledger: Path) -> dict[str, Any]:
    """For the template. cells: those of its paper, see results.cells."""
    frame = classes(run)
    printed = cells[cells.run == run.name]
    tested = len(run.history) > 0
    return {
        "run": run,
        "printed": [(cell, rounding.text(cell.value, printed_tables.decimals(cell))) for _, cell in printed.iterrows()],
        "classes": frame.to_dict("records"),
        "learning": charts.accuracy_by_epoch(run.history) if tested else None,
        "loss": charts.loss_by_epoch(run.history) if tested else None,
        "by_class": charts.accuracy_by_class(frame),
        "confusion": confusion(run),
        "commands": commands(run),
        "differences": explanation.difference_lines(explanation.differences_of_run(run.overrides, conf)),
        "touching": list(explanation.touching(run.method, conf, [run.paper], ledger)),
    }
