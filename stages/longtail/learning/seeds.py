"""What `represent` and `classify` have in common: their data, and the loop over seeds that can stop and go on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from stages.longtail.artifacts import write_csv
from stages.longtail.compute import Compute
from stages.longtail.data import split
from stages.longtail.data.batches import Batches, read_division
from stages.longtail.learning import checkpoint, training
from stages.longtail.learning.progress import Progress
from stages.longtail.measure import accuracy
from stages.longtail.models.network import Architecture, Network
from stages.longtail.params import Protocol, Representation, Runtime

HISTORY = ["seed", "stage", "epoch", "lr", "loss", "train_acc", *(f"test_{group}" for group in accuracy.GROUPS)]


@dataclass(frozen=True)
class Task:
    """The data of one split on a device. `digest` changes with any byte of it."""

    train: Batches
    held: Batches
    test: Batches
    subset: split.Subset
    channels: int
    digest: str

    @classmethod
    def read(cls, raw: Path, splits: Path, compute: Compute, pad: int) -> Task:
        subset = split.read(splits)
        train, test = read_division(raw, "train"), read_division(raw, "test")
        state = hashlib.sha256(f"{train.digest} {test.digest} {subset.classes.to_csv()}".encode())
        state.update(subset.kept.tobytes())
        everything = range(len(test.labels))
        return cls(
            Batches(train, subset.kept, compute.device, pad),
            Batches(train, subset.held, compute.device),
            Batches(test, list(everything), compute.device),
            subset,
            train.images.shape[-1],
            state.hexdigest(),
        )

    def architecture(self, protocol: Protocol, head: str) -> Architecture:
        return Architecture(
            backbone=protocol.backbone,
            width=protocol.width,
            channels=self.channels,
            classes=len(self.subset.classes),
            head=head,
        )

    def test_accuracy(self, network: Network, compute: Compute) -> dict[str, float]:
        predictions = accuracy.predict(network, self.test, compute)
        matrix = accuracy.confusion(predictions, self.test.labels, len(self.subset.classes))
        return accuracy.by_group(accuracy.per_class(matrix), self.subset.shots)


def trajectory(task: Task, protocol: Protocol, representation: Representation, runtime: Runtime, compute: Compute) -> str:
    """The key of a representation's recipe, whatever the epoch at which it stops.

    Its checkpoints serve every stage that trains along the same path: joint's later epochs are those of a
    representation that is trained to the end.
    """
    axes = asdict(representation)
    del axes["branch"]
    return checkpoint.recipe_key(
        data=task.digest,
        protocol=asdict(protocol),
        representation=axes,
        device=compute.device.type,
        precision=compute.precision,
        threads=torch.get_num_threads(),
        test_every=runtime.test_every,
    )


def train_seed(
    seed: int,
    phase: training.Phase,
    key: str,
    begin: Callable[[], tuple[Network, dict[str, Any] | None]],
    task: Task,
    test_every: int,
    compute: Compute,
) -> dict[str, Any]:
    """Train one seed to the end of `phase`, from its newest checkpoint in the scratch folder, else from `begin`.

    Returns the final state, see training.Run.state.
    """
    scratch = checkpoint.Scratch(key, seed)
    network, state = begin()
    state = max([state, scratch.latest(phase.stop)], key=lambda candidate: candidate["epoch"] if candidate else -1)
    run = training.start(network, phase, compute, state)
    with Progress(f"{phase.name}, seed {seed}", run.epoch, phase.stop, len(task.train)) as progress:
        training.train(
            run,
            phase,
            seed,
            task.train,
            lambda network: task.test_accuracy(network, compute),
            test_every,
            compute,
            scratch,
            lambda run: progress.epoch(run.history[-1]),
        )
    return run.state()


def write_states(folder: Path, states: dict[int, dict[str, Any]]) -> None:
    """Hand on every seed's state: checkpoint.pt, and the epochs so far as history.csv."""
    rows = [{"seed": seed, **row} for seed, state in states.items() for row in state["history"]]
    write_csv(folder / "history.csv", pd.DataFrame(rows, columns=HISTORY))
    checkpoint.save(folder / "checkpoint.pt", {"seeds": states})
