"""Does it reproduce? The counts of all papers, and one figure."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from stages.longtail.evaluation import rounding
from stages.longtail.files.artifacts import write_text
from stages.longtail.papers import published, results, scoreboard_figure

RUN = ["paper", "run"]
NUMBER = [*RUN, "group", "measure", "value"]  # equal in all of these: one number, printed in two tables


def counts(cells: pd.DataFrame) -> dict[str, object]:
    """How many numbers of a paper were run and are within their tolerance, and how far accuracies differ, in points.

    A number that several tables repeat counts once. cells: see results.cells.
    """
    runnable = cells[cells.run != ""].drop_duplicates(NUMBER)
    run = runnable[runnable["last"].notna()]
    row: dict[str, object] = {
        "runs": f"{len(run.groupby(RUN))} of {len(runnable.groupby(RUN))}",
        "numbers": f"{len(run)} of {len(runnable)}",
    }
    for which, epoch in results.rules(run).items():
        inside = results.within(run, which)
        difference = apart(run, which)
        mean = "" if pd.isna(difference) else f", {rounding.text(difference, 1)} apart"
        row[f"within, {epoch}"] = f"{int(inside.sum())} of {int(inside.notna().sum())}{mean}" if len(run) else "-"
    return row


def apart(cells: pd.DataFrame, which: str) -> float:
    """Mean absolute difference of the accuracies by this rule, in points; NaN where none was run.

    A number that several tables of these cells repeat counts once.
    """
    accuracy = cells[cells.measure.isin(["top1", "top5"]) & (cells.value > 1)].drop_duplicates(NUMBER)
    return float((accuracy[which] - accuracy.value).abs().mean())


def write(papers: dict[str, pd.DataFrame], folder: Path) -> None:
    """Write README.md and the figure of the scoreboard."""
    rows = [{"paper": f"[{paper}]({paper}/README.md)", **counts(cells)} for paper, cells in papers.items()]
    every = pd.concat([cells.assign(paper=paper) for paper, cells in papers.items()], ignore_index=True)
    rows.append({"paper": "all", **counts(every)})
    table = pd.DataFrame(rows).fillna("-").to_markdown(index=False, disable_numparse=True)
    between = results.between(every[every.run != ""].drop_duplicates(NUMBER))
    above, of = int(between.sum()), int(between.notna().sum())
    tables = sum(cells.table[cells.table != published.TEXT].nunique() for cells in papers.values())
    figure = scoreboard_figure.write(papers, folder)
    ran = every[every["last"].notna() & ~every.predictions.astype(bool)]
    older = results.without_predictions(ran.paper + "/" + ran.run)
    older = f"\n{older}\n" if older else ""
    held = f" {results.HELD_OUT}" if "selected" in results.rules(every) else ""
    write_text(
        folder / "README.md",
        f"""# Scoreboard

{table}

{figure}

The papers print {len(every)} numbers in {tables} tables.

- **runs**, **numbers**: how many were run, of those for which there is a preset. A number that several tables repeat
  counts once.
- **within**: how many of them differ from the published number by no more than the tolerance. It is a point of
  accuracy, or two standard deviations over seeds if that is more. (For other measures it is 0.01 of a fraction, or a
  tenth of the number.)
- **apart**: the mean absolute difference of accuracies, in points.

The last epoch is the result. The best test epoch is chosen by looking at the test set, and much published code prints
it. Of {of} published numbers {above} are above our last epoch and not above our best test epoch. That is where a number
would be that was chosen on the test set.{held}

In the figure the bar around the last epoch is its 95% interval: from the test images or, with several seeds, two
standard deviations. The grey band is the tolerance around the published number.
`dvc --cd reports/papers metrics diff published` lists every run.
{older}
[The board](BOARD.md) ranks all methods that ran under one protocol. [DISCREPANCIES.md](DISCREPANCIES.md) is the ledger
of what the papers leave open. [table.md](../table.md) is the current experiment.
""",
    )
