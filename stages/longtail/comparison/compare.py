"""Compares two results on the same test images: how much they differ, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import pandas as pd

from stages.longtail.comparison.results import Result
from stages.longtail.console.errors import UserError
from stages.longtail.evaluation import intervals
from stages.longtail.evaluation.rounding import text
from stages.longtail.prediction.accuracy import by_group

MOVED = 5  # how many classes are listed that gained most, and how many that lost most


@dataclass(frozen=True)
class Comparison:
    """What a comparison found, in percent and in points; differences are b - a.

    groups: one row per group, with the columns group, classes (how many), a, b, difference, low and high; seeds_low and
        seeds_high if both results have two seeds or more.
    classes: one row per class, the class with the most training images first, with the columns class, name, count,
        shot, a, b, difference, low and high.
    agreement: see `agreement`.
    """

    a: Result
    b: Result
    groups: pd.DataFrame
    classes: pd.DataFrame
    agreement: dict[str, float]

    @property
    def same_groups(self) -> bool:
        return self.a.shots == self.b.shots


def compare(a: Result, b: Result) -> Comparison:
    """Compare two results. Raises UserError if they were not tested on the same images and classes."""
    for one, other in ((a.labels, b.labels), (a.classes["name"], b.classes["name"])):
        if len(one) != len(other) or (np.asarray(one) != np.asarray(other)).any():
            raise UserError(f"'{a.name}' and '{b.name}' have other test images: only the same ones can be compared")
    # If the two group their classes differently, `all` is the only group that means the same in both.
    shots = a.shots if a.shots == b.shots else [""] * len(a.shots)
    found = intervals.of_difference(b.predicted, a.predicted, a.labels, shots)
    first, second = (_by_seed(result, shots) for result in (a, b))
    rows = []
    for group, interval in found.items():
        means = {name: float(np.mean([run[group] for run in runs])) for name, runs in (("a", first), ("b", second))}
        size = len(shots) if group == "all" else shots.count(group)
        row = {"group": group, "classes": size, **means, "difference": interval.mean}
        row |= {"low": interval.low, "high": interval.high}
        if len(first) > 1 and len(second) > 1:
            seeds = intervals.of_seed_difference([run[group] for run in second], [run[group] for run in first])
            row |= {"seeds_low": seeds.low, "seeds_high": seeds.high}
        rows.append(row)
    each = intervals.of_class_differences(b.predicted, a.predicted, a.labels, len(shots))
    classes = a.classes.assign(
        a=np.mean([_per_class(one, a.labels) for one in a.predicted], 0),
        b=np.mean([_per_class(one, b.labels) for one in b.predicted], 0),
        difference=[one.mean for one in each],
        low=[one.low for one in each],
        high=[one.high for one in each],
    ).sort_values("count", ascending=False, kind="stable", ignore_index=True)
    return Comparison(a, b, pd.DataFrame(rows), classes, agreement(a.predicted, b.predicted, a.labels))


def agreement(a: np.ndarray, b: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """How often two results agree: the mean over all pairs of a seed of each, with equal weight for every class.

    Args:
        a, b: predicted classes, int64 (seeds, n).
        labels: int64 (n,).

    Returns:
        Percent of the images for which both predict the same class (`same`), both are right (`both`), only one is
        (`only_a`, `only_b`; only_b - only_a is the difference of the accuracies) or none (`neither`). For a result with
        two seeds or more also how often two of its own seeds predict the same class (`within_a`, `within_b`).
    """
    sizes = np.bincount(labels)
    share = 100 / (sizes[labels] * np.count_nonzero(sizes))
    pairs = list(product(a, b))

    def mean(counted: list[np.ndarray]) -> float:
        return float(np.mean([share @ one for one in counted]))

    result = {
        "same": mean([one == other for one, other in pairs]),
        "both": mean([(one == labels) & (other == labels) for one, other in pairs]),
        "only_a": mean([(one == labels) & (other != labels) for one, other in pairs]),
        "only_b": mean([(one != labels) & (other == labels) for one, other in pairs]),
        "neither": mean([(one != labels) & (other != labels) for one, other in pairs]),
    }
    for name, seeds in (("within_a", a), ("within_b", b)):
        if len(seeds) > 1:
            result[name] = mean([one == other for one, other in combinations(seeds, 2)])
    return result


def markdown(found: Comparison) -> str:
    """The comparison as text with tables in Markdown."""
    a, b, agree = found.a, found.b, found.agreement
    seeds = [f"{len(one.predicted)} seed{'s' if len(one.predicted) > 1 else ''}" for one in (a, b)]
    lines = [
        f"A: {a.name} ({seeds[0]})",
        f"B: {b.name} ({seeds[1]})",
        f"{len(a.labels)} test images of {len(found.classes)} classes; top-1 accuracy, percent",
        "",
        _table(found.groups, ["group", "classes"]),
        "",
        "95%, test images: from resamples of the test images of each class, the same ones for both.",
    ]
    if "seeds_low" in found.groups:
        lines[-1] += " 95%, seeds: Welch's t interval over seeds."
    else:
        lines[-1] += " Without two seeds of each, it is not known how much other seeds would differ."
    if not found.same_groups:
        lines.append("The two group their classes differently, so only all classes together are compared.")
    moved = found.classes.sort_values("difference", kind="stable")
    if len(moved) > 2 * MOVED:
        moved = pd.concat([moved.head(MOVED), moved.tail(MOVED)])
    if found.same_groups and (a.classes["count"] == b.classes["count"]).all():
        moved = moved.rename(columns={"count": "training images"})
        heads = ["name", "training images", "shot"]
    else:
        heads = ["name"]
    lines += ["", "Classes that moved most:", "", _table(moved[::-1], heads), ""]
    lines.append(
        f"Both predict the same class in {text(agree['same'], 1)}% of the images. Both are right in "
        f"{text(agree['both'], 1)}%, only A in {text(agree['only_a'], 1)}%, only B in {text(agree['only_b'], 1)}%, "
        f"neither in {text(agree['neither'], 1)}% (classes count alike)."
    )
    within = [f"{text(agree[f'within_{name}'], 1)}% for {name.upper()}" for name in "ab" if f"within_{name}" in agree]
    if within:
        lines.append(f"Two seeds of one predict the same class in {' and '.join(within)}.")
    return "\n".join(lines) + "\n"


def _table(rows: pd.DataFrame, heads: list[str]) -> str:
    shown = rows[heads].astype(str)
    shown["A"], shown["B"] = ([text(value, 1) for value in rows[name]] for name in ("a", "b"))
    shown["B - A"] = [text(value, 1, sign=True) for value in rows["difference"]]
    for name, before in (("95%, test images", ""), ("95%, seeds", "seeds_")):
        if f"{before}low" in rows:
            ends = zip(rows[f"{before}low"], rows[f"{before}high"], strict=True)
            shown[name] = [f"{text(low, 1, sign=True)} to {text(high, 1, sign=True)}" for low, high in ends]
    return shown.to_markdown(index=False, disable_numparse=True)


def _per_class(predicted: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return 100 * np.bincount(labels, weights=predicted == labels) / np.bincount(labels)


def _by_seed(result: Result, shots: list[str]) -> list[dict[str, float]]:
    return [by_group(_per_class(one, result.labels), shots) for one in result.predicted]
