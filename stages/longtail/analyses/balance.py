"""Zhang et al. 2020: gain in accuracy over the two baselines, by class (Figure 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from stages.longtail.analyses import drawing
from stages.longtail.analyses.analysis import Analysis
from stages.longtail.analyses.runs import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BASELINES = {"joint": "RRS-Only", "cbs": "CBS-Only"}  # presets, and what section 4.3 calls them


def gains(runs: Sequence[Run]) -> pd.DataFrame:
    """Figure 3: ACC_run - ACC_baseline of each class, in points, of every other run over the baselines among `runs`."""
    parts = []
    for baseline in (run for run in runs if run.params.method in BASELINES):
        base = baseline.classes.set_index("class").accuracy
        for run in runs:
            if run.params.method not in BASELINES and run.protocol == baseline.protocol:
                rows = run.classes[["rank", "class", "count", "shot"]]
                gain = run.classes.accuracy - base[run.classes["class"]].to_numpy()
                parts.append(rows.assign(run=run.name, baseline=BASELINES[baseline.params.method], gain=gain))
    if not parts:
        return pd.DataFrame()
    rows = pd.concat(parts, ignore_index=True)
    return rows[["run", "baseline", "rank", "class", "count", "shot", "gain"]]


def draw_gains(frame: pd.DataFrame, figure: Figure) -> None:
    names, baselines = drawing.labels(frame), list(dict.fromkeys(frame.baseline))
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for (run, of_run), axes in zip(frame.groupby("run", sort=False), panels, strict=True):
        width = 0.8 / len(baselines)
        for number, baseline in enumerate(baselines):
            mine = of_run[of_run.baseline == baseline]
            offset = (number - (len(baselines) - 1) / 2) * width
            colour = {"RRS-Only": "C0", "CBS-Only": "C3"}[baseline]  # as in the paper
            axes.bar(mine["rank"] + offset, mine.gain, width, color=colour, label=f"over {baseline}")
        axes.axhline(0, color="black", linewidth=0.6)
        axes.set_title(names[str(run)])
        drawing.class_axis(axes, frame)
    figure.axes[0].set_ylabel("gain in accuracy, points")
    figure.axes[0].legend()


ANALYSES = (
    Analysis(
        "figure3_gain",
        "Figure 3: gain by class",
        "Test accuracy of each class less that of a baseline of the same protocol, in points, last epoch, mean over "
        "seeds. RRS-Only is the preset `joint`, CBS-Only is `cbs`.",
        gains,
        draw_gains,
        size=(8, 3.6),
    ),
)
