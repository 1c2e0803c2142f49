"""Several seeds, one after the other and at once."""

from __future__ import annotations

import re
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Workplace, tiny
from inprocess import REPRESENTATION, ok, start

from stages.longtail.console.errors import UserError
from stages.longtail.training import loop, parallel_seeds, record

CPU = torch.device("cpu")


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_a_seed_that_fails_leaves_the_others_to_finish(at_once: int) -> None:
    finished = []

    def work(seed: int) -> int:
        if seed in (1, 3):
            raise UserError(f"the loss of seed {seed} is nan")
        finished.append(seed)
        return seed

    with pytest.raises(UserError) as caught:
        parallel_seeds.each([4, 3, 2, 1, 0], work, at_once, CPU)
    words = "the loss of seed 1 is nan; the loss of seed 3 is nan; the others are trained: 0, 2, 4"
    assert str(caught.value) == words and sorted(finished) == [0, 2, 4]


@pytest.mark.parametrize("at_once", [1, 3])
def test_a_failing_device_is_one_line_and_leaves_the_other_seeds_to_finish(at_once: int) -> None:
    finished = []

    def work(seed: int) -> None:
        if seed == 0:
            raise torch.AcceleratorError("CUDA error: an illegal instruction was encountered\nCompile with ...")
        finished.append(seed)

    with pytest.raises(UserError, match=r"^seed 0: CUDA error: an illegal instruction was encountered: run again") as e:
        parallel_seeds.each([0, 1, 2], work, at_once, CPU)
    assert "the others are trained: 1, 2" in str(e.value) and sorted(finished) == [1, 2]


def test_seeds_without_memory_beside_the_others_are_trained_alone(capsys: pytest.CaptureFixture[str]) -> None:
    meeting, caller = threading.Barrier(3, timeout=20), threading.current_thread()

    def work(seed: int) -> str:
        if threading.current_thread() is caller:
            return "alone"
        meeting.wait()
        if seed != 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return "with others"

    assert parallel_seeds.each([0, 1, 2], work, 3, CPU) == {0: "alone", 1: "with others", 2: "alone"}
    assert "no memory beside the others for seeds 0, 2" in capsys.readouterr().out


def test_after_an_interruption_the_next_run_is_not_stopped() -> None:
    parallel_seeds.stopping.set()
    assert parallel_seeds.each([0], lambda seed: parallel_seeds.check() is None, 1, CPU) == {0: True}


def test_results_come_in_the_order_of_the_seeds() -> None:
    def work(seed: int) -> int:
        time.sleep(0.02 * seed)
        return 10 * seed

    assert list(parallel_seeds.each([2, 0, 1], work, 3, CPU).items()) == [(2, 20), (0, 0), (1, 10)]


def test_as_many_are_at_work_as_asked_for() -> None:
    meeting = threading.Barrier(3, timeout=20)
    assert parallel_seeds.each([0, 1, 2], lambda seed: meeting.wait() is not None, 3, CPU) == {
        0: True,
        1: True,
        2: True,
    }


def test_threads_compute_with_as_many_cores_as_the_process() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert set(parallel_seeds.each([0, 1], lambda seed: torch.get_num_threads(), 2, CPU).values()) == {3}
    finally:
        torch.set_num_threads(before)


def test_seeds_at_once_are_what_each_is_alone_to_the_byte(ready: Workplace) -> None:
    changes = {"representation__auxiliary": "tasks", "seeds": [0, 1, 2]}
    written = []
    for at_once in (1, 3):
        ready.write(tiny(**changes, runtime__at_once=at_once))
        ok("represent", "classify")
        paths = (REPRESENTATION, Path("data/classifier/checkpoint.pt"), Path("data/classifier/history.csv"))
        written.append([path.read_bytes() for path in paths])
        for path in Path(".scratch").glob("*/*/*"):
            path.unlink()
    assert written[0] == written[1]


@pytest.mark.parametrize("at_once", [1, 3])
def test_a_failed_seed_alone_is_trained_again(
    ready: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], at_once: int
) -> None:
    ready.write(tiny(seeds=[0, 1, 2], runtime__at_once=at_once))
    real = loop.Training.train_epoch

    def fail(self: loop.Training) -> dict[str, Any]:
        if self.seed == 1 and self.epoch == 2:
            raise UserError("the loss of seed 1 is nan at epoch 3, step 1: lower protocol.lr")
        return real(self)

    monkeypatch.setattr(loop.Training, "train_epoch", fail)
    line = start("represent")
    assert line == (
        "error: the loss of seed 1 is nan at epoch 3, step 1: lower protocol.lr; the others are trained: 0, 2"
    )
    monkeypatch.setattr(loop.Training, "train_epoch", real)
    capsys.readouterr()
    ok("represent")
    again = re.findall(r"seed (\d): epoch (\d+)", capsys.readouterr().out)
    assert {seed for seed, _ in again} == {"1"} and again[0][1] == "3", "on from its last good epoch"


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_seeds_at_once_stop_in_one_line_and_go_on(ready: Workplace, kind: int) -> None:
    long = {"protocol__epochs": 60, "seeds": [0, 1, 2]}
    ready.write(tiny(**long, runtime__at_once=3))
    process = ready.popen("represent")
    while len(list(Path().glob(".scratch/*/seed-*/*/epoch-*.pt"))) < 3:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(kind)
    _, err = process.communicate(timeout=20)
    assert process.returncode == (130 if kind == signal.SIGINT else 143)
    assert err.startswith("stopped by SIG") and err.count("\n") == 1
    result = ready.run("represent")
    assert result.returncode == 0 and "epoch 60 of 60" in result.stdout
    assert not [line for line in result.stdout.splitlines() if " epoch 1 of" in line], "it started over"


@pytest.mark.parametrize("seeds", [[0], [0, 1]], ids=["one", "two in the same epoch"])
def test_out_of_memory_on_the_device_streams_the_images(
    ready: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], seeds: list[int]
) -> None:
    ready.write(tiny(seeds=seeds, runtime__at_once=len(seeds)))
    ok("represent")
    expected = REPRESENTATION.read_bytes()
    for path in Path(".scratch").glob("*/*/*"):
        path.unlink()
    real = loop.Training.train_epoch

    def crowded(self: loop.Training) -> dict[str, Any]:
        if self.epoch == 2 and self.objective.images.resident:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(self)

    monkeypatch.setattr(loop.Training, "train_epoch", crowded)
    ok("represent")
    assert "seed 0: out of memory with all images on the device" in capsys.readouterr().out
    assert REPRESENTATION.read_bytes() == expected

    def full(self: loop.Training) -> dict[str, Any]:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB.")

    monkeypatch.setattr(loop.Training, "train_epoch", full)
    for path in Path(".scratch").glob("*/*/*"):
        path.unlink()
    line = start("represent")
    assert isinstance(line, str) and line.startswith(
        "error: out of memory: lower protocol.batch_size or runtime.at_once"
    )


def test_the_history_grows_while_it_trains(ready: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record.Record, "EVERY", 0.0)
    ready.write(tiny(seeds=[0, 1]))
    seen = []
    real = loop.Training.train_epoch
    path = Path("data/representation/history.csv")

    def look(self: loop.Training) -> dict[str, Any]:
        seen.append(len(path.read_text().splitlines()) - 1 if path.exists() else 0)
        return real(self)

    monkeypatch.setattr(loop.Training, "train_epoch", look)
    ok("represent")
    assert seen == list(range(8)) and len(path.read_text().splitlines()) == 9
