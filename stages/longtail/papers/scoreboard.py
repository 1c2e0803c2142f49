"""Does it reproduce? The counts of all papers, and one figure: ours against published, a point a cell."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd

from stages.longtail.files.artifacts import write_text
from stages.longtail.papers import results

FIGURE = "ours_against_published.svg"


def counts(cells: pd.DataFrame) -> dict[str, object]:
    """Of one paper. cells: see results.cells. Differences are those of accuracies, in points."""
    run, accuracy = cells[cells["last"].notna()], cells.measure.isin(["top1", "top5"]) & (cells.value > 1)
    row: dict[str, object] = {
        "cells": len(cells),
        "runnable": int((cells.run != "").sum()),
        "run": len(run),
    }
    for which in ("last", "best"):
        inside = results.within(cells, which)
        row[f"within, {which} epoch"] = f"{int(inside.sum())} of {int(inside.notna().sum())}"
        difference = (cells[which] - cells.value)[accuracy].dropna().abs()
        row[f"mean absolute difference, {which}"] = f"{difference.mean():.2f}" if len(difference) else "-"
    between = results.between(cells)
    row["published between them"] = f"{int(between.sum())} of {int(between.notna().sum())}"
    return row


def write(papers: dict[str, pd.DataFrame], folder: Path) -> None:
    """README.md and the figure."""
    rows = [
        {"paper": f"[{paper}]({paper}/README.md)", "tables": cells.table.nunique(), **counts(cells)}
        for paper, cells in papers.items()
    ]
    every = pd.concat([cells.assign(paper=paper) for paper, cells in papers.items()], ignore_index=True)
    rows.append({"paper": "all", "tables": sum(cells.table.nunique() for cells in papers.values()), **counts(every)})
    table = pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)
    write_text(
        folder / "README.md",
        f"""# Scoreboard

{table}

A cell is a number printed in a table. Runnable: a preset runs its row, once its data are there. Run: its results are in
git. Within: the absolute difference is at most max(1.0, 2 standard deviations over seeds), in points of accuracy (other
measures: 0.01 of a fraction, or a tenth of the number). The last epoch is our result; the best test epoch, which looks
at the test set, is what much published code prints. Between them: the published number is above our last epoch's and
not above our best test epoch's, as a number would be whose epoch was chosen on the test set. Tables that repeat a cell
count it again. `dvc --cd reports/papers metrics diff published` shows the same cell by cell.

![Ours against published, a point a cell]({FIGURE})

The current experiment is in [table.md](../table.md), the ledger of all choices in [DISCREPANCIES.md](DISCREPANCIES.md).
""",
    )
    figure(every, folder / FIGURE)


def figure(cells: pd.DataFrame, path: Path) -> None:
    """Accuracies that were run, by their last epoch (filled) and best test epoch (rings). The same bytes always."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "longtail", "svg.fonttype": "none"}):
        plot = Figure(figsize=(5, 5), layout="tight")
        axes = plot.subplots()
        axes.plot([0, 100], [0, 100], color="0.8", linewidth=1, zorder=0)
        accuracies = cells[cells.measure.isin(["top1", "top5"]) & (cells.value > 1)]
        for number, (paper, mine) in enumerate(accuracies.groupby("paper", sort=False)):
            mine = mine[mine["last"].notna()]
            axes.scatter(mine.value, mine["last"], s=14, color=f"C{number}", label=f"{paper}, last epoch")
            best = mine[mine.best.notna()]
            axes.scatter(best.value, best.best, s=24, facecolors="none", edgecolors=f"C{number}", linewidths=0.7)
        axes.set(xlabel="published accuracy, percent", ylabel="ours, percent", xlim=(0, 100), ylim=(0, 100))
        axes.set_title("filled: last epoch; rings: best test epoch", fontsize=9)
        axes.legend(fontsize=8, loc="upper left", frameon=False)
        buffer = io.StringIO()
        plot.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    write_text(path, "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n")
