"""The small tables in reports/: means and standard deviations over seeds, in percent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from stages.longtail.evaluation.rounding import PERCENT, rounded
from stages.longtail.prediction.accuracy import GROUPS, by_group
from stages.longtail.prediction.accuracy import per_class as accuracy_per_class


def metrics(matrices: Sequence[np.ndarray], history: pd.DataFrame, shots: Sequence[str]) -> dict[str, Any]:
    """The accuracies of metrics.json, by group. A group without classes is left out.

    Args:
        matrices: one confusion matrix per seed, of the last epoch.
        history: history.csv, its columns turned into numbers.
        shots: many, medium or few, of each class.

    Returns:
        `acc`: of the last epoch, which is the result. `best`: of the epoch with the best test accuracy. It is chosen by
        looking at the test set, as much published code does, and is never the result. `selected`: of the epoch chosen
        on held-out training images, if there are any. `std`, `best_std` and `selected_std`: their standard deviations
        over seeds (of a sample), with two seeds or more. `seeds`: how many.
    """
    seeds = [rows for _, rows in history.groupby("seed", sort=False)]
    last = [by_group(accuracy_per_class(matrix), shots) for matrix in matrices]
    found = {"acc": last, "best": [best_epoch(rows) for rows in seeds]}
    if "held_all" in history:
        found["selected"] = [tested_at(rows, selected_epoch(rows[["part", "epoch", "held_all"]])) for rows in seeds]
    result: dict[str, Any] = {name: _mean(values) for name, values in found.items()}
    result["seeds"] = len(matrices)
    if len(matrices) > 1:
        result |= {"std" if name == "acc" else f"{name}_std": _std(values) for name, values in found.items()}
    return result


def best_epoch(rows: pd.DataFrame) -> dict[str, float]:
    """One seed's test accuracies at the epoch that is best on the test images, and that epoch."""
    return tested_at(rows, _highest(rows, "test_all"))


def selected_epoch(held: pd.DataFrame) -> float:
    """One seed's epoch that is best on held-out training images; the first of equals.

    held: only the columns part, epoch and held_all of the history, so that the test images cannot influence the choice.
    """
    return _highest(held, "held_all")


def tested_at(rows: pd.DataFrame, epoch: float) -> dict[str, float]:
    """One seed's test accuracies at one of the method's own epochs (see `_own`), and that epoch."""
    own = _own(rows)
    row = own[own.epoch == epoch].iloc[0]
    accuracies = {group: float(row[f"test_{group}"]) for group in GROUPS if pd.notna(row[f"test_{group}"])}
    return {**accuracies, "epoch": float(row.epoch)}


def _highest(rows: pd.DataFrame, column: str) -> float:
    measured = _own(rows).dropna(subset=column)
    return float(measured.epoch[measured[column].idxmax()])


def _own(rows: pd.DataFrame) -> pd.DataFrame:
    """The epochs of the method itself.

    If a head was made after the representation, these are only the epochs of that head: with the head that the
    representation was trained with, the network is another method.
    """
    heads = rows[rows.part == "head"]
    return rows if heads.empty else heads


def last_epochs(history: pd.DataFrame, count: int = 10) -> dict[str, float] | None:
    """Each group's test accuracy in percent, averaged over the last `count` epochs and then over seeds.

    None unless every seed was tested after each of these epochs, and all of them belong to the last part of its
    training: the head's, if a head was made after the representation, else what follows the branch, if anything does.
    """
    found = []
    for _, rows in history.groupby("seed", sort=False):
        last = rows[rows.part == rows.part.iloc[-1]].tail(count)
        if len(last) < count or last.test_all.isna().any():
            return None
        found.append({group: float(last[f"test_{group}"].mean()) for group in GROUPS})
    return {group: value for group, value in _mean(found).items() if not np.isnan(value)}


def per_class(matrices: Sequence[np.ndarray], classes: pd.DataFrame) -> pd.DataFrame:
    """The table per_class.csv: `classes` with rank, accuracy (percent) and, with two seeds or more, std over seeds.

    Rank 1 is the class with the most training images. matrices: one confusion matrix per seed.
    """
    accuracies = np.stack([accuracy_per_class(matrix) for matrix in matrices])
    table = classes.assign(accuracy=accuracies.mean(0))
    if len(matrices) > 1:
        table["std"] = accuracies.std(0, ddof=1)
    table = table.sort_values("count", ascending=False, kind="stable")
    table.insert(0, "rank", range(1, len(table) + 1))
    return table


def top_k(logits: np.ndarray, labels: np.ndarray, k: int = 5) -> float:
    """Top-k accuracy in percent: how often the label is among the k largest logits, averaged over the classes.

    Args:
        logits: (n, classes); a tie counts for the label.
        labels: int64 (n,).
        k: how many of the largest logits count.
    """
    larger = (logits > np.take_along_axis(logits, labels[:, None], 1)).sum(1)
    sizes = np.bincount(labels)
    hits = np.bincount(labels, weights=larger < k, minlength=len(sizes))
    return float(100 * (hits / sizes).mean())


def shots(metrics: dict[str, Any]) -> pd.DataFrame:
    """The table shots.csv: each group that has classes, and its accuracy in percent. metrics: of `metrics`."""
    values = {group: metrics["acc"][group] for group in GROUPS if group in metrics["acc"]}
    return pd.DataFrame({"group": values.keys(), "accuracy": values.values()})


def confusion(matrix: np.ndarray, names: list[str]) -> pd.DataFrame:
    """The table confusion.csv: one row per test image, as DVC's confusion template needs it.

    matrix: int64 (classes, classes); its rows are true classes. names: of the classes.
    """
    actual, predicted = np.divmod(np.repeat(np.arange(matrix.size), matrix.ravel()), len(names))
    return pd.DataFrame({"actual": [names[i] for i in actual], "predicted": [names[i] for i in predicted]})


def _mean(values: list[dict[str, float]]) -> dict[str, Any]:
    return {key: rounded(float(np.mean([value[key] for value in values])), PERCENT) for key in values[0]}


def _std(values: list[dict[str, float]]) -> dict[str, float]:
    return {key: rounded(float(np.std([value[key] for value in values], ddof=1)), PERCENT) for key in values[0]}
