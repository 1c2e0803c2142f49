"""What follows a representation: each classifier applied to a small one, trained here."""

import copy

import numpy as np
import pytest
import sessions
import torch
from sessions import (
    BALANCED,
    CONTINUE,
    CPU,
    GRID,
    HEAD,
    RETRAIN,
    SCALE,
    STATE,
    changed,
    classify,
    equal,
    forget,
    represented,
)

from stages.longtail.data import random_draws, samplers
from stages.longtail.models import network as networks

phases, session_of = sessions.phases, sessions.session_of  # pytest finds fixtures among a module's names


def test_crt_trains_a_new_head_and_nothing_else(session_of):
    session = session_of(HEAD)
    state = represented(session)
    result = classify(session, 0, state)
    assert changed(state, result) == {"head.weight", "head.bias"}
    assert result["history"] == state["history"]
    assert [row["epoch"] for row in result["head_history"]] == [1, 2]
    assert [row["lr"] for row in result["head_history"]] == pytest.approx([0.1, 0.05])


def test_crt_starts_from_a_new_head_and_not_from_the_old_one(session_of):
    session = session_of(HEAD)
    state = represented(session)
    first = classify(session, 0, state)
    forget(session)
    state["network"]["head.weight"] += 1
    assert equal(classify(session, 0, state), first)


@pytest.mark.parametrize("classifier", [HEAD, SCALE])
def test_retraining_uses_its_own_sampler_and_its_own_stream_of_draws(session_of, monkeypatch, classifier):
    session = session_of(classifier)
    state, seen = represented(session), set()
    order, generator = samplers.order, random_draws.generator

    def stream(seed, epoch, purpose, phase):
        seen.add((seed, epoch, phase))
        return generator(seed, epoch, purpose, phase)

    def sampled(sampler, *arguments):
        seen.add(sampler)
        return order(sampler, *arguments)

    monkeypatch.setattr(random_draws, "generator", stream)
    monkeypatch.setattr(samplers, "order", sampled)
    classify(session, 0, state)
    assert seen == {BALANCED, (0, 0, 1), (0, 1, 1)}


def test_retraining_takes_rate_decay_and_epochs_from_the_classifier_and_the_rest_from_the_protocol(session_of, phases):
    classifier = HEAD | {"weight_decay": 0.25, "lr": 0.3, "epochs": 7}
    classify(session := session_of(classifier, protocol__batch_size=24), 0, STATE)
    (phase,) = phases
    assert (phase.weight_decay, phase.lr, phase.epochs, phase.stop, phase.last) == (0.25, 0.3, 7, 7, 7)
    assert (phase.batch_size, phase.momentum, phase.augment) == (24, 0.9, session.params.protocol.augment)
    assert (phase.trained, phase.sampler, phase.stream) == ("head", BALANCED, 1)


def test_the_rate_of_retraining_can_be_scaled(session_of, phases):
    classify(session_of(HEAD | {"lr": 0.3, "lr_scale": 0.1}), 0, STATE)
    assert phases[0].lr == pytest.approx(0.03)


def test_retraining_mixes_nothing_embeds_nothing_and_has_no_auxiliary_task(session_of, phases):
    for axis, value in (("mixing", "mixup"), ("embedded", "bet"), ("auxiliary", "tasks")):
        classify(session_of(HEAD, **{f"representation__{axis}": value}), 0, STATE)
    assert {(phase.mixing.kind, phase.embedded.kind, phase.auxiliary.kind) for phase in phases} == {("none",) * 3}


@pytest.mark.parametrize("trained", ["last_block", "all"])
def test_the_last_block_or_all_is_retrained_with_a_new_head(session_of, trained):
    """`decoupling` Table 1: LB+C and B+C. At a rate next to nothing what comes out is what training starts from."""
    classifier = RETRAIN | {"trained": trained, "epochs": 1}
    session = session_of(classifier)
    state = represented(session)
    result = classify(session, 0, state)
    names = {name for name in state["network"] if trained == "all" or name.startswith(("groups.3.0.", "head."))}
    assert changed(state, result) == names
    assert set(result["momentum"]) == {name for name in names if "running" not in name and "num_" not in name}

    still = classify(session_of(classifier | {"lr": 1e-12}), 0, state)
    fresh = classify(session_of(HEAD | {"lr": 1e-12}), 0, state)
    weights = [name for name, value in state["network"].items() if value.dim() > 1 and name != "head.weight"]
    assert all(torch.allclose(still["network"][name], state["network"][name], atol=1e-6) for name in weights)
    assert torch.allclose(still["network"]["head.weight"], fresh["network"]["head.weight"], atol=1e-6)


def test_retraining_can_follow_a_continuation(session_of):
    """As if the two were done one after the other by hand."""
    after = CONTINUE | {"sampler": "reversed"}
    state = represented(session_of(HEAD))
    both = classify(session_of(HEAD | {"after": after}), 0, state)
    switched = classify(session_of(after), 0, state)
    retrained = classify(session_of(HEAD), 0, switched)
    assert equal(both, retrained)
    assert [row["epoch"] for row in both["history"]] == [1, 2, 3, 4] and both["history"] == switched["history"]
    assert [row["epoch"] for row in both["head_history"]] == [1, 2]
    assert not changed(both, switched) - {"head.weight", "head.bias"}


def test_lws_trains_a_scale_and_nothing_else(session_of):
    session = session_of(SCALE)
    state = represented(session)
    result = classify(session, 0, state)
    assert torch.equal(result["network"]["head.linear.weight"], state["network"]["head.weight"])
    assert torch.equal(result["network"]["head.linear.bias"], state["network"]["head.bias"])
    assert (result["network"]["head.scale"] != 1).all() and not changed(state, result)


def test_lws_can_scale_the_bias_as_well(session_of):
    session = session_of(SCALE | {"scale_bias": True})
    state = represented(session)
    state["network"]["head.bias"] += torch.tensor([1.0, -2.0, 3.0])
    result = classify(session, 0, state)
    assert result["architecture"]["head"] == "scaled_bias"
    model = networks.restore(result["architecture"], result["network"], CPU.device).eval()
    with torch.no_grad():
        features = model.features(session.test.plain(0, 25))
        plain = features @ state["network"]["head.weight"].T + state["network"]["head.bias"]
        assert torch.allclose(model.logits(features), plain * result["network"]["head.scale"], atol=1e-5)


def test_retraining_can_let_the_frozen_trunks_statistics_drift(session_of):
    """As common code, which leaves the frozen trunk in training mode."""
    session = session_of(HEAD | {"frozen": "batch"})
    state = represented(session)
    moved = changed(state, classify(session, 0, state))
    assert {name for name in moved if "running" not in name and "num_batches" not in name} == {
        "head.weight",
        "head.bias",
    }
    assert any("running_mean" in name for name in moved)


def test_tau_rescales_the_weights_and_drops_the_bias(session_of):
    session = session_of({"kind": "tau", "tau": 0.5, "grid": []})
    state = represented(session)
    result = classify(session, 0, state)
    by_hand = [row / np.sqrt((row @ row) ** 0.5) for row in state["network"]["head.weight"].numpy()]
    assert result["network"]["head.weight"].numpy() == pytest.approx(np.stack(by_hand), rel=1e-5)
    assert not result["network"]["head.bias"].any()
    assert changed(state, result) == {"head.weight", "head.bias"}
    assert result["history"] == state["history"] and [row["epoch"] for row in result["head_history"]] == [0]


def test_tau_is_chosen_on_the_held_out_images(session_of, capsys):
    """The head prefers a class by the length of its weights; the best tau of the grid is searched one by one here."""
    session = session_of({"kind": "tau", "tau": None, "grid": GRID})
    state = represented(session)
    state["network"]["head.weight"] *= torch.tensor([[8.0], [1.0], [0.3]])
    model = networks.restore(state["architecture"], state["network"], CPU.device).eval()
    weight = state["network"]["head.weight"].numpy()
    right = {"held": [], "test": []}
    with torch.no_grad():
        for name, images in (("held", session.held), ("test", session.test)):
            features = model.features(images.plain(0, 25)).numpy()
            for tau in GRID:
                logits = features @ (weight / np.linalg.norm(weight, axis=1, keepdims=True) ** tau).T
                right[name].append((logits.argmax(1) == images.labels_host).sum())
    best = GRID[int(np.argmax(right["held"]))]
    assert best not in (GRID[0], GRID[int(np.argmax(right["test"]))])  # else the test could not tell
    result = classify(session, 0, state)
    norms = np.linalg.norm(weight, axis=1)
    assert result["network"]["head.weight"].norm(dim=1).numpy() == pytest.approx(norms ** (1 - best), rel=1e-4)
    assert f"tau {best:g}" in capsys.readouterr().out


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_ncm_takes_its_means_from_the_training_images_as_they_are(session_of, distance):
    session = session_of({"kind": "ncm", "distance": distance})
    state = represented(session)
    result = classify(session, 0, state)
    model = networks.restore(state["architecture"], state["network"], CPU.device).eval()
    with torch.no_grad():
        features = model.features(session.train.plain(0, 60)).numpy()
    unit = features - features.mean(0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    means = [unit[session.train.labels_host == c].mean(0) for c in range(3)]
    assert result["network"]["head.means"].numpy() == pytest.approx(np.stack(means), abs=1e-5)
    assert result["architecture"]["head"] == f"ncm_{distance}" and not changed(state, result)


def test_logit_adjustment_subtracts_the_logarithm_of_the_training_prior(session_of):
    """Logits of the test images, one network against the other; the training set has 60 images."""
    session = session_of({"kind": "logit_adjustment", "tau": 1.5})
    state = represented(session)
    result = classify(session, 0, state)
    counts = np.bincount(session.train.labels_host)
    shift = 1.5 * np.log(counts / 60)
    logits = []
    with torch.no_grad():
        for each in (state, result):
            model = networks.restore(each["architecture"], each["network"], CPU.device).eval()
            logits.append(model(session.test.plain(0, 25)).numpy())
    assert logits[1] == pytest.approx(logits[0] - shift, abs=1e-5) and len(set(counts)) == 3
    assert changed(state, result) == {"head.bias"}
    assert result["history"] == state["history"] and [row["epoch"] for row in result["head_history"]] == [0]


@pytest.mark.parametrize("architecture", ["zca", "tasks", "bilateral"])
@pytest.mark.parametrize("classifier", [HEAD, SCALE])
def test_retraining_on_a_trunk_with_more_parts_moves_none_of_them(session_of, architecture, classifier):
    axis = {"representation__whitening" if architecture == "zca" else "representation__auxiliary": architecture}
    session = session_of(classifier, **axis)
    state = represented(session)
    part = {"zca": "whitening.mean", "tasks": "auxiliary.second.weight", "bilateral": "second_block.conv1.weight"}
    assert part[architecture] in state["network"]
    result = classify(session, 0, state)
    assert changed(state, result) <= {"head.weight", "head.bias"}
    assert result["network"]["head.weight" if classifier is HEAD else "head.scale"].shape[0] == 3


def test_classifiers_leave_the_state_that_they_are_given_as_it_was(session_of):
    for classifier in (CONTINUE | {"new_head": True}, HEAD, SCALE, {"kind": "tau", "tau": 1.0, "grid": []}):
        session = session_of(classifier, runtime__regularity=True)
        state = represented(session)
        before = copy.deepcopy(state)
        classify(session, 0, state)
        assert equal(state, before) and state["history"] == before["history"]
        for part in ("momentum", "regularity"):
            assert all(torch.equal(value, before[part][name]) for name, value in state[part].items()), part
