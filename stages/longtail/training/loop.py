"""The training loop, for one seed, epoch by epoch.

Nothing in an epoch asks the device for a value (but for whitening's eigenvalues, on CUDA), and every draw comes from
(seed, epoch), so that a run that was stopped and resumed, or handed from one stage to the next, is the same run.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.sgd import sgd

from stages.longtail.configuration.recipe import AuxiliaryTasks, Bilateral, NoAuxiliary
from stages.longtail.console.errors import UserError
from stages.longtail.data.batches import Batches
from stages.longtail.models.network import Network, place
from stages.longtail.runtime.devices import Compute
from stages.longtail.training import graphs, parallel_seeds, schedule
from stages.longtail.training.checkpoint import Scratch
from stages.longtail.training.one_stream import OneStream
from stages.longtail.training.phase import Phase
from stages.longtail.training.regularity import Regularity
from stages.longtail.training.two_streams import Branches, Tasks


@dataclass
class Run:
    """A network on its way through epochs. `history` has a dict an epoch: epoch, lr, loss, train_acc, test_*."""

    network: Network
    trained: dict[str, Tensor]  # parameters by name
    momentum: dict[str, Tensor]
    epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    regularity: Regularity | None = None

    def step(self, phase: Phase, rate: float | Tensor) -> None:
        """SGD with momentum on the gradients at hand, by torch's functional form: the class's import takes seconds.

        rate: a scalar on the device where the step is recorded and replayed with other rates.
        """
        parameters = list(self.trained.values())
        gradients = [parameter.grad for parameter in parameters]
        with torch.no_grad():
            sgd(
                parameters,
                gradients,  # type: ignore[arg-type]
                list(self.momentum.values()),
                fused=True,
                lr=rate,
                momentum=phase.momentum,
                weight_decay=phase.weight_decay,
                dampening=0,
                nesterov=False,
                maximize=False,
            )
        self.clean()

    def clean(self) -> None:
        """Forget gradients."""
        for parameter in self.trained.values():
            parameter.grad = None

    def state(self) -> dict[str, Any]:
        """Plain values and tensors: what a checkpoint holds."""
        state = {
            "epoch": self.epoch,
            "architecture": dict(self.network.architecture),
            "network": dict(self.network.state_dict()),
            "momentum": self.momentum,
            "history": self.history,
        }
        return state | ({"regularity": self.regularity.state()} if self.regularity else {})

    def load(self, state: dict[str, Any]) -> None:
        """Take over a state. What is trained now but was not then starts without momentum."""
        self.epoch, self.history = state["epoch"], list(state["history"])
        self.network.load_state_dict(state["network"])
        for name, mine in self.momentum.items():
            if name in state["momentum"]:
                mine.copy_(state["momentum"][name])
        if self.regularity and "regularity" in state:
            self.regularity.load(state["regularity"])


def start(
    network: Network,
    phase: Phase,
    compute: Compute,
    state: dict[str, Any] | None,
    regularity: Regularity | None = None,
) -> Run:
    """Put a network on the device, ready to train; with a `state`, as it was when that was written."""
    network = place(network, compute.device)
    trained = trained_parameters(network, phase)
    network.requires_grad_(False)
    for parameter in trained.values():
        parameter.requires_grad_(True)
    momentum = {name: torch.zeros_like(parameter) for name, parameter in trained.items()}
    run = Run(network, trained, momentum, regularity=regularity)
    if state is not None:
        run.load(state)
    return run


def trained_parameters(network: Network, phase: Phase) -> dict[str, Tensor]:
    """The parameters that a phase trains, by name. Heads of auxiliary tasks are trained only where there are tasks."""
    last_block = f"groups.{len(network.groups) - 1}.{len(network.groups[-1]) - 1}."  # type: ignore[arg-type]
    prefixes = {"all": ("",), "last_block": ("head.", last_block), "head": ("head.",), "scale": ("head.scale",)}
    return {
        name: parameter
        for name, parameter in network.named_parameters()
        if name.startswith(prefixes[phase.trained])
        and not (name.startswith("auxiliary.") and isinstance(phase.auxiliary, NoAuxiliary))
    }


def set_mode(network: Network, phase: Phase) -> None:
    """Training mode for what is trained, evaluation mode for what is frozen."""
    network.train(phase.trained == "all")
    if phase.trained == "last_block":
        network.last_block.train()
        if network.architecture["whitening"]:
            network.whitening.train()  # its inputs change with the last block


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
    """Train `run` up to phase.stop, keeping a checkpoint of the last finished epoch however it ends.

    test: accuracies of the network, for the history; report: called after every epoch.
    Raises UserError if a loss is not finite, with its epoch and step; that epoch is then not kept.
    """
    tested = False
    with closing(Epochs(run, phase, seed, images, compute)) as epochs, closing(scratch):
        while run.epoch < phase.stop:
            row: dict[str, Any] = {"epoch": run.epoch + 1, **epochs.next()}
            run.epoch += 1
            # Not at phase.stop: the history must not tell where another stage took over.
            tests = run.epoch % test_every == 0 or run.epoch == phase.last
            with nullcontext() if tested else graphs.QUIET:
                if tests:
                    row |= {f"test_{group}": value for group, value in test(run.network).items()}
                if run.regularity:
                    run.regularity.count(run.network)
            tested |= tests
            if not torch.stack([torch.isfinite(parameter).all() for parameter in run.trained.values()]).all():
                raise UserError(
                    f"seed {seed} has weights that are no numbers after epoch {run.epoch}: lower protocol.lr, or "
                    "classifier.lr if this is the classify stage"
                )
            run.history.append(row)
            scratch.keep(run.state(), stage_ends=run.epoch == phase.stop)
            report(run)


def objective(phase: Phase, images: Batches, device: torch.device) -> OneStream | Tasks | Branches:
    if isinstance(phase.auxiliary, AuxiliaryTasks):
        return Tasks(phase, images, device)
    if isinstance(phase.auxiliary, Bilateral):
        return Branches(phase, images, device)
    return OneStream(phase, images, device)


class Epochs:
    """What stays the same from epoch to epoch, and `next`, which trains one."""

    def __init__(self, run: Run, phase: Phase, seed: int, images: Batches, compute: Compute):
        self.run, self.phase, self.seed, self.compute = run, phase, seed, compute
        self.objective = objective(phase, images, compute.device)
        on_cuda = compute.device.type == "cuda"
        self.rate: float | Tensor = torch.zeros((), device=compute.device) if on_cuda else 0.0
        self.step: graphs.Step = self._step
        if on_cuda:
            # Eigenvalues wait for the device, and what is streamed comes from the host: neither can be recorded.
            possible = images.resident and not run.network.architecture["whitening"]
            self.step = graphs.Graphs(self._step, run.clean, images.pixels, possible)

    def close(self) -> None:
        """Let the graphs and what they hold go: they and this refer to each other."""
        self.step = self._step

    def _step(self, variant: int, *batch: Tensor) -> tuple[Tensor, Tensor]:
        """Train on one batch. Returns its loss and its number of correct predictions, on the device."""
        with self.compute.autocast():
            loss, hits = self.objective.loss(self.run.network, variant, *batch)
        loss.backward()
        self.run.step(self.phase, self.rate)
        return loss.detach(), hits

    def next(self) -> dict[str, float]:
        """Train epoch run.epoch: as many draws as there are training images, the last smaller batch included.

        Returns its learning rate, the mean loss over images, and the accuracy on them in percent.
        """
        run, phase = self.run, self.phase
        rate = schedule.learning_rate(phase.schedule, phase.lr, run.epoch, phase.epochs)
        drawn = self.objective.draw(self.seed, run.epoch)
        epoch = [torch.from_numpy(array).to(self.compute.device) for array in drawn.arrays]
        if isinstance(self.rate, Tensor):
            self.rate.fill_(rate)
        else:
            self.rate = rate

        set_mode(run.network, phase)
        step_loss: list[Tensor] = []
        correct: list[Tensor] = []
        for variant, *batch in zip(drawn.variants, *(tensor.split(phase.batch_size) for tensor in epoch), strict=True):
            parallel_seeds.check()
            try:
                loss, hits = self.step(variant, *batch)
            except torch.linalg.LinAlgError as error:  # whitening meets what is no number before the loss does
                raise UserError(
                    f"the features of seed {self.seed} cannot be whitened at epoch {run.epoch + 1}, step "
                    f"{len(step_loss) + 1} ({error}): lower protocol.lr"
                ) from error
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
        accuracy = 100 * int(torch.stack(correct).sum()) / len(epoch[0])
        return {"lr": rate, "loss": float(np.average(host_loss, weights=sizes)), "train_acc": accuracy}
