"""What only a GPU shows: run `pytest tests/test_cuda.py` on one. DVC and Hydra are not needed there."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from conftest import Workplace, tiny
from golden.curves import ACCURACY_TOLERANCE, LOSS_TOLERANCE
from inprocess import CLASSIFIER, REPRESENTATION, ok

from stages.longtail.training import graphs, loop

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: nothing of CUDA is tested")

HISTORY = Path("data/classifier/history.csv")
CRT = {
    **{"kind": "retrain", "trained": "head", "sampler": "balanced", "loss": "cross_entropy", "weighting": "none"},
    **{"epochs": 3, "lr": 0.1, "weight_decay": 0.0, "schedule": {"kind": "cosine", "warmup": 0}},
}
SWITCHING = {"kind": "continue", "sampler": "reversed", "loss": None, "weighting": None}
EARLY = {"representation__branch": {"at": "start", "plus": 3}}
RECIPES: dict[str, dict[str, Any]] = {
    "joint": {},
    "switching": {"classifier": SWITCHING, **EARLY},
    "crt": {"classifier": CRT},
    "lws": {"classifier": CRT | {"trained": "scale"}},
    "last block": {"classifier": CRT | {"trained": "last_block"}},
    "mfw": {"representation__mixing": "mfw"},
    "manifold mixup": {"representation__mixing": {"kind": "mixup", "groups": [0, 1, 2]}},
    "remix": {"representation__mixing": "remix"},
    "ldam": {"representation__loss": "ldam", "representation__head": "cosine"},
    "focal, weighted": {"representation__loss": "focal", "representation__weighting": "effective_number"},
    "cdt": {"representation__loss": "cdt"},
    "bet": {"representation__embedded": {"kind": "bet", "interval": 3, "iterations": 2}},
    "whitening": {"representation__whitening": "zca"},
    "two heads": {"representation__auxiliary": {"kind": "tasks", "rotation": "task"}},
    "bbn": {"representation__auxiliary": "bilateral"},
    "in parts": {"protocol__shards": 4},
    "bbn in parts": {"protocol__shards": 2, "representation__auxiliary": "bilateral"},
}


@pytest.fixture(autouse=True)
def recorded() -> Iterator[None]:
    """A step that cannot be recorded is trained without graphs, and after it every other one: no test may pass so."""
    yield
    assert not graphs.broken.is_set(), "a recording failed: see what it said in the output of the first such test"


def run(place: Workplace, **changes: Any) -> dict[str, bytes]:
    """Train on the GPU from nothing. Returns the checkpoints and the history."""
    for folder in ("data/representation", "data/classifier", ".scratch"):
        shutil.rmtree(folder, ignore_errors=True)
    place.write(tiny(**{"protocol__epochs": 6, "runtime__device": "cuda", **changes}))
    ok("represent", "classify", "evaluate")
    return {path.name + path.parent.name: path.read_bytes() for path in (REPRESENTATION, CLASSIFIER, HISTORY)}


def weights(seed: int = 0) -> dict[str, torch.Tensor]:
    return torch.load(CLASSIFIER, weights_only=True)["seeds"][seed]["network"]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_bitwise_is_the_same_bits_again_with_graphs_or_without(
    recipe: str, precision: str, ready: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = RECIPES[recipe] | {"runtime__precision": precision}
    replayed = []
    real = graphs.Graphs.__call__

    def spy(self: graphs.Graphs, variant: int, *batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        replayed.append((variant, len(batch[0])) in self.graphs)
        return real(self, variant, *batch)

    monkeypatch.setattr(graphs.Graphs, "__call__", spy)
    first = run(ready, **changes)
    assert any(replayed) == (recipe != "whitening"), "graphs are recorded wherever they can be"
    assert run(ready, **changes) == first
    monkeypatch.setattr(graphs.Graphs, "__call__", lambda self, variant, *batch: self.step(variant, *batch))
    assert run(ready, **changes) == first


@pytest.mark.parametrize("recipe", ["joint", "crt", "manifold mixup", "whitening", "two heads"])
@pytest.mark.parametrize("mode", ["bitwise", "fast"])
def test_seeds_at_once_are_what_each_is_alone(recipe: str, mode: str, ready: Workplace) -> None:
    changes = RECIPES[recipe] | {"seeds": [0, 1, 2, 3], "runtime__mode": mode}
    together = run(ready, **changes, runtime__at_once=4)
    alone = run(ready, **changes, runtime__at_once=1)
    assert alone == together or mode == "fast"


@pytest.mark.parametrize("recipe", ["joint", "mfw", "two heads"])
def test_fast_is_the_same_within_the_tolerance_of_the_golden_curves(recipe: str, ready: Workplace) -> None:
    run(ready, **RECIPES[recipe])
    bitwise = pd.read_csv(HISTORY)
    run(ready, **RECIPES[recipe], runtime__mode="fast")
    fast = pd.read_csv(HISTORY)
    assert not (fast.loss - bitwise.loss).abs().gt(LOSS_TOLERANCE * (1 + bitwise.loss)).any()
    assert (fast.test_all - bitwise.test_all).abs().mean() <= ACCURACY_TOLERANCE


def test_the_gpu_trains_what_the_cpu_trains(ready: Workplace) -> None:
    run(ready)
    there = pd.read_csv(HISTORY)
    run(ready, runtime__device="cpu")
    here = pd.read_csv(HISTORY)
    assert not (there.loss - here.loss).abs().gt(LOSS_TOLERANCE * (1 + here.loss)).any()
    assert (there.lr == here.lr).all()


def test_interrupted_and_resumed_is_never_having_stopped(ready: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    straight = run(ready)
    shutil.rmtree(".scratch")
    real = loop.Training.train_epoch

    def stop(self: loop.Training) -> dict[str, Any]:
        if self.epoch == 4:
            raise KeyboardInterrupt
        return real(self)

    monkeypatch.setattr(loop.Training, "train_epoch", stop)
    with pytest.raises(KeyboardInterrupt):
        ok("represent")
    monkeypatch.setattr(loop.Training, "train_epoch", real)
    ok("represent", "classify")
    assert CLASSIFIER.read_bytes() == straight[CLASSIFIER.name + CLASSIFIER.parent.name]


def test_streamed_images_give_the_same_bits(ready: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    resident = run(ready)
    monkeypatch.setattr("stages.longtail.runtime.devices.free_memory", lambda device: 0)
    assert run(ready) == resident


@pytest.mark.parametrize("seeds", [[0], [0, 1]], ids=["one", "two in the same epoch"])
def test_one_that_lacks_memory_streams_and_ends_the_same(
    ready: Workplace, monkeypatch: pytest.MonkeyPatch, seeds: list[int]
) -> None:
    resident = run(ready, seeds=seeds)
    real = loop.Training.train_epoch

    def crowded(self: loop.Training) -> dict[str, Any]:
        if self.epoch == 2 and self.objective.images.resident:
            torch.empty(2**50, dtype=torch.uint8, device="cuda")
        return real(self)

    monkeypatch.setattr(loop.Training, "train_epoch", crowded)
    assert run(ready, seeds=seeds) == resident


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name != "whitening"])
def test_an_epoch_waits_for_the_device_at_its_end_alone(
    recipe: str, ready: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch tells of every wait: none may come from a step, with or without graphs."""
    ready.write(tiny(**RECIPES[recipe], runtime__device="cuda"))
    real = loop.Training.train_step

    def strict(self: loop.Training, variant: int, *batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        torch.cuda.set_sync_debug_mode("error")
        try:
            return real(self, variant, *batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(loop.Training, "train_step", strict)
    with warnings.catch_warnings(action="ignore"):  # that this is a prototype, said once
        torch.cuda.set_sync_debug_mode("default")
    ok("represent", "classify")


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU: no two processes, each with its own")
@pytest.mark.parametrize("recipe", ["joint", "crt", "mfw", "two heads", "bbn"])
def test_two_gpus_train_what_one_trains_in_parts(recipe: str, ready: Workplace) -> None:
    changes = {"protocol__epochs": 6, "protocol__shards": 2, "runtime__device": "cuda", **RECIPES[recipe]}
    found = []
    for processes in (1, 2):
        ready.write(tiny(**changes, runtime__processes=processes))
        ready.ok("represent", "classify")
        found.append(weights())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
