"""The scoreboard's figure: one dumbbell per run, from its last to its best test epoch, beside the printed number."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pandas as pd

from stages.longtail.files.artifacts import write_text

# Ink, faint lines and the band behind the printed number, on a transparent ground.
MODES = {
    "light": {"ink": "#1f2328", "faint": "#8c959f", "band": "#d0d7de"},
    "dark": {"ink": "#e6edf3", "faint": "#768390", "band": "#373e47"},
}
PRINTED, REPRODUCED = "#d1742f", "#3f8ae0"


def name(mode: str) -> str:
    """The file of a mode, light or dark."""
    return f"scoreboard_{mode}.svg"


def rows(papers: dict[str, pd.DataFrame], folder: Path) -> pd.DataFrame:
    """One row per run with a printed accuracy over all classes; a number that several tables repeat comes once.

    Args:
        papers: the cells of each paper, see results.cells.
        folder: the papers' folder, in which runs may have intervals (metrics_more.json).

    Returns:
        paper, run, value (printed, percent), tolerance, last, best, low and high: the 95% interval of `last` from its
        test images, or two standard deviations over seeds about it; NaN where neither is known.
    """
    lines: list[dict[str, Any]] = []
    for paper, cells in papers.items():
        whole = cells[(cells.group == "all") & (cells.measure == "top1") & (cells.value > 1) & cells["last"].notna()]
        for _, cell in whole.drop_duplicates(["run", "value"]).iterrows():
            low, high = _interval(cell, folder / paper / "metrics" / str(cell.run) / "metrics_more.json")
            wanted = ("run", "value", "tolerance", "last", "best")
            lines.append({"paper": paper, **{key: cell[key] for key in wanted}, "low": low, "high": high})
    return pd.DataFrame(lines, columns=["paper", "run", "value", "tolerance", "last", "best", "low", "high"])


def _interval(cell: pd.Series, more: Path) -> tuple[float, float]:
    if pd.notna(cell.last_std):
        return cell["last"] - 2 * cell.last_std, cell["last"] + 2 * cell.last_std
    found = json.loads(more.read_text()).get("ci95_images", {}).get("all", {}) if more.is_file() else {}
    return found.get("low", float("nan")), found.get("high", float("nan"))


def write(papers: dict[str, pd.DataFrame], folder: Path) -> str:
    """Write both modes, the same bytes for the same runs. Returns what shows them in a page, '' if nothing was run."""
    found = rows(papers, folder)
    if found.empty:
        return ""
    for mode in MODES:
        write_text(folder / name(mode), draw(found, mode))
    return (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{name("dark")}">'
        f'<img alt="A line for each run: last epoch, best test epoch, published" src="{name("light")}"></picture>'
    )


def draw(found: pd.DataFrame, mode: str) -> str:
    """An svg of `rows`, papers one below the other. What belongs to a run has an id: last-0, best-0, printed-0..."""
    import matplotlib
    from matplotlib.figure import Figure

    colours = MODES[mode]
    style: Any = {"svg.hashsalt": "longtail", "svg.fonttype": "none", "font.size": 9}
    style |= dict.fromkeys(("text.color", "xtick.color", "ytick.color", "axes.labelcolor"), colours["ink"])
    groups = [mine.reset_index() for _, mine in found.groupby("paper", sort=False)]
    with matplotlib.rc_context(style):
        figure = Figure((7.5, 0.9 + 0.28 * len(found) + 0.3 * len(groups)), layout="constrained")
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
        kinds = {kind: _handle(kind, colours) for kind in ("last epoch", "best test epoch", "published, tolerance")}
        figure.legend(kinds.values(), kinds.keys(), loc="outside upper center", ncols=3, frameon=False)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def _dumbbell(axes: Any, place: Any, row: pd.Series, colours: dict[str, str]) -> None:
    band = [row.value - row.tolerance, row.value + row.tolerance]
    axes.plot(band, [place] * 2, color=colours["band"], linewidth=9, solid_capstyle="butt", zorder=1)
    if pd.notna(row.best):
        axes.plot([row["last"], row.best], [place] * 2, color=colours["faint"], linewidth=1.5, zorder=2)
        (ring,) = axes.plot(row.best, place, "o", color=REPRODUCED, markerfacecolor="none", markersize=6, zorder=4)
        ring.set_gid(f"best-{row['index']}")
    if pd.notna(row.low):
        axes.plot([row.low, row.high], [place] * 2, color=REPRODUCED, linewidth=3.5, alpha=0.5, zorder=3)
    (dot,) = axes.plot(row["last"], place, "o", color=REPRODUCED, markersize=6, zorder=5)
    dot.set_gid(f"last-{row['index']}")
    (line,) = axes.plot(row.value, place, "|", color=PRINTED, markersize=12, markeredgewidth=2.5, zorder=6)
    line.set_gid(f"printed-{row['index']}")


def _handle(kind: str, colours: dict[str, str]) -> Any:
    from matplotlib.lines import Line2D

    if kind == "last epoch":
        return Line2D([], [], marker="o", color=REPRODUCED, linestyle="none")
    if kind == "best test epoch":
        return Line2D([], [], marker="o", color=REPRODUCED, markerfacecolor="none", linestyle="none")
    return Line2D([], [], marker="|", color=colours["band"], markeredgecolor=PRINTED, markersize=12, linewidth=9)
