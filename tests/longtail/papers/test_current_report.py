"""The report of the current experiment: its largest mistakes, its curves, and commands that work."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from conftest import ROOT

from stages.longtail.papers import confusions, current_report


def test_mistakes_are_shares_of_the_true_class_and_the_largest_come_first() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 2])
    predicted = np.array([[0, 1, 1, 2, 1, 0, 2], [0, 1, 0, 0, 1, 1, 2]])  # two seeds
    share = confusions.shares(predicted, labels, 3)
    assert share.tolist() == [[50, 37.5, 12.5], [25, 75, 0], [0, 0, 100]]
    names = ["cat", "dog", "ship"]
    found = [("cat", "dog", 37.5), ("dog", "cat", 25.0), ("cat", "ship", 12.5)]
    assert confusions.pairs(share, names, 9) == found and confusions.pairs(share, names, 2) == found[:2]


def test_the_report_names_classes_with_their_training_images() -> None:
    classes = pd.DataFrame({"class": ["1", "0"], "name": ["dog", "cat"], "count": [90, 10]})  # by rank, as in the file
    text = current_report.sections("mfw", classes, np.array([[1, 1, 0]]), np.array([0, 1, 0]))
    assert re.search(r"\| cat \(10\) +\| dog \(90\) +\| 50.0% +\|", text)
    assert "dvc exp run -S method=crt" in text and "python -m stages.methods mfw" in text
    perfect = current_report.sections("crt", classes, np.array([[0, 1]]), np.array([0, 1]))
    assert "None: every test image" in perfect and "dvc exp run -S method=mfw" in perfect


def test_curves_leave_out_epochs_that_were_not_tested_and_mark_the_branch() -> None:
    history = pd.DataFrame(
        {
            "seed": ["0", "0", "0"],
            "part": ["represent", "represent", "head"],
            "epoch": ["1", "2", "3"],
            "train_acc": ["10", "20", "30"],
            "test_all": ["5", "", "25"],
            "test_few": ["", "", ""],
        }
    )
    drawn = current_report.curves(history)
    assert drawn == current_report.curves(history), "the same bytes each time"
    names = re.findall(r"<text[^>]*>([a-z]+)</text>", drawn)
    assert [name for name in names if name in current_report.COLOURS] == ["all", "training"]
    assert "stroke-dasharray" in drawn
    assert "stroke-dasharray" not in current_report.curves(history[:2])


def test_the_report_in_git_shows_the_figure_beside_it() -> None:
    shown = re.findall(r"!\[[^]]*\]\(([^)]+)\)", (ROOT / "reports/table.md").read_text())
    assert shown == [current_report.FIGURE] and (ROOT / "reports" / shown[0]).is_file()
