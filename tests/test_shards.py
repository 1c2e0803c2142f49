"""One run shared by several processes (`protocol.shards`), on digits with gloo: what one process alone trains."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import together
import torch
import yaml
from conftest import composed
from inprocess import CLASSIFIER, REPRESENTATION, ok

SHORT = ("protocol.epochs=4", "protocol.width=4", "protocol.schedule.milestones=[2]")
BRANCH = "representation.branch={at: last_milestone, plus: 0}"
# Folder names, overrides and shards. One of each objective, of each way of mixing and of what is done without training.
RUNS: dict[str, tuple[int, tuple[str, ...]]] = {
    "joint": (2, ("method=joint",)),
    "crt": (2, ("method=crt", "classifier.epochs=2")),
}


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
    with together.run(2, list(folders.values()), "represent", "classify") as workers:

        def trained(name: str) -> Path:
            said, _ = workers.communicate(timeout=240)
            assert workers.returncode == 0, said
            return folders[name]

        yield trained
        workers.terminate()


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
        assert same(state(pair(name) / path), state(path)), path
