"""What follows a representation: each classifier applied to a small one, trained here."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from stages.longtail import params
from stages.longtail.compute import Compute
from stages.longtail.data import draws, samplers
from stages.longtail.data.batches import Batches, Images
from stages.longtail.data.split import Subset
from stages.longtail.learning import classifiers
from stages.longtail.learning.session import Session
from stages.longtail.learning.training import Phase
from stages.longtail.models import network as networks

CPU = Compute(torch.device("cpu"), "fp32")
RETRAIN = {"kind": "retrain", "sampler": "balanced", "loss": "cross_entropy", "epochs": 2, "lr": 0.1}
RETRAIN |= {"weighting": "none"}
RETRAIN |= {"weight_decay": 0.0, "schedule": {"kind": "cosine", "warmup": 0}}
HEAD, SCALE = RETRAIN | {"trained": "head"}, RETRAIN | {"trained": "scale"}
PLAIN = {"loss": params.CrossEntropy(), "weighting": params.NoWeighting()}
GRID = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0]


@pytest.fixture
def session_of(tmp_path, change, monkeypatch):
    """A function that opens a session on random images, its checkpoints in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    labels = random.permutation(np.repeat([0, 1, 2], [50, 30, 20]))
    pixels = (random.integers(0, 150, (100, 8, 8, 1)) + 40 * labels[:, None, None, None]).astype(np.uint8)
    images = Images(pixels, labels, "", [0.5], [0.25])
    kept, held, test = np.split(np.arange(100), [60, 75])
    counts = np.bincount(labels[kept])
    classes = pd.DataFrame({"class": range(3), "name": list("abc"), "count": counts, "shot": ["many", "many", "few"]})

    def open_session(classifier, **changes):
        settings = change(split__holdout=1, **changes) | {"classifier": classifier}
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(settings))
        parts = [Batches(images, rows, CPU.device, pad) for rows, pad in ((kept, 1), (held, 0), (test, 0))]
        return Session(params.load(tmp_path / "params.yaml"), CPU, *parts, Subset(kept, held, classes), 1, "data")

    return open_session


def represented(session, stop=2, **axes):
    """The state of a representation trained for `stop` epochs."""
    protocol, axes = session.params.protocol, {"sampler": "instance", "stop": stop, **axes}
    mixing = session.params.representation.mixing
    phase = Phase.of_protocol(protocol, name="represent", mixing=mixing, **PLAIN, **axes)
    key = session.trajectory()
    return session.train_seed(0, phase, key, lambda: networks.create(session.architecture, 0)) | {"trajectory": key}


def forget(session):
    """Remove the checkpoints that would save training anew."""
    shutil.rmtree(session.params.path.parent / ".scratch")


def changed(before, after):
    names = before["network"].keys() & after["network"].keys()
    return {name for name in names if not torch.equal(before["network"][name], after["network"][name])}


def equal(first, second):
    return not changed(first, second) and first["network"].keys() == second["network"].keys()


def test_crt_trains_a_new_head_and_nothing_else(session_of):
    session = session_of(HEAD)
    state = represented(session)
    result = classifiers.classify(session, 0, state)
    assert changed(state, result) == {"head.weight", "head.bias"}
    assert result["history"] == state["history"]
    assert [row["epoch"] for row in result["head_history"]] == [1, 2]
    assert [row["lr"] for row in result["head_history"]] == pytest.approx([0.1, 0.05])


def test_crt_starts_from_a_new_head_and_not_from_the_old_one(session_of):
    session = session_of(HEAD)
    state = represented(session)
    first = classifiers.classify(session, 0, state)
    forget(session)
    state["network"]["head.weight"] += 1
    assert equal(classifiers.classify(session, 0, state), first)


@pytest.mark.parametrize("classifier", [HEAD, SCALE])
def test_retraining_uses_its_own_sampler_and_its_own_stream_of_draws(session_of, monkeypatch, classifier):
    session = session_of(classifier)
    state, seen = represented(session), set()
    order, generator = samplers.order, draws.generator

    def stream(seed, epoch, purpose, phase):
        seen.add((seed, epoch, phase))
        return generator(seed, epoch, purpose, phase)

    def sampled(sampler, labels, random, progress):
        seen.add(sampler)
        return order(sampler, labels, random, progress)

    monkeypatch.setattr(draws, "generator", stream)
    monkeypatch.setattr(samplers, "order", sampled)
    classifiers.classify(session, 0, state)
    assert seen == {"balanced", (0, 0, 1), (0, 1, 1)}


def test_retraining_takes_rate_decay_and_epochs_from_the_classifier_and_the_rest_from_the_protocol(
    session_of, monkeypatch
):
    session = session_of(HEAD | {"weight_decay": 0.25, "lr": 0.3, "epochs": 7}, protocol__batch_size=24)
    state, phases = represented(session), []

    def train_seed(session, seed, phase, key, begin, state=None):
        phases.append(phase)
        return {"history": []}

    monkeypatch.setattr(Session, "train_seed", train_seed)
    classifiers.classify(session, 0, state)
    (phase,) = phases
    assert (phase.weight_decay, phase.lr, phase.epochs, phase.stop) == (0.25, 0.3, 7, 7)
    assert (phase.batch_size, phase.momentum, phase.augment) == (24, 0.9, session.params.protocol.augment)


def test_lws_trains_a_scale_and_nothing_else(session_of):
    session = session_of(SCALE)
    state = represented(session)
    result = classifiers.classify(session, 0, state)
    assert torch.equal(result["network"]["head.linear.weight"], state["network"]["head.weight"])
    assert torch.equal(result["network"]["head.linear.bias"], state["network"]["head.bias"])
    assert (result["network"]["head.scale"] != 1).all() and not changed(state, result)


def test_tau_rescales_the_weights_and_drops_the_bias(session_of):
    session = session_of({"kind": "tau", "tau": 0.5, "grid": []})
    state = represented(session)
    result = classifiers.classify(session, 0, state)
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
    result = classifiers.classify(session, 0, state)
    norms = np.linalg.norm(weight, axis=1)
    assert result["network"]["head.weight"].norm(dim=1).numpy() == pytest.approx(norms ** (1 - best), rel=1e-4)
    assert f"tau {best:g}" in capsys.readouterr().out


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_ncm_takes_its_means_from_the_training_images_as_they_are(session_of, distance):
    session = session_of({"kind": "ncm", "distance": distance})
    state = represented(session)
    result = classifiers.classify(session, 0, state)
    model = networks.restore(state["architecture"], state["network"], CPU.device).eval()
    with torch.no_grad():
        features = model.features(session.train.plain(0, 60)).numpy()
    unit = features - features.mean(0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    means = [unit[session.train.labels_host == c].mean(0) for c in range(3)]
    assert result["network"]["head.means"].numpy() == pytest.approx(np.stack(means), abs=1e-5)
    assert result["architecture"]["head"] == f"ncm_{distance}" and not changed(state, result)


def test_going_on_unchanged_is_never_having_stopped(session_of):
    session = session_of({"kind": "continue", "sampler": None, "loss": None, "weighting": None})
    branched = classifiers.classify(session, 0, represented(session))
    forget(session)
    whole = represented(session, stop=4)
    assert equal(whole, branched)
    assert [row["epoch"] for row in branched["history"]] == [1, 2, 3, 4]
    for key in ("lr", "loss", "train_acc", "test_all"):
        assert [row[key] for row in branched["history"]] == [row[key] for row in whole["history"]]


def test_switching_goes_on_with_the_reversed_sampler(session_of):
    session = session_of({"kind": "continue", "sampler": "reversed", "loss": None, "weighting": None})
    state = represented(session)
    switched = classifiers.classify(session, 0, state)
    phase = Phase.of_protocol(
        session.params.protocol,
        **{"name": "classify", "sampler": "reversed", "stop": 4},
        **PLAIN,
        mixing=session.params.representation.mixing,
    )
    network = networks.create(session.architecture, 0)
    assert equal(session.train_seed(0, phase, "another key", lambda: network, state), switched)
    plain = session_of({"kind": "continue", "sampler": None, "loss": None, "weighting": None})
    assert not equal(classifiers.classify(plain, 0, state), switched)
