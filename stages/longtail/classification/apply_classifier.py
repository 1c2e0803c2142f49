"""The work of the stage `classify`: from a seed's representation, train on, or re-train, rescale or replace the head.

A state has a seed's network, momentum, epoch, history and more. The functions take the state that `represent` left and
return the state after their work.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

import torch
from torch import nn

from stages.longtail.classification.classifier import (
    Classifier,
    Continue,
    LogitAdjustment,
    NearestClassMean,
    Retrain,
    TauNormalise,
)
from stages.longtail.models import heads, network
from stages.longtail.prediction import predict
from stages.longtail.recipe.representation import NoAuxiliary, NoMixing, NotEmbedded
from stages.longtail.runtime import processes
from stages.longtail.training import losses
from stages.longtail.training.checkpoint import State
from stages.longtail.training.phase import Phase
from stages.longtail.training.session import Session


def classify(session: Session, seed: int, state: State, classifier: Classifier) -> State:
    """Apply the classifier that the parameters choose.

    Args:
        session: what the seeds share.
        seed: whose representation it is.
        state: of the representation.
        classifier: the section of the parameters.
    """
    match classifier:
        case Continue():
            return go_on(session, seed, state, classifier)
        case Retrain():
            return retrain(session, seed, state, classifier)
        case TauNormalise():
            return tau_normalise(session, state, classifier)
        case NearestClassMean():
            return nearest_class_mean(session, state, classifier)
        case LogitAdjustment():
            return adjust_logits(session, state, classifier)
        case _:
            assert_never(classifier)


def go_on(session: Session, seed: int, state: State, classifier: Continue) -> State:
    """Train on from the branch.

    If the classifier changes nothing, this is how the representation itself would go on, and its checkpoints serve.
    """
    protocol, representation = session.params.protocol, session.params.representation
    before = {axis: getattr(representation, axis) for axis in ("sampler", "loss", "weighting")}
    after = {axis: getattr(classifier, axis) or value for axis, value in before.items()}
    key = session.trajectory()
    changed = classifier.trained != "all" or classifier.new_head or classifier.interlude or classifier.epochs
    if changed or after != before or key != state["trajectory"]:
        key = session.key_after(state, classifier)
    if classifier.new_head:
        state = _with_new_head(session, seed, state)
    stop = state["epoch"] + classifier.epochs if classifier.epochs else protocol.epochs
    phase = Phase.of(protocol, representation)
    trained = phase.trained if classifier.trained == "all" else classifier.trained
    phase = replace(phase, stage="classify", trained=trained, frozen=classifier.frozen, stop=stop, last=stop, **after)
    if interlude := classifier.interlude:
        first = replace(phase, sampler=interlude.sampler, stop=state["epoch"] + interlude.epochs)
        state = session.train_seed(seed, first, key, lambda: _restore(session, state), state)
    return session.train_seed(seed, phase, key, lambda: _restore(session, state), state) | {"trajectory": key}


def retrain(session: Session, seed: int, state: State, classifier: Retrain) -> State:
    """Train a new head (cRT), perhaps with the last block or the whole trunk; or one scale per class (LWS)."""
    if classifier.after:
        state = go_on(session, seed, state, classifier.after)
    phase = replace(
        Phase.of(session.params.protocol, session.params.representation),
        stage="classify",
        trained=classifier.trained,
        frozen=classifier.frozen,
        sampler=classifier.sampler,
        loss=classifier.loss,
        weighting=classifier.weighting,
        embedded=NotEmbedded(),
        mixing=NoMixing(),
        auxiliary=NoAuxiliary(),
        schedule=classifier.schedule,
        lr=classifier.lr * classifier.lr_scale,
        weight_decay=classifier.weight_decay,
        epochs=classifier.epochs,
        stop=classifier.epochs,
        last=classifier.epochs,
        stream=1,
    )

    def begin() -> network.Network:
        model = _restore(session, state)
        if classifier.trained == "scale":
            network.scale_head(model, classifier.scale_bias)
        else:
            network.new_head(model, seed)
        return model

    result = session.train_seed(seed, phase, session.key_after(state, classifier), begin)
    kept = {name: state[name] for name in ("history", "regularity", "observed") if name in state}
    return result | kept | {"head_history": result["history"]}


def tau_normalise(session: Session, state: State, classifier: TauNormalise) -> State:
    """Rescale the head's weights by their norm and drop its bias (`decoupling` Eq. 3).

    tau is the recipe's or, if that is null, the one of the grid that is best on the held-out training images.
    """
    model = _restore(session, state)
    head = model.head
    assert isinstance(head, nn.Linear)  # validation/combinations.py refuses a cosine head
    weight = head.weight.detach()
    tau = classifier.tau
    if tau is None:
        features = predict.features(model, session.held, session.compute)
        correct = [
            ((features @ heads.tau_normalised(weight, candidate).T).argmax(1) == session.held.labels).sum()
            for candidate in classifier.grid
        ]
        tau = classifier.grid[int(processes.total(torch.stack(correct)).argmax())]
        print(f"tau {tau:g}, the best of {len(classifier.grid)} on {len(session.subset.held)} held-out images")
    with torch.no_grad():
        head.weight.copy_(heads.tau_normalised(weight, tau))
        head.bias.zero_()
    return _untrained(session, model, state) | {"tau": tau}


def nearest_class_mean(session: Session, state: State, classifier: NearestClassMean) -> State:
    """Replace the head by the class means of the features of the training images, without augmentation."""
    model = _restore(session, state)
    features = predict.shared(
        lambda images: predict.features(model, images, session.compute), session.train, session.compute
    )
    network.nearest_mean_head(model, classifier.distance, features, session.train.labels)
    return _untrained(session, model, state)


def adjust_logits(session: Session, state: State, classifier: LogitAdjustment) -> State:
    """Subtract tau * log(prior) from the logits, by way of the head's bias. The prior is that of the training set."""
    model = _restore(session, state)
    head = model.head
    assert isinstance(head, nn.Linear)
    prior = losses.log_prior(session.subset.classes["count"].to_numpy())
    with torch.no_grad():
        head.bias.sub_(classifier.tau * torch.tensor(prior, dtype=torch.float32, device=head.bias.device))
    return _untrained(session, model, state)


def _restore(session: Session, state: State) -> network.Network:
    return network.restore(state["architecture"], state["network"], session.compute.device)


def _with_new_head(session: Session, seed: int, state: State) -> State:
    """The state with a freshly initialised head, and so without the old head's momentum."""
    model = _restore(session, state)
    network.new_head(model, seed, session.params.representation.head)
    momentum = {name: value for name, value in state["momentum"].items() if not name.startswith("head.")}
    return state | {"network": dict(model.state_dict()), "momentum": momentum}


def _untrained(session: Session, model: network.Network, state: State) -> State:
    """The state of a network whose head was changed without training."""
    kept = {name: state[name] for name in ("history", "regularity", "observed") if name in state}
    return kept | {
        "epoch": state["epoch"],
        "architecture": dict(model.architecture),
        "network": dict(model.state_dict()),
        "head_history": [{"epoch": 0, **session.accuracies(model)}],
    }
