"""Several runs together, by hand: bias and variance, irregularity (`switching` Eq. 10 to 12) and its correlation."""

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import balanced_accuracy_score

from stages.longtail.evaluation import repeated_runs


def test_bias_and_variance_of_two_images_in_three_runs():
    """Image 0, of class 0, is predicted 0, 0, 1: votes 2/3, 1/3. Image 1, of class 2, is predicted 2, 0, 1: 1/3 each.

    Squared bias, halved: ((1/3)^2 + (1/3)^2) / 2 = 1/9 and ((1/3)^2 + (1/3)^2 + (2/3)^2) / 2 = 1/3.
    Variance, halved: (1 - 4/9 - 1/9) / 2 = 2/9 and (1 - 3/9) / 2 = 1/3.
    """
    got = repeated_runs.decomposition(np.array([[0, 2], [0, 0], [1, 1]]), np.array([0, 2]))
    assert got["bias2"] == pytest.approx((1 / 9 + 1 / 3) / 2)
    assert got["variance"] == pytest.approx((2 / 9 + 1 / 3) / 2)
    assert got["total_error"] == pytest.approx(1 - 3 / 6)  # 3 of 6 predictions are right


@pytest.mark.parametrize("runs", [1, 2, 10])
def test_the_total_error_is_one_minus_the_mean_accuracy_of_the_classes(runs):
    """On a test set whose classes are not equally large."""
    random = np.random.default_rng(runs)
    labels = random.permutation(np.repeat(np.arange(10), range(5, 95, 9)))
    count = len(labels)
    right = random.random((runs, count)) < 0.3 + 0.06 * labels
    predictions = np.where(right, labels, random.integers(0, 10, (runs, count)))
    got = repeated_runs.decomposition(predictions, labels)
    expected = 1 - np.mean([balanced_accuracy_score(labels, one) for one in predictions])
    assert got["total_error"] == pytest.approx(expected)
    assert abs(expected - (predictions != labels).mean()) > 0.02  # which is the mean over images
    assert got["bias2"] + got["variance"] == pytest.approx(got["total_error"])
    assert got["bias2"] > 0 and (got["variance"] > 0.01) == (runs > 1)


def test_the_variance_is_half_the_mean_squared_distance_of_the_runs_from_their_mean():
    """From the definition, on one-hot vectors."""
    random = np.random.default_rng(0)
    predictions, labels = random.integers(0, 4, (5, 32)), np.repeat(np.arange(4), 8)
    vectors, target = np.eye(4)[predictions], np.eye(4)[labels]
    mean = vectors.mean(0)
    got = repeated_runs.decomposition(predictions, labels)
    assert got["variance"] == pytest.approx(((vectors - mean) ** 2).sum(2).mean() / 2)
    assert got["bias2"] == pytest.approx(((mean - target) ** 2).sum(1).mean() / 2)


def test_runs_that_agree_have_no_variance_and_runs_that_are_right_no_error():
    labels = np.array([0, 1, 1, 2])
    expected = {"bias2": 0.5, "variance": 0.0, "total_error": 0.5}  # class errors 0, 1/2, 1
    assert repeated_runs.decomposition(np.array([[0, 0, 1, 1]] * 3), labels) == pytest.approx(expected)
    assert set(repeated_runs.decomposition(np.array([labels] * 3), labels).values()) == {0.0}


def test_a_class_that_is_never_predicted_counts_as_well():
    """Image 0, of class 3, is predicted 0 twice: wholly wrong, and always in the same way."""
    assert repeated_runs.decomposition(np.array([[0], [0]]), np.array([3])) == {
        "bias2": 1.0,
        "variance": 0.0,
        "total_error": 1.0,
    }


def test_events_are_averaged_over_runs_image_by_image():
    runs = [
        {"learned": [4, 0, 2], "forgotten": [0, 1, 2], "labels": [1, 0, 1]},
        {"learned": [2, 1, 2], "forgotten": [1, 1, 0], "labels": [1, 0, 1]},
    ]
    learned, forgotten, labels = repeated_runs.mean_events(runs)
    assert learned.tolist() == [3, 0.5, 2] and forgotten.tolist() == [0.5, 1, 1] and labels.tolist() == [1, 0, 1]


def test_irregularity_of_two_classes_by_hand():
    """Class 0: learned 1, 3, 5, 7, forgotten 2, 2, 0, 0: variances 5 and 1, covariance -2, so that the norm is
    sqrt(25 + 1 + 2 * 4) and the irregularity a quarter of it. Class 1: learned 2 and 4, forgotten 1 and 1: 1 and 1/2.
    """
    learned, forgotten = np.array([1.0, 2, 3, 5, 4, 7]), np.array([2.0, 1, 2, 0, 1, 0])
    table = repeated_runs.irregularity(learned, forgotten, np.array([0, 1, 0, 0, 1, 0]), 2)
    assert table["f_norm"].tolist() == pytest.approx([34**0.5, 1])
    assert table["irregularity"].tolist() == pytest.approx([34**0.5 / 4, 0.5])


def test_a_class_of_one_image_is_perfectly_regular():
    table = repeated_runs.irregularity(np.array([3.0, 5.0, 9.0]), np.array([1.0, 1.0, 4.0]), np.array([0, 0, 1]), 2)
    assert table.values.tolist() == [[1, 0.5], [0, 0]]


COUNTS = np.array([5000, 3237, 2096, 1357, 878, 568, 368, 238, 154, 100])  # of `switching` Table 12
NORMS = np.array([85.7341, 44.3574, 296.3582, 397.6501, 267.5524, 447.2937, 253.5138, 355.5270, 279.5059, 363.4100])


def test_the_correlation_of_table_12_comes_out_of_its_own_columns():
    """The paper's -0.6112."""
    printed = [0.0171, 0.0137, 0.1414, 0.2930, 0.3047, 0.7875, 0.6889, 1.4938, 1.8150, 3.6341]
    assert np.round(NORMS / COUNTS, 4) == pytest.approx(printed, abs=1.1e-4)  # Eq. 12
    assert repeated_runs.pearson(COUNTS, NORMS / COUNTS) == pytest.approx(-0.6112, abs=1e-4)


def test_pearson_is_equation_13_and_scipys():
    random = np.random.default_rng(0)
    n, i = random.random(10), random.random(10)
    above = (n * i).sum() - n.sum() * i.sum() / 10
    below = ((n**2).sum() - n.sum() ** 2 / 10) * ((i**2).sum() - i.sum() ** 2 / 10)
    assert repeated_runs.pearson(n, i) == pytest.approx(above / below**0.5)
    assert repeated_runs.pearson(n, i) == pytest.approx(pearsonr(n, i).statistic)


def test_pearson_of_what_does_not_vary_is_0():
    assert repeated_runs.pearson(np.full(3, 7), np.array([1.0, 2.0, 3.0])) == 0
    assert repeated_runs.pearson(np.array([1.0, 2.0, 3.0]), np.zeros(3)) == 0
