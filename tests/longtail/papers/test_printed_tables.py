"""A printed table with what was run: intervals and rules in its cells, and what stands in no file without them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from stages.longtail.papers import printed_tables, results

NAN = float("nan")
RUN = {"last": 70.84, "best": 71.29, "last_low": 70.04, "last_high": 71.55, "seeds": 1}


def table(*numbers: dict[str, Any]) -> pd.DataFrame:
    """A row of a table for each; {} was not run."""
    fixed = {
        "table": 1,
        "run": "r",
        "value": 71.1,
        "dataset": "cifar10",
        "profile": "exp",
        "ratio": 100.0,
        "group": "all",
    }
    fixed |= {"backbone": "resnet32", "epochs": "", "measure": "top1", "variant": "", "tolerance": 1.0}
    fixed |= {"protocol": "p", "schedule": "200", "seeds": 0, "predictions": True, "precision": ""} | dict.fromkeys(
        [*results.MEASURED, *results.INTERVAL], NAN
    )
    return pd.DataFrame([fixed | {"row": f"row {number}"} | one for number, one in enumerate(numbers)])


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]


def test_the_last_epoch_has_its_interval_and_the_best_has_none() -> None:
    found = rows(printed_tables.markdown("paper", 1, table(RUN)))[2:]
    assert found == [
        ["row 0", "last epoch", "70.8 [70.0 to 71.6] (71.1, -0.3)"],
        ["row 0", "best test epoch", "71.3 (71.1, +0.2)"],
    ]


def test_with_several_seeds_the_deviation_stands_before_the_interval() -> None:
    cells = table(RUN | {"last_std": 0.44, "seeds": 3})
    assert printed_tables.text(cells.iloc[0], "last") == "70.8 ± 0.4 [70.0 to 71.6] (71.1, -0.3)"


def test_a_run_from_before_predictions_were_kept_says_why_it_has_no_interval() -> None:
    old = RUN | dict.fromkeys(results.INTERVAL, NAN)
    assert results.NO_INTERVAL not in printed_tables.markdown("paper", 1, table(RUN, {}))
    text = printed_tables.markdown("paper", 1, table(RUN, old))
    assert results.NO_INTERVAL in text and rows(text)[4][2] == "70.8 (71.1, -0.3)"


def test_runs_in_another_precision_than_the_others_are_named_once_below_their_table() -> None:
    cells = table(RUN, RUN | {"run": "other", "precision": "fp32"}, RUN | {"run": "other", "precision": "fp32"}, {})
    text = printed_tables.markdown("paper", 1, cells)
    assert text.rstrip().endswith("3 of 4 cells were run. Not in bf16: `other` in fp32.")
    assert "Not in bf16" not in printed_tables.markdown("paper", 1, table(RUN, {}))


def test_runs_from_before_predictions_were_kept_are_named_once_below_their_table() -> None:
    old = RUN | {"run": "older", "predictions": False}
    text = printed_tables.markdown("paper", 1, table(RUN, old, old, {"predictions": True}))
    assert text.count("From before predictions were kept: `older`. With one seed the interval comes from") == 1
    assert "before predictions" not in printed_tables.markdown("paper", 1, table(RUN))


def test_rows_that_were_run_come_first_and_a_held_out_epoch_is_a_row_where_there_is_one() -> None:
    held = RUN | {"selected": 71.0}
    text = printed_tables.markdown("paper", 1, table({}, RUN, held))
    assert [row[:2] for row in rows(text)[2:]] == [
        ["row 1", "last epoch"],
        ["row 1", "best test epoch"],
        ["row 2", "last epoch"],
        ["row 2", "best test epoch"],
        ["row 2", "best held-out epoch"],
        ["row 0", ""],
    ]
    assert results.HELD_OUT in text and results.HELD_OUT not in printed_tables.markdown("paper", 1, table(RUN))


def test_a_table_that_nobody_ran_is_a_line() -> None:
    assert printed_tables.markdown("paper", 1, table({}, {})).splitlines()[2:] == [
        "No number of this table was run yet. It prints 2 numbers ([csv](table1.csv)); for 2 of them there is a preset."
    ]


@pytest.mark.parametrize(("numbers", "more"), [(RUN, True), (RUN | dict.fromkeys(results.INTERVAL, NAN), False)])
def test_the_csv_has_the_interval_where_a_run_has_one_and_latex_stays_narrow(
    tmp_path: Path, numbers: dict[str, float], more: bool
) -> None:
    printed_tables.write("paper", table(numbers), tmp_path)
    frame = pd.read_csv(tmp_path / "table1.csv")
    assert ("last_low" in frame) == ("last_high" in frame) == more
    if more:
        assert frame.loc[0, ["last", "last_low", "last_high"]].tolist() == [70.84, 70.04, 71.55]
    assert "selected" not in frame
    assert "70.8 (71.1, -0.3)" in (tmp_path / "table1.tex").read_text()


def test_the_caption_of_table_9_has_what_its_printed_bias_is() -> None:
    """`switching`: (1 - accuracy)^2, here 0.22 ** 2; of the row that was run alone."""
    accuracy = {"row": "IB", "value": 0.779, "last": 0.78, "seeds": 10}
    bias = {"row": "IB", "measure": "bias2", "value": 0.049, "last": 0.12, "seeds": 10}
    cells = table(accuracy, bias, {"row": "BBN", "measure": "bias2", "value": 0.032})
    assert printed_tables.caption(cells).endswith("(printed bias2): IB 0.048 (0.049).")
    assert "bias2" not in printed_tables.caption(cells[:1])
