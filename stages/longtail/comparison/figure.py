"""The figure of a comparison: the difference of each group and of each class, with its 95% interval."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stages.longtail.comparison.compare import Comparison
from stages.longtail.figures import svg
from stages.longtail.files.artifacts import write_text

COLOURS = {"many": "#4878a8", "medium": "#8a8a8a", "few": "#c44e52", "all": "#222222"}
NAMED = 25  # with more classes their names would not be legible and are left out


def write(path: Path, found: Comparison) -> None:
    """Write the figure as svg; the same comparison gives the same bytes."""
    with svg.figure((9, 4.1)) as figure:
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1, 3))
        for axes, rows, groups in (
            (left, found.groups, found.groups["group"]),
            (right, found.classes, found.classes["shot"] if found.same_groups else ["all"] * len(found.classes)),
        ):
            places, difference = np.arange(len(rows)), rows["difference"].to_numpy()
            ends = np.maximum(0, [difference - rows["low"].to_numpy(), rows["high"].to_numpy() - difference])
            axes.bar(places, difference, color=[COLOURS[group] for group in groups], alpha=0.6)
            width = 1.2 if len(rows) <= NAMED else 0.5
            axes.errorbar(places, difference, yerr=ends, fmt="none", ecolor="black", elinewidth=width, capsize=0)
            axes.axhline(0, color="black", linewidth=0.8)
            axes.grid(axis="y", linewidth=0.3)
        left.set_xticks(range(len(found.groups)), found.groups["group"])
        left.set_ylabel("accuracy of B - accuracy of A, points")
        if len(found.classes) <= NAMED:
            right.set_xticks(range(len(found.classes)), found.classes["name"], rotation=45, ha="right")
        right.set_xlabel("class, the one with the most training images first")
        right.set_title("by class, coloured by group", fontsize=9)
        left.set_title("by group", fontsize=9)
        figure.suptitle(f"A: {found.a.name}\nB: {found.b.name}\nbars: difference, lines: 95% from test images", size=9)
        write_text(path, svg.text(figure))
