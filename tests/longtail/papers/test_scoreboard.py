"""The scoreboard counts runs and numbers once, and its figure has what is known of each run."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from stages.longtail.papers import results, scoreboard, scoreboard_figure


def cells(*rows: tuple[object, ...], paper: str = "toy") -> pd.DataFrame:
    names = ["table", "run", "value", "last", "last_std", "best"]
    fixed = {"paper": paper, "group": "all", "measure": "top1", "tolerance": 1.0, "predictions": True}
    unknown = dict.fromkeys(("best_std", "selected", "selected_std", "last_low", "last_high"), float("nan"))
    return pd.DataFrame(rows, columns=names).assign(**fixed, **unknown)


NAN = float("nan")
TWICE = cells(
    (1, "a", 70.0, 70.5, NAN, 73.0),  # within by the last epoch alone
    (2, "a", 70.0, 70.5, NAN, 73.0),  # the same number again
    (1, "b", 80.0, 75.0, NAN, 81.0),  # within by the best alone, and between the two
    (1, "c", 60.0, NAN, NAN, NAN),  # not run
    (1, "", 50.0, NAN, NAN, NAN),  # copied from elsewhere
)


def test_what_tables_repeat_counts_once() -> None:
    assert scoreboard.counts(TWICE) == {
        "runs": "2 of 3",
        "numbers": "2 of 3",
        "within, last epoch": "1 of 2, 2.8 apart",  # (0.5 + 5) / 2, half-way away from zero
        "within, best test epoch": "1 of 2, 2.0 apart",
    }


def test_the_held_out_epoch_is_counted_where_a_run_has_one(tmp_path: Path) -> None:
    held = TWICE.assign(selected=[70.0, 70.0, NAN, NAN, NAN])
    assert scoreboard.counts(held)["within, best held-out epoch"] == "1 of 1, 0.0 apart"
    scoreboard.write({"toy": held, "other": TWICE}, tmp_path)
    page = (tmp_path / "README.md").read_text()
    other = next(line for line in page.splitlines() if "[other]" in line)
    assert "best held-out epoch" in page and other.split("|")[-2].strip() == "-"
    assert results.HELD_OUT in page.replace("\n", " ")
    picture = (tmp_path / "scoreboard_light.svg").read_text()
    assert re.findall(r'<g id="(selected-\d+)">', picture) == ["selected-0"] and "best held-out epoch" in picture


def test_without_a_held_out_epoch_page_and_figure_do_not_speak_of_it(tmp_path: Path) -> None:
    scoreboard.write({"toy": TWICE}, tmp_path)
    for name in ("README.md", "scoreboard_light.svg"):
        assert "held-out" not in (tmp_path / name).read_text()


def test_runs_from_before_predictions_were_kept_are_named(tmp_path: Path) -> None:
    scoreboard.write({"toy": TWICE}, tmp_path)
    assert "before predictions were kept" not in (tmp_path / "README.md").read_text()
    scoreboard.write({"toy": TWICE.assign(predictions=TWICE.run != "b")}, tmp_path)
    assert "From before predictions were kept: `toy/b`." in (tmp_path / "README.md").read_text()


def test_runs_of_two_papers_that_share_a_name_are_two(tmp_path: Path) -> None:
    other = cells((1, "a", 71.0, 70.0, NAN, 70.0), paper="other")
    scoreboard.write({"toy": TWICE, "other": other}, tmp_path)
    page = (tmp_path / "README.md").read_text()
    assert re.search(r"\| all +\| 3 of 4 +\| 3 of 4 ", page)
    assert "Of 3 published numbers 1 are above our last epoch" in " ".join(page.split())


def test_the_figure_has_a_dumbbell_a_run_in_both_modes(tmp_path: Path) -> None:
    text = scoreboard_figure.write({"toy": TWICE}, tmp_path)
    for mode in ("light", "dark"):
        picture = (tmp_path / f"scoreboard_{mode}.svg").read_text()
        assert f"scoreboard_{mode}.svg" in text
        for kind in ("last", "best", "printed"):
            assert len(re.findall(rf'<g id="{kind}-\d+">', picture)) == 2
    before = picture
    scoreboard_figure.write({"toy": TWICE}, tmp_path)
    assert (tmp_path / "scoreboard_dark.svg").read_text() == before


def test_nothing_run_gives_no_figure(tmp_path: Path) -> None:
    assert scoreboard_figure.write({"toy": TWICE[TWICE["last"].isna()]}, tmp_path) == ""
    assert not list(tmp_path.iterdir())


def test_the_interval_is_of_seeds_or_else_of_test_images() -> None:
    images = TWICE.assign(last_low=[NAN, NAN, 74.0, NAN, NAN], last_high=[NAN, NAN, 76.5, NAN, NAN])
    seeds = cells((1, "s", 70.0, 70.0, 0.4, 71.0)).assign(last_low=69.0, last_high=71.0)
    found = scoreboard_figure.rows({"toy": pd.concat([images, seeds])}).set_index("run")
    assert found.loc["a", ["low", "high"]].isna().all()
    assert found.loc["b", ["low", "high"]].tolist() == [74.0, 76.5]
    assert found.loc["s", ["low", "high"]].tolist() == pytest.approx([69.2, 70.8])
