"""The board of all methods under one protocol."""

from __future__ import annotations

import numpy as np
import pandas as pd

from stages.longtail.comparison.results import Result
from stages.longtail.papers import board


def result(name: str, right: int) -> Result:
    """Of two classes of 100 test images; the first `right` of each are predicted right."""
    labels = np.repeat([0, 1], 100)
    predicted = np.where(np.tile(np.arange(100), 2) < right, labels, 1 - labels)
    classes = pd.DataFrame({"class": [0, 1], "name": ["a", "b"], "count": [500, 50], "shot": ["many", "medium"]})
    return Result(name, predicted[None], labels, classes)


def test_methods_are_ranked_and_told_apart_from_joint_only_where_they_are() -> None:
    runs = {name: result(name, right) for name, right in (("joint", 60), ("mfw", 80), ("crt", 61), ("lws", 50))}
    table = board._table(runs, {}).set_index("method")
    assert list(table.index) == ["`mfw`", "`crt`", "`joint`", "`lws`"]
    assert table.loc["`mfw`", "all"].startswith("80.0 (") and table.loc["`mfw`", "medium"] == "80.0"
    assert table.loc["`joint`", "difference"] == "-" and "few" not in table
    # Paired: 20 of 100 images changed in each class, all for the better; one of 100 may be none in a resample.
    assert table.loc["`mfw`", "difference"].startswith("**+20.0** (+")
    assert (
        table.loc["`crt`", "difference"].startswith("+1.0 (0.0 to ") or "(+0.0 to " in table.loc["`crt`", "difference"]
    )
    assert table.loc["`lws`", "difference"].startswith("**-10.0** (-")


def test_without_bf16_joint_in_fp32_is_what_the_others_are_compared_with() -> None:
    runs = {f"{name} runtime.precision=fp32": result(name, right) for name, right in (("joint", 60), ("mfw", 80))}
    assert board.base(runs) == "joint runtime.precision=fp32"
    table = board._table(runs, {}).set_index("method")
    assert table.loc["`joint runtime.precision=fp32`", "difference"] == "-"
    assert table.loc["`mfw runtime.precision=fp32`", "difference"].startswith("**+20.0** (+")
    assert board.base([*runs, "joint"]) == "joint"
    assert board.base(["joint split.holdout=50", "mfw"]) is None


def test_the_held_out_epoch_has_a_column_where_a_run_has_one() -> None:
    table = board._table({name: result(name, 60) for name in ("joint", "mfw")}, {"mfw": 61.24}).set_index("method")
    assert table["best held-out epoch"].to_dict() == {"`mfw`": "61.2", "`joint`": "-"}
