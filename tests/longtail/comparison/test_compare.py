"""Two results set against each other, by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.longtail.comparison import compare, figure
from stages.longtail.comparison.results import Result
from stages.longtail.console.errors import UserError

LABELS = np.array([0, 0, 0, 0, 1, 1])
CLASSES = pd.DataFrame({"class": [0, 1], "name": ["cat", "dog"], "count": [10, 200], "shot": ["few", "many"]})
A = Result("first", np.array([[0, 0, 1, 1, 1, 0]]), LABELS, CLASSES)  # 2 of 4, 1 of 2
B = Result("second", np.array([[0, 0, 0, 1, 1, 1]]), LABELS, CLASSES)  # 3 of 4, 2 of 2


def test_differences_are_b_less_a_of_the_groups_and_the_classes() -> None:
    found = compare.compare(A, B)
    groups = found.groups.set_index("group")
    assert groups.loc["all", ["classes", "a", "b", "difference"]].tolist() == [2, 50, 87.5, 37.5]
    assert groups.loc["few", ["classes", "a", "b", "difference"]].tolist() == [1, 50, 75, 25]
    assert groups.loc["many", "difference"] == 50 and "seeds_low" not in groups
    assert found.classes[["name", "difference"]].values.tolist() == [["dog", 50], ["cat", 25]]
    # few: one image of four differs, and is drawn never with chance (3/4)^4 = 0.32, three times of four with 0.05
    assert groups.loc["few", ["low", "high"]].tolist() == [0, 75]


def test_agreement_counts_classes_alike_and_explains_the_difference() -> None:
    """Class 0: same on 3 of 4 images, both right on 2, only B on 1, neither on 1; class 1: same on 1 of 2."""
    got = compare.compare(A, B).agreement
    assert got == {"same": 62.5, "both": 50, "only_a": 0, "only_b": 37.5, "neither": 12.5}


def test_seeds_agree_with_each_other_and_have_an_interval_of_their_own() -> None:
    """A: 50 and 75, B: 75 and 100 percent of class 0; Welch: 25 +- t(2 degrees of freedom) sqrt(2 * 12.5^2)."""
    labels, classes = np.zeros(4, int), CLASSES.iloc[:1]
    a = Result("a", np.array([[0, 0, 1, 1], [0, 0, 0, 1]]), labels, classes)
    b = Result("b", np.array([[0, 0, 0, 1], [0, 0, 0, 0]]), labels, classes)
    found = compare.compare(a, b)
    assert found.agreement["within_a"] == found.agreement["within_b"] == 75
    assert found.agreement["same"] == (75 + 50 + 100 + 75) / 4
    row = found.groups.set_index("group").loc["all"]
    half = 4.30265 * (2 * 12.5**2) ** 0.5
    assert (row.seeds_low, row.seeds_high) == pytest.approx((25 - half, 25 + half), abs=1e-3)
    text = compare.markdown(found)
    assert "Two seeds of one predict the same class in 75.0% for A and 75.0% for B" in text and "2 seeds" in text


def test_other_groups_leave_all_and_other_images_are_refused() -> None:
    other = Result("c", B.predicted, LABELS, CLASSES.assign(shot=["medium", "many"], count=[30, 200]))
    found = compare.compare(A, other)
    assert found.groups["group"].tolist() == ["all"] and "group their classes differently" in compare.markdown(found)
    for labels, classes in (
        (LABELS[::-1], CLASSES),
        (LABELS[:4], CLASSES),
        (LABELS, CLASSES.assign(name=["x", "dog"])),
    ):
        with pytest.raises(UserError, match="'first' and 'd' have other test images"):
            compare.compare(A, Result("d", np.zeros((1, len(labels)), int), labels, classes))


def test_the_text_has_every_number_and_the_classes_at_both_ends(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(30), 20)
    classes = pd.DataFrame({"class": range(30), "name": [f"c{i}" for i in range(30)], "count": range(60, 30, -1)})
    classes["shot"] = ["medium"] * 30
    first, second = (np.where(random.random((1, 600)) < 0.6, labels, (labels + 1) % 30) for _ in range(2))
    found = compare.compare(*(Result(name, p, labels, classes) for name, p in (("a", first), ("b", second))))
    text = compare.markdown(found)
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| c")]
    order = found.classes.sort_values("difference", kind="stable").name.tolist()
    assert rows == [*order[::-1][:5], *order[:5][::-1]]
    figure.write(tmp_path / "one.svg", found)
    figure.write(tmp_path / "two.svg", found)
    drawn = (tmp_path / "one.svg").read_text()
    assert drawn == (tmp_path / "two.svg").read_text() and "accuracy of B - accuracy of A, points" in drawn
