"""Zhang et al. 2022: test accuracy around the switch (Figure 3), regularity of images and classes (7, Table 12)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from stages.longtail.analyses import drawing, training_curves
from stages.longtail.analyses.analysis import Analysis, by_run
from stages.longtail.analyses.runs import Run
from stages.longtail.evaluation import repeated_runs
from stages.longtail.files.artifacts import read_csv

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PUBLISHED = Path("reports/papers/switching/published.csv")
PRINTED_SUBSET = "cifar10-exp-50"  # that of Table 12


def test_curve(run: Run) -> pd.DataFrame | None:
    """Figure 3: test accuracy after each tested epoch, percent, mean over seeds, and the epoch of the switch.

    Heads that are trained on a frozen representation are left out.
    """
    history = run.history
    if "head" in set(history.part):
        return None
    curve = history.dropna(subset="test_all").groupby("epoch", as_index=False).test_all.mean()
    branch = history[history.part == "represent"].epoch.max()
    switched = branch if "continue" in set(history.part) else np.nan
    return curve.rename(columns={"test_all": "accuracy"}).assign(switch=switched)


def draw_test_curve(frame: pd.DataFrame, figure: Figure) -> None:
    axes = figure.subplots()
    names, colours = drawing.labels(frame), drawing.colours(frame.run)
    for run, mine in frame.groupby("run", sort=False):
        axes.plot(mine.epoch, mine.accuracy, color=colours[str(run)], linewidth=1, label=names[str(run)])
        if mine.switch.notna().all():
            axes.axvline(mine.switch.iloc[0] + 0.5, color=colours[str(run)], linewidth=0.8, linestyle=":")
    axes.set(xlabel="epoch", ylabel="test accuracy, percent")
    axes.legend()


def learning_speed(run: Run) -> pd.DataFrame | None:
    """Figures 4 to 6: training accuracy of each class after each epoch, percent, mean over seeds."""
    frame = training_curves.curves(run, "accuracy")
    return None if frame is None else frame.assign(accuracy=100 * frame.accuracy)


def draw_learning_speed(frame: pd.DataFrame, figure: Figure) -> None:
    training_curves.draw(frame, figure, {"accuracy": "training accuracy, percent"}, classes=4)


def events(run: Run) -> pd.DataFrame | None:
    """Figure 7: training images by class and by their learned (Eq. 9) and forgotten (Eq. 8) events.

    The events of an image are averaged over seeds, then rounded. None without runtime.regularity.
    """
    states = list(run.states.values())
    if not all("regularity" in state for state in states):
        return None
    learned, forgotten, labels = repeated_runs.mean_events([state["regularity"] for state in states])
    frame = pd.DataFrame({"class": labels, "learned": learned.round(), "forgotten": forgotten.round()})
    counted = frame.astype(int).value_counts().rename("images").reset_index()
    counted = counted.merge(run.classes[["rank", "class", "count"]], on="class").assign(epochs=states[0]["epoch"])
    names = ["rank", "class", "count", "epochs", "learned", "forgotten", "images"]
    return counted.sort_values(["rank", "learned", "forgotten"], ignore_index=True)[names]


def draw_events(frame: pd.DataFrame, figure: Figure) -> None:
    """Draw the first run of the file; with more than ten classes, ten of them from the largest to the smallest.

    All panels have one scale of colours, so that a point means as many images in each.
    """
    from matplotlib.colors import LogNorm

    frame = frame[frame.run == frame.run.iloc[0]]
    ranks = np.unique(np.linspace(1, frame["rank"].max(), 10).round().astype(int))
    panels = figure.subplots(2, 5, sharex=True, sharey=True).ravel()
    scale = LogNorm(1, max(2, frame.images.max()))
    for rank, axes in zip(ranks, panels, strict=False):
        mine = frame[frame["rank"] == rank]
        share = np.average(mine.learned, weights=mine.images) / mine.epochs.iloc[0]
        drawn = axes.scatter(mine.learned, mine.forgotten, s=6, c=mine.images, norm=scale, cmap="viridis")
        axes.set_title(f"{mine['count'].iloc[0]} images, {share:.2f}", fontsize=8)
        for axis in (axes.xaxis, axes.yaxis):
            axis.get_major_locator().set_params(integer=True)
    figure.colorbar(drawn, ax=panels.tolist(), label="images at the point")
    figure.supxlabel("learned events (title: their share of the epochs)")
    figure.supylabel("forgotten events")


def irregularity(run: Run) -> pd.DataFrame | None:
    """Table 12: F-norm (Eq. 11) and irregularity (Eq. 12) of each class, ours and, on its subset, the printed ones."""
    if "irregularity" not in run.classes:
        return None
    ours = run.classes[["rank", "class", "count", "f_norm", "irregularity"]]
    if run.subset != PRINTED_SUBSET or not PUBLISHED.is_file():
        return ours.assign(printed_f_norm=np.nan, printed_irregularity=np.nan)
    cells = read_csv(PUBLISHED)
    cells = cells[(cells.table == "12") & cells.measure.isin(["f_norm", "irregularity"])]
    printed = cells.assign(value=cells.value.astype(float)).pivot(index="group", columns="measure", values="value")
    names = ("class" + ours["class"].astype(str)).to_numpy()
    return ours.assign(**{f"printed_{column}": printed[column].reindex(names).to_numpy() for column in printed})


def draw_irregularity(frame: pd.DataFrame, figure: Figure) -> None:
    titles = {"f_norm": "F-norm, events squared", "irregularity": "irregularity"}
    for axes, (column, title) in zip(figure.subplots(1, 2), titles.items(), strict=True):
        drawing.by_class(axes, frame.replace({column: {0: np.nan}}), column, legend=False)  # log 0 has no place
        printed = frame.dropna(subset=f"printed_{column}").drop_duplicates("rank")
        if len(printed):
            axes.plot(printed["rank"], printed[f"printed_{column}"], "k--", linewidth=1, label="printed")
        axes.set(title=title, yscale="log")
    handles, texts = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside upper center", ncols=len(texts))  # inside it may hide points


ANALYSES = (
    Analysis(
        "figure3_test_accuracy",
        "Figure 3: before and after the switch",
        "Test accuracy after each epoch, percent, mean over seeds; dotted: the switch. Runs that continue one "
        "representation coincide up to there.",
        by_run(test_curve),
        draw_test_curve,
    ),
    Analysis(
        "figure4_learning_speed",
        "Figures 4 to 6: learning speed by class",
        "Training accuracy of four classes after each epoch, percent, from the largest to the smallest; of at most a "
        "25th of the training images, the same number of each class as far as it has them, not augmented; mean over "
        "seeds. The panels differ in learning rate or sampler as their runs do.",
        by_run(learning_speed),
        draw_learning_speed,
        needs="checkpoint",
        size=(8, 3.6),
    ),
    Analysis(
        "figure7_events",
        "Figure 7: learned and forgotten events",
        "Training images of each class by how many epochs they were classified correctly after (learned) and how often "
        "they no longer were (forgotten), averaged over seeds and rounded; colour: how many images a point stands for. "
        "Above each class: the mean share of the epochs, a class's learning speed in one number.",
        by_run(events),
        draw_events,
        needs="checkpoint",
        size=(8, 4),
    ),
    Analysis(
        "table12_irregularity",
        "Table 12: irregularity of the classes",
        "F-norm of the covariance of a class's learned and forgotten events (Eq. 11), and that over its images (Eq. "
        "12); dashed: as printed for CIFAR-10 at ratio 50. A class of 0, whose images all fare alike, has no point.",
        by_run(irregularity),
        draw_irregularity,
        size=(8, 3.6),
    ),
)
