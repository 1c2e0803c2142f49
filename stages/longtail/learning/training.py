"""The training loop. One `Phase` says what is trained and how; `train` runs it for one seed, epoch by epoch.

Nothing in an epoch asks the device for a value, and every draw comes from (seed, epoch), so that a run that was
stopped and resumed, or handed from one stage to the next, is the same run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.sgd import sgd

from stages.longtail.compute import Compute
from stages.longtail.data import augment, draws, samplers
from stages.longtail.data.batches import Batches
from stages.longtail.errors import UserError
from stages.longtail.learning import losses, mixing, schedule
from stages.longtail.learning.checkpoint import Scratch
from stages.longtail.models.heads import ScaledHead
from stages.longtail.models.network import Network, place
from stages.longtail.params import Loss, MajorFeatureWeakening, Mixing, Protocol, Schedule, Weighting


@dataclass(frozen=True)
class Phase:
    """Everything about a stretch of training but the data, the seed and the network."""

    name: str  # represent or classify, for the progress bar
    sampler: str
    loss: Loss
    weighting: Weighting
    mixing: Mixing
    schedule: Schedule
    lr: float
    weight_decay: float
    momentum: float
    batch_size: int
    epochs: int  # that the schedule counts
    augment: str
    stop: int  # epochs completed when this phase ends; fewer than `epochs` where another takes over
    stream: int = 0  # of random draws; see draws.generator
    frozen_trunk: bool = False  # train the head alone, on the features of a trunk in evaluation mode

    @classmethod
    def of_protocol(cls, protocol: Protocol, **axes: Any) -> Phase:
        return cls(
            schedule=protocol.schedule,
            lr=protocol.lr,
            weight_decay=protocol.weight_decay,
            momentum=protocol.momentum,
            batch_size=protocol.batch_size,
            epochs=protocol.epochs,
            augment=protocol.augment,
            **axes,
        )


@dataclass
class Run:
    """A network on its way through epochs. `history` has a dict an epoch: epoch, lr, loss, train_acc, test_*."""

    network: Network
    trained: list[Tensor]
    momentum: list[Tensor]
    epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)

    def step(self, phase: Phase, rate: float) -> None:
        """SGD with momentum on the gradients at hand, by torch's functional form: the class's import takes seconds."""
        gradients = [parameter.grad for parameter in self.trained]
        with torch.no_grad():
            sgd(
                self.trained,
                gradients,  # type: ignore[arg-type]
                self.momentum,  # type: ignore[arg-type]
                fused=True,
                lr=rate,
                momentum=phase.momentum,
                weight_decay=phase.weight_decay,
                dampening=0,
                nesterov=False,
                maximize=False,
            )
        for parameter in self.trained:
            parameter.grad = None

    def state(self) -> dict[str, Any]:
        """Plain values and tensors: what a checkpoint holds."""
        return {
            "epoch": self.epoch,
            "architecture": dict(self.network.architecture),
            "network": dict(self.network.state_dict()),
            "momentum": self.momentum,
            "history": self.history,
        }

    def load(self, state: dict[str, Any]) -> None:
        self.epoch, self.history = state["epoch"], list(state["history"])
        self.network.load_state_dict(state["network"])
        for mine, theirs in zip(self.momentum, state["momentum"], strict=True):
            mine.copy_(theirs)


def start(network: Network, phase: Phase, compute: Compute, state: dict[str, Any] | None) -> Run:
    """Put a network on the device, ready to train; with a `state`, as it was when that was written."""
    network = place(network, compute.device)
    trained: list[Tensor] = list(network.parameters())
    if phase.frozen_trunk:
        trained = [network.head.scale] if isinstance(network.head, ScaledHead) else list(network.head.parameters())
        network.requires_grad_(False)
        for parameter in trained:
            parameter.requires_grad_(True)
    run = Run(network, trained, [torch.zeros_like(parameter) for parameter in trained])
    if state is not None:
        run.load(state)
    return run


def train(
    run: Run,
    phase: Phase,
    seed: int,
    images: Batches,
    test: Callable[[Network], dict[str, float]],
    test_every: int,
    compute: Compute,
    scratch: Scratch,
    report: Callable[[Run], None],
) -> None:
    """Train `run` up to phase.stop, writing a checkpoint after every epoch.

    test: accuracies of the network, for the history; report: called after every epoch.
    Raises UserError if a loss is not finite, with its epoch and step; the epoch's checkpoint is then not written.
    """
    epochs = Epochs(phase, seed, images, compute)
    while run.epoch < phase.stop:
        row: dict[str, Any] = {"epoch": run.epoch + 1, **epochs.next(run)}
        run.epoch += 1
        # Not at phase.stop: the history must not tell where another stage took over.
        if run.epoch % test_every == 0 or run.epoch == phase.epochs:
            row |= {f"test_{group}": value for group, value in test(run.network).items()}
        if not all(bool(torch.isfinite(parameter).all()) for parameter in run.trained):
            raise UserError(
                f"seed {seed} has weights that are no numbers after epoch {run.epoch}: lower protocol.lr, or "
                "classifier.lr if this is the classify stage"
            )
        run.history.append(row)
        scratch.write(run.state(), stage_ends=run.epoch == phase.stop)
        report(run)


class Epochs:
    """What stays the same from epoch to epoch, and `next`, which trains one."""

    def __init__(self, phase: Phase, seed: int, images: Batches, compute: Compute):
        counts = np.bincount(images.labels_host)
        self.phase, self.seed, self.images, self.compute = phase, seed, images, compute
        self.loss_function = losses.build(phase.loss, phase.weighting, counts, compute.device)
        self.weakening: mixing.Weakening | None = None
        if isinstance(phase.mixing, MajorFeatureWeakening):
            self.weakening = mixing.Weakening(phase.mixing, counts)

    def next(self, run: Run) -> dict[str, float]:
        """Train epoch run.epoch: as many draws as there are training images, the last smaller batch included.

        Returns its learning rate, the mean loss over images, and the accuracy on them in percent.
        """
        phase, images, device = self.phase, self.images, self.compute.device

        def random(purpose: draws.Purpose) -> np.random.Generator:
            return draws.generator(self.seed, run.epoch, purpose, phase.stream)

        rate = schedule.learning_rate(phase.schedule, phase.lr, run.epoch, phase.epochs)
        progress = run.epoch / phase.epochs
        order = samplers.order(phase.sampler, images.labels_host, random("sampler"), progress)
        crops = augment.draw(phase.augment, len(order), images.pad, random("augment"))
        epoch = [torch.from_numpy(array).to(device) for array in (order, crops)]
        if self.weakening:
            drawn = self.weakening.draw(images.labels_host[order], phase.batch_size, random("mixing"))
            epoch += [torch.from_numpy(array).to(device) for array in drawn]

        run.network.train(not phase.frozen_trunk)
        step_loss, correct = [], []
        for batch in zip(*(tensor.split(phase.batch_size) for tensor in epoch), strict=True):
            loss, hits = self._step(run, rate, *batch)
            step_loss.append(loss)
            correct.append(hits)

        host_loss = torch.stack(step_loss).cpu().double().numpy()
        finite = np.isfinite(host_loss)
        if not finite.all():
            raise UserError(
                f"the loss of seed {self.seed} is {host_loss[~finite][0]} at epoch {run.epoch + 1}, step "
                f"{finite.argmin() + 1}: lower protocol.lr, or classifier.lr if this is the classify stage"
            )
        sizes = [len(rows) for rows in epoch[0].split(phase.batch_size)]
        accuracy = 100 * int(torch.stack(correct).sum()) / len(order)
        return {"lr": rate, "loss": float(np.average(host_loss, weights=sizes)), "train_acc": accuracy}

    def _step(
        self,
        run: Run,
        rate: float,
        rows: Tensor,
        crops: Tensor,
        share: Tensor | None = None,
        partner: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """One update on a batch. Returns its mean loss and its number of correct predictions, still on the device."""
        labels = self.images.labels[rows]
        with self.compute.autocast():
            inputs = self.images.training(rows, crops)
            with torch.set_grad_enabled(not self.phase.frozen_trunk):
                if self.weakening and share is not None and partner is not None:
                    features = run.network.features(inputs, self.weakening.mixer(share, partner), self.weakening.group)
                else:
                    features = run.network.features(inputs)
            logits = run.network.head(features)
            loss = self.loss_function(logits, labels)
        loss.backward()
        run.step(self.phase, rate)
        return loss.detach(), (logits.argmax(1) == labels).sum()
