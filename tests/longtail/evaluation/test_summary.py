"""The tables of reports/, by hand: means and deviations over seeds, the last epoch and the best one."""

import numpy as np
import pandas as pd
import pytest

from stages.longtail.evaluation import summary

SHOTS = ["many", "few"]
FIRST, SECOND = np.array([[9, 1], [8, 2]]), np.array([[7, 3], [4, 6]])  # 90 and 20, 70 and 60 percent
NAN = float("nan")


def history(*rows, seed=0):
    """Rows of (part, epoch, test accuracy of all, of few)."""
    table = pd.DataFrame(rows, columns=["part", "epoch", "test_all", "test_few"])
    return table.assign(seed=seed, test_many=2 * table.test_all - table.test_few, test_medium=NAN)


def joined(*tables):
    return pd.concat(tables, ignore_index=True)


PLAIN = history(("represent", 1, 40.0, 0.0), ("represent", 2, 60.0, 10.0), ("represent", 3, 55.0, 20.0))


def test_acc_is_the_last_epoch_and_best_the_best_one():
    got = summary.metrics([FIRST], PLAIN, SHOTS)
    assert got["acc"] == {"all": 55, "many": 90, "few": 20}
    assert got["best"] == {"all": 60, "many": 110, "few": 10, "epoch": 2}
    assert got["seeds"] == 1 and "std" not in got and "best_std" not in got


def test_two_seeds_give_means_and_the_deviation_of_a_sample():
    other = history(("represent", 1, 70.0, 50.0), ("represent", 2, 65.0, 60.0), seed=1)
    got = summary.metrics([FIRST, SECOND], joined(PLAIN, other), SHOTS)
    assert got["acc"] == {"all": 60, "many": 80, "few": 40}
    assert got["std"] == pytest.approx({"all": 50**0.5, "many": 200**0.5, "few": 800**0.5}, abs=1e-4)
    assert got["best"] == {"all": 65, "many": 100, "few": 30, "epoch": 1.5}
    assert got["best_std"]["all"] == pytest.approx(50**0.5, abs=1e-4) and got["seeds"] == 2


def test_the_best_epoch_of_a_method_that_goes_on_may_lie_before_the_branch():
    rows = joined(PLAIN, history(("continue", 4, 58.0, 30.0), ("continue", 5, 59.0, 30.0)))
    assert summary.best_epoch(rows)["epoch"] == 2


def test_the_best_epoch_of_a_retrained_head_is_one_of_its_own_epochs():
    rows = joined(PLAIN, history(("head", 4, 50.0, 30.0), ("head", 5, 52.0, 31.0)))
    assert summary.best_epoch(rows) == {"all": 52, "many": 73, "few": 31, "epoch": 5}


def test_the_best_epoch_of_an_untrained_head_is_the_one_that_it_was_made_at():
    rows = joined(PLAIN, history(("head", 3, 45.0, 40.0)))
    assert summary.best_epoch(rows) == {"all": 45, "many": 50, "few": 40, "epoch": 3}


def test_epochs_of_another_methods_head_never_count_for_a_new_head():
    rows = joined(PLAIN, history(("continue", 4, 80.0, 1.0)), history(("head", 5, 50.0, 30.0)))
    assert summary.best_epoch(rows)["all"] == 50


def test_untested_epochs_are_passed_over_and_the_earliest_of_equals_is_taken():
    rows = history(("represent", 1, NAN, NAN), ("represent", 2, 60.0, 10.0), ("represent", 3, 60.0, 20.0))
    assert summary.best_epoch(rows)["epoch"] == 2


def with_held(rows, *held):
    return rows.assign(held_all=held)


def test_selected_is_the_test_accuracy_at_the_epoch_that_is_best_on_held_out_images():
    got = summary.metrics([FIRST], with_held(PLAIN, 50.0, 40.0, 51.0), SHOTS)
    assert got["selected"] == {"all": 55, "many": 90, "few": 20, "epoch": 3}
    assert got["best"]["epoch"] == 2 and "selected" not in summary.metrics([FIRST], PLAIN, SHOTS)


def test_each_seed_chooses_its_own_epoch():
    other = history(("represent", 1, 70.0, 50.0), ("represent", 2, 65.0, 60.0), seed=1)
    rows = joined(with_held(PLAIN, 1.0, 2.0, 3.0), with_held(other, 2.0, 1.0))
    got = summary.metrics([FIRST, SECOND], rows, SHOTS)
    assert got["selected"] == {"all": 62.5, "many": 90, "few": 35, "epoch": 2}
    assert got["selected_std"]["all"] == pytest.approx(112.5**0.5, abs=1e-4)


def test_the_first_of_equals_is_selected_and_only_among_a_new_heads_own_epochs():
    rows = joined(
        with_held(PLAIN, 9.0, 9.0, 9.0), with_held(history(("head", 4, 50.0, 3.0), ("head", 5, 52.0, 1.0)), 8, 8)
    )
    assert summary.selected_epoch(rows[["part", "epoch", "held_all"]]) == 4


def long(part, first, last, start=0.0, seed=0):
    return history(*((part, epoch, start + epoch, 10.0) for epoch in range(first, last + 1)), seed=seed)


def test_the_mean_of_the_last_ten_epochs_is_over_epochs_then_seeds():
    """Epochs 3 to 12 have a mean of 7.5, the other seed's 17.5."""
    both = joined(long("represent", 1, 12), long("represent", 1, 12, 10, seed=1))
    assert summary.last_epochs(both) == pytest.approx({"all": 12.5, "many": 15, "few": 10})


def test_the_last_ten_epochs_are_none_where_another_training_would_be_among_them():
    assert summary.last_epochs(joined(long("represent", 1, 20), long("continue", 21, 29))) is None
    assert summary.last_epochs(joined(long("represent", 1, 20), long("continue", 21, 30)))["all"] == 25.5
    assert summary.last_epochs(joined(long("represent", 1, 20), long("head", 20, 20))) is None
    untested = long("represent", 1, 12)
    untested.loc[5, "test_all"] = NAN
    assert summary.last_epochs(untested) is None


CLASSES = pd.DataFrame(
    {"class": [0, 1, 2], "name": ["a", "b", "c"], "count": [5, 90, 5], "shot": ["few", "medium", "few"]}
)
THREE = np.array([[1, 1, 0], [0, 4, 0], [1, 1, 2]])


def test_per_class_ranks_by_training_images_and_averages_over_seeds():
    table = summary.per_class([THREE, np.diag([1, 1, 1])], CLASSES)
    assert table["rank"].tolist() == [1, 2, 3]
    assert table["name"].tolist() == ["b", "a", "c"]  # a before c, which has as many
    assert table["accuracy"].tolist() == [100, 75, 75]
    assert table["std"].tolist() == pytest.approx([0, 1250**0.5, 1250**0.5])
    assert "std" not in summary.per_class([THREE], CLASSES)


def test_shots_lists_the_groups_that_have_classes_in_their_order():
    table = summary.shots({"acc": {"all": 55, "few": 20, "many": 90}})
    assert table.values.tolist() == [["all", 55], ["many", 90], ["few", 20]]


def test_confusion_has_a_row_for_each_image():
    pairs = summary.confusion(THREE, ["a", "b", "c"])
    assert pairs.columns.tolist() == ["actual", "predicted"]
    assert ["".join(pair) for pair in pairs.values] == ["aa", "ab", "bb", "bb", "bb", "bb", "ca", "cb", "cc", "cc"]
