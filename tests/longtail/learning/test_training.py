"""The training loop against torch's optimiser and against the most naive loop, on a few random images."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from stages.longtail.compute import Compute
from stages.longtail.data import augment, draws, samplers
from stages.longtail.data.batches import Batches, Images
from stages.longtail.errors import UserError
from stages.longtail.learning import losses, mixing, training
from stages.longtail.models import network as networks
from stages.longtail.params import Constant, CrossEntropy, MajorFeatureWeakening, MultiStep, NoMixing, NoWeighting

CPU = Compute(torch.device("cpu"), "fp32")
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
LABELS = np.random.default_rng(1).permutation(np.repeat([0, 1, 2], [25, 10, 5]))
MEAN, STD, PAD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.25], 1
NARROW = {"backbone": "resnet8", "width": 4, "channels": 3, "classes": 3, "head": "linear"}
MFW = MajorFeatureWeakening("mfw", 2, 2.0, 2.0, "geometric")


class Kept:
    """Stands in for checkpoint.Scratch: keeps copies of the states."""

    def __init__(self):
        self.states, self.ends = [], []

    def write(self, state, stage_ends):
        self.states.append(copy.deepcopy(state))
        self.ends.append(stage_ends)


def phase(**changes):
    settings = {
        **{"name": "represent", "sampler": "instance", "loss": CrossEntropy(), "mixing": NoMixing()},
        "weighting": NoWeighting(),
        **{"schedule": Constant("constant", 0), "lr": 0.1, "weight_decay": 5e-3, "momentum": 0.9, "batch_size": 16},
        **{"epochs": 3, "augment": "crop_flip", "stop": 3},
    }
    return training.Phase(**{**settings, **changes})


def begin(phase, head="linear", state=None):
    network = networks.create(NARROW, 0)
    if head == "scaled":
        networks.scale_head(network)
    return training.start(network, phase, CPU, state)


def go(run, phase, seed=0, test=lambda network: {"all": 1.0}, test_every=1):
    images = Batches(Images(PIXELS, LABELS, "", MEAN, STD), np.arange(40), CPU.device, PAD)
    kept = Kept()
    training.train(run, phase, seed, images, test, test_every, CPU, kept, lambda run: None)
    return kept


def trained(**changes):
    run = begin(phase(**changes))
    go(run, phase(**changes))
    return run


def weights(run):
    return {name: value.clone() for name, value in run.network.state_dict().items()}


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_steps_are_those_of_torch_sgd(momentum):
    settings = phase(momentum=momentum, weight_decay=0.05)
    run = begin(settings)
    twin = copy.deepcopy(run.network)
    optimiser = torch.optim.SGD(twin.parameters(), lr=1, momentum=momentum, weight_decay=0.05)
    images = torch.randn(6, 3, 8, 8).to(memory_format=torch.channels_last)
    for rate in (0.1, 0.1, 0.03):
        for model in (run.network, twin):
            F.cross_entropy(model(images), torch.tensor([0, 1, 2, 0, 1, 2])).backward()
        optimiser.param_groups[0]["lr"] = rate
        optimiser.step()
        optimiser.zero_grad()
        run.step(settings, rate)
        for mine, theirs in zip(run.network.parameters(), twin.parameters(), strict=True):
            assert mine.grad is None
            assert torch.allclose(mine, theirs, rtol=1e-5, atol=1e-7)


def naive_image(position, top, left, flip):
    padded = np.zeros((8 + 2 * PAD, 8 + 2 * PAD, 3))
    padded[PAD:-PAD, PAD:-PAD] = PIXELS[position]
    crop = padded[top : top + 8, left : left + 8]
    crop = crop[:, ::-1] if flip else crop
    return torch.tensor(((crop / 255 - MEAN) / STD).transpose(2, 0, 1), dtype=torch.float32)


def naive_logits(network, images, share, partner):
    """The forward pass, with every feature map mixed one by one after the second group if there is a share."""
    x = network.groups[1](network.groups[0](images))
    if share is not None:
        x = torch.stack([(1 - w) * x[n] + w * x[p] for n, (w, p) in enumerate(zip(share, partner, strict=True))])
    return network.head(network.groups[3](network.groups[2](x)).mean((2, 3)))


def naive_training(sampler, mix, rates, seed):
    """Returns the trained network, and per epoch the mean loss of an image and the accuracy in percent."""
    network, history = networks.create(NARROW, 0).train(), []
    optimiser = torch.optim.SGD(network.parameters(), lr=1, momentum=0.9, weight_decay=5e-3)
    for epoch, rate in enumerate(rates):
        order = samplers.order(sampler, LABELS, draws.generator(seed, epoch, "sampler"))
        crops = augment.draw("crop_flip", 40, PAD, draws.generator(seed, epoch, "augment"))
        mixed = mix and mix.draw(LABELS[order], 16, draws.generator(seed, epoch, "mixing"))
        total, right = 0.0, 0
        for first in (0, 16, 32):
            batch = slice(first, min(first + 16, 40))
            images = torch.stack([naive_image(p, *d) for p, d in zip(order[batch], crops[batch], strict=True)])
            logits = naive_logits(network, images, *((mixed[0][batch], mixed[1][batch]) if mixed else (None, None)))
            loss = F.cross_entropy(logits, torch.tensor(LABELS[order[batch]]))
            optimiser.zero_grad()
            loss.backward()
            optimiser.param_groups[0]["lr"] = rate
            optimiser.step()
            total += loss.item() * len(images)
            right += int((logits.argmax(1).numpy() == LABELS[order[batch]]).sum())
        history.append((total / 40, right / 40 * 100))
    return network, history


@pytest.mark.parametrize("mixture", [NoMixing("none"), MFW])
@pytest.mark.parametrize("sampler", ["instance", "reversed"])
def test_training_is_that_of_a_naive_loop_over_the_same_draws(sampler, mixture):
    schedule = MultiStep("multistep", 1, (2,), 0.5)  # warm-up of one epoch: rates 0.1, 0.1, 0.05
    settings = phase(sampler=sampler, mixing=mixture, schedule=schedule)
    run = begin(settings)
    go(run, settings, seed=4)
    mix = mixing.Weakening(MFW, np.array([25, 10, 5])) if mixture is MFW else None
    network, history = naive_training(sampler, mix, [0.1, 0.1, 0.05], seed=4)
    assert [row["lr"] for row in run.history] == pytest.approx([0.1, 0.1, 0.05])
    assert [row["loss"] for row in run.history] == pytest.approx([loss for loss, _ in history], rel=1e-4)
    assert [row["train_acc"] for row in run.history] == [accuracy for _, accuracy in history]
    for (name, mine), theirs in zip(run.network.state_dict().items(), network.state_dict().values(), strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-3, atol=1e-4), name


def test_weakening_by_nothing_is_plain_training_bit_for_bit(monkeypatch):
    plain = weights(trained(stop=2))
    assert not equal(plain, weights(trained(stop=2, mixing=MFW)))
    monkeypatch.setattr(mixing, "mfw_class_weight", lambda counts, beta, deviation: np.zeros(len(counts)))
    assert equal(plain, weights(trained(stop=2, mixing=MFW)))


def test_every_image_is_trained_on_once_and_the_last_smaller_batch_too(monkeypatch):
    seen = []

    def loss(logits, labels):
        seen.append(labels.tolist())
        return F.cross_entropy(logits, labels)

    monkeypatch.setattr(losses, "build", lambda *_: loss)
    trained(stop=1)
    assert [len(batch) for batch in seen] == [16, 16, 8]
    assert sorted(label for batch in seen for label in batch) == sorted(LABELS.tolist())


def test_the_last_smaller_batch_moves_the_weights(monkeypatch):
    whole = weights(trained(stop=1))
    steps = iter([1, 1, 0])
    monkeypatch.setattr(losses, "build", lambda *_: lambda x, y: F.cross_entropy(x, y) * next(steps))
    assert not equal(whole, weights(trained(stop=1)))


def test_a_loss_that_is_no_number_is_refused_by_epoch_and_step_and_its_checkpoint_is_not_kept(monkeypatch):
    calls = iter(range(100))

    def loss(logits, labels):
        return F.cross_entropy(logits, labels) * (float("nan") if next(calls) == 4 else 1)

    monkeypatch.setattr(losses, "build", lambda *_: loss)
    run, kept = begin(phase()), Kept()
    monkeypatch.setattr(Kept, "write", lambda self, state, stage_ends: kept.states.append(state["epoch"]))
    with pytest.raises(UserError, match=r"seed 0 is nan at epoch 2, step 2: lower protocol\.lr"):
        go(run, phase())
    assert kept.states == [1]


@pytest.mark.parametrize("head", ["linear", "scaled"])
def test_a_frozen_trunk_does_not_move_nor_do_its_batch_norm_statistics(head):
    settings = phase(frozen_trunk=True, sampler="balanced")
    run = begin(settings, head)
    before = weights(run)
    go(run, settings)
    moved = {name for name, value in weights(run).items() if not torch.equal(value, before[name])}
    assert moved == ({"head.weight", "head.bias"} if head == "linear" else {"head.scale"})


def test_a_head_on_a_frozen_trunk_learns_from_features_in_evaluation_mode():
    """One epoch against torch's SGD on a linear layer alone, on features that running statistics normalise."""
    settings = phase(frozen_trunk=True, batch_size=40, augment="none", stop=1)
    run = begin(settings)
    model = networks.create(NARROW, 0).eval()
    inputs = torch.stack([naive_image(position, PAD, PAD, 0) for position in range(40)])
    head = torch.nn.Linear(16, 3)
    head.load_state_dict(model.head.state_dict())
    optimiser = torch.optim.SGD(head.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-3)
    F.cross_entropy(head(model.features(inputs).detach()), torch.tensor(LABELS)).backward()
    optimiser.step()
    go(run, settings)
    assert torch.allclose(run.network.head.weight, head.weight, atol=1e-5)
    assert torch.allclose(run.network.head.bias, head.bias, atol=1e-5)


def test_a_full_network_trains_every_weight_and_statistic():
    run = begin(phase())
    before = weights(run)
    go(run, phase())
    assert all(not torch.equal(value, before[name]) for name, value in weights(run).items())


@pytest.mark.parametrize("mixture", [NoMixing("none"), MFW])
def test_a_run_that_is_stopped_and_resumed_from_its_state_is_the_same_run(mixture):
    whole = trained(mixing=mixture, sampler="sqrt")
    first = phase(mixing=mixture, sampler="sqrt", stop=1)
    kept = go(begin(first), first)
    rest = phase(mixing=mixture, sampler="sqrt")
    resumed = begin(rest, state=kept.states[-1])
    resumed.network.train()
    go(resumed, rest)
    assert equal(weights(whole), weights(resumed))
    assert all(torch.equal(a, b) for a, b in zip(whole.momentum, resumed.momentum, strict=True))
    assert whole.history == resumed.history


def test_the_seed_the_stream_and_the_epoch_decide_the_draws():
    plain = weights(trained(stop=1))
    assert equal(plain, weights(trained(stop=1)))
    assert not equal(plain, weights(trained(stop=1, stream=1)))
    run = begin(phase(stop=1))
    go(run, phase(stop=1), seed=1)
    assert not equal(plain, weights(run))
    later = begin(phase(stop=2))
    later.epoch = 1
    go(later, phase(stop=2))
    assert not equal(plain, weights(later))


@pytest.mark.parametrize(("epochs", "tested"), [(5, [2, 4, 5]), (9, [2, 4])])
def test_tests_come_every_so_many_epochs_and_at_the_schedules_last_and_leave_training_alone(epochs, tested):
    def test(network):
        network.eval()
        return {"all": 50.0, "few": 10.0}

    settings = phase(epochs=epochs, stop=5)
    run, untested = begin(settings), begin(settings)
    kept = go(run, settings, test=test, test_every=2)
    go(untested, settings, test_every=100)
    assert [row["epoch"] for row in run.history if row.get("test_all") == 50 and row["test_few"] == 10] == tested
    assert [row["epoch"] for row in run.history] == [1, 2, 3, 4, 5]
    assert equal(weights(run), weights(untested))
    assert kept.ends == [False, False, False, False, True]
    assert [state["epoch"] for state in kept.states] == [1, 2, 3, 4, 5]
