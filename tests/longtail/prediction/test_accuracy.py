"""Accuracies of a class and of a group, by hand."""

import numpy as np
import pytest

from stages.longtail.prediction import accuracy


def test_accuracy_of_a_class_is_its_diagonal_over_its_row():
    matrix = np.array([[3, 1, 0], [2, 0, 0], [1, 1, 3]])  # rows are the true classes
    assert accuracy.per_class(matrix).tolist() == [75, 0, 60]


def test_a_group_is_the_mean_of_its_classes_and_not_of_its_images():
    groups = accuracy.by_group(np.array([90.0, 70.0, 50.0, 10.0]), ["many", "many", "medium", "few"])
    assert groups == {"all": 55, "many": 80, "medium": 50, "few": 10}
    matrix = np.array([[1, 9], [0, 1]])
    assert accuracy.by_group(accuracy.per_class(matrix), ["many", "many"])["all"] == 55


def test_on_a_balanced_test_set_all_is_the_share_of_correct_images():
    predictions = np.random.default_rng(0).integers(0, 4, (4, 25))
    matrix = np.stack([np.bincount(row, minlength=4) for row in predictions])
    correct = sum((row == label).sum() for label, row in enumerate(predictions))
    assert accuracy.by_group(accuracy.per_class(matrix), ["few"] * 4)["all"] == pytest.approx(correct)


def test_a_group_without_classes_is_left_out():
    assert accuracy.by_group(np.array([90.0, 70.0]), ["many", "few"]) == {"all": 80, "many": 90, "few": 70}
