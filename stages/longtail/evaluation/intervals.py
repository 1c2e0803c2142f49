"""95% intervals of an accuracy, from its test images and from its seeds.

They answer different questions, and neither contains the other. From the test images: how would the number of the same
trained networks change with other images of the same classes? From the seeds: how would the mean change with other
seeds? Both need only predicted classes, so predictions.npz is enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.longtail.prediction.accuracy import GROUPS, by_group

LEVEL = 0.95
RESAMPLES = 1000


@dataclass(frozen=True)
class Interval:
    """A mean with its 95% interval, in points of accuracy."""

    mean: float
    low: float
    high: float


def of_run(predicted: np.ndarray, labels: np.ndarray, shots: Sequence[str], seed: int = 0) -> dict[str, Interval]:
    """Each group's accuracy in percent, averaged over seeds, with its interval from the test images.

    Args:
        predicted: int64 (seeds, n), see outputs.read_predictions.
        labels: int64 (n,).
        shots: many, medium or few, of each class.
        seed: of the resamples.

    Returns:
        By group; a group without classes is left out.
    """
    return _bootstrap(100 * (predicted == labels).mean(0), labels, shots, seed)


def of_accuracies(
    accuracies: Sequence[float], sizes: Sequence[int], shots: Sequence[str], seed: int = 0
) -> dict[str, Interval]:
    """What `of_run` says of one seed, from the accuracies of its classes: which images are right does not matter.

    Args:
        accuracies: of each class, in percent.
        sizes: test images of each class.
        shots, seed: see `of_run`.

    Returns:
        By group. Empty if an accuracy does not come from a whole number of images: then the sizes are of another set.
    """
    right = np.asarray(accuracies) * np.asarray(sizes) / 100
    if np.abs(right - right.round()).max() > 0.01:  # percentages are kept with four decimals
        return {}
    labels = np.repeat(np.arange(len(sizes)), sizes)
    places = np.concatenate([np.arange(size) for size in sizes])  # of an image in its class
    return _bootstrap(np.where(places < right.round()[labels], 100.0, 0.0), labels, shots, seed)


def of_difference(
    first: np.ndarray, second: np.ndarray, labels: np.ndarray, shots: Sequence[str], seed: int = 0
) -> dict[str, Interval]:
    """Each group's accuracy in `first` minus that in `second`, paired: each resample has the same images for both.

    Args:
        first, second: predicted classes, int64 (seeds, n); the numbers of seeds may differ.
        labels, shots, seed: see `of_run`.

    Returns:
        By group, in points of accuracy; a group without classes is left out.
    """
    difference = (first == labels).mean(0) - (second == labels).mean(0)
    return _bootstrap(100 * difference, labels, shots, seed)


def of_class_differences(
    first: np.ndarray, second: np.ndarray, labels: np.ndarray, classes: int, seed: int = 0
) -> list[Interval]:
    """As `of_difference`, class by class.

    Args:
        first, second, labels, seed: see `of_difference`.
        classes: how many there are.

    Returns:
        One interval per class, in the order of the labels.
    """
    return _of_classes(100 * ((first == labels).mean(0) - (second == labels).mean(0)), labels, classes, seed)


def of_classes(predicted: np.ndarray, labels: np.ndarray, classes: int, seed: int = 0) -> list[Interval]:
    """As `of_run`, class by class.

    Args:
        predicted, labels, seed: see `of_run`.
        classes: how many there are.

    Returns:
        One interval per class, in the order of the labels.
    """
    return _of_classes(100 * (predicted == labels).mean(0), labels, classes, seed)


def _of_classes(values: np.ndarray, labels: np.ndarray, classes: int, seed: int) -> list[Interval]:
    means, resampled = _resample(values, labels, classes, seed)
    return [_percentiles(mean, draws) for mean, draws in zip(means, resampled, strict=True)]


def of_seeds(values: Sequence[float]) -> Interval:
    """The mean over seeds with Student's t interval. values: one number per seed, of two seeds or more."""
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / len(values) ** 0.5
    if error == 0:
        return Interval(mean, mean, mean)
    from scipy import stats  # here: its import takes longer than the rest of the tables, which need it for seeds alone

    low, high = stats.t.interval(LEVEL, len(values) - 1, loc=mean, scale=error)
    return Interval(mean, float(low), float(high))


def of_seed_difference(first: Sequence[float], second: Sequence[float]) -> Interval:
    """The mean of `first` minus that of `second`, with Welch's t interval. Each has one number per seed, two or more.

    They are not paired: under two methods the same seed soon has little in common.
    """
    difference = float(np.mean(first) - np.mean(second))
    if np.std(first) == np.std(second) == 0:
        return Interval(difference, difference, difference)
    from scipy import stats  # here: see of_seeds

    low, high = stats.ttest_ind(first, second, equal_var=False).confidence_interval(LEVEL)
    return Interval(difference, float(low), float(high))


def _bootstrap(values: np.ndarray, labels: np.ndarray, shots: Sequence[str], seed: int) -> dict[str, Interval]:
    """Intervals of the groups' means. values: one number per image, float64 (n,)."""
    means, resampled = _resample(values, labels, len(shots), seed)
    members = {name: [shot == name for shot in shots] for name in GROUPS[1:]} | {"all": [True] * len(shots)}
    return {
        group: _percentiles(mean, resampled[members[group]].mean(0)) for group, mean in by_group(means, shots).items()
    }


def _resample(values: np.ndarray, labels: np.ndarray, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The classes' means (classes,), and those of resamples of their images (classes, RESAMPLES).

    The images have few different values: with s seeds at most s + 1, and their differences at most 2s + 1. So instead
    of drawing images, a resample draws how often each value occurs, from the multinomial distribution. Among images
    drawn with replacement the values have exactly this distribution, and it takes a hundredth of the time.

    Args:
        values: one number per image, float64 (n,).
        labels: int64 (n,).
        classes: how many there are.
        seed: of the draws.
    """
    random = np.random.default_rng(seed)
    means, resampled = np.empty(classes), np.empty((classes, RESAMPLES))
    for label in range(classes):
        found, counts = np.unique(values[labels == label], return_counts=True)
        size = counts.sum()
        means[label] = found @ counts / size
        resampled[label] = random.multinomial(size, counts / size, RESAMPLES) @ found / size
    return means, resampled


def _percentiles(mean: float, draws: np.ndarray) -> Interval:
    low, high = np.percentile(draws, (50 * (1 - LEVEL), 50 * (1 + LEVEL)))
    return Interval(float(mean), float(low), float(high))
