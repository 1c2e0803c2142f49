"""What a training says where there is no terminal."""

from __future__ import annotations

import pytest

from stages.longtail.cluster import status
from stages.longtail.training import progress


def test_a_line_for_each_tenth_and_every_five_minutes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now)
    row = {"loss": 1.0, "train_acc": 50.0, "test_all": 40.0}
    with progress.Progress("represent, seed 0", 0, 50, 5000) as told:
        for number in range(1, 11):
            now += 200.0 if number > 5 else 10.0
            told.epoch(row | {"epoch": number})
    lines = capsys.readouterr().out
    assert [line.split()[4] for line in lines.splitlines()] == ["5", "7", "9", "10"]
    assert status.PROGRESS.findall(lines)[0] == ("represent, seed 0: epoch 5 of 50", "10 images/s, 450 s left")
