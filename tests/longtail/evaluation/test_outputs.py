"""Logits and predictions as files: whole, small, the same bytes each time, and refused when damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_accuracy

from stages.longtail.console.errors import UserError
from stages.longtail.evaluation import outputs, summary
from stages.longtail.evaluation.outputs import Outputs


def some(classes: int = 100, count: int = 10_000, seeds: int = 1) -> Outputs:
    random = np.random.default_rng(0)
    logits = random.normal(size=(seeds, count, classes)).astype(np.float16)
    return Outputs(logits, random.integers(0, classes, count), tuple(range(seeds)))


def test_what_is_written_is_read_the_same_bytes_each_time(tmp_path: Path) -> None:
    written = some(seeds=2)
    for name, write in (("logits.npz", outputs.write), ("predictions.npz", outputs.write_predictions)):
        write(tmp_path / name, written)
        first = (tmp_path / name).read_bytes()
        write(tmp_path / name, written)
        assert (tmp_path / name).read_bytes() == first
    back = outputs.read(tmp_path / "logits.npz")
    assert np.array_equal(back.logits, written.logits) and back.logits.dtype == np.float16
    assert np.array_equal(back.labels, written.labels) and back.seeds == (0, 1)
    predicted, labels = outputs.read_predictions(tmp_path / "predictions.npz")
    assert np.array_equal(predicted, written.logits.argmax(-1)) and predicted.dtype == np.int64
    assert np.array_equal(labels, written.labels)


@pytest.mark.parametrize("classes", [10, 100])
def test_the_predictions_of_ten_thousand_images_are_under_20_kb(tmp_path: Path, classes: int) -> None:
    outputs.write_predictions(tmp_path / "predictions.npz", some(classes))
    assert (tmp_path / "predictions.npz").stat().st_size < 20_000


def test_more_than_256_classes_are_kept_apart(tmp_path: Path) -> None:
    many = Outputs(np.eye(1000, dtype=np.float16)[None, ::-1], np.arange(1000), (0,))
    outputs.write_predictions(tmp_path / "predictions.npz", many)
    predicted, labels = outputs.read_predictions(tmp_path / "predictions.npz")
    assert predicted[0].tolist() == list(range(999, -1, -1)) and labels.tolist() == list(range(1000))


@pytest.mark.parametrize("kept", [0, 10, -10])
def test_a_damaged_file_is_one_line_that_names_it(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "logits.npz"
    outputs.write(path, some(10, 20))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"logits\.npz is damaged .* run the evaluate stage again"):
        outputs.read(path)


def test_top_k_is_averaged_over_classes_and_a_tie_counts_for_the_label() -> None:
    """Class 0: 1 of 4 among the two largest; class 1: its one image, tied for the second place."""
    logits = np.array([[0, -1, -2], [-3, 0, -1], [-2, -1, 0], [-2, -1, 0], [0, -1, -1]], np.float16)
    labels = np.array([0, 0, 0, 0, 1])
    assert summary.top_k(logits, labels, 2) == pytest.approx(100 * (1 / 4 + 1) / 2)
    assert summary.top_k(logits, labels, 3) == 100


def test_top_k_is_that_of_torchmetrics() -> None:
    outputs = some(classes=8, count=300)
    logits, labels = outputs.logits[0].astype(np.float32) + np.arange(8) / 1e6, outputs.labels  # no ties
    theirs = multiclass_accuracy(torch.from_numpy(logits), torch.from_numpy(labels), 8, average="macro", top_k=5)
    assert summary.top_k(logits, labels) == pytest.approx(100 * float(theirs), abs=1e-4)
