"""What all seeds of `represent` or `classify` share and none changes, and how one seed is trained and resumed."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

import torch

from stages.longtail.configuration.schema import Section
from stages.longtail.console.errors import UserError
from stages.longtail.data import packed, samplers, subsets
from stages.longtail.data.batches import Batches, read_division
from stages.longtail.models import network, pretrained
from stages.longtail.models.network import Architecture, Network, features_size
from stages.longtail.prediction import accuracy, predict
from stages.longtail.provenance import manifest
from stages.longtail.recipe.protocol import Protocol
from stages.longtail.recipe.representation import (
    ZCA,
    AuxiliaryTasks,
    Bilateral,
    NoAuxiliary,
    NoWhitening,
    Representation,
)
from stages.longtail.runtime import devices, processes
from stages.longtail.runtime.devices import Compute
from stages.longtail.training import checkpoint, parallel_seeds, small_batches
from stages.longtail.training.checkpoint import Scratch, State
from stages.longtail.training.loop import Training
from stages.longtail.training.observation import Measures
from stages.longtail.training.phase import Phase
from stages.longtail.training.progress import Progress
from stages.longtail.training.record import Record
from stages.longtail.training.shards import cut
from stages.longtail.training.training_params import TrainingParams

SMALL = 64  # pixels: up to this side, images are small and a GPU has room for several seeds


@dataclass(frozen=True)
class Session:
    """Parameters, device and data. `digest` changes with any byte of the data.

    Where several processes share a run, each has all training images, since its parts of the batches may need any of
    them (on its device, unless they are packed or too many: see Batches). Of the test images and of those held out it
    has only its own part.
    """

    params: TrainingParams
    compute: Compute
    train: Batches
    held: Batches
    test: Batches
    subset: subsets.Subset
    digest: str
    record: Record

    @classmethod
    def open(cls, params: TrainingParams, raw: Path, splits: Path, out: Path) -> Session:
        """Read the data.

        Args:
            params: of the stage.
            raw: the folder of the images.
            splits: the folder of the subset.
            out: the folder that the stage writes.

        Raises:
            UserError: subset, images and parameters do not fit each other.
        """
        compute, protocol, record = devices.resolve(params.runtime), params.protocol, Record(out)
        subset, workers = subsets.read(splits), params.runtime.workers
        train, test = read_division(raw, "train"), read_division(raw, "test")
        if subset.counts(train.labels) != subset.classes["count"].tolist():
            raise UserError(f"{splits} is of other images than {raw}: run the split stage again")
        side = protocol.crop or train.side
        if protocol.backbone == "resnet12" and side < 16:
            raise UserError(f"protocol.backbone is resnet12, which needs images of 16 pixels a side, not {side}")
        state = hashlib.sha256(f"{train.digest} {test.digest} {subset.classes.to_csv()}".encode())
        state.update(subset.kept.tobytes())
        state.update(subset.held.tobytes())  # empty without split.holdout, so those runs keep the keys that they had
        held, tested = subset.held[predict.own(len(subset.held), compute)], predict.own(len(test.labels), compute)
        session = cls(
            params,
            compute,
            packed.batches(train, subset.kept, compute.device, protocol.pad, protocol.crop, workers),
            packed.batches(train, held, compute.device, crop=protocol.crop, workers=workers),
            packed.batches(test, tested, compute.device, crop=protocol.crop, workers=workers),
            subset,
            state.hexdigest(),
            record,
        )
        session._check_batches()
        return session

    def _check_batches(self) -> None:
        """Raise UserError if an epoch has no batch; print a note on batches that are too small for whitening."""
        size, images = self.params.protocol.batch_size, len(self.train)
        if self.params.protocol.drop_last and images < size:
            raise UserError(
                f"protocol.drop_last leaves no batch: there are {images} training images, and protocol.batch_size is "
                f"{size}: lower it"
            )
        if whitening := self.architecture["whitening"]:
            channels, streams = features_size(self.architecture), self.params.representation.auxiliary.streams
            last = 0 if self.params.protocol.drop_last else images % size
            parts = [
                part.stop - part.start
                for batch in (min(size, images), last)
                for part in cut(batch, self.params.protocol.shards)
            ]
            small = [n for n in dict.fromkeys(parts) if streams * n <= channels]
            if small:
                what = "batches" if self.params.protocol.shards == 1 else "parts of batches"
                print(
                    f"note: {what} of {' and of '.join(map(str, small))} images have a singular covariance of "
                    f"{channels} channels: representation.whitening whitens them by its small_batch_epsilon, "
                    f"{whitening['small_batch_epsilon']:g}, and not fully; larger ones it does"
                )

    @property
    def architecture(self) -> Architecture:
        return architecture(
            self.params.protocol, self.params.representation, self.train.channels, len(self.subset.classes)
        )

    def accuracies(self, network: Network) -> dict[str, float]:
        """Percent: test_all, test_many..., and where training images are held out, held_all, held_many..."""
        divisions = {"test": self.test} | ({"held": self.held} if len(self.subset.held) else {})
        result: dict[str, float] = {}
        for name, images in divisions.items():
            predictions = predict.predict(network, images, self.compute, parallel_seeds.check)
            matrix = predict.confusion(predictions, images.labels, len(self.subset.classes))
            matrix = processes.total(torch.from_numpy(matrix)).numpy()
            groups = accuracy.by_group(accuracy.per_class(matrix), self.subset.shots)
            result |= {f"{name}_{group}": value for group, value in groups.items()}
        return result

    def create(self, seed: int) -> Network:
        """The network that the representation starts from."""
        create = pretrained.create if self.params.protocol.weights else network.create
        return create(self.architecture, seed)

    def trajectory(self) -> str:
        """The key of the representation's recipe, without the epoch at which it stops.

        So its checkpoints serve every stage that trains in the same way: the later epochs of joint are those of a
        representation that is trained to the end.
        """
        return self._key(representation=self._axes())

    def key_after(self, state: State, classifier: Section) -> str:
        """The key of what follows the representation of `state`, from its key, its epoch and all that is new."""
        return self._key(
            after=state["trajectory"],
            epoch=state["epoch"],
            classifier=classifier.model_dump(),
            representation=self._axes(),
        )

    def _axes(self) -> dict[str, Any]:
        axes = self.params.representation.model_dump()
        del axes["branch"]
        return axes

    def _key(self, **recipe: Any) -> str:
        protocol, runtime = self.params.protocol.model_dump(), self.params.runtime
        del protocol["name"]
        if protocol["shards"] == 1:  # such recipes keep the keys that they had before there were shards
            del protocol["shards"]
        together = {"processes": processes.count()} if "shards" in protocol else {}
        return checkpoint.recipe_key(
            {**recipe, "data": self.digest, "protocol": protocol},
            device=self.compute.device.type,
            precision=self.compute.precision,
            threads=torch.get_num_threads(),
            mode=runtime.mode,
            test_every=runtime.test_every,
            regularity=runtime.regularity,
            observe="+".join(runtime.observe),
            **together,
        )

    def each(self, work: Callable[[int], State]) -> dict[int, State]:
        """The result of work(seed) for every seed of the parameters; see parallel_seeds.each."""
        return parallel_seeds.each(self.params.seeds, work, self.at_once, self.compute.device)

    @property
    def at_once(self) -> int:
        """How many seeds are trained at the same time.

        What the parameters say, else 8 on a GPU, since a network for small images leaves most of it idle. One where
        several processes share each seed.
        """
        if processes.count() > 1:
            return 1
        small = self.compute.device.type == "cuda" and self.train.side <= SMALL
        return min(self.params.runtime.at_once or (8 if small else 1), len(self.params.seeds), parallel_seeds.STREAMS)

    def train_seed(
        self, seed: int, phase: Phase, key: str, begin: Callable[[], Network], state: State | None = None
    ) -> State:
        """Train one seed to the end of a phase.

        Args:
            seed: of its random draws.
            phase: what is trained, and how.
            key: of the recipe: the folder in .scratch/ that has its checkpoints.
            begin: makes the network.
            state: what to go on from, unless the newest checkpoint is of the same epoch or a later one.

        Returns:
            The state at the end. If the device has too little memory for images and training, the images are removed
            from it for all seeds that start from now on; the others keep what they began with.
        """
        small_batches.check(phase, len(self.train), self.architecture, self.train.side)
        while True:
            resident = self.train.resident
            try:
                return self._train_seed(seed, phase, key, begin, state)
            except torch.OutOfMemoryError:
                if not resident or processes.count() > 1:  # the others wait for this one's part
                    raise
            self.train.stream()
            print(f"seed {seed}: out of memory with all images on the device: from now on each batch is sent there")
            parallel_seeds.free_memory()

    def _train_seed(
        self, seed: int, phase: Phase, key: str, begin: Callable[[], Network], state: State | None
    ) -> State:
        scratch, runtime = Scratch(key, seed, self.record.out), self.params.runtime
        name, begins = f"{phase.stage}, seed {seed}", state["epoch"] if state else 0
        kept = processes.agreed(lambda: scratch.latest(phase.stop))
        if kept and (state is None or kept["epoch"] >= begins):
            state = kept
        images = copy.copy(self.train)  # these images stay where they are, even if another seed runs out of memory
        measures = Measures(runtime.regularity, runtime.observe, self.test)
        training = Training(phase, seed, begin(), images, self.compute, state, measures)
        first = training.epoch
        self.record.earlier.extend({"seed": seed, **part} for part in scratch.notes(begins, first))
        _tell(name, scratch, begins, first, phase.stop)
        if first < phase.stop:
            scratch.begin(first, manifest.facts())
        done, total = (
            samplers.total(len(images), phase.embedded, phase.batch_size, epoch) for epoch in (first, phase.stop)
        )
        to_train = phase.auxiliary.streams * (total - done)
        with Progress(name, first, phase.stop, to_train) as progress, closing(training), closing(scratch):
            for row in training.epochs(self.accuracies, runtime.test_every):
                if processes.rank():
                    continue
                scratch.keep(training.state(), stage_ends=training.epoch == phase.stop)
                self.record.epoch(seed, training.history)
                progress.epoch(row)
        self.record.trained.append(phase.auxiliary.streams * training.images)
        return training.state()

    def write(self, states: dict[int, State], manifest_path: Path | None, recipe: str) -> None:
        """Hand on the states of all seeds; see Record.write."""
        branch, at_once = self.params.branch_epoch, self.at_once
        processes.agreed(lambda: self.record.write(states, branch, self.compute, at_once, manifest_path, recipe))


def _tell(name: str, scratch: Scratch, begins: int, first: int, stop: int) -> None:
    """Print which epochs come from .scratch/, or would with another `runtime`, and how to change that.

    Args:
        name: of the stage and the seed.
        scratch: where the checkpoints of the phase are.
        begins, first, stop: how many epochs are done before the phase, now, and at its end.
    """
    if first > begins:
        then = "nothing is left to train" if first == stop else f"it goes on to epoch {stop}"
        start = f"{name}: from {checkpoint.SCRATCH}, epoch {first}: {then}"
        print(f"{start}; to start afresh: rm -r {scratch.folder}")
    elif first < stop and (other := scratch.elsewhere(stop)) and other[0] > begins:
        epoch, folder, values = other
        settings = " and ".join(f"runtime.{name} to {value}" for name, value in values.items())
        print(f"{name}: epoch {epoch} of this recipe, computed otherwise, lies in {folder}: set {settings} to use it")


def architecture(protocol: Protocol, representation: Representation, channels: int, classes: int) -> Architecture:
    """What the network of a recipe is made of.

    Args:
        protocol, representation: the recipe.
        channels: of the images.
        classes: how many.
    """
    auxiliary: dict[str, int] = {}
    match representation.auxiliary:
        case NoAuxiliary() | Bilateral():
            pass
        case AuxiliaryTasks(rotation=rotation):
            auxiliary = {"second": classes} | ({"rotation": 4} if rotation == "task" else {})
        case _:
            assert_never(representation.auxiliary)
    whitening: dict[str, float] = {}
    match representation.whitening:
        case NoWhitening():
            pass
        case ZCA():
            whitening = representation.whitening.model_dump(exclude={"kind"})
        case _:
            assert_never(representation.whitening)
    made = Architecture(
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
    if not protocol.projection_relu:  # with the ReLU the key is left out, as in checkpoints from before the choice
        made["projection_relu"] = False
    return made
