"""A kind that a new model adds, and that some function does not know, stops there: none falls through to another's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from conftest import tiny

from stages.longtail.classification import apply_classifier
from stages.longtail.configuration.parameters import parse
from stages.longtail.configuration.schema import Section
from stages.longtail.data import augment, samplers
from stages.longtail.data.batches import Batches
from stages.longtail.models import heads
from stages.longtail.recipe.protocol import Protocol
from stages.longtail.recipe.representation import ClassSampler, CrossEntropy, NoWeighting, Representation
from stages.longtail.recipe.schedule import branch_epoch, learning_rate
from stages.longtail.runtime.devices import Compute
from stages.longtail.sources import loading
from stages.longtail.sources.dataset import Dataset
from stages.longtail.splits import imbalance
from stages.longtail.training import loop, losses, mixing, session
from stages.longtail.training.phase import Phase

CPU, COUNTS, LABELS = torch.device("cpu"), np.array([3, 2]), np.array([0, 0, 0, 1, 1])
RANDOM = np.random.default_rng(0)
PROTOCOL = parse(Protocol, tiny()["protocol"], "protocol")
REPRESENTATION = parse(Representation, tiny()["representation"], "representation")
DIGITS = parse(Dataset, tiny()["dataset"], "dataset")
PHASE = Phase.of(PROTOCOL, REPRESENTATION)


class Novel(Section):
    """A kind that no function knows."""

    kind: Literal["novel"] = "novel"
    warmup: int = 0
    alpha: float = 1.0


NEW: Any = Novel()


def architecture(**axes: Any) -> Any:
    return session.architecture(PROTOCOL, REPRESENTATION.model_copy(update=axes), 1, 2)


DISPATCHES: dict[str, Callable[[], Any]] = {
    "loss": lambda: losses.build(NEW, NoWeighting(), COUNTS, CPU),
    "weighting": lambda: losses.build(CrossEntropy(), NEW, COUNTS, CPU),
    "classifier": lambda: apply_classifier.classify(None, 0, {}, NEW),
    "head": lambda: heads.build("novel", 3, 2),
    "distance": lambda: heads.NearestMeanHead(3, 2, "novel")(torch.zeros(1, 3)),
    "source": lambda: loading.load(DIGITS.model_copy(update={"name": "novel"})),
    "mixing": lambda: mixing.draw(NEW, COUNTS, LABELS, 2, RANDOM),
    "deviation": lambda: mixing.mfw_class_weight(COUNTS, 1.0, "novel"),
    "profile": lambda: imbalance.class_counts("novel", 2.0, 3, 2),
    "schedule": lambda: learning_rate(NEW, 0.1, 0, 1),
    "branch": lambda: branch_epoch(NEW, 3, SimpleNamespace(at="novel", plus=0)),
    "objective": lambda: loop.objective(replace(PHASE, auxiliary=NEW), None, CPU),
    "auxiliary heads": lambda: architecture(auxiliary=NEW),
    "whitening": lambda: architecture(whitening=NEW),
    "sampler": lambda: samplers.order(NEW, LABELS, 5, 2, RANDOM),
    "embedded": lambda: samplers.epoch(ClassSampler(), NEW, LABELS, 2, RANDOM, 0, 1),
    "embedded, counted": lambda: samplers.total(5, NEW, 2, 1),
    "augmentation": lambda: Batches.draw(SimpleNamespace(), "novel", 1, RANDOM),
    "crop": lambda: augment.draw("novel", 1, 1, RANDOM),
    "precision": lambda: Compute(CPU, "novel").autocast(),
}


@pytest.mark.parametrize("what", DISPATCHES)
def test_an_unknown_kind_stops(what: str) -> None:
    with pytest.raises(AssertionError, match="Expected code to be unreachable"):
        DISPATCHES[what]()
