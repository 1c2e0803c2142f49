"""The page's main table: a line for each printed accuracy over all classes, and for each recorded run without one."""

from __future__ import annotations

from typing import Any

import pandas as pd

from stages.longtail.papers import results
from stages.longtail.site.recorded import Recorded

RECORDED, OPEN, COPIED = "recorded", "not run yet", "only printed"
# What tells two printed numbers apart that no preset runs.
PRINTED = ["row", "dataset", "profile", "ratio", "backbone", "epochs", "variant", "value"]


def rows(papers: dict[str, pd.DataFrame], runs: list[Recorded]) -> pd.DataFrame:
    """What the papers print and what was reproduced of it. A number that several tables repeat has one line.

    Args:
        papers: the cells of each paper, see results.cells.
        runs: the recorded ones.

    Returns:
        Columns state (recorded, not run yet, or only printed), paper, tables (such as '1, 4'), row, run, method,
        dataset, profile, ratio, protocol, by each rule of results.SELECTIONS its number and its deviation over seeds,
        low and high (95% of the last epoch, from the test images), published, difference (last epoch - published),
        within (its tolerance, by the last epoch), seeds, many, medium, few (last epoch). What is not known is None.
    """
    recorded = {(run.paper, run.name): run for run in runs}
    lines, shown = [], set()
    for paper, cells in papers.items():
        whole = cells[(cells.group == "all") & (cells.measure == "top1") & (cells.value > 1)]
        for _, mine in whole.groupby(["run", *PRINTED], sort=False, dropna=False):
            cell = mine.iloc[0]
            if cell.run and (paper, cell.run, cell.value) in shown:
                continue
            shown.add((paper, cell.run, cell.value))
            same = whole[(whole.run == cell.run) & (whole.value == cell.value)] if cell.run else mine
            lines.append(_printed(paper, cell, same.table.unique(), recorded.get((paper, cell.run))))
    printed = {(line["paper"], line["run"]) for line in lines}
    lines += [_unprinted(run) for run in runs if (run.paper, run.name) not in printed]
    frame = pd.DataFrame(lines).astype(object)
    frame = frame.where(frame.notna(), None)
    return frame.sort_values("state", key=lambda s: s.map({RECORDED: 0, OPEN: 1, COPIED: 2}), kind="stable")


def _printed(paper: str, cell: pd.Series, tables: Any, run: Recorded | None) -> dict[str, Any]:
    line: dict[str, Any] = {
        "state": RECORDED if run else OPEN if cell.run else COPIED,
        "paper": paper,
        "tables": ", ".join(str(int(table)) if table else "text" for table in tables),
        "row": cell.row,
        "run": cell.run,
        "method": run.short if run else " ".join([cell.method, cell.overrides]).strip(),
        "dataset": cell.dataset,
        "profile": cell.profile,
        "ratio": cell.ratio,
        "protocol": cell.protocol,
        **_measured(run),
        "published": cell.value,
    }
    if run:
        line["difference"] = line["last"] - cell.value
        line["within"] = bool(results.within(cell.to_frame().T, "last").iloc[0])
    return line


def _unprinted(run: Recorded) -> dict[str, Any]:
    split = run.sections["split"]
    return {
        "state": RECORDED,
        "paper": run.paper,
        "tables": "",
        "row": "",
        "run": run.name,
        "method": run.short,
        "dataset": run.sections["dataset"]["name"],
        "profile": split["profile"],
        "ratio": float(split["ratio"]),
        "protocol": run.sections["protocol"]["name"],
        **_measured(run),
    }


def _measured(run: Recorded | None) -> dict[str, Any]:
    line: dict[str, Any] = {}
    for rule in results.SELECTIONS:
        line |= {rule: run.value(rule) if run else None, f"{rule}_std": run.deviation(rule) if run else None}
    line["low"], line["high"] = (run.interval() if run else None) or (None, None)
    line["seeds"] = run.metrics["seeds"] if run else None
    return line | {group: run.value("last", group) if run else None for group in ("many", "medium", "few")}
