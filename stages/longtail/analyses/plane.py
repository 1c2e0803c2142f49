"""Ye et al. 2021, Figures 5 and 6: where images lie in the plane of two features, and where the classifier parts it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from stages.longtail.analyses import drawing
from stages.longtail.analyses.runs import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = (0.1, 0.3, 0.6, 0.8, 1.0)  # of the epochs: 20, 60, 120 and 160 of 200, as printed, and the last
DIVISIONS = {"train": "training", "test": "test"}
MARKERS = "osv^DPX*<>"
BOUNDARY = 400  # points along the line between two classes


def positions(run: Run) -> pd.DataFrame | None:
    """For some epochs of the first seed one row per image, and one row per class for the classifier.

    The columns are epoch, division (train, test or head), class, name, count, x, y and bias: an image's features, or a
    class's weights and bias. None without runtime.observe=[plane].
    """
    rows = next(iter(run.states.values())).get("observed", [])
    if not rows or "plane_head" not in rows[0]:
        return None
    wanted = {max(1, round(share * len(rows))) for share in SHOWN}
    parts = []
    for row in (row for row in rows if row["epoch"] in wanted):
        for division in DIVISIONS:
            x, y, label = row[f"plane_{division}"].double().numpy().T
            parts.append(pd.DataFrame({"division": division, "class": label.astype(int), "x": x, "y": y}))
            parts[-1]["epoch"] = row["epoch"]
        x, y, bias = row["plane_head"].double().numpy().T
        parts.append(pd.DataFrame({"division": "head", "class": range(len(x)), "x": x, "y": y, "bias": bias}))
        parts[-1]["epoch"] = row["epoch"]
    frame = pd.concat(parts, ignore_index=True).merge(run.classes[["class", "name", "count"]], on="class", how="left")
    return frame[["epoch", "division", "class", "name", "count", "x", "y", "bias"]].round(4)


def draw_positions(frame: pd.DataFrame, figure: Figure) -> None:
    """Draw one column per epoch and one row per run and division. Lines separate the classes, arrows are weights."""
    names, epochs = drawing.labels(frame), sorted(frame.epoch.unique())
    runs = list(dict.fromkeys(frame.run))
    panels = figure.subplots(len(runs) * len(DIVISIONS), len(epochs), squeeze=False)
    for number, run in enumerate(runs):
        for column, epoch in enumerate(epochs):
            mine = frame[(frame.run == run) & (frame.epoch == epoch)]
            points, head = mine[mine.division != "head"], mine[mine.division == "head"].sort_values("class")
            reach = 1.1 * float(points[["x", "y"]].abs().to_numpy().max())
            for place, (division, title) in enumerate(DIVISIONS.items()):
                axes = panels[number * len(DIVISIONS) + place, column]
                _panel(axes, points[points.division == division], head, reach)
                if not column:
                    axes.set_ylabel(f"{names[run]}\n{title}".replace("+", "\n+"), fontsize=7)
    for axes, epoch in zip(panels[0], epochs, strict=True):
        axes.set_title(f"epoch {epoch}")
    handles, texts = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside lower center", ncols=len(handles))


def _panel(axes: Any, points: pd.DataFrame, head: pd.DataFrame, reach: float) -> None:
    """Draw one panel. reach: how far both axes go on either side of 0."""
    for (number, name, count), mine in points.groupby(["class", "name", "count"]):
        label = f"{name} ({count})"
        axes.scatter(
            mine.x, mine.y, s=6, marker=MARKERS[number % 10], color=f"C{number % 10}", linewidth=0, label=label
        )
    weights, bias = head[["x", "y"]].to_numpy(), head.bias.to_numpy()
    for line in boundaries(weights, bias, reach):
        axes.plot(*line.T, color="0.5", linewidth=0.8)
    longest = np.linalg.norm(weights, axis=1).max()
    for number, (x, y) in zip(head["class"], 0.6 * reach * weights / longest, strict=True):
        arrow = {"arrowstyle": "->", "color": f"C{number % 10}", "linewidth": 1}
        axes.annotate("", (x, y), (0, 0), arrowprops=arrow)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[0], yticks=[0], aspect="equal")


def boundaries(weights: np.ndarray, bias: np.ndarray, reach: float) -> list[np.ndarray]:
    """The lines on which two classes have equal logits, larger than those of all other classes.

    Args:
        weights: of the classes, (classes, 2).
        bias: of the classes, (classes,).
        reach: of both coordinates of the points, on either side of 0.

    Returns:
        For each two classes with such a line, points (n, 2) along it.
    """
    lines = []
    for one in range(len(bias)):
        for other in range(one + 1, len(bias)):
            normal, offset = weights[one] - weights[other], bias[one] - bias[other]
            length = np.linalg.norm(normal)
            if not length:
                continue
            foot = -offset * normal / length**2
            along = np.array([-normal[1], normal[0]]) / length
            points = foot + np.linspace(-1.5, 1.5, BOUNDARY)[:, None] * (np.linalg.norm(foot) + reach) * along
            logits = points @ weights.T + bias
            ahead = logits[:, one] >= logits.max(1) - 1e-9 * np.abs(logits).max()
            inside = np.abs(points).max(1) <= reach
            if (ahead & inside).any():
                lines.append(points[ahead & inside])
    return lines
