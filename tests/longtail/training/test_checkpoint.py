"""What .scratch/ holds of a training, and when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from stages.longtail.training import checkpoint
from stages.longtail.training.checkpoint import Scratch


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scratch:
    monkeypatch.setattr(checkpoint, "SCRATCH", tmp_path)
    return Scratch("recipe", 0, Path("out"))


class Training:
    """One weight, which is the number of the epoch, and a history."""

    def __init__(self) -> None:
        self.weight, self.history = torch.zeros(1), list[dict[str, Any]]()

    def epoch(self) -> dict[str, Any]:
        self.weight += 1
        self.history.append({"epoch": len(self.history) + 1})
        return {"epoch": len(self.history), "network": {"weight": self.weight}, "history": self.history}


def written(scratch: Scratch) -> list[str]:
    return sorted(path.name for path in scratch.folder.rglob("*.pt"))


def test_of_quick_epochs_the_last_finished_one_is_kept_as_it_was(scratch: Scratch) -> None:
    training = Training()
    for _ in range(3):
        scratch.keep(training.epoch(), stage_ends=False)
    assert written(scratch) == ["epoch-1.pt"], "the first one at once, the next ones not within a second of it"
    training.epoch()  # one that does not finish
    scratch.close()
    assert written(scratch) == ["epoch-3.pt"]
    kept = Scratch("recipe", 0, Path("out")).latest(10)
    assert kept == {
        "epoch": 3,
        "network": {"weight": torch.tensor([3.0])},
        "history": [{"epoch": 1}, {"epoch": 2}, {"epoch": 3}],
    }
    scratch.close()
    assert written(scratch) == ["epoch-3.pt"]


def test_slow_epochs_are_all_written(scratch: Scratch, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(checkpoint.time, "perf_counter", lambda: now)
    training = Training()
    for number in (1, 2, 3):
        now += Scratch.EVERY
        scratch.keep(training.epoch(), stage_ends=False)
        assert written(scratch) == [f"epoch-{number}.pt"]


def test_epochs_at_which_a_stage_ends_are_written_and_stay(scratch: Scratch) -> None:
    training = Training()
    for number in range(5):
        scratch.keep(training.epoch(), stage_ends=number in (1, 3))
    scratch.close()
    assert written(scratch) == ["epoch-2.pt", "epoch-4.pt", "epoch-5.pt"]


def test_what_came_about_before_is_told_in_parts(scratch: Scratch) -> None:
    training = Training()
    for first, epochs, threads in ((0, 2, 1), (2, 3, 4)):
        part = Scratch("recipe", 0, Path("out"))
        part.latest(10)
        part.begin(first, {"threads": threads})
        for _ in range(epochs):
            part.keep(training.epoch(), stage_ends=False)
        part.close()
    assert scratch.latest(10)["epoch"] == 5
    told = [(part["epochs"], part["threads"]) for part in scratch.notes(0, 5)]
    assert told == [([1, 2], 1), ([3, 5], 4)]
    assert scratch.notes(2, 5) == scratch.notes(0, 5)[1:]


def test_stages_that_train_one_recipe_at_once_leave_each_other_their_checkpoints(scratch: Scratch) -> None:
    """One goes on to epoch 6, the other only to 4, and is killed before it: it finds what it had."""
    longer, shorter = Training(), Training()
    other = Scratch("recipe", 0, Path("another"))
    scratch.EVERY = other.EVERY = 0
    for stage in (scratch, other):
        stage.begin(0, {"stage": stage.own.name})
    for number in range(1, 7):
        scratch.keep(longer.epoch(), stage_ends=number == 6)
        if number <= 3:
            other.keep(shorter.epoch(), stage_ends=False)
    assert written(scratch) == ["epoch-3.pt", "epoch-6.pt"]
    again = Scratch("recipe", 0, Path("another"))
    assert again.latest(4)["epoch"] == 3
    assert [(part["epochs"], part["stage"]) for part in again.notes(0, 3)] == [([1, 3], other.own.name)]
    again.begin(3, {})
    again.keep(shorter.epoch(), stage_ends=True)
    assert written(scratch) == ["epoch-4.pt", "epoch-6.pt"]
    assert scratch.latest(6)["epoch"] == 6, "and what a stage ended with stays"
