"""A session on a few random images, to try what follows a representation, and ways to compare states."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from stages.longtail.classification import apply_classifier
from stages.longtail.classification.classifier import Classifier
from stages.longtail.configuration import parameters
from stages.longtail.data.batches import Batches, Images
from stages.longtail.data.subsets import Subset
from stages.longtail.models import network as networks
from stages.longtail.recipe.representation import (
    ClassSampler,
)
from stages.longtail.runtime.devices import Compute
from stages.longtail.training.phase import Phase
from stages.longtail.training.record import Record
from stages.longtail.training.session import Session
from stages.longtail.training.training_params import TrainingParams

CPU = Compute(torch.device("cpu"), "fp32")
RETRAIN = {"kind": "retrain", "sampler": "balanced", "loss": "cross_entropy", "epochs": 2, "lr": 0.1}
RETRAIN |= {"weighting": "none"}
RETRAIN |= {"weight_decay": 0.0, "schedule": {"kind": "cosine", "warmup": 0}}
HEAD, SCALE = RETRAIN | {"trained": "head"}, RETRAIN | {"trained": "scale"}
CONTINUE = {"kind": "continue", "sampler": None, "loss": None, "weighting": None}
INSTANCE, BALANCED, REVERSED = (ClassSampler(kind=kind) for kind in ("instance", "balanced", "reversed"))
CHOSEN = {}  # the classifier of each session, by its id
GRID = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0]


@pytest.fixture
def session_of(tmp_path, change, monkeypatch):
    """A function that opens a session on random images, its checkpoints in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    labels = random.permutation(np.repeat([0, 1, 2], [50, 30, 20]))
    pixels = (random.integers(0, 150, (100, 8, 8, 1)) + 40 * labels[:, None, None, None]).astype(np.uint8)
    images = Images(pixels, labels, [], [0.5], [0.25])
    kept, held, test = np.split(np.arange(100), [60, 75])
    counts = np.bincount(labels[kept])
    classes = pd.DataFrame({"class": range(3), "name": list("abc"), "count": counts, "shot": ["many", "many", "few"]})

    def open_session(classifier, **changes):
        branch = {"representation__branch": {"at": "start", "plus": 2}}
        settings = change(split__holdout=1, **branch | changes) | {"classifier": classifier}
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(settings))
        train, validate, evaluate = (
            Batches(images, rows, CPU.device, pad) for rows, pad in ((kept, 1), (held, 0), (test, 0))
        )
        loaded, subset = parameters.load(tmp_path / "params.yaml"), Subset(kept, held, classes)
        training = TrainingParams.read(loaded)
        session = Session(training, CPU, train, validate, evaluate, subset, "data", Record(tmp_path))
        CHOSEN[id(session)] = loaded.section("classifier", Classifier)
        return session

    return open_session


@pytest.fixture
def phases(monkeypatch):
    """The phases that are trained, in their order, without training them."""
    seen = []

    def train_seed(session, seed, phase, key, begin, state=None):
        seen.append(phase)
        return {**(state or {}), "history": [], "epoch": phase.stop}

    monkeypatch.setattr(Session, "train_seed", train_seed)
    return seen


STATE = {"epoch": 2, "history": [], "trajectory": "its key", "momentum": {}}


def classify(session, seed, state):
    return apply_classifier.classify(session, seed, state, CHOSEN[id(session)])


def represented(session, stop=2, **axes):
    """The state of a representation trained for `stop` epochs."""
    phase = replace(Phase.of(session.params.protocol, session.params.representation), stop=stop, **axes)
    key = session.trajectory()
    return session.train_seed(0, phase, key, lambda: networks.create(session.architecture, 0)) | {"trajectory": key}


def forget(session):
    """Remove the checkpoints that would save training anew."""
    shutil.rmtree(".scratch")


def changed(before, after):
    names = before["network"].keys() & after["network"].keys()
    return {name for name in names if not torch.equal(before["network"][name], after["network"][name])}


def equal(first, second):
    return not changed(first, second) and first["network"].keys() == second["network"].keys()
