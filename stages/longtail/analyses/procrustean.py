"""Ye et al. 2021: deviation of the features between training and test images (Figure 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from stages.longtail.analyses import drawing
from stages.longtail.analyses.analysis import Analysis, by_run
from stages.longtail.analyses.runs import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROUNDS = 1000  # R of section 5.4


def feature_deviation(train: np.ndarray, test: np.ndarray, k: int, random: np.random.Generator) -> float:
    """dis(c) of section 5.4: how far the mean of k training features is from the mean of the test features.

    Args:
        train, test: of one class, float (images, features); normalised here to a length of 1.
        k: training images in each of R = 1000 draws without replacement; at most len(train).
        random: for the draws.

    Returns:
        The Euclidean distance, averaged over the draws; 0 to 2.
    """
    train, test = (features / np.linalg.norm(features, axis=1, keepdims=True) for features in (train, test))
    centre = test.mean(0)
    if k == len(train):
        return float(np.linalg.norm(train.mean(0) - centre))
    draws = (random.choice(len(train), k, replace=False) for _ in range(ROUNDS))
    return float(np.mean([np.linalg.norm(train[rows].mean(0) - centre) for rows in draws]))


def deviations(run: Run) -> pd.DataFrame:
    """Figure 7, at the end of training: dis(c) of each class, mean over seeds; k is the size of the smallest class."""
    classes = run.classes[["rank", "class", "count"]]
    by_seed = []
    for seed in run.states:
        (train, labels), (test, test_labels) = (run.features(seed, division) for division in ("train", "test"))
        random, k = np.random.default_rng(0), int(classes["count"].min())
        by_seed.append(
            [
                feature_deviation(
                    train[labels == number].double().cpu().numpy(),
                    test[test_labels == number].double().cpu().numpy(),
                    k,
                    random,
                )
                for number in classes["class"]
            ]
        )
    return classes.assign(deviation=np.mean(by_seed, 0))


def draw_deviations(frame: pd.DataFrame, figure: Figure) -> None:
    axes = figure.subplots()
    drawing.by_class(axes, frame, "deviation")
    axes.set_ylabel("feature deviation")
    axes.set_ylim(bottom=0)


ANALYSES = (
    Analysis(
        "figure7_deviation",
        "Figure 7: feature deviation",
        "Distance between the mean training feature and the mean test feature of each class, features of length 1, "
        "not augmented; over 1000 draws of as many training images as the smallest class has. At the end of training; "
        "mean over seeds.",
        by_run(deviations),
        draw_deviations,
        needs="checkpoint",
    ),
)
