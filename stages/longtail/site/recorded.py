"""The runs that the page shows: all that is in git of each recorded run of the papers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from stages.longtail.comparison import results as predictions
from stages.longtail.configuration.composition import compose
from stages.longtail.files.artifacts import read_csv, read_json
from stages.longtail.papers import board, plan, published, requested_runs, results

# For each rule by which a number of a run can be chosen (see results.SELECTIONS): the section of metrics.json that has
# the number, and the one that has its standard deviation over seeds.
SECTIONS = {"last": ("acc", "std"), "best": ("best", "best_std"), "selected": ("selected", "selected_std")}


@dataclass(frozen=True)
class Recorded:
    """One run. If it was recorded before these files were kept, `more` is {} and `answers` is None.

    intervals: of each group's accuracy, see results.Run.
    classes: one row per class with rank, class, name, count, shot and accuracy; the class with most training images is
    the first.
    history: one row per epoch and seed.
    """

    paper: str
    request: requested_runs.Request
    overrides: list[str]
    sections: dict[str, Any]
    metrics: dict[str, Any]
    more: dict[str, Any]
    intervals: dict[str, dict[str, float]]
    manifest: dict[str, Any]
    classes: pd.DataFrame
    history: pd.DataFrame
    answers: predictions.Result | None
    folder: Path

    @property
    def name(self) -> str:
        return self.request.name

    @property
    def method(self) -> str:
        return self.sections["method"]

    @property
    def label(self) -> str:
        """The method with what this run changes of it."""
        return board.label(self.method, self.request)

    @property
    def short(self) -> str:
        """A short form of `label`, such as mfw +beta=0.5."""
        changes = [change for change in self.request.changes if not change.startswith("method=")]
        return " ".join([self.method, *(re.sub(r"^[\w.]*\.", "+", change) for change in changes)])

    @property
    def subset(self) -> str:
        """The data set, profile and ratio, such as cifar10 exp 100."""
        split = self.sections["split"]
        return f"{self.sections['dataset']['name']} {split['profile']} {split['ratio']:g}"

    @property
    def page(self) -> str:
        """The path of its page in the site."""
        return f"runs/{self.paper}/{self.name}.html"

    def value(self, rule: str, group: str = "all") -> float | None:
        return self.metrics.get(SECTIONS[rule][0], {}).get(group)

    def deviation(self, rule: str, group: str = "all") -> float | None:
        return self.metrics.get(SECTIONS[rule][1], {}).get(group)

    def interval(self, group: str = "all") -> tuple[float, float] | None:
        """The 95% interval of the last epoch from the test images, or None if it is not known."""
        found = self.intervals.get(group)
        return (found["low"], found["high"]) if found else None


def read(papers: Path, conf: Path) -> list[Recorded]:
    """Every recorded run, paper by paper, in the order of its params.yaml."""
    return [run for path in published.files(papers) for run in _of_paper(path.parent, conf)]


def rules(runs: list[Recorded]) -> dict[str, str]:
    """The rules by which any run has a number, the last epoch first, as tables name them."""
    found = results.SELECTIONS.items()
    return {rule: name for rule, name in found if any(run.value(rule) is not None for run in runs)}


def _of_paper(folder: Path, conf: Path) -> list[Recorded]:
    requests, planned = requested_runs.read(folder), plan.read(folder)
    found = []
    for name, run in results.read_runs(folder, requests).items():
        if run is None:
            continue
        overrides = requested_runs.overrides_of(folder, requests[name], planned)
        place = folder / "metrics" / name
        more, manifest = (_json(place / file) for file in ("metrics_more.json", "manifest.json"))
        has_answers = all((place / file).is_file() for file in predictions.FILES)
        found.append(
            Recorded(
                paper=folder.name,
                request=requests[name],
                overrides=overrides,
                sections=compose(overrides, conf),
                metrics=run.metrics,
                more=more,
                intervals=run.intervals,
                manifest=manifest,
                classes=run.classes.astype({"count": int}),
                history=read_csv(place / "history.csv") if (place / "history.csv").is_file() else pd.DataFrame(),
                answers=predictions.find(str(place), folder) if has_answers else None,
                folder=place,
            )
        )
    return found


def _json(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}
