"""metrics_more.json, by hand and against scikit-learn; docs/metrics.md names every number of it."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from stages.longtail.evaluation import details
from stages.longtail.evaluation.outputs import Outputs

CLASSES = pd.DataFrame({"class": [0, 1], "name": ["a", "b"], "count": [200, 10], "shot": ["many", "few"]})
HISTORY = pd.DataFrame(
    {
        "seed": 0,
        "part": "represent",
        "epoch": [1],
        "test_all": [50.0],
        "test_many": 50.0,
        "test_medium": np.nan,
        "test_few": 50.0,
    }
)


def test_means_over_classes_and_over_images_by_hand():
    """Class 0: 8 of 8, class 1: 1 of 4."""
    got = details.of_classes(np.array([[8, 0], [3, 1]]))
    assert got == pytest.approx(
        {"worst_class": 25, "geometric_mean": 50, "harmonic_mean": 2 / (1 / 100 + 1 / 25), "accuracy_of_images": 75}
    )


def test_a_class_that_is_never_right_makes_both_means_0():
    got = details.of_classes(np.array([[8, 0], [4, 0]]))
    assert (got["worst_class"], got["geometric_mean"], got["harmonic_mean"]) == (0, 0, 0)


def test_macro_f1_by_hand_and_scikit_learns():
    """Class 0: precision 2/3, recall 1, F1 4/5; class 1: both 1/2; class 2: never predicted, 0."""
    labels, predicted = np.array([0, 0, 1, 1, 2]), np.array([0, 0, 1, 0, 1])
    expected = 100 * (4 / 5 + 1 / 2 + 0) / 3
    assert details.macro_f1(predicted, labels, 3) == pytest.approx(expected)
    random = np.random.default_rng(0)
    labels, predicted = random.integers(0, 6, 200), random.integers(0, 5, 200)
    theirs = f1_score(labels, predicted, average="macro", zero_division=0)
    assert details.macro_f1(predicted, labels, 6) == pytest.approx(100 * theirs, abs=1e-4)


def of_two(probabilities=True, seeds=2):
    labels = np.array([0, 0, 0, 0, 1, 1])
    first = np.array([[0, -1], [0, -1], [0, -1], [-1, 0], [0, -1], [-1, 0]], np.float16)
    logits = np.stack([first, first[:, ::-1]])[:seeds]
    matrices = [np.array([[3, 1], [1, 1]]), np.array([[1, 3], [1, 1]])][:seeds]
    return details.metrics(Outputs(logits, labels, (0, 1)[:seeds]), matrices, HISTORY, CLASSES, probabilities)


def test_numbers_are_means_over_seeds_and_two_seeds_have_an_interval_of_their_own():
    got = of_two()
    assert got["worst_class"] == pytest.approx((50 + 25) / 2)
    assert got["accuracy_of_images"] == pytest.approx(100 * (4 + 2) / 12, abs=1e-4)
    assert got["ci95_seeds"]["few"] == {"low": 50, "high": 50}
    # all: 62.5 and 37.5, so 50 +- 12.706 * 17.678 / sqrt(2)
    assert got["ci95_seeds"]["all"] == pytest.approx({"low": 50 - 158.83, "high": 50 + 158.83}, abs=0.01)
    bounds = of_two(seeds=1)["ci95_images"]
    assert 0 <= bounds["all"]["low"] < 62.5 < bounds["all"]["high"] <= 100 and set(bounds) == {"all", "many", "few"}
    assert got["last_ten_epochs"] is None
    assert "ci95_seeds" not in of_two(seeds=1)


def test_what_needs_probabilities_is_null_without_them():
    got = of_two(probabilities=False)
    assert got["nll"] is None and got["ece"] is None
    assert got["shift"]["forward_2"]["from_training"] is None and got["shift"]["forward_2"]["plain"] is not None
    assert of_two()["nll"]["all"] > 0 and of_two()["shift"]["forward_2"]["from_training"] is not None
