"""The training of one seed: `Training` owns all that changes while it trains, and reads from top to bottom.

Within an epoch the host never waits for a value from the device, except for whitening's eigenvalues on CUDA. Every
random draw depends on the seed and the epoch alone. So a run that was stopped and resumed, or handed on to another
stage, is the same run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any, assert_never

import numpy as np
import torch
from torch import Tensor
from torch.optim.sgd import sgd

from stages.longtail.console.errors import UserError
from stages.longtail.data.batches import Batches
from stages.longtail.models.network import Network, place
from stages.longtail.recipe import schedule
from stages.longtail.recipe.representation import AuxiliaryTasks, Bilateral, MajorFeatureWeakening, NoAuxiliary
from stages.longtail.runtime import processes
from stages.longtail.runtime.devices import ONE_AT_A_TIME, Compute
from stages.longtail.training import graphs, losses, parallel_seeds
from stages.longtail.training.checkpoint import State
from stages.longtail.training.observation import Measures, Observation
from stages.longtail.training.one_stream import OneStream
from stages.longtail.training.phase import Phase
from stages.longtail.training.regularity import Regularity
from stages.longtail.training.shards import Shards
from stages.longtail.training.two_streams import Branches, Tasks


class Training:
    """The training of one seed in one phase: create it, then iterate over its `epochs`.

    The state of the seed is its network, momentum (tensors by name), epoch (how many are done) and history (a dict per
    epoch: epoch, lr, loss, train_acc, test_*, held_*). Everything else stays the same from epoch to epoch.
    """

    def __init__(
        self,
        phase: Phase,
        seed: int,
        network: Network,
        images: Batches,
        compute: Compute,
        state: State | None = None,
        measures: Measures | None = None,
    ) -> None:
        """Put a network on the device, ready to train.

        Args:
            phase: what is trained, and how.
            seed: of the random draws.
            network: is trained itself, not a copy of it.
            images: the training images.
            compute: device and number format.
            state: what to go on from. None: start from `network` as it is.
            measures: what to measure after every epoch beside the accuracies; None: nothing.
        """
        measures = measures or Measures()
        self.phase, self.seed, self.compute = phase, seed, compute
        self.network = place(network, compute.device)
        self.trained = trained_parameters(network, phase)
        network.requires_grad_(False)
        for parameter in self.trained.values():
            parameter.requires_grad_(True)
        self.momentum = {name: torch.zeros_like(parameter) for name, parameter in self.trained.items()}
        self.groups = rates(self.trained, phase)
        self.epoch = self.images = 0  # images: how many this object has trained on
        self.history: list[dict[str, Any]] = []
        self.regularity = Regularity(images, compute) if measures.regularity else None
        self.observation = observation(measures, phase, network, images, compute) if measures.quantities else None
        self.tested = False
        if state is not None:
            self._load(state)

        processes.align([*network.state_dict().values(), *self.momentum.values()])
        self.objective = objective(phase, images, compute.device)
        self.shards = Shards(phase.shards, network, list(self.trained.values())) if phase.shards > 1 else None
        on_cuda = compute.device.type == "cuda"
        self.rate: float | Tensor = torch.zeros((), device=compute.device) if on_cuda else 0.0
        self.step: graphs.Step = self.train_step
        if on_cuda:
            # A graph cannot record steps that wait for eigenvalues, that take images from the host, or that exchange
            # gradients with other processes.
            possible = images.resident and not network.architecture["whitening"] and processes.count() == 1
            self.step = graphs.Graphs(self.train_step, self.forget_gradients, images.pixels, possible)

    def epochs(self, test: Callable[[Network], dict[str, float]], test_every: int) -> Iterator[dict[str, Any]]:
        """Train to the end of the phase.

        Args:
            test: returns the accuracies of the network, percent, by their names in the history.
            test_every: epochs from one test to the next; the last epoch of the run is tested as well.

        Yields:
            The row of the history of each epoch, when the epoch is finished.

        Raises:
            UserError: a loss or a weight is not finite. The epoch in which that happens is not yielded.
        """
        while self.epoch < self.phase.stop:
            row = self.train_epoch()
            # phase.stop is no reason to test: the history must not depend on where another stage takes over.
            tests = self.epoch % test_every == 0 or self.epoch == self.phase.last
            with nullcontext() if self.tested else ONE_AT_A_TIME:
                if tests:
                    row |= test(self.network)
                if self.regularity:
                    self.regularity.count(self.network)
                if self.observation:
                    self.observation.look(self.network, self.epoch)
            self.tested |= tests
            if not torch.stack([torch.isfinite(parameter).all() for parameter in self.trained.values()]).all():
                raise UserError(
                    f"seed {self.seed} has weights that are no numbers after epoch {self.epoch}: lower protocol.lr, or "
                    "classifier.lr if this is the classify stage"
                )
            self.history.append(row)
            yield row

    def train_epoch(self) -> dict[str, Any]:
        """Train on as many drawn images as there are training images; phase.drop_last leaves out a smaller last batch.

        Returns:
            The number of the epoch (1 is the first), its learning rate, the loss averaged over its images, and the
            accuracy on them in percent.
        """
        phase, device = self.phase, self.compute.device
        rate = schedule.learning_rate(phase.schedule, phase.lr, self.epoch, phase.epochs)
        if isinstance(self.rate, Tensor):
            self.rate.fill_(rate)
        else:
            self.rate = rate
        drawn = self.objective.draw(self.seed, self.epoch)
        variants, arrays = drawn.variants, drawn.arrays
        if phase.drop_last:
            variants = variants[: len(arrays[0]) // phase.batch_size]
            arrays = [array[: len(variants) * phase.batch_size] for array in arrays]
        streams = [(arrays[at], arrays[at + 1]) for at in range(0, 2 * drawn.streams, 2)]
        self.objective.images.expect(streams, self._parts(len(arrays[0])))
        batches = [torch.from_numpy(array).to(device).split(phase.batch_size) for array in arrays]

        set_mode(self.network, phase)
        step_losses: list[Tensor] = []
        correct: list[Tensor] = []
        for variant, *batch in zip(variants, *batches, strict=True):
            parallel_seeds.check()
            try:
                loss, hits = self.step(variant, *batch)
            except torch.linalg.LinAlgError as error:  # whitening fails at NaN before the loss shows it
                raise UserError(
                    f"the features of seed {self.seed} cannot be whitened at epoch {self.epoch + 1}, step "
                    f"{len(step_losses) + 1} ({error}): lower protocol.lr"
                ) from error
            step_losses.append(loss)
            correct.append(hits)

        # Only here does the host wait for the device.
        host_loss = processes.total(torch.stack(step_losses)).cpu().double().numpy()
        finite = np.isfinite(host_loss)
        if not finite.all():
            raise UserError(
                f"the loss of seed {self.seed} is {host_loss[~finite][0]} at epoch {self.epoch + 1}, step "
                f"{finite.argmin() + 1}: lower protocol.lr, or classifier.lr if this is the classify stage"
            )
        processes.align(self.network.buffers())  # running averages are those of the first shard, in one process
        self.epoch += 1
        sizes = [len(rows) for rows in batches[0]]
        self.images += sum(sizes)
        return {
            "epoch": self.epoch,
            "lr": rate,
            "loss": float(np.average(host_loss, weights=sizes)),
            "train_acc": 100 * int(processes.total(torch.stack(correct).sum())) / sum(sizes),
        }

    def _parts(self, images: int) -> Iterator[slice]:
        """The parts of an epoch of `images` that this process computes, in order: whole batches, or its shards."""
        for start in range(0, images, self.phase.batch_size):
            size = min(self.phase.batch_size, images - start)
            for _, part in self.shards.own(size) if self.shards else [(0, slice(0, size))]:
                yield slice(start + part.start, start + part.stop)

    def train_step(self, variant: int, *batch: Tensor) -> tuple[Tensor, Tensor]:
        """Train on one batch.

        Args:
            variant, batch: what the objective's `draw` drew for it, on the device.

        Returns:
            Its loss and its number of correct predictions, on the device.
        """
        if self.shards:
            loss, hits = self.shards.step(self.add_gradients, variant, batch)
        else:
            loss, hits = self.add_gradients(variant, batch)
        self.update()
        return loss, hits

    def add_gradients(
        self, variant: int, batch: Sequence[Tensor], whole: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Add the gradients of a batch to those that there are.

        Args:
            variant, batch: see `train_step`.
            whole: the batch of which `batch` is a part, if it is one.

        Returns:
            As `train_step`.
        """
        with self.compute.autocast():
            loss, hits = self.objective.loss(self.network, variant, *batch, whole=whole)
        loss.backward()
        return loss.detach(), hits

    def update(self) -> None:
        """Take a step of SGD with momentum, by torch's function: to import its class takes seconds.

        On CUDA the learning rate is a tensor, so that a recorded step can be replayed with another rate.
        """
        with torch.no_grad():
            for names, times in self.groups:
                sgd(
                    [self.trained[name] for name in names],
                    [self.trained[name].grad for name in names],  # type: ignore[misc]
                    [self.momentum[name] for name in names],
                    fused=True,
                    lr=self.rate if times == 1 else self.rate * times,
                    momentum=self.phase.momentum,
                    weight_decay=self.phase.weight_decay,
                    dampening=0,
                    nesterov=self.phase.nesterov,
                    maximize=False,
                )
        self.forget_gradients()

    def forget_gradients(self) -> None:
        """Leave no gradients behind for the next step."""
        if self.shards:
            self.shards.gradients.zero_()
            return
        for parameter in self.trained.values():
            parameter.grad = None

    def state(self) -> State:
        """What a checkpoint holds."""
        state: State = {
            "epoch": self.epoch,
            "architecture": dict(self.network.architecture),
            "network": dict(self.network.state_dict()),
            "momentum": self.momentum,
            "history": self.history,
        }
        if self.regularity:
            state["regularity"] = self.regularity.state()
        if self.observation:
            state["observed"] = list(self.observation.rows)
        return state

    def _load(self, state: State) -> None:
        """Go on from a state. A parameter that was not trained before starts without momentum."""
        self.epoch, self.history = state["epoch"], list(state["history"])
        self.network.load_state_dict(state["network"])
        for name, mine in self.momentum.items():
            if name in state["momentum"]:
                mine.copy_(state["momentum"][name])
        if self.regularity and "regularity" in state:
            self.regularity.load(state["regularity"])
        if self.observation:
            self.observation.rows = list(state.get("observed", ()))

    def close(self) -> None:
        """Release the graphs and the memory that they hold, and end the processes that decode images.

        The graphs and this object refer to each other, so without this their memory would be freed late.
        """
        self.step = self.train_step
        self.objective.images.close()


def observation(measures: Measures, phase: Phase, network: Network, images: Batches, compute: Compute) -> Observation:
    """What measures the network after every epoch, for `runtime.observe`.

    The gradient of features is measured where MFW mixes them; without MFW after the second group of convolutions
    (`procrustean` section 3.4).

    Args:
        measures: which quantities.
        phase, network, images, compute: see Training.
    """
    classes, mixing = network.architecture["classes"], phase.mixing
    group = mixing.group if isinstance(mixing, MajorFeatureWeakening) and mixing.group else 2
    counts = np.bincount(images.labels_host, minlength=classes)
    adjust = losses.adjustment(phase.loss, counts, compute.device)
    return Observation(measures.quantities, images, classes, adjust, group, compute, measures.test)


def objective(phase: Phase, images: Batches, device: torch.device) -> OneStream | Tasks | Branches:
    """What a step computes: the loss of one stream of images, of `balance`'s auxiliary tasks, or of BBN.

    Args:
        phase: whose `auxiliary` decides.
        images: the training images.
        device: where the step is computed.
    """
    match phase.auxiliary:
        case NoAuxiliary():
            return OneStream(phase, images, device)
        case AuxiliaryTasks():
            return Tasks(phase, images, device)
        case Bilateral():
            return Branches(phase, images, device)
        case _:
            assert_never(phase.auxiliary)


def trained_parameters(network: Network, phase: Phase) -> dict[str, Tensor]:
    """The parameters that a phase trains, by name. Heads of auxiliary tasks are trained only where there are tasks."""
    last_block = f"groups.{len(network.groups) - 1}.{len(network.groups[-1]) - 1}."  # type: ignore[arg-type]
    prefixes = {
        "all": ("",),
        "tuned": ("head.", "auxiliary.", "projection.", last_block),
        "last_block": ("head.", last_block),
        "head": ("head.",),
        "scale": ("head.scale",),
    }
    return {
        name: parameter
        for name, parameter in network.named_parameters()
        if name.startswith(prefixes[phase.trained])
        and not (name.startswith("auxiliary.") and isinstance(phase.auxiliary, NoAuxiliary))
    }


def rates(trained: Iterable[str], phase: Phase) -> list[tuple[list[str], float]]:
    """Groups of parameters with one learning rate: their names, and the factor that the phase's rate has for them."""
    if phase.trunk == 1:
        return [(list(trained), 1.0)]
    heads = [name for name in trained if name.startswith(("head.", "auxiliary."))]
    trunk = [name for name in trained if name not in heads]
    return [(names, times) for names, times in ((heads, 1.0), (trunk, phase.trunk)) if names]


def set_mode(network: Network, phase: Phase) -> None:
    """Training mode for what is trained; for what is frozen evaluation mode, unless phase.frozen is batch."""
    network.train(phase.trained == "all" or phase.frozen == "batch")
    if phase.trained in ("last_block", "tuned"):
        network.last_block.train()
        if network.architecture["whitening"]:
            network.whitening.train()  # its inputs change with the last block
