"""metrics_more.json, by hand and against scikit-learn and torchmetrics; docs/metrics.md names every number of it."""

import statistics

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score
from torchmetrics.functional.classification import multiclass_f1_score

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


def test_macro_f1_by_hand_and_torchmetrics():
    """Class 0: precision 2/3, recall 1, F1 4/5; class 1: both 1/2; class 2: never predicted, 0; no class 3."""
    labels, predicted = np.array([0, 0, 1, 1, 2]), np.array([0, 0, 1, 0, 1])
    assert details.macro_f1(predicted, labels) == pytest.approx(100 * (4 / 5 + 1 / 2 + 0) / 3)
    random = np.random.default_rng(0)
    labels, predicted = random.integers(0, 6, 200), random.integers(0, 5, 200)
    theirs = multiclass_f1_score(torch.from_numpy(predicted), torch.from_numpy(labels), 9, average="macro")
    assert details.macro_f1(predicted, labels) == pytest.approx(100 * float(theirs), abs=1e-4)


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


def test_each_number_is_the_case_by_hand_that_its_name_says():
    """Seed 0 is right in 3 of 4 and 1 of 2, seed 1 in 1 of 4 and 1 of 2. The larger logit is 1 ahead: its probability p
    is e / (1 + e), and each wrong answer costs one nat more than a right one. Training prior 20/21 and 1/21."""
    got, p = of_two(), np.e / (1 + np.e)
    right = -np.log(p)
    expected = {
        "geometric_mean": ((75 * 50) ** 0.5 + (25 * 50) ** 0.5) / 2,
        "harmonic_mean": (60 + 100 / 3) / 2,
        "macro_f1": 100 * ((3 / 4 + 1 / 2) / 2 + (1 / 3 + 1 / 3) / 2) / 2,
    }
    assert {name: got[name] for name in expected} == pytest.approx(expected, abs=1e-4)
    assert got["nll"] == pytest.approx({"all": right + 1 / 2, "many": right + 1 / 2, "few": right + 1 / 2}, abs=1e-5)
    ece = {"all": (abs(4 / 6 - p) + abs(2 / 6 - p)) / 2, "many": (abs(3 / 4 - p) + abs(1 / 4 - p)) / 2}
    assert got["ece"] == pytest.approx(ece | {"few": abs(1 / 2 - p)}, abs=1e-5)

    shift = of_two(seeds=1)["shift"]
    assert shift["forward_2"]["plain"] == pytest.approx((2 * 75 + 50) / 3, abs=1e-4)
    assert shift["forward_50"]["plain"] == pytest.approx((50 * 75 + 50) / 51, abs=1e-4)
    assert shift["backward_50"]["plain"] == pytest.approx((75 + 50 * 50) / 51, abs=1e-4)
    # From a uniform prior ln 2 is less than the 1 by which a logit is ahead, ln 5 more: then all are of class 0.
    assert shift["forward_2"]["from_balanced"] == pytest.approx((2 * 75 + 50) / 3, abs=1e-4)
    assert shift["forward_5"]["from_balanced"] == pytest.approx(100 * 5 / 6, abs=1e-4)
    # From the training prior ln 2 - ln 20 makes all of class 1, and ln 25 - ln 20 changes nothing.
    assert shift["forward_2"]["from_training"] == pytest.approx(100 * 1 / 3, abs=1e-4)
    assert shift["forward_25"]["from_training"] == pytest.approx((25 * 75 + 50) / 26, abs=1e-4)
    assert shift["backward_25"]["from_training"] == pytest.approx(100 * 25 / 26, abs=1e-4)


def test_means_are_those_of_scikit_learn_and_the_standard_library():
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(6), [20, 30, 10, 40, 25, 15])
    predicted = np.where(random.random(140) < 0.6, labels, random.integers(0, 6, 140))
    recalls = 100 * recall_score(labels, predicted, average=None)
    assert details.of_classes(confusion_matrix(labels, predicted)) == pytest.approx(
        {
            "worst_class": recalls.min(),
            "geometric_mean": statistics.geometric_mean(recalls),
            "harmonic_mean": statistics.harmonic_mean(recalls),
            "accuracy_of_images": 100 * accuracy_score(labels, predicted),
        }
    )


def test_what_needs_probabilities_is_null_without_them():
    got = of_two(probabilities=False)
    assert got["nll"] is None and got["ece"] is None
    assert got["shift"]["forward_2"]["from_training"] is None and got["shift"]["forward_2"]["plain"] is not None
    assert of_two()["nll"]["all"] > 0 and of_two()["shift"]["forward_2"]["from_training"] is not None
