"""What `represent` and `classify` share: parameters, data and device, and how one seed is trained and resumed."""

from __future__ import annotations

import copy
import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from stages.longtail.configuration.parameters import Params
from stages.longtail.configuration.recipe import ZCA, AuxiliaryTasks, Bilateral, Classifier, Protocol, Representation
from stages.longtail.console.errors import UserError
from stages.longtail.data import samplers, subsets
from stages.longtail.data.batches import Batches, read_division
from stages.longtail.files.artifacts import digest, write_csv, write_json
from stages.longtail.models.network import Architecture, Network
from stages.longtail.prediction import accuracy, predict
from stages.longtail.provenance import manifest
from stages.longtail.runtime import devices
from stages.longtail.runtime.devices import Compute
from stages.longtail.training import checkpoint, loop, parallel_seeds
from stages.longtail.training.phase import Phase
from stages.longtail.training.progress import Progress
from stages.longtail.training.regularity import Regularity

SMALL = 64  # pixels a side
HISTORY = ["seed", "part", "epoch", "lr", "loss", "train_acc", *(f"test_{group}" for group in accuracy.GROUPS)]
State = dict[str, Any]  # of one seed, see training.Run.state


class Growing:
    """history.csv while a stage trains, for plots in the meantime: written anew at most every few seconds."""

    EVERY = 3.0  # seconds

    def __init__(self) -> None:
        self.written = time.perf_counter()
        self.rows: dict[int, list[dict[str, Any]]] = {}
        self.lock = threading.Lock()

    def write(self, folder: Path, seed: int, history: list[dict[str, Any]]) -> None:
        with self.lock:
            self.rows[seed] = [{"seed": seed, "part": "so far", **row} for row in history]
            if time.perf_counter() - self.written > self.EVERY:
                rows = [row for seed in sorted(self.rows) for row in self.rows[seed]]
                write_csv(folder / "history.csv", pd.DataFrame(rows, columns=HISTORY))
                self.written = time.perf_counter()


@dataclass(frozen=True)
class Session:
    """`digest` changes with any byte of the data; `channels` are those of the images."""

    params: Params
    compute: Compute
    train: Batches
    held: Batches
    test: Batches
    subset: subsets.Subset
    channels: int
    digest: str
    out: Path
    began: float = field(default_factory=time.perf_counter)
    trained: list[int] = field(default_factory=list)  # images that each seed trained here, not from checkpoints
    earlier: list[dict[str, Any]] = field(default_factory=list)  # how the epochs before came about, where interrupted
    facts: dict[str, Any] = field(default_factory=manifest.facts)
    growing: Growing = field(default_factory=Growing)

    @classmethod
    def open(cls, params: Params, raw: Path, splits: Path, out: Path) -> Session:
        device, protocol = devices.resolve(params.runtime), params.protocol
        subset = subsets.read(splits)
        train, test = read_division(raw, "train"), read_division(raw, "test")
        if subset.counts(train.labels) != subset.classes["count"].tolist():
            raise UserError(f"{splits} is of other images than {raw}: run the split stage again")
        side = protocol.crop or train.images.shape[1]
        if protocol.backbone == "resnet12" and side < 16:
            raise UserError(f"protocol.backbone is resnet12, which needs images of 16 pixels a side, not {side}")
        state = hashlib.sha256(f"{train.digest} {test.digest} {subset.classes.to_csv()}".encode())
        state.update(subset.kept.tobytes())
        return cls(
            params,
            device,
            Batches(train, subset.kept, device.device, protocol.pad, protocol.crop),
            Batches(train, subset.held, device.device, crop=protocol.crop),
            Batches(test, np.arange(len(test.labels)), device.device, crop=protocol.crop),
            subset,
            train.images.shape[-1],
            state.hexdigest(),
            out,
        )

    @property
    def architecture(self) -> Architecture:
        return architecture(self.params.protocol, self.params.representation, self.channels, len(self.subset.classes))

    def test_accuracy(self, network: Network) -> dict[str, float]:
        predictions = predict.predict(network, self.test, self.compute, parallel_seeds.check)
        matrix = predict.confusion(predictions, self.test.labels, len(self.subset.classes))
        return accuracy.by_group(accuracy.per_class(matrix), self.subset.shots)

    def trajectory(self) -> str:
        """The key of the representation's recipe, whatever the epoch at which it stops.

        Its checkpoints serve every stage that trains along the same path: joint's later epochs are those of a
        representation that is trained to the end.
        """
        return self._key(representation=self._axes())

    def key_after(self, state: State, classifier: Classifier) -> str:
        """The key of what follows a representation: what it follows from, at which epoch, and all that is new."""
        return self._key(
            after=state["trajectory"], epoch=state["epoch"], classifier=asdict(classifier), representation=self._axes()
        )

    def _axes(self) -> dict[str, Any]:
        axes = asdict(self.params.representation)
        del axes["branch"]
        return axes

    def _key(self, **recipe: Any) -> str:
        protocol = asdict(self.params.protocol)
        del protocol["name"]
        return checkpoint.recipe_key(
            **recipe,
            data=self.digest,
            protocol=protocol,
            device=self.compute.device.type,
            precision=self.compute.precision,
            threads=torch.get_num_threads(),
            mode=self.params.runtime.mode,
            test_every=self.params.runtime.test_every,
            regularity=self.params.runtime.regularity,
        )

    def train_seed(
        self, seed: int, phase: Phase, key: str, begin: Callable[[], Network], state: State | None = None
    ) -> State:
        """Train one seed to the end of `phase` and return its state.

        It starts from `state`, or from the newest checkpoint that the scratch folder has under `key` if that is later;
        without either, from the network that `begin` makes. If the device has too little memory for the images beside
        the training, it goes on without them there.
        """
        while True:
            resident = self.train.resident
            try:
                return self._train_seed(seed, phase, key, begin, state)
            except torch.OutOfMemoryError:
                if not resident:
                    raise
            self.train.stream()  # for what starts from now on: other seeds keep what they began with
            print(f"seed {seed}: out of memory with all images on the device: from now on each batch is sent there")
            parallel_seeds.free_memory()

    def each(self, work: Callable[[int], State]) -> dict[int, State]:
        """work(seed) of every seed of the parameters; see together.each."""
        return parallel_seeds.each(self.params.seeds, work, self.at_once, self.compute.device)

    @property
    def at_once(self) -> int:
        """Seeds: what the parameters say, else 8 on a GPU, most of which a network for small images leaves idle."""
        small = self.compute.device.type == "cuda" and self.train.side <= SMALL
        return min(self.params.runtime.at_once or (8 if small else 1), len(self.params.seeds), parallel_seeds.STREAMS)

    def _train_seed(
        self, seed: int, phase: Phase, key: str, begin: Callable[[], Network], state: State | None
    ) -> State:
        scratch = checkpoint.Scratch(key, seed)
        begins = state["epoch"] if state else 0
        kept = scratch.latest(phase.stop)
        if kept and (state is None or kept["epoch"] >= state["epoch"]):
            state = kept
        images = copy.copy(self.train)  # its images stay where they are now, whatever another seed runs into
        regularity = Regularity(images, self.compute) if self.params.runtime.regularity else None
        run = loop.start(begin(), phase, self.compute, state, regularity)
        first = run.epoch
        self.earlier.extend({"seed": seed, **part} for part in scratch.notes(begins, first))
        scratch.begin(first, self.facts)

        def report(run: loop.Run) -> None:
            progress.epoch(run.history[-1])
            self.growing.write(self.out, seed, run.history)

        counted = [
            samplers.total(len(images), phase.embedded, phase.batch_size, epoch) for epoch in (first, phase.stop)
        ]
        to_train = phase.auxiliary.streams * (counted[1] - counted[0])
        with Progress(f"{phase.name}, seed {seed}", first, phase.stop, to_train) as progress:
            loop.train(
                run,
                phase,
                seed,
                images,
                self.test_accuracy,
                self.params.runtime.test_every,
                self.compute,
                scratch,
                report,
            )
        self.trained.append(to_train)
        return run.state()


def architecture(protocol: Protocol, representation: Representation, channels: int, classes: int) -> Architecture:
    """What the recipe's network is made of, for images of so many channels."""
    auxiliary: dict[str, int] = {}
    if isinstance(representation.auxiliary, AuxiliaryTasks):
        auxiliary["second"] = classes
        if representation.auxiliary.rotation == "task":
            auxiliary["rotation"] = 4
    whitening: dict[str, float] = {}
    if isinstance(representation.whitening, ZCA):
        whitening = {"epsilon": representation.whitening.epsilon, "momentum": representation.whitening.momentum}
    return Architecture(
        backbone=protocol.backbone,
        width=protocol.width,
        channels=channels,
        classes=classes,
        head=representation.head,
        whitening=whitening,
        bilateral=isinstance(representation.auxiliary, Bilateral),
        auxiliary=auxiliary,
        projection=protocol.projection,
        crop=protocol.crop,
    )


def write_states(session: Session, states: dict[int, State], manifest_path: Path | None) -> None:
    """Hand on every seed's state as checkpoint.pt, the epochs so far as history.csv, and how they came about.

    part: represent up to the branch epoch, continue after it; head: epochs of a head on the frozen representation,
    which count on from those before.
    """
    folder, rows, branch = session.out, [], session.params.branch_epoch
    for seed, state in states.items():
        for row in state["history"]:
            rows.append({"seed": seed, "part": "represent" if row["epoch"] <= branch else "continue", **row})
        for row in state.get("head_history", []):
            rows.append({"seed": seed, "part": "head", **row, "epoch": state["history"][-1]["epoch"] + row["epoch"]})
    write_csv(folder / "history.csv", pd.DataFrame(rows, columns=HISTORY))
    checkpoint.save(folder / "checkpoint.pt", {"seeds": states})
    took = manifest.describe(
        session.compute, session.at_once, time.perf_counter() - session.began, sum(session.trained)
    )
    took["earlier"] = session.earlier
    took["checkpoint"] = digest(folder / "checkpoint.pt")
    write_json(manifest_path or folder / "manifest.json", took)
