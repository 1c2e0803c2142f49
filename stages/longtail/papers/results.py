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
from stages.longtail.evaluation import intervals
from stages.longtail.evaluation.rounding import PERCENT, rounded
from stages.longtail.files import yaml_files
from stages.longtail.files.artifacts import read_csv
from stages.longtail.papers import plan, published, requested_runs
from stages.longtail.prediction.accuracy import GROUPS

# The three rules by which an epoch stands for a run, by the columns that have its numbers, as tables name them.
SELECTIONS = {"last": "last epoch", "best": "best test epoch", "selected": "best held-out epoch"}
HELD_OUT = "The best held-out epoch is chosen by training images that were set aside, and by no test image."
MEASURED = [name for which in SELECTIONS for name in (which, f"{which}_std")]
INTERVAL = ["last_low", "last_high"]  # 95%, of `last` from its test images
NO_INTERVAL = (
    "An accuracy without an interval is of a run from before predictions were kept, whose accuracies by class are not "
    "enough for one."
)
TEST_IMAGES = {"cifar10": 1000, "cifar10_four": 1000, "cifar100": 100}  # of each class, in the official test sets
FRACTIONS = ("bias2", "variance", "total_error")


@dataclass(frozen=True)
class Run:
    """What one run left in git.

    intervals: 95%, of each group's accuracy, from the test images: those of metrics_more.json, or `_older_intervals`.
    predictions: whether there are any. The oldest runs have neither file.
    """

    metrics: dict[str, Any]
    classes: pd.DataFrame
    intervals: dict[str, dict[str, float]] = field(default_factory=dict)
    predictions: bool = True


def read_runs(folder: Path, names: Iterable[str]) -> dict[str, Run | None]:
    """The results of these runs in a paper's folder, by name; None for a run that was not run."""
    result: dict[str, Run | None] = {}
    for name in names:
        metrics, classes = (folder / "metrics" / name / file for file in ("metrics.json", "per_class.csv"))
        result[name] = None
        if metrics.is_file() and classes.is_file():  # one alone: its evaluation was interrupted
            more = metrics.with_name("metrics_more.json")
            found, by_class = _json(metrics), read_csv(classes)
            kept = _json(more).get("ci95_images", {}) if more.is_file() else _older_intervals(name, found, by_class)
            result[name] = Run(found, by_class, kept, metrics.with_name("predictions.npz").is_file())
    return result


def _older_intervals(name: str, metrics: dict[str, Any], classes: pd.DataFrame) -> dict[str, dict[str, float]]:
    """The intervals of a run without metrics_more.json, from its accuracies by class, which are enough for one seed.

    None of a run of several seeds, or where the number of its test images is not known.
    """
    size = TEST_IMAGES.get(name.split("-")[0])
    if metrics.get("seeds") != 1 or size is None:
        return {}
    classes = classes.sort_values("class", key=lambda column: column.astype(int))  # as resamples take them in turn
    found = intervals.of_accuracies(classes["accuracy"].astype(float), [size] * len(classes), classes["shot"].tolist())
    return {
        group: {"low": rounded(one.low, PERCENT), "high": rounded(one.high, PERCENT)} for group, one in found.items()
    }


def without_predictions(names: Iterable[str]) -> str:
    """What tables say of runs from before predictions were kept. names: of these; '' if there are none."""
    listed = ", ".join(f"`{name}`" for name in dict.fromkeys(names))
    if not listed:
        return ""
    return (
        f"From before predictions were kept: {listed}. With one seed the interval comes from the accuracies of the "
        "classes, which say as much; such runs cannot be compared image by image."
    )


def in_other_precision(run: pd.DataFrame) -> str:
    """What tables say of runs that a machine needed in another precision than the plan's. run: cells; '' if none."""
    other = run[run.precision != ""]
    listed = [", ".join(f"`{name}`" for name in dict.fromkeys(mine.run)) + f" in {precision}"
              for precision, mine in other.groupby("precision")]  # fmt: skip
    return f"Not in {plan.PRECISION}: {'; '.join(listed)}." if listed else ""


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except ValueError:
        raise UserError(f"{path} is damaged: restore it with git, or delete it and run its stage again") from None


def cells(folder: Path, conf: Path) -> pd.DataFrame:
    """The published cells of the paper whose folder this is.

    Added are the columns run, those of MEASURED and INTERVAL, seeds, predictions, precision, tolerance and schedule.
    run is '' where no preset runs the row; predictions: False if its run kept none; precision: '' if it is the plan's;
    schedule: epochs of its recipe, '' as run is.
    Numbers in the published unit, NaN where nothing was run or measured.
    """
    frame = published.read(folder / "published.csv", conf).assign(paper=folder.name)
    runs, requests = read_runs(folder, plan.read(folder)), requested_runs.read(folder)
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
        changes = requests[name].changes if run and name in requests else ()
        more: dict[str, Any] = {"seeds": seeds, "predictions": run is None or run.predictions}
        more |= {"precision": "".join(change.partition("=")[2] for change in changes)}
        more |= {"tolerance": tolerance(cell), "schedule": schedule(cell, conf) if name else ""}
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
