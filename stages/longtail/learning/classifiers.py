"""What `classify` does to one seed's representation: go on with it, re-train its head, rescale it or replace it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from stages.longtail.compute import Compute
from stages.longtail.learning import checkpoint, seeds
from stages.longtail.learning.training import Phase
from stages.longtail.measure import accuracy
from stages.longtail.models import heads, network
from stages.longtail.params import (
    Classifier,
    Continue,
    NearestClassMean,
    NoMixing,
    Protocol,
    Representation,
    Retrain,
    Runtime,
    TauNormalise,
)

State = dict[str, Any]


def go_on(
    seed: int,
    state: State,
    protocol: Protocol,
    representation: Representation,
    classifier: Continue,
    task: seeds.Task,
    runtime: Runtime,
    device: Compute,
) -> State:
    """Train to the protocol's last epoch. Unchanged axes make it the representation's own path, checkpoints included."""
    sampler = classifier.sampler or representation.sampler
    loss = classifier.loss or representation.loss
    phase = Phase.of_protocol(
        protocol, name="classify", sampler=sampler, loss=loss, mixing=representation.mixing, stop=protocol.epochs
    )
    key = seeds.trajectory(task, protocol, representation, runtime, device)
    if (sampler, loss) != (representation.sampler, representation.loss) or key != state["trajectory"]:
        key = _key(state, classifier, protocol, task, runtime, device)
    return seeds.train_seed(
        seed,
        phase,
        key,
        lambda: (network.restore(state["architecture"], state["network"]), state),
        task,
        runtime.test_every,
        device,
    )


def retrain(
    seed: int,
    state: State,
    protocol: Protocol,
    classifier: Retrain,
    task: seeds.Task,
    runtime: Runtime,
    device: Compute,
) -> State:
    """cRT: a new linear head; LWS: a scale for each class of the old one. The trunk is frozen in evaluation mode."""
    phase = Phase(
        name="classify",
        sampler=classifier.sampler,
        loss=classifier.loss,
        mixing=NoMixing("none"),
        schedule=classifier.schedule,
        lr=classifier.lr,
        weight_decay=classifier.weight_decay,
        momentum=protocol.momentum,
        batch_size=protocol.batch_size,
        epochs=classifier.epochs,
        augment=protocol.augment,
        stop=classifier.epochs,
        stream=1,
        frozen_trunk=True,
    )

    def begin() -> tuple[network.Network, None]:
        model = network.restore(state["architecture"], state["network"])
        if classifier.trained == "head":
            network.new_head(model, seed)
        else:
            network.scale_head(model)
        return model, None

    key = _key(state, classifier, protocol, task, runtime, device)
    result = seeds.train_seed(seed, phase, key, begin, task, runtime.test_every, device)
    return result | {"history": state["history"] + result["history"]}


def tau_normalise(state: State, classifier: TauNormalise, task: seeds.Task, device: Compute) -> State:
    """Rescale the head's weights and drop its bias. tau is the recipe's, or the best on the held-out images."""
    model = network.restore(state["architecture"], state["network"]).to(device.device)
    weight = model.head.weight.detach()
    tau = classifier.tau
    if tau is None:
        features = accuracy.features(model, task.held, device)
        correct = [
            ((features @ heads.tau_normalised(weight, candidate).T).argmax(1) == task.held.labels).sum()
            for candidate in classifier.grid
        ]
        tau = classifier.grid[int(torch.stack(correct).argmax())]
        print(f"tau {tau:g}, the best of {len(classifier.grid)} on {len(task.held)} held-out images")
    with torch.no_grad():
        model.head.weight.copy_(heads.tau_normalised(weight, tau))
        model.head.bias.zero_()
    return _untrained(model, state, task, device)


def nearest_class_mean(state: State, classifier: NearestClassMean, task: seeds.Task, device: Compute) -> State:
    """Replace the head by the class means of the training images' features, not augmented."""
    model = network.restore(state["architecture"], state["network"]).to(device.device)
    features = accuracy.features(model, task.train, device)
    network.nearest_mean_head(model, classifier.distance, features, task.train.labels)
    return _untrained(model, state, task, device)


def _untrained(model: network.Network, state: State, task: seeds.Task, device: Compute) -> State:
    """A state whose head came without training: the history gets one row, of the same epoch."""
    tests = {f"test_{group}": value for group, value in task.test_accuracy(model, device).items()}
    row = {"stage": "classify", "epoch": state["epoch"], **tests}
    return {
        "epoch": state["epoch"],
        "architecture": dict(model.architecture),
        "network": {name: value.cpu() for name, value in model.state_dict().items()},
        "history": [*state["history"], row],
    }


def _key(
    state: State, classifier: Classifier, protocol: Protocol, task: seeds.Task, runtime: Runtime, device: Compute
) -> str:
    """The key of what follows a representation: what it follows from, at which epoch, and all that is new."""
    return checkpoint.recipe_key(
        after=state["trajectory"],
        epoch=state["epoch"],
        data=task.digest,
        protocol=asdict(protocol),
        classifier=asdict(classifier),
        device=device.device.type,
        precision=device.precision,
        threads=torch.get_num_threads(),
        test_every=runtime.test_every,
    )
