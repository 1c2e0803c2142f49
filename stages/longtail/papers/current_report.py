"""What stands in table.md below its table: learning curves, the largest mistakes, and what to try next."""

from __future__ import annotations

import numpy as np
import pandas as pd

from stages.longtail.evaluation import rounding
from stages.longtail.figures import svg
from stages.longtail.papers import confusions
from stages.longtail.prediction.accuracy import GROUPS

FIGURE = "curves.svg"
COLOURS = {"all": "#222222", "many": "#2f74c8", "medium": "#c2601f", "few": "#1f8a5c", "training": "#8c959f"}
MISTAKES = 5


def sections(method: str, classes: pd.DataFrame, predicted: np.ndarray, labels: np.ndarray) -> str:
    """Markdown that follows the table.

    Args:
        method: of the experiment.
        classes: per_class.csv.
        predicted, labels: see evaluation.outputs.read_predictions.
    """
    numbers = pd.to_numeric(classes["class"])
    ordered = classes.assign(number=numbers).sort_values("number")
    names, sizes = ordered["name"].tolist(), dict(zip(ordered["name"], ordered["count"], strict=True))
    share = confusions.shares(predicted, labels, len(names))
    rows = [
        {
            "true class": f"{actual} ({sizes[actual]})",
            "predicted": f"{wrong} ({sizes[wrong]})",
            "of the true class's test images": f"{rounding.text(part, 1)}%",
        }
        for actual, wrong, part in confusions.pairs(share, names, MISTAKES)
    ]
    mistakes = (
        [pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True), "", "In brackets: training images."]
        if rows
        else ["None: every test image is classified correctly."]
    )
    other = "mfw" if method != "mfw" else "crt"
    lines = [
        "## Learning curves",
        "",
        f"![Accuracy after each epoch]({FIGURE})",
        "",
        "Accuracy after each epoch: on the test images by group, and on the training images as they are sampled and "
        "augmented; the mean over seeds. Where there is a dashed line, `classify` takes over from `represent` there.",
        "",
        "## The most frequent mistakes",
        "",
        *mistakes,
        "",
        "## What to try next",
        "",
        f"- `dvc exp run -S method={other}` runs another method, and `dvc metrics diff` compares it with the "
        f"last commit.",
        "- `python -m stages.compare HEAD workspace` compares image by image, with intervals.",
        f"- `python -m stages.methods {method}` tells what makes this method, and which tables print it.",
    ]
    return "\n".join(lines) + "\n"


def curves(history: pd.DataFrame) -> str:
    """An svg of the accuracies by epoch, the same bytes for the same history. history: history.csv, as text."""
    from matplotlib.ticker import MaxNLocator

    names = {f"test_{group}": group for group in GROUPS} | {"train_acc": "training"}
    numbers = history[["epoch", *(name for name in names if name in history)]].apply(pd.to_numeric)
    means = numbers.groupby("epoch").mean()
    with svg.figure((7.5, 3)) as figure:
        axes = figure.subplots()
        for column, name in names.items():
            tested = means[column].dropna() if column in means else pd.Series(dtype=float)
            if len(tested):
                axes.plot(tested.index, tested, label=name, linewidth=2 if name == "all" else 1.2, color=COLOURS[name])
        later = history[history["part"] != "represent"]
        if 0 < len(later) < len(history):
            axes.axvline(float(pd.to_numeric(later.epoch).min()), color="#8c959f", linestyle="--", linewidth=1)
        axes.set_xlabel("epoch")
        axes.set_ylabel("accuracy, percent")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(linewidth=0.3)
        figure.legend(loc="outside upper center", ncols=5, frameon=False)
        return svg.text(figure)
