"""The epoch that training images choose which were set aside: no test image takes part, and no method lacks it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from inprocess import ok

from stages.longtail.files import artifacts

Run = Callable[..., Path]
HOLDOUT = "split.holdout=20", "split.n_max=null"


def results(folder: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    return json.loads((folder / "reports/metrics.json").read_text()), pd.read_csv(folder / "reports/history.csv")


def fill_test_images_with_noise(raw: Path) -> None:
    path = raw / "test_images.npy"
    noise = np.random.default_rng(0).integers(0, 256, np.load(path).shape, np.uint8)
    np.save(path, noise)
    meta = json.loads((raw / "meta.json").read_text())
    meta["digest"]["test"][0] = artifacts.digest(path)
    (raw / "meta.json").write_text(json.dumps(meta))


@pytest.mark.parametrize("method", ["switching", "crt", "tau_heldout"])
def test_other_test_images_choose_no_other_epoch(carry_out: Run, method: str) -> None:
    folder = carry_out(f"method={method}", *HOLDOUT)
    before, history = results(folder)
    fill_test_images_with_noise(folder / "data/raw")
    shutil.rmtree(folder / ".scratch")
    ok("represent", "classify", "evaluate")
    after, other = results(folder)
    held = [column for column in history if column.startswith("held_")]
    assert held[0] == "held_all" and history[held].equals(other[held])
    assert before["selected"]["epoch"] == after["selected"]["epoch"]
    assert after["selected"]["all"] < 30 < before["selected"]["all"]  # of ten classes: the test images are noise


@pytest.mark.parametrize("method", ["switching", "crt", "ncm"])
def test_selected_has_the_test_accuracies_of_the_epoch_that_is_best_on_the_images_held_out(
    carry_out: Run, method: str
) -> None:
    metrics, history = results(carry_out(f"method={method}", "seeds=[0,1]", *HOLDOUT))
    chosen = []
    for _, rows in history.groupby("seed"):
        if method != "switching":  # whose head is that of the representation
            rows = rows[rows.part == "head"]
        assert rows.held_all.notna().equals(rows.test_all.notna())
        chosen.append(rows.loc[rows.held_all.idxmax()])
    assert metrics["selected"].keys() == metrics["best"].keys() >= {"all", "medium", "few"}
    for group in ("all", "medium", "few"):
        values = [row[f"test_{group}"] for row in chosen]
        assert metrics["selected"][group] == pytest.approx(np.mean(values), abs=1e-3)
        assert metrics["selected_std"][group] == pytest.approx(np.std(values, ddof=1), abs=1e-3)
    assert metrics["selected"]["epoch"] == np.mean([row.epoch for row in chosen])


def test_without_images_held_out_there_is_no_such_epoch_and_no_such_column(carry_out: Run) -> None:
    metrics, history = results(carry_out("method=joint"))
    assert "selected" not in metrics
    assert not [column for column in history if column.startswith("held")]


def test_images_held_out_are_as_many_of_each_class_and_none_is_trained_on(carry_out: Run) -> None:
    folder = carry_out("method=joint", *HOLDOUT)
    kept, held = (np.load(folder / f"data/splits/{name}.npy") for name in ("kept", "held"))
    labels = np.load(folder / "data/raw/train_labels.npy")
    assert np.bincount(labels[held]).tolist() == [20] * 10 and not set(kept) & set(held)
