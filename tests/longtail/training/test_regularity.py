"""Learned and forgotten events (`switching` Eq. 8, 9) of a network whose predictions are written down in advance."""

import copy

import numpy as np
import pytest
import torch

from stages.longtail.data.batches import Batches, Images
from stages.longtail.models import network as networks
from stages.longtail.recipe.representation import ClassSampler, CrossEntropy, NoWeighting
from stages.longtail.recipe.schedule import Constant
from stages.longtail.runtime.devices import Compute
from stages.longtail.training.loop import Training
from stages.longtail.training.observation import Measures
from stages.longtail.training.phase import Phase
from stages.longtail.training.regularity import Regularity

CPU = Compute(torch.device("cpu"), "fp32")
NARROW = {"backbone": "resnet8", "width": 4, "channels": 1, "classes": 3, "head": "linear"}
NARROW |= {"whitening": {}, "bilateral": False, "auxiliary": {}}
LABELS = np.array([0, 1, 2, 1])
EPOCHS = [[0, 0, 2, 0], [0, 1, 1, 0], [1, 1, 2, 2], [0, 1, 0, 0], [1, 0, 0, 1]]  # predictions after each epoch
# Correct: image 0 in epochs 1, 2, 4; image 1 in 2, 3, 4; image 2 in 1 and 3; image 3 in 5.
LEARNED = [3, 3, 2, 1]
FORGOTTEN = [2, 1, 2, 0]  # image 0 in epochs 3 and 5, image 1 in 5, image 2 in 2 and 4; image 3 has no epoch left


class Scripted(torch.nn.Module):
    """Predicts what is written, and notes the images and the mode in which it is asked."""

    def __init__(self):
        super().__init__()
        self.epochs, self.modes, self.images = iter(EPOCHS), [], []

    def forward(self, x):
        self.modes.append(self.training)
        self.images.append(x)
        return torch.nn.functional.one_hot(torch.tensor(next(self.epochs)), 3).float()


@pytest.fixture
def images():
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), np.uint8)
    return Batches(Images(pixels, LABELS, [], [0.5], [0.25]), np.arange(4), CPU.device, pad=2)


def counts(regularity):
    return regularity.learned.tolist(), regularity.forgotten.tolist()


def test_events_of_a_written_sequence_are_those_counted_by_hand(images):
    regularity, network = Regularity(images, CPU), Scripted()
    for _ in EPOCHS:
        regularity.count(network)
    assert counts(regularity) == (LEARNED, FORGOTTEN)


def test_an_image_that_was_never_learned_cannot_be_forgotten(images):
    regularity, network = Regularity(images, CPU), Scripted()
    regularity.count(network)  # images 1 and 3 are wrong
    assert counts(regularity) == ([1, 0, 1, 0], [0, 0, 0, 0])
    regularity.count(network)
    assert counts(regularity) == ([2, 1, 1, 0], [0, 0, 1, 0])


def test_images_are_seen_as_they_are_by_a_network_in_evaluation_mode(images):
    network = Scripted().train()
    Regularity(images, CPU).count(network)
    assert network.modes == [False] and torch.equal(network.images[0], images.plain(0, 4))
    assert network.images[0].shape == (4, 1, 8, 8)  # without the padding


@pytest.mark.parametrize("stop", [1, 2, 4])
def test_counting_goes_on_where_it_stopped(images, stop):
    first, network = Regularity(images, CPU), Scripted()
    for _ in range(stop):
        first.count(network)
    state = copy.deepcopy(first.state())
    second = Regularity(images, CPU)
    second.load(state)
    for _ in EPOCHS[stop:]:
        second.count(network)
    assert counts(second) == (LEARNED, FORGOTTEN)
    assert second.state()["labels"].tolist() == LABELS.tolist()


def test_a_state_stays_what_it_was_when_counting_goes_on(images):
    regularity, network = Regularity(images, CPU), Scripted()
    regularity.count(network)
    state = regularity.state()
    before = copy.deepcopy(state)
    other = Regularity(images, CPU)
    other.load(state)
    other.count(network)
    regularity.count(network)
    assert all(torch.equal(value, before[name]) for name, value in state.items())


def train(images, stop, state=None, counted=True):
    phase = Phase(
        **{"sampler": ClassSampler(), "loss": CrossEntropy(), "weighting": NoWeighting()},
        **{"schedule": Constant(warmup=0), "lr": 0.3, "weight_decay": 0.0, "momentum": 0.9, "batch_size": 2},
        **{"epochs": 8, "augment": "crop", "stop": stop, "last": 8},
    )
    run = Training(phase, 0, networks.create(NARROW, 1), images, CPU, state, Measures(counted))
    return run, [copy.deepcopy(run.state()) for _ in run.epochs(lambda network: {}, 1)]


def test_a_training_counts_after_each_epoch_and_a_resumed_one_comes_to_the_same(images):
    whole, states = train(images, 8)
    resumed, _ = train(images, 8, state=train(images, 3)[1][-1])
    assert counts(whole.regularity) == counts(resumed.regularity)
    learned, forgotten = counts(whole.regularity)
    assert 0 < sum(learned) < 4 * 8 and sum(forgotten) > 0
    steps = np.diff([[0] * 4, *(state["regularity"]["learned"].tolist() for state in states)], axis=0)
    correct = np.array([state["regularity"]["correct"].tolist() for state in states])
    assert (steps == correct).all()  # Eq. 9, epoch by epoch
    assert forgotten == (correct[:-1] & ~correct[1:]).sum(0).tolist()  # Eq. 8


def test_counting_leaves_training_alone(images):
    counted, plain = train(images, 4)[0], train(images, 4, counted=False)[0]
    assert counted.history == plain.history and "regularity" not in plain.state()
    for mine, theirs in zip(counted.network.state_dict().values(), plain.network.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)
