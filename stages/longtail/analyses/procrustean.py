"""Ye et al. 2021: training accuracy and feature gradients by class (1, 3, 4), deviation of the features (Figure 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from stages.longtail.analyses import drawing, plane, training_curves
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


def progress(run: Run) -> pd.DataFrame | None:
    """Figures 1 and 3: two quantities of each class after each epoch, mean over seeds.

    They are its training accuracy in percent, and the number of training images that are classified into the class over
    the number that it has.
    """
    frame = training_curves.curves(run, "accuracy", "classified")
    return None if frame is None else frame.assign(accuracy=100 * frame.accuracy)


def draw_progress(frame: pd.DataFrame, figure: Figure) -> None:
    columns = {"accuracy": "training accuracy, percent", "classified": "classified into / images"}
    training_curves.draw(frame, figure, columns)


def feature_gradients(run: Run) -> pd.DataFrame | None:
    """Figure 4: norm of the gradient for an image's features, averaged over the class's images; mean over seeds."""
    return training_curves.curves(run, "feature_gradient")


def draw_feature_gradients(frame: pd.DataFrame, figure: Figure) -> None:
    training_curves.draw(frame, figure, {"feature_gradient": "feature gradient norm"})


ANALYSES = (
    Analysis(
        "figure1_progress",
        "Figures 1 and 3: training progress by class",
        "After each epoch: training accuracy, percent, and the number of training images classified into the class "
        "over the number that it has, of the largest and the smallest class; of at most a 25th of the training "
        "images, the same number of each class as far as it has them, not augmented; mean over seeds.",
        by_run(progress),
        draw_progress,
        needs="checkpoint",
        size=(8, 5),
    ),
    Analysis(
        "figure4_feature_gradient",
        "Figure 4: feature gradients by class",
        "After each epoch: norm of the gradient of an image's cross-entropy for its features where MFW mixes them "
        "(after the second group of convolutions without MFW), averaged over the images of the largest and of the "
        "smallest class; the images are those of Figure 1; mean over seeds.",
        by_run(feature_gradients),
        draw_feature_gradients,
        needs="checkpoint",
        size=(8, 3.6),
    ),
    Analysis(
        "figure5_plane",
        "Figures 5 and 6: the plane of two features",
        "Features of the first 40 training and the first 40 test images of each class, not augmented, after the epochs "
        "that the paper draws (20, 60, 120, 160 of 200) and the last; grey: where two classes are level and ahead of "
        "the others; arrows: the classes' weights in the classifier, the longest of a panel 0.6 of half its width; in "
        "brackets: training images of the class. "
        "First seed.",
        by_run(plane.positions),
        plane.draw_positions,
        needs="checkpoint",
        size=(9, 8),
    ),
    Analysis(
        "figure7_deviation",
        "Figure 7: feature deviation",
        "Distance between the mean training feature and the mean test feature of each class, features of length 1, "
        "not augmented; over 1000 draws of as many training images as the smallest class has. At the end of training; "
        "mean over seeds. Runs that share a representation coincide.",
        by_run(deviations),
        draw_deviations,
        needs="checkpoint",
    ),
)
