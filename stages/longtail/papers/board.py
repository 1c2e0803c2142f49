"""A comparison that no paper has: all methods that ran under one protocol on the same subset, with intervals.

It is made from the recorded runs of all papers that have predictions.npz, and written as reports/papers/BOARD.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from stages.longtail.comparison import results as predictions
from stages.longtail.comparison.compare import compare
from stages.longtail.comparison.results import Result
from stages.longtail.configuration.composition import compose
from stages.longtail.evaluation import intervals
from stages.longtail.evaluation.rounding import text
from stages.longtail.files.artifacts import read_json, write_text
from stages.longtail.papers import requested_runs
from stages.longtail.papers.results import HELD_OUT, SELECTIONS

BASE = "joint"
HEAD = """\
# One protocol, one subset, all methods

Each table has all recorded runs of one protocol on one subset, whatever paper asked for them, with the best one first.
(Runs that did not keep their predictions are left out.) The numbers are top-1 accuracies after the last epoch, in
percent, with 95% intervals from resamples of the test images. The difference is from `joint` on the same test images;
it is **bold** if its interval does not contain 0.

Intervals from test images say nothing about other seeds. With one seed a difference of a point or two may be luck,
whatever its interval. If the interval of a method overlaps that of the row above, the table cannot tell the two apart.
`python -m stages.compare A B` compares any two on the same test images.
"""


def write(papers: Path, names: list[str], conf: Path) -> None:
    """Write BOARD.md from the results of these papers, folders below `papers`."""
    frames = tables(papers, names, conf)
    parts = [
        f"## Protocol `{protocol}`: {where}\n\n{frame.to_markdown(index=False, disable_numparse=True)}"
        for (protocol, where), frame in frames.items()
    ]
    head = HEAD + (HELD_OUT if any(SELECTIONS["selected"] in frame for frame in frames.values()) else "")
    write_text(papers / "BOARD.md", "\n\n".join([head.rstrip(), *parts]) + "\n")


def tables(papers: Path, names: list[str], conf: Path) -> dict[tuple[str, str], pd.DataFrame]:
    """By protocol and subset, the table of BOARD.md, its cells in Markdown: see `_table`."""
    found: dict[tuple[str, str], dict[str, Result]] = {}
    selected: dict[str, float] = {}
    for paper in names:
        for name, request in requested_runs.read(papers / paper).items():
            folder = papers / paper / "metrics" / name
            if not all((folder / file).is_file() for file in predictions.FILES):
                continue
            sections = compose(requested_runs.overrides_of(papers / paper, request), conf)
            place, method = (sections["protocol"]["name"], subset(sections)), label(sections["method"], request)
            result = found.setdefault(place, {}).setdefault(method, predictions.find(str(folder), papers.parent))
            chosen = read_json(folder / "metrics.json").get("selected")
            if chosen:
                selected[result.name] = chosen["all"]
    return {place: _table(runs, selected) for place, runs in sorted(found.items()) if base(runs) and len(runs) > 1}


def base(labels: Iterable[str]) -> str | None:
    """The label of `joint`; where it ran in another precision alone, of that; None if it did not run."""
    return min((one for one in labels if re.fullmatch(rf"{BASE}( runtime\.precision=\w+)?", one)), default=None)


def label(method: str, request: requested_runs.Request) -> str:
    """A method with what its run changes of it: mfw representation.mixing.beta=0.5."""
    return " ".join([method, *(change for change in request.changes if not change.startswith("method="))])


def subset(sections: dict[str, Any]) -> str:
    """A subset as text, such as cifar10, exp, ratio 100, with its seed or size if they are not the usual ones."""
    split = sections["split"]
    words = [sections["dataset"]["name"], split["profile"], f"ratio {split['ratio']:g}"]
    words += [f"{key} {split[key]}" for key in ("seed", "holdout", "n_max") if split[key]]
    return ", ".join(words)


def _table(runs: dict[str, Result], selected: dict[str, float]) -> pd.DataFrame:
    """Columns method, seeds, all, many, medium, few, difference and, where there is one, best held-out epoch.

    runs: by label, that of `joint` among them; selected: accuracy at the best held-out epoch, by the result's name.
    """
    scored = {name: intervals.of_run(run.predicted, run.labels, run.shots) for name, run in runs.items()}
    rows, first = [], base(runs)
    assert first is not None
    for name in sorted(scored, key=lambda name: -scored[name]["all"].mean):
        row = {"method": f"`{name}`", "seeds": len(runs[name].predicted)}
        for group in ("all", "many", "medium", "few"):
            if group in scored[first]:
                found = scored[name][group]
                row[group] = text(found.mean, 1) + (f" ({_range(found.low, found.high)})" if group == "all" else "")
        if name == first:
            row["difference"] = "-"
        else:
            apart = compare(runs[first], runs[name]).groups.set_index("group").loc["all"]
            shown = text(apart.difference, 1, sign=True)
            clear = apart.low > 0 or apart.high < 0
            row["difference"] = f"{f'**{shown}**' if clear else shown} ({_range(apart.low, apart.high, sign=True)})"
        if runs[name].name in selected:
            row[SELECTIONS["selected"]] = text(selected[runs[name].name], 1)
        rows.append(row)
    return pd.DataFrame(rows).fillna("-")


def _range(low: float, high: float, sign: bool = False) -> str:
    return f"{text(low, 1, sign=sign)} to {text(high, 1, sign=sign)}"
