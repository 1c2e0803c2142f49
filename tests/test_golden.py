"""Golden curves are written where training changed and nowhere else, one at a time and on any machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from golden import curves

from stages.longtail.console.errors import UserError

THERE, HERE = {"torch": "1"}, {"torch": "2"}


def curve(loss: float) -> pd.DataFrame:
    return pd.DataFrame({"part": "represent", "epoch": [1, 2], "loss": [2.0, loss], "test_all": [30.0, 50.0]})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Curves of two methods, written on another machine."""
    monkeypatch.setattr(curves, "FOLDER", tmp_path)
    (tmp_path / "machines.json").write_text("[]")
    monkeypatch.setattr(curves, "machine", lambda: THERE)
    for method in ("joint", "mfw"):
        curves.write(method, curve(1.0))
    monkeypatch.setattr(curves, "machine", lambda: HERE)
    return tmp_path


def write(monkeypatch: pytest.MonkeyPatch, method: str, loss: float) -> None:
    """As if what is trained now ended with this loss."""
    monkeypatch.setattr(curves, "train", lambda _: curve(loss))
    monkeypatch.setattr(sys, "argv", ["curves", method])
    curves.main()


def owners(folder: Path) -> dict[str, Any]:
    return {each["machine"]["torch"]: each["curves"] for each in json.loads((folder / "machines.json").read_text())}


def test_what_agrees_with_another_machines_curve_leaves_it_as_it_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (folder / "mfw.csv").read_bytes()
    write(monkeypatch, "mfw", 1.001)
    assert (folder / "mfw.csv").read_bytes() == before and owners(folder) == {"1": ["joint", "mfw"]}


def test_of_another_machine_the_first_loss_counts_more_and_the_mean_of_the_accuracies(folder: Path) -> None:
    theirs = curve(1.0)
    assert not curves.changed("mfw", theirs.assign(loss=[2.01, 1.1])), "0.0033 and 0.05 of a loss"
    assert curves.changed("mfw", theirs.assign(loss=[2.02, 1.0])), "0.0067 in the first epoch"
    assert curves.changed("mfw", theirs.assign(loss=[2.0, 1.3])), "0.15 in a later one"
    assert not curves.changed("mfw", theirs.assign(test_all=[41.0, 50.0])), "5.5 points in the mean"
    assert curves.changed("mfw", theirs.assign(test_all=[43.0, 50.0])), "6.5 points"


def test_a_change_of_training_is_written_for_its_method_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (folder / "joint.csv").read_bytes()
    write(monkeypatch, "mfw", 1.5)
    assert pd.read_csv(folder / "mfw.csv").loss.tolist() == [2.0, 1.5]
    assert (folder / "joint.csv").read_bytes() == before
    assert owners(folder) == {"1": ["joint"], "2": ["mfw"]}


def test_on_the_machine_that_wrote_a_curve_the_last_digit_counts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "machine", lambda: THERE)
    assert curves.changed("mfw", curve(1.001)) and not curves.changed("mfw", curve(1.0))
    write(monkeypatch, "mfw", 1.001)
    assert pd.read_csv(folder / "mfw.csv").loss[1] == 1.001 and owners(folder) == {"1": ["joint", "mfw"]}


def test_a_new_methods_curve_is_asked_for_by_name_and_written_anywhere(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"new has no golden curve yet: .* python -m tests\.golden\.curves new"):
        curves.changed("new", curve(1.0))
    write(monkeypatch, "new", 0.7)
    assert not curves.changed("new", curve(0.7)) and owners(folder) == {"1": ["joint", "mfw"], "2": ["new"]}


def test_every_method_has_a_curve_and_every_curve_a_machine() -> None:
    methods = {path.stem for path in (curves.ROOT / "conf/method").glob("*.yaml")}
    written = [name for each in curves.machines() for name in each["curves"]]
    assert methods == set(written) == {path.stem for path in curves.FOLDER.glob("*.csv")}
    assert len(written) == len(set(written))
