"""The scoreboard's figure: one dumbbell per run, from its last to its best test epoch, beside the printed number.

A run that has a best held-out epoch shows it as a diamond.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from stages.longtail.figures import svg
from stages.longtail.files.artifacts import write_text
from stages.longtail.papers.results import SELECTIONS

# Ink, faint lines and the band behind the printed number, on a transparent ground.
MODES = {
    "light": {"ink": "#1f2328", "faint": "#8c959f", "band": "#d0d7de"},
    "dark": {"ink": "#e6edf3", "faint": "#768390", "band": "#373e47"},
}
PRINTED, REPRODUCED = "#d1742f", "#3f8ae0"


def name(mode: str) -> str:
    """The file of a mode, light or dark."""
    return f"scoreboard_{mode}.svg"


COLUMNS = ["paper", "run", "value", "tolerance", "last", "best", "selected", "low", "high"]


def rows(papers: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """One row per run with a printed accuracy over all classes; a number that several tables repeat comes once.

    papers: the cells of each paper, see results.cells.

    Returns:
        COLUMNS: value is the printed number, percent; low and high are the 95% interval of `last` from its test images,
        or with several seeds two standard deviations about it; NaN where something is not known.
    """
    lines: list[dict[str, Any]] = []
    for paper, cells in papers.items():
        whole = cells[(cells.group == "all") & (cells.measure == "top1") & (cells.value > 1) & cells["last"].notna()]
        for _, cell in whole.drop_duplicates(["run", "value"]).iterrows():
            low, high = cell.last_low, cell.last_high
            if pd.notna(cell.last_std):
                low, high = cell["last"] - 2 * cell.last_std, cell["last"] + 2 * cell.last_std
            lines.append({**cell, "paper": paper, "low": low, "high": high})
    return pd.DataFrame(lines, columns=COLUMNS)


def write(papers: dict[str, pd.DataFrame], folder: Path) -> str:
    """Write both modes, the same bytes for the same runs. Returns what shows them in a page, '' if nothing was run."""
    found = rows(papers)
    if found.empty:
        return ""
    for mode in MODES:
        write_text(folder / name(mode), draw(found, mode))
    shown = ", ".join(_kinds(found)).removesuffix(", tolerance")
    return (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{name("dark")}">'
        f'<img alt="A line for each run: {shown}" src="{name("light")}"></picture>'
    )


def draw(found: pd.DataFrame, mode: str) -> str:
    """An svg of `rows`, papers one below the other. What belongs to a run has an id: last-0, best-0, printed-0..."""
    colours = MODES[mode]
    style: dict[str, Any] = dict.fromkeys(
        ("text.color", "xtick.color", "ytick.color", "axes.labelcolor"), colours["ink"]
    )
    style["savefig.transparent"] = True
    groups = [mine.reset_index() for _, mine in found.groupby("paper", sort=False)]
    with svg.figure((7.5, 0.9 + 0.28 * len(found) + 0.3 * len(groups)), style) as figure:
        heights = [len(mine) + 0.6 for mine in groups]
        panels = figure.subplots(len(groups), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        for axes, mine in zip(panels, groups, strict=True):
            for place, row in mine.iterrows():
                _dumbbell(axes, place, row, colours)
            axes.set_yticks(range(len(mine)), mine.run)
            axes.set_ylim(len(mine) - 0.5, -0.5)
            axes.set_title(mine.paper[0], loc="left", fontsize=9, fontweight="bold")
            axes.grid(axis="x", color=colours["faint"], linewidth=0.3)
            axes.tick_params(length=0)
            axes.set_facecolor("none")
            for spine in axes.spines.values():
                spine.set_visible(False)
        panels[-1].set_xlabel("top-1 accuracy, percent")
        kinds = _kinds(found)
        handles = [_handle(kind, colours) for kind in kinds]
        figure.legend(handles, kinds, loc="outside upper center", ncols=len(kinds), frameon=False)
        return svg.text(figure)


def _dumbbell(axes: Any, place: Any, row: pd.Series, colours: dict[str, str]) -> None:
    band = [row.value - row.tolerance, row.value + row.tolerance]
    axes.plot(band, [place] * 2, color=colours["band"], linewidth=9, solid_capstyle="butt", zorder=1)
    if pd.notna(row.best):
        axes.plot([row["last"], row.best], [place] * 2, color=colours["faint"], linewidth=1.5, zorder=2)
        (ring,) = axes.plot(row.best, place, "o", color=REPRODUCED, markerfacecolor="none", markersize=6, zorder=4)
        ring.set_gid(f"best-{row['index']}")
    if pd.notna(row.selected):
        (diamond,) = axes.plot(
            row.selected, place, "D", color=REPRODUCED, markerfacecolor="none", markersize=6, zorder=4
        )
        diamond.set_gid(f"selected-{row['index']}")
    if pd.notna(row.low):
        axes.plot([row.low, row.high], [place] * 2, color=REPRODUCED, linewidth=3.5, alpha=0.5, zorder=3)
    (dot,) = axes.plot(row["last"], place, "o", color=REPRODUCED, markersize=6, zorder=5)
    dot.set_gid(f"last-{row['index']}")
    (line,) = axes.plot(row.value, place, "|", color=PRINTED, markersize=12, markeredgewidth=2.5, zorder=6)
    line.set_gid(f"printed-{row['index']}")


def _kinds(found: pd.DataFrame) -> list[str]:
    """What the figure shows of a run, the best held-out epoch only if a run has one."""
    rules = [name for which, name in SELECTIONS.items() if which != "selected" or found.selected.notna().any()]
    return [*rules, "published, tolerance"]


def _handle(kind: str, colours: dict[str, str]) -> Any:
    from matplotlib.lines import Line2D

    if kind == "last epoch":
        return Line2D([], [], marker="o", color=REPRODUCED, linestyle="none")
    if kind in (SELECTIONS["best"], SELECTIONS["selected"]):
        marker = "o" if kind == SELECTIONS["best"] else "D"
        return Line2D([], [], marker=marker, color=REPRODUCED, markerfacecolor="none", linestyle="none")
    return Line2D([], [], marker="|", color=colours["band"], markeredgecolor=PRINTED, markersize=12, linewidth=9)
