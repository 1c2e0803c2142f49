"""Zhang et al. 2020: training loss of a head and a tail class (Figure 2), gain over the baselines (Figure 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from stages.longtail.analyses import drawing, training_curves
from stages.longtail.analyses.analysis import Analysis, by_run
from stages.longtail.analyses.runs import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 4  # panels of Figure 3 beside each other
BASELINES = {"joint": "RRS-Only", "cbs": "CBS-Only"}  # presets, and what section 4.3 calls them


def class_losses(run: Run) -> pd.DataFrame | None:
    """Figure 2: mean cross-entropy of each class's training images after each epoch, mean over seeds."""
    return training_curves.curves(run, "loss")


def draw_class_losses(frame: pd.DataFrame, figure: Figure) -> None:
    """The tail class on the left, the head class on the right, as in the paper."""
    order = training_curves.some(frame, 2)[::-1]
    training_curves.draw_by_class(frame, figure, "loss", "mean training loss", order)


def gains(runs: Sequence[Run]) -> pd.DataFrame:
    """Figure 3: ACC_run - ACC_baseline of each class, in points, for each baseline among `runs` and each other run."""
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
    """Draw one panel per run, at most COLUMNS beside each other."""
    names, baselines = drawing.labels(frame), list(dict.fromkeys(frame.baseline))
    panels = drawing.grid(figure, len(names), COLUMNS)
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
        axes.set_xlabel("")
        axes.tick_params(axis="x", labelrotation=90)
    figure.supxlabel("training images of the class" if len(frame["rank"].unique()) <= drawing.NAMED else "classes")
    figure.supylabel("gain in accuracy, points")
    figure.axes[0].legend()


ANALYSES = (
    Analysis(
        "figure2_loss",
        "Figure 2: training loss of a tail and a head class",
        "Mean cross-entropy, nats, of the smallest and of the largest class after each epoch; of at most a 25th of the "
        "training images, the same number of each class as far as it has them, not augmented; mean over seeds. In the "
        "paper RRS is the preset `joint`, CBS is `cbs`.",
        by_run(class_losses),
        draw_class_losses,
        needs="checkpoint",
        size=(8, 3.6),
    ),
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
