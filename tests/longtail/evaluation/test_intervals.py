"""Intervals: by hand, against SciPy's own bootstrap, and by how often they hold what they should."""

import numpy as np
import pytest
from scipy import stats

from stages.longtail.evaluation import intervals
from stages.longtail.evaluation.intervals import Interval

SHOTS = ["many", "many", "few", "few"]
LABELS = np.repeat(np.arange(4), [40, 60, 50, 30])


def drawn(chances, random, labels=LABELS):
    """Predictions that are right with the chance of their class, one seed a row of `chances`."""
    right = random.random((len(chances), len(labels))) < np.array(chances)[:, labels]
    return np.where(right, labels, (labels + 1) % 4)


def test_the_middle_is_the_mean_over_classes_then_seeds_and_the_interval_holds_it():
    predicted = drawn([[0.9, 0.8, 0.5, 0.3], [0.8, 0.8, 0.6, 0.2]], np.random.default_rng(0))
    got = intervals.of_run(predicted, LABELS, SHOTS)
    each = [[100 * (one == LABELS)[label == LABELS].mean() for label in range(4)] for one in predicted]
    assert set(got) == {"all", "many", "few"}
    assert got["all"].mean == pytest.approx(np.mean(each)) and got["few"].mean == pytest.approx(
        np.mean(each, 0)[2:].mean()
    )
    for one in got.values():
        assert one.low < one.mean < one.high


def test_it_is_the_stratified_bootstrap_of_scipy_which_draws_the_images_themselves():
    """Standard errors of a thousand resamples: the ends agree within a tenth of the width."""
    predicted = drawn([[0.9, 0.8, 0.5, 0.3], [0.8, 0.8, 0.6, 0.2]], np.random.default_rng(1))
    correct = 100 * (predicted == LABELS).mean(0)
    classes = tuple(correct[label == LABELS] for label in range(4))
    mean = lambda *parts, axis=-1: np.mean([part.mean(axis) for part in parts], 0)  # noqa: E731
    theirs = stats.bootstrap(classes, mean, method="percentile", n_resamples=4000, rng=np.random.default_rng(0))
    ours = intervals.of_run(predicted, LABELS, SHOTS)["all"]
    width = ours.high - ours.low
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=width / 10)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=width / 10)


def test_with_one_seed_the_accuracies_of_the_classes_are_enough():
    predicted = drawn([[0.9, 0.8, 0.5, 0.0]], np.random.default_rng(2))
    right = np.bincount(LABELS, weights=predicted[0] == LABELS)
    sizes = np.bincount(LABELS)
    expected = intervals.of_run(predicted, LABELS, SHOTS)
    assert intervals.of_accuracies((100 * right / sizes).round(4), sizes, SHOTS) == expected
    assert intervals.of_accuracies([50.5, 50, 50, 50], sizes, SHOTS) == {}  # of 40 images


def test_the_same_seed_gives_the_same_interval_and_another_another():
    predicted = drawn([[0.7] * 4], np.random.default_rng(0))
    first = intervals.of_run(predicted, LABELS, SHOTS)
    assert first == intervals.of_run(predicted, LABELS, SHOTS) != intervals.of_run(predicted, LABELS, SHOTS, seed=1)


def coverage(interval, truth, count=400):
    """How often `interval(random)` holds `truth`."""
    random = np.random.default_rng(0)
    found = [interval(random) for _ in range(count)]
    return np.mean([one.low <= truth <= one.high for one in found])


def test_95_percent_of_the_intervals_hold_the_true_accuracy(monkeypatch):
    """400 test sets of 40 to 60 images per class: 95% within three standard errors, which are 1.1 points each, and half
    a point less for the resampling of small classes."""
    monkeypatch.setattr(intervals, "RESAMPLES", 300)
    chances = [[0.9, 0.8, 0.5, 0.3]]
    got = coverage(lambda random: intervals.of_run(drawn(chances, random), LABELS, SHOTS)["all"], 62.5)
    assert 0.912 < got < 0.983


def test_95_percent_of_the_paired_intervals_hold_the_true_difference_and_unpaired_ones_would_be_wider(monkeypatch):
    """Two methods that mostly agree: the second is wrong where the first is, and in a tenth of the rest."""
    monkeypatch.setattr(intervals, "RESAMPLES", 300)
    widths = []

    def difference(random):
        first = drawn([[0.6] * 4], random)
        second = np.where(random.random(len(LABELS)) < 0.1, (LABELS + 1) % 4, first)
        paired = intervals.of_difference(first, second, LABELS, SHOTS)["all"]
        one = intervals.of_run(first, LABELS, SHOTS)["all"]
        widths.append((one.high - one.low) / (paired.high - paired.low))
        return paired

    assert 0.912 < coverage(difference, 6.0) < 0.983
    assert np.mean(widths) > 1.5


def test_a_run_does_not_differ_from_itself_and_seeds_may_differ_in_number():
    predicted = drawn([[0.7] * 4, [0.6] * 4], np.random.default_rng(0))
    assert intervals.of_difference(predicted, predicted, LABELS, SHOTS)["all"] == Interval(0, 0, 0)
    got = intervals.of_difference(predicted, predicted[:1], LABELS, SHOTS)["all"]
    each = [intervals.of_run(predicted[rows], LABELS, SHOTS)["all"].mean for rows in (slice(2), slice(1))]
    assert got.mean == pytest.approx(each[0] - each[1]) and got.low < got.mean < got.high


def test_the_interval_of_seeds_is_students():
    """71, 73, 75: mean 73, deviation 2, t with two degrees of freedom 4.3027 (tables), 4.3027 * 2 / sqrt(3) = 4.968."""
    got = intervals.of_seeds([71, 73, 75])
    assert (got.mean, got.low, got.high) == pytest.approx((73, 73 - 4.968, 73 + 4.968), abs=1e-3)
    assert intervals.of_seeds([70, 70]) == Interval(70, 70, 70)


def test_95_percent_of_students_intervals_hold_the_mean_with_three_seeds():
    got = coverage(lambda random: intervals.of_seeds(random.normal(70, 1.5, 3)), 70, 2000)
    assert 0.935 < got < 0.965
