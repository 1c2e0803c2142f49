"""One run shared by several processes (`protocol.shards`), on digits with gloo: what one process alone trains."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
import torch
import workers
import yaml
from conftest import Workplace, composed, tiny
from inprocess import CLASSIFIER, REPRESENTATION, ok, refused

pytestmark = pytest.mark.slow

SHORT = ("protocol.epochs=4", "protocol.width=4", "protocol.schedule.milestones=[2]")
EARLY = "representation.branch={at: start, plus: 2}"
RETRAIN = "classifier.epochs=2"
# Of each objective, of each way of mixing, and of what is done without training, one: shards and overrides.
RUNS: dict[str, tuple[int, tuple[str, ...]]] = {
    "joint": (2, ("method=joint",)),
    "a last batch of one image": (2, ("method=joint", "protocol.batch_size=101")),
    "more shards than processes": (4, ("method=joint", "protocol.epochs=1", "protocol.schedule.milestones=[]")),
    "switching": (2, ("method=switching", EARLY)),
    "crt": (2, ("method=crt", RETRAIN)),
    "lws": (2, ("method=lws", RETRAIN)),
    "ncm": (2, ("method=ncm", "runtime.regularity=true", "runtime.observe=[loss]")),
    "tau_heldout": (2, ("method=tau_heldout", "split.holdout=2")),
    "ldam_drw": (2, ("method=ldam_drw", EARLY)),
    "mfw": (2, ("method=mfw",)),
    "mixup": (2, ("method=mixup",)),
    "cbs_rrs_rotation": (2, ("method=cbs_rrs_rotation",)),
    "bbn": (2, ("method=bbn",)),
    "bet_cw": (2, ("method=bet_cw",)),
}
# Of weights after one epoch, where more than two parts are added up in another order. Every later step multiplies the
# difference, on some processors to 0.004 after four epochs.
CLOSE = 1e-5


def params(shards: int, *overrides: str) -> dict[str, Any]:
    settings = composed(*SHORT, *overrides)
    settings["protocol"]["shards"] = shards
    settings["runtime"]["threads"] = 1
    return settings


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, split_digits: Path) -> Iterator[Callable[[str], Path]]:
    """pair(name): the folder in which two processes have trained a run of RUNS. They do all of them, from now on."""
    base, folders = tmp_path_factory.mktemp("pair"), {}
    for name, (shards, overrides) in RUNS.items():
        folders[name] = base / name
        shutil.copytree(split_digits / "data", folders[name] / "data")
        (folders[name] / "params.yaml").write_text(yaml.safe_dump(params(shards, *overrides)))
    with workers.run(2, list(folders.values()), "represent", "classify") as pair:

        def trained(name: str) -> Path:
            said, _ = pair.communicate(timeout=240)
            assert pair.returncode == 0, said
            return folders[name]

        yield trained
        pair.terminate()


def alone(name: str, split_digits: Path) -> None:
    """Train a run of RUNS in this process and folder."""
    shards, overrides = RUNS[name]
    shutil.copytree(split_digits / "data", "data")
    Path("params.yaml").write_text(yaml.safe_dump(params(shards, *overrides)))
    ok("represent", "classify")


def state(path: Path) -> dict[str, Any]:
    """Of seed 0; without the name of the recipe, which has the number of processes in it."""
    content = torch.load(path, weights_only=True)["seeds"][0]
    return {name: value for name, value in content.items() if name != "trajectory"}


def same(first: Any, second: Any) -> bool:
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[name], second[name]) for name in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    return torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_train_what_one_trains_to_the_last_bit(
    name: str,
    pair: Callable[[str], Path],
    split_digits: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    alone(name, split_digits)
    for path in (REPRESENTATION, CLASSIFIER):
        theirs, mine = state(pair(name) / path), state(path)
        if RUNS[name][0] == 2:
            assert same(theirs, mine), path
        for layer, weight in mine["network"].items():
            assert torch.allclose(theirs["network"][layer].float(), weight.float(), atol=CLOSE), layer


def two(**changes: Any) -> dict[str, Any]:
    """Shared by two processes, which the stage starts itself."""
    return tiny(protocol__epochs=8, protocol__shards=2, runtime__processes=2, **changes)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, split_digits: Path) -> dict[str, Any]:
    """What one process trains that nothing interrupts."""
    place = Workplace(tmp_path_factory.mktemp("straight"))
    shutil.copytree(split_digits / "data", place.folder / "data")
    place.write(two() | {"runtime": tiny()["runtime"]})
    with chdir(place.folder):
        ok("represent")
    return state(place.folder / REPRESENTATION)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def ended(pids: list[int]) -> bool:
    """Within 20 seconds, also as a zombie that no one has asked for."""
    for _ in range(200):
        states = [Path(f"/proc/{pid}/stat") for pid in pids]
        if all(not path.exists() or ") Z" in path.read_text() for path in states):
            return True
        time.sleep(0.1)
    return False


sees_children = pytest.mark.skipif(
    not Path(f"/proc/self/task/{os.getpid()}/children").exists(), reason="no /proc/PID/task/PID/children"
)


def in_third_epoch(digits: Workplace) -> tuple[subprocess.Popen[str], list[int]]:
    """A stage that trains, and its two processes."""
    digits.write(two())
    process = digits.popen("represent")
    assert process.stdout and any("epoch 3 of" in line for line in process.stdout)
    workers = children(process.pid)
    assert len(workers) == 2
    return process, workers


@sees_children
def test_where_a_process_is_killed_the_stage_goes_on_by_itself(digits: Workplace, straight: dict[str, Any]) -> None:
    """The first one, which writes the checkpoints and is heard."""
    process, workers = in_third_epoch(digits)
    os.kill(workers[0], signal.SIGKILL)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0 and not err, err
    assert "process 0 of 2 was ended by SIGKILL: all are started again" in out
    assert "represent, seed 0: from .scratch, epoch" in out
    assert ended(workers)
    assert same(state(digits.folder / REPRESENTATION), straight), "one process, straight through, ends elsewhere"


@sees_children
@pytest.mark.parametrize(
    ("number", "code", "says"),
    [(signal.SIGTERM, 143, "stopped by SIGTERM: run the same command again"), (signal.SIGKILL, -9, "")],
)
def test_a_stage_that_is_killed_leaves_no_process_says_one_line_and_goes_on_when_asked(
    number: signal.Signals, code: int, says: str, digits: Workplace, straight: dict[str, Any]
) -> None:
    process, workers = in_third_epoch(digits)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert err.startswith(says) and err.count("\n") == bool(says), err
    assert ended(workers)

    again = digits.run("represent")
    assert "represent, seed 0: from .scratch, epoch" in again.stdout and not again.stderr
    assert same(state(digits.folder / REPRESENTATION), straight), "one process, straight through, ends elsewhere"


POISONED = """
from stages import represent
from stages.longtail.configuration import command_line
from stages.longtail.runtime import processes
from stages.longtail.training.one_stream import OneStream

shared, loss = processes.shared, OneStream.loss


def poisoned(*arguments, **rest):
    value, hits = loss(*arguments, **rest)
    return value * (float("nan") if processes.rank() == 1 else 1), hits


if __name__ == "__main__":
    processes.shared = lambda module, *rest: shared("poisoned", *rest)
    OneStream.loss = poisoned
    command_line.run(represent.main)
"""


def test_what_is_no_number_in_one_process_is_one_line_for_all(digits: Workplace) -> None:
    digits.write(two())
    (digits.folder / "poisoned.py").write_text(POISONED)
    command = [sys.executable, "-m", "poisoned"]
    result = subprocess.run(command, cwd=digits.folder, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 1
    line = "error: the loss of seed 0 is nan at epoch 1, step 1: lower protocol.lr"
    assert result.stderr.startswith(line) and result.stderr.count("\n") == 1, result.stderr


def test_more_processes_than_parts_are_refused(ready: Workplace) -> None:
    ready.write(tiny(protocol__shards=2, runtime__processes=3))
    refused("represent", "3 processes are to share a batch of 2 parts", "protocol.shards")
    ready.write(tiny(protocol__shards=128))
    refused("represent", "protocol.shards is 128, but protocol.batch_size 64")
