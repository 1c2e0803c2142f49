"""Every published number beside the result of its run. A paper's plan.yaml names the runs, metrics/ has the results."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from stages.longtail.console.errors import UserError
from stages.longtail.files import yaml_files
from stages.longtail.files.artifacts import read_csv
from stages.longtail.papers import plan, published
from stages.longtail.prediction.accuracy import GROUPS

# The three rules by which an epoch stands for a run, by the columns that have its numbers, as tables name them.
SELECTIONS = {"last": "last epoch", "best": "best test epoch", "selected": "best held-out epoch"}
HELD_OUT = "The best held-out epoch is chosen by training images that were set aside, and by no test image."
MEASURED = [name for which in SELECTIONS for name in (which, f"{which}_std")]
INTERVAL = ["last_low", "last_high"]  # 95%, of `last` from its test images
NO_INTERVAL = "An accuracy without an interval is of a run from before predictions were kept, which the interval needs."
FRACTIONS = ("bias2", "variance", "total_error")


@dataclass(frozen=True)
class Run:
    """What one run left in git. intervals: ci95_images of metrics_more.json, which runs from before it lack."""

    metrics: dict[str, Any]
    classes: pd.DataFrame
    intervals: dict[str, dict[str, float]] = field(default_factory=dict)


def read_runs(folder: Path, names: Iterable[str]) -> dict[str, Run | None]:
    """The results of these runs in a paper's folder, by name; None for a run that was not run."""
    result: dict[str, Run | None] = {}
    for name in names:
        metrics, classes = (folder / "metrics" / name / file for file in ("metrics.json", "per_class.csv"))
        result[name] = None
        if metrics.is_file() and classes.is_file():  # one alone: its evaluation was interrupted
            more = folder / "metrics" / name / "metrics_more.json"
            intervals = _json(more).get("ci95_images", {}) if more.is_file() else {}
            result[name] = Run(_json(metrics), read_csv(classes), intervals)
    return result


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except ValueError:
        raise UserError(f"{path} is damaged: restore it with git, or delete it and run its stage again") from None


def cells(folder: Path, conf: Path) -> pd.DataFrame:
    """The published cells of the paper whose folder this is.

    Added are the columns run, those of MEASURED and INTERVAL, seeds, tolerance and schedule. run is '' where no preset
    runs the row; schedule: epochs of its recipe, '' likewise. Numbers in the published unit, NaN where nothing was run
    or measured.
    """
    frame = published.read(folder / "published.csv", conf).assign(paper=folder.name)
    runs = read_runs(folder, plan.read(folder))
    rows, numbers = [], [*MEASURED, *INTERVAL]
    for _, cell in frame.iterrows():
        name = plan.run_name(cell)
        if name and name not in runs:
            raise UserError(
                f"{folder / 'plan.yaml'} has no run '{name}', which {published.place(cell.table)} needs: write it "
                "again with python -m stages.launch --update"
            )
        run = runs.get(name)
        measured = measure(cell, run) if run else {}
        seeds = run.metrics["seeds"] if run else 0
        more = {"seeds": seeds, "tolerance": tolerance(cell), "schedule": schedule(cell, conf) if name else ""}
        rows.append({"run": name, **dict.fromkeys(numbers), **measured, **more})
    return frame.join(pd.DataFrame(rows, index=frame.index).astype(dict.fromkeys(numbers, float)))


def schedule(cell: pd.Series, conf: Path) -> str:
    """The epochs of a cell's recipe: its protocol's, or those that its row has instead."""
    given = [part.split("=")[1] for part in cell.overrides.split() if part.startswith("protocol.epochs=")]
    return given[0] if given else str(_protocol(conf / f"protocol/{cell.protocol}.yaml")["epochs"])


@cache
def _protocol(path: Path) -> dict[str, Any]:
    return yaml_files.read(path)["protocol"]


def measure(cell: pd.Series, run: Run) -> dict[str, float | None]:
    """A run's numbers for one cell: the columns of MEASURED and INTERVAL, as far as the run has them."""
    metrics, group = run.metrics, cell.group
    if cell.measure == "top1" and group in GROUPS:
        scale = 0.01 if cell.variant.endswith(published.FRACTION) else 1
        kinds = dict(zip(MEASURED, MEASURED, strict=True)) | {"last": "acc", "last_std": "std"}
        values = {ours: metrics.get(kind, {}).get(group) for ours, kind in kinds.items()}
        bounds = run.intervals.get(group, {})
        values |= {column: bounds.get(column.removeprefix("last_")) for column in INTERVAL}
        return {ours: None if value is None else scale * value for ours, value in values.items()}
    if cell.measure == "top5":
        return {"last": metrics.get("top5", {}).get(group), "last_std": metrics.get("top5_std", {}).get(group)}
    if group.startswith("class"):
        row = run.classes[run.classes["class"] == group.removeprefix("class")]
        column = {"cardinality": "count"}.get(cell.measure, cell.measure)
        return {"last": float(row[column].iloc[0])} if column in row and len(row) else {}
    return {"last": metrics.get(cell.measure)}


def tolerance(cell: pd.Series) -> float:
    """The smallest difference that counts, in the published unit: one point, 0.01 of a fraction, else a tenth."""
    if cell.measure in ("top1", "top5"):
        return 0.01 if cell.variant.endswith(published.FRACTION) else 1.0
    if cell.measure in FRACTIONS:
        return 0.01
    return abs(float(cell.value)) / 10


def within(frame: pd.DataFrame, which: str) -> pd.Series:
    """True where |ours - published| <= max(tolerance, 2 std), False where not, NA where not run.

    which: of SELECTIONS.
    """
    limit = frame[["tolerance"]].assign(std=2 * frame[f"{which}_std"]).max(axis=1)
    difference = (frame[which] - frame.value).abs()
    return (difference <= limit + 1e-9).astype("boolean").where(frame[which].notna())


def rules(cells: pd.DataFrame) -> dict[str, str]:
    """SELECTIONS, without the held-out epoch where no run of these has one."""
    return {which: name for which, name in SELECTIONS.items() if which != "selected" or cells[which].notna().any()}


def between(frame: pd.DataFrame) -> pd.Series:
    """True where the published number is above our last epoch's and at most our best test epoch's; NA as in `within`.

    As a number would be whose epoch was chosen on the test set.
    """
    found = (frame["last"] < frame.value) & (frame.value <= frame.best)
    return found.astype("boolean").where(frame["last"].notna() & frame.best.notna())
