"""Likelihood and calibration error, by hand and against scikit-learn and torchmetrics."""

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from torchmetrics.functional.classification import multiclass_calibration_error

from stages.longtail.evaluation import calibration

SHOTS = ["many", "few"]


def of_probabilities(*rows):
    logits = np.log(np.array(rows))
    return logits - logits.max(1, keepdims=True)


# Class 0 (many): right at 0.9, wrong at 0.4, right at 0.6. Class 1 (few): right at 0.8.
LOGITS = of_probabilities([0.9, 0.1], [0.4, 0.6], [0.6, 0.4], [0.2, 0.8]).astype(np.float32)
LABELS = np.array([0, 0, 0, 1])


def test_likelihood_by_hand():
    got = calibration.negative_log_likelihood(LOGITS, LABELS, SHOTS)
    many = [-np.log(p) for p in (0.9, 0.4, 0.6)]
    assert got == pytest.approx({"all": (sum(many) - np.log(0.8)) / 4, "many": sum(many) / 3, "few": -np.log(0.8)})


def test_calibration_error_by_hand():
    """Bins of a fifteenth. Confidences 0.6 (wrong) and 0.6 (right) share one: |0.5 - 0.6|, twice. 0.9 and 0.8, both
    right, are alone: 0.1 and 0.2."""
    got = calibration.calibration_error(LOGITS, LABELS, SHOTS)
    assert got["all"] == pytest.approx((2 * 0.1 + 0.1 + 0.2) / 4, abs=1e-6)
    assert got["many"] == pytest.approx((2 * 0.1 + 0.1) / 3, abs=1e-6)
    assert got["few"] == pytest.approx(0.2, abs=1e-6)


def test_both_are_those_of_other_libraries():
    random = np.random.default_rng(0)
    labels = random.integers(0, 7, 500)
    logits = 3 * random.normal(size=(500, 7))
    logits[np.arange(500), labels] += 2
    logits = (logits - logits.max(1, keepdims=True)).astype(np.float16)
    shots = ["many"] * 3 + ["medium"] * 4
    probabilities = torch.from_numpy(logits).double().softmax(1)
    ece = calibration.calibration_error(logits, labels, shots)
    nll = calibration.negative_log_likelihood(logits, labels, shots)
    groups = {"all": np.full(500, True), "many": labels < 3, "medium": labels >= 3}
    assert set(ece) == set(nll) == set(groups)
    for group, rows in groups.items():
        theirs = multiclass_calibration_error(probabilities[rows], torch.from_numpy(labels[rows]), 7, n_bins=15)
        assert ece[group] == pytest.approx(float(theirs), abs=1e-6)
        theirs = log_loss(labels[rows], probabilities[rows].numpy(), labels=range(7))
        assert nll[group] == pytest.approx(theirs, abs=1e-5)


def test_confidence_that_is_right_on_average_has_no_error_and_overconfidence_all_of_it():
    honest = of_probabilities(*[[0.75, 0.25]] * 4).astype(np.float16)
    assert calibration.calibration_error(honest, np.array([0, 0, 0, 1]), SHOTS)["all"] == pytest.approx(0, abs=1e-3)
    sure = np.array([[0, -60]] * 4, np.float16)
    assert calibration.calibration_error(sure, np.array([1, 1, 1, 1]), SHOTS) == pytest.approx({"all": 1, "few": 1})
