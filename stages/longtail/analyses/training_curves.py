"""Curves over the epochs of what `runtime.observe` recorded; training/observation.py has the quantities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from stages.longtail.analyses import drawing
from stages.longtail.analyses.runs import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLASSES = 10  # of more classes than this, a csv has ten, from the largest to the smallest


def curves(run: Run, *quantities: str) -> pd.DataFrame | None:
    """Rows with epoch, rank, class, count and one column per quantity, mean over seeds; None if not recorded."""
    recorded = [state.get("observed", []) for state in run.states.values()]
    if not all(rows and set(quantities) <= rows[0].keys() for rows in recorded):
        return None
    ranks = np.unique(np.linspace(1, len(run.classes), CLASSES).round().astype(int))
    classes = run.classes[run.classes["rank"].isin(ranks)][["rank", "class", "count"]]
    means = {
        name: torch.stack([torch.stack([row[name] for row in rows]) for rows in recorded]).double().mean(0).numpy()
        for name in quantities
    }  # (epochs, classes)
    parts = [
        classes.assign(epoch=row["epoch"], **{name: means[name][number, classes["class"]] for name in quantities})
        for number, row in enumerate(recorded[0])
    ]
    frame = pd.concat(parts, ignore_index=True)
    return frame[["epoch", "rank", "class", "count", *quantities]]


def some(frame: pd.DataFrame, number: int) -> list[int]:
    """The ranks of `number` classes, spread from the largest to the smallest."""
    ranks = np.sort(frame["rank"].unique())
    return [int(rank) for rank in np.unique(ranks[np.linspace(0, len(ranks) - 1, number).round().astype(int)])]


def draw(frame: pd.DataFrame, figure: Figure, columns: dict[str, str], classes: int = 2, scale: str = "linear") -> None:
    """Draw panels in one column per run and one row per quantity, with one line per class.

    Args:
        frame: of `curves`, with the column run.
        figure: to draw on.
        columns: quantities and the labels of their axes.
        classes: how many to draw, the largest and the smallest among them.
        scale: of the y-axis, linear or log.
    """
    names, ranks = drawing.labels(frame), some(frame, classes)
    panels = figure.subplots(len(columns), len(names), sharex="col", sharey="row", squeeze=False)
    for number, (run, mine) in enumerate(frame.groupby("run", sort=False)):
        for axes, column in zip(panels[:, number], columns, strict=True):
            for rank in ranks:
                line = mine[mine["rank"] == rank]
                axes.plot(line.epoch, line[column], linewidth=1, label=f"{line['count'].iloc[0]} images")
            axes.set_yscale(scale)
        panels[0, number].set_title(names[str(run)])
        panels[-1, number].set_xlabel("epoch")
        drawing.whole_numbers(panels[-1, number])
    for axes, label in zip(panels[:, 0], columns.values(), strict=True):
        axes.set_ylabel(label)
    panels[0, 0].legend()


def draw_by_class(frame: pd.DataFrame, figure: Figure, column: str, label: str, order: Sequence[int]) -> None:
    """Draw one panel per class, with one line per run.

    Args:
        frame: of `curves`, with the column run.
        figure: to draw on.
        column: the quantity, which is not negative; the panels share its axis, from 0.
        label: of this axis.
        order: ranks of the classes, from left to right.
    """
    names = drawing.labels(frame)
    for axes, rank in zip(figure.subplots(1, len(order), sharey=True), order, strict=True):
        for run, mine in frame[frame["rank"] == rank].groupby("run", sort=False):
            axes.plot(mine.epoch, mine[column], linewidth=1, label=names[str(run)])
        axes.set(title=f"{frame[frame['rank'] == rank]['count'].iloc[0]} images", xlabel="epoch")
        drawing.whole_numbers(axes)
    figure.axes[0].set_ylabel(label)
    figure.axes[0].set_ylim(bottom=0)
    figure.axes[0].legend()
