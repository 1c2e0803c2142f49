"""metrics_more.json: the numbers beside the accuracies. docs/metrics.md defines each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import gmean, hmean
from sklearn.metrics import f1_score

from stages.longtail.evaluation import calibration, intervals, shifted_priors, summary
from stages.longtail.evaluation.intervals import Interval
from stages.longtail.evaluation.outputs import Outputs
from stages.longtail.evaluation.rounding import FRACTION, PERCENT, rounded
from stages.longtail.prediction.accuracy import by_group, per_class


def metrics(
    tested: Outputs, matrices: Sequence[np.ndarray], history: pd.DataFrame, classes: pd.DataFrame, probabilities: bool
) -> dict[str, Any]:
    """All numbers of metrics_more.json: of the last epoch, averaged over seeds and rounded.

    Args:
        tested: the outputs of every seed.
        matrices: one confusion matrix per seed.
        history: history.csv, its columns turned into numbers.
        classes: see subsets.read_classes.
        probabilities: False if the softmax of the logits means nothing, as for distances to class means.

    Returns:
        By name, nested as in the file. Without probabilities, the numbers that need them are None.
    """
    shots, labels = classes["shot"].tolist(), tested.labels
    found = intervals.of_run(tested.predicted, labels, shots)
    result: dict[str, Any] = {"ci95_images": _bounds(found)}
    if len(matrices) > 1:
        runs = [by_group(per_class(matrix), shots) for matrix in matrices]
        result["ci95_seeds"] = _bounds({name: intervals.of_seeds([run[name] for run in runs]) for name in runs[0]})
    result["last_ten_epochs"] = summary.last_epochs(history)
    result |= _mean([of_classes(matrix) for matrix in matrices], PERCENT)
    result["macro_f1"] = rounded(float(np.mean([macro_f1(one, labels) for one in tested.predicted])), 4)

    def by_shot(measure: Callable[..., dict[str, float]]) -> dict[str, Any] | None:
        if not probabilities:
            return None
        return _mean([measure(logits, labels, shots) for logits in tested.logits], FRACTION)

    result["nll"] = by_shot(calibration.negative_log_likelihood)
    result["ece"] = by_shot(calibration.calibration_error)
    counts = classes["count"].to_numpy()
    shifted = [shifted_priors.accuracies(logits, labels, counts, probabilities) for logits in tested.logits]
    result["shift"] = {name: _mean([one[name] for one in shifted], PERCENT) for name in shifted[0]}
    return result


def of_classes(matrix: np.ndarray) -> dict[str, float]:
    """Percent: the lowest accuracy of a class, the classes' geometric and harmonic mean, and the share of all images.

    matrix: a confusion matrix, int64 (classes, classes); its rows are true classes.
    """
    accuracies = per_class(matrix)
    return {
        "worst_class": float(accuracies.min()),
        "geometric_mean": float(gmean(accuracies)),
        "harmonic_mean": float(hmean(accuracies)),
        "accuracy_of_images": float(100 * matrix.trace() / matrix.sum()),
    }


def macro_f1(predicted: np.ndarray, labels: np.ndarray) -> float:
    """The mean of the classes' F1 scores, percent; a class that is neither there nor predicted does not count.

    predicted, labels: int64 (n,).
    """
    return 100 * float(f1_score(labels, predicted, average="macro"))


def _bounds(found: dict[str, Interval]) -> dict[str, dict[str, float]]:
    return {
        group: {"low": rounded(one.low, PERCENT), "high": rounded(one.high, PERCENT)} for group, one in found.items()
    }


def _mean(values: Sequence[dict[str, Any]], digits: int) -> dict[str, Any]:
    """The mean over seeds of each number, rounded; None where it is None."""
    return {
        key: None if first is None else rounded(float(np.mean([value[key] for value in values])), digits)
        for key, first in values[0].items()
    }
