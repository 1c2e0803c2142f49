"""The training loop against torch's optimiser and against the most naive loop, on a few random images."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from stages.longtail.console.errors import UserError
from stages.longtail.data import augment, random_draws, samplers
from stages.longtail.data.batches import Batches, Images
from stages.longtail.models import network as networks
from stages.longtail.recipe.representation import (
    BatchEmbedded,
    ClassSampler,
    CrossEntropy,
    EffectiveNumber,
    MajorFeatureWeakening,
    Mixup,
    NoMixing,
    NoWeighting,
    Remix,
)
from stages.longtail.recipe.schedule import Constant, MultiStep
from stages.longtail.runtime.devices import Compute
from stages.longtail.training import losses, mixing
from stages.longtail.training.loop import Training
from stages.longtail.training.one_stream import OneStream
from stages.longtail.training.phase import Phase

CPU = Compute(torch.device("cpu"), "fp32")
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
LABELS = np.random.default_rng(1).permutation(np.repeat([0, 1, 2], [25, 10, 5]))
MEAN, STD, PAD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.25], 1
NARROW = {"backbone": "resnet8", "width": 4, "channels": 3, "classes": 3, "head": "linear"}
NARROW |= {"whitening": {}, "bilateral": False, "auxiliary": {}}
WHITE = NARROW | {"whitening": {"epsilon": 1e-5, "momentum": 0.1}}
TASKS = NARROW | {"auxiliary": {"second": 3}}
INSTANCE, SQRT, REVERSED = (ClassSampler(kind=kind) for kind in ("instance", "sqrt", "reversed"))
MFW = MajorFeatureWeakening(group=2)
MIXUP, MANIFOLD, REMIX = Mixup(), Mixup(alpha=2.0, groups=(0, 1, 2)), Remix(kappa=2.0, groups=(0, 3))


def phase(**changes):
    settings = {
        **{"sampler": INSTANCE, "loss": CrossEntropy(), "weighting": NoWeighting()},
        **{"schedule": Constant(warmup=0), "lr": 0.1, "weight_decay": 5e-3, "momentum": 0.9, "batch_size": 16},
        **{"epochs": 3, "augment": "crop_flip", "stop": 3, **changes},
    }
    return Phase(**{"last": settings["epochs"], **settings})


def begin(phase, head="linear", state=None, architecture=NARROW, seed=0):
    network = networks.create(architecture, 0)
    if head == "scaled":
        networks.scale_head(network)
    return Training(phase, seed, network, division(), CPU, state)


def division():
    return Batches(Images(PIXELS, LABELS, [], MEAN, STD), np.arange(40), CPU.device, PAD)


def go(run, test=lambda network: {"all": 1.0}, test_every=1):
    """The state after each epoch."""
    return [copy.deepcopy(run.state()) for _ in run.epochs(test, test_every)]


def trained(**changes):
    run = begin(phase(**changes))
    go(run)
    return run


def weights(run):
    return {name: value.clone() for name, value in run.network.state_dict().items()}


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.9, False), (0.0, False), (0.9, True)])
def test_steps_are_those_of_torch_sgd(momentum, nesterov):
    settings = phase(momentum=momentum, weight_decay=0.05, nesterov=nesterov)
    run = begin(settings)
    twin = copy.deepcopy(run.network)
    optimiser = torch.optim.SGD(twin.parameters(), lr=1, momentum=momentum, weight_decay=0.05, nesterov=nesterov)
    images = torch.randn(6, 3, 8, 8).to(memory_format=torch.channels_last)
    for rate in (0.1, 0.1, 0.03):
        for model in (run.network, twin):
            F.cross_entropy(model(images), torch.tensor([0, 1, 2, 0, 1, 2])).backward()
        optimiser.param_groups[0]["lr"] = rate
        optimiser.step()
        optimiser.zero_grad()
        run.rate = rate
        run.update()
        for mine, theirs in zip(run.network.parameters(), twin.parameters(), strict=True):
            assert mine.grad is None
            assert torch.allclose(mine, theirs, rtol=1e-5, atol=1e-7)


def naive_image(position, top, left, flip):
    padded = np.zeros((8 + 2 * PAD, 8 + 2 * PAD, 3))
    padded[PAD:-PAD, PAD:-PAD] = PIXELS[position]
    crop = padded[top : top + 8, left : left + 8]
    crop = crop[:, ::-1] if flip else crop
    return torch.tensor(((crop / 255 - MEAN) / STD).transpose(2, 0, 1), dtype=torch.float32)


def naive_logits(network, images, after, share, partner):
    """The forward pass, with every feature map mixed one by one after group `after` if there is a share."""
    x = images
    for number in range(5):
        x = network.groups[number - 1](x) if number else x
        if share is not None and number == after:
            x = torch.stack([(1 - w) * x[n] + w * x[p] for n, (w, p) in enumerate(zip(share, partner, strict=True))])
    return network.head(x.mean((2, 3)))


def naive_loss(logits, labels, partner, label_share):
    """Mean over images of the cross-entropy of their label, or of both labels of a pair."""
    each = []
    for n, label in enumerate(labels):
        own = -logits[n].log_softmax(0)
        keep = 1 if label_share is None else label_share[n]
        other = 0 if label_share is None else (1 - keep) * own[labels[partner[n]]]
        each.append(keep * own[label] + other)
    return torch.stack(each).mean()


def naive_training(sampler, mixture, rates, seed):
    """Returns the trained network, and per epoch the mean loss of an image and the accuracy in percent."""
    network, history = networks.create(NARROW, 0).train(), []
    optimiser = torch.optim.SGD(network.parameters(), lr=1, momentum=0.9, weight_decay=5e-3)
    for epoch, rate in enumerate(rates):
        order = samplers.order(sampler, LABELS, 40, 16, random_draws.generator(seed, epoch, "sampler"))
        crops = augment.draw("crop_flip", 40, PAD, random_draws.generator(seed, epoch, "augment"))
        mixed = None
        if not isinstance(mixture, NoMixing):
            random = random_draws.generator(seed, epoch, "mixing")
            mixed = mixing.draw(mixture, np.array([25, 10, 5]), LABELS[order], 16, random)
        total, right = 0.0, 0
        for number, first in enumerate((0, 16, 32)):
            batch = slice(first, min(first + 16, 40))
            images = torch.stack([naive_image(p, *d) for p, d in zip(order[batch], crops[batch], strict=True)])
            after, share, partner, label_share = 0, None, None, None
            if mixed:
                after, share, partner = mixed.groups[number], mixed.share[batch], mixed.partner[batch]
                label_share = None if mixed.label_share is None else mixed.label_share[batch]
            logits = naive_logits(network, images, after, share, partner)
            loss = naive_loss(logits, LABELS[order[batch]], partner, label_share)
            optimiser.zero_grad()
            loss.backward()
            optimiser.param_groups[0]["lr"] = rate
            optimiser.step()
            total += loss.item() * len(images)
            right += int((logits.argmax(1).numpy() == LABELS[order[batch]]).sum())
        history.append((total / 40, 100 * right / 40))
    return network, history


@pytest.mark.parametrize("mixture", [NoMixing(), MFW, MIXUP, MANIFOLD, REMIX])
@pytest.mark.parametrize("sampler", [INSTANCE, REVERSED])
def test_training_is_that_of_a_naive_loop_over_the_same_draws(sampler, mixture):
    schedule = MultiStep(warmup=1, milestones=(2,), gamma=0.5)  # warm-up of one epoch: rates 0.1, 0.1, 0.05
    settings = phase(sampler=sampler, mixing=mixture, schedule=schedule)
    run = begin(settings, seed=4)
    go(run)
    network, history = naive_training(sampler, mixture, [0.1, 0.1, 0.05], seed=4)
    assert [row["lr"] for row in run.history] == pytest.approx([0.1, 0.1, 0.05])
    assert [row["loss"] for row in run.history] == pytest.approx([loss for loss, _ in history], rel=1e-4)
    assert [row["train_acc"] for row in run.history] == [accuracy for _, accuracy in history]
    for (name, mine), theirs in zip(run.network.state_dict().items(), network.state_dict().values(), strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-3, atol=1e-4), name


@pytest.mark.parametrize("weighting", [EffectiveNumber(beta=0.9), EffectiveNumber(beta=0.9, divide_by="weights")])
def test_mixed_labels_have_the_weights_of_their_own_classes(weighting):
    """An epoch of one batch, lambda by lambda: the weight of each of the two labels of an image is its class's."""
    settings = phase(mixing=MIXUP, weighting=weighting, batch_size=40, stop=1)
    run = begin(settings)
    go(run)
    network, weights = networks.create(NARROW, 0).train(), losses.effective_number_weights(np.array([25, 10, 5]), 0.9)
    order = samplers.order(INSTANCE, LABELS, 40, 40, random_draws.generator(0, 0, "sampler"))
    crops = augment.draw("crop_flip", 40, PAD, random_draws.generator(0, 0, "augment"))
    mixed = mixing.draw(MIXUP, np.array([25, 10, 5]), LABELS[order], 40, random_draws.generator(0, 0, "mixing"))
    images = torch.stack([naive_image(p, *d) for p, d in zip(order, crops, strict=True)])
    logits = naive_logits(network, images, 0, mixed.share, mixed.partner)
    each = -logits.log_softmax(1).detach().double().numpy()
    total = 0.0
    for label, share in ((LABELS[order], 1 - mixed.share), (LABELS[order][mixed.partner], mixed.share)):
        divisor = 40 if weighting.divide_by == "count" else weights[label].sum()
        total += (weights[label] * share * each[np.arange(40), label]).sum() / divisor
    assert run.history[0]["loss"] == pytest.approx(total, rel=1e-4)


def test_weakening_by_nothing_is_plain_training_bit_for_bit(monkeypatch):
    plain = weights(trained(stop=2))
    assert not equal(plain, weights(trained(stop=2, mixing=MFW)))
    monkeypatch.setattr(mixing, "mfw_class_weight", lambda counts, beta, deviation: np.zeros(len(counts)))
    assert equal(plain, weights(trained(stop=2, mixing=MFW)))


@pytest.mark.parametrize("group", range(5))
def test_a_lambda_of_zero_for_all_gives_the_plain_loss_and_gradient_bit_for_bit(group):
    results = []
    for mixture in (NoMixing(), MajorFeatureWeakening(group=group)):
        network, step = networks.create(NARROW, 0).train(), OneStream(phase(mixing=mixture), division(), CPU.device)
        drawn = step.draw(0, 0)
        rows, crops, *mixed = [torch.from_numpy(array[:16]) for array in drawn.arrays]
        mixed = [torch.zeros(16), mixed[1]] if mixed else []
        loss, correct = step.loss(network, drawn.variants[0], rows, crops, *mixed)
        loss.backward()
        gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
        results.append({"loss": loss, "correct": correct, **gradients, **network.state_dict(prefix="after.")})
    assert equal(*results)


def test_seed_epoch_and_stream_decide_every_draw():
    def drawn(seed, epoch, stream):
        return OneStream(phase(mixing=REMIX, stream=stream), division(), CPU.device).draw(seed, epoch).arrays

    plain = drawn(3, 1, 0)
    assert len(plain) == 5 and all((a == b).all() for a, b in zip(plain, drawn(3, 1, 0), strict=True))
    for other in (drawn(4, 1, 0), drawn(3, 2, 0), drawn(3, 1, 1)):
        assert all((a != b).any() for a, b in zip(plain, other, strict=True))


def test_every_image_is_trained_on_once_and_the_last_smaller_batch_too(monkeypatch):
    seen = []

    def loss(logits, labels, **_):
        seen.append(labels.tolist())
        return F.cross_entropy(logits, labels)

    monkeypatch.setattr(losses, "build", lambda *_: loss)
    trained(stop=1)
    assert [len(batch) for batch in seen] == [16, 16, 8]
    assert sorted(label for batch in seen for label in batch) == sorted(LABELS.tolist())


@pytest.mark.parametrize("mixture", [NoMixing(), REMIX])
def test_the_last_smaller_batch_can_be_dropped(monkeypatch, mixture):
    sizes = []

    def loss(logits, labels, share=None, **_):
        sizes.append(len(labels))
        return F.cross_entropy(logits, labels)

    monkeypatch.setattr(losses, "build", lambda *_: loss)
    run = trained(stop=1, drop_last=True, mixing=mixture)
    assert set(sizes) == {16} and run.images == 32
    whole = trained(stop=1, mixing=mixture)
    assert 8 in sizes and whole.images == 40
    assert not equal(weights(run), weights(whole))


def test_the_last_smaller_batch_moves_the_weights(monkeypatch):
    whole = weights(trained(stop=1))
    steps = iter([1, 1, 0])
    monkeypatch.setattr(losses, "build", lambda *_: lambda x, y, **_: F.cross_entropy(x, y) * next(steps))
    assert not equal(whole, weights(trained(stop=1)))


def test_a_loss_that_is_no_number_is_refused_by_epoch_and_step_and_its_checkpoint_is_not_kept(monkeypatch):
    calls = iter(range(100))

    def loss(logits, labels, **_):
        return F.cross_entropy(logits, labels) * (float("nan") if next(calls) == 4 else 1)

    monkeypatch.setattr(losses, "build", lambda *_: loss)
    run, done = begin(phase()), []
    with pytest.raises(UserError, match=r"seed 0 is nan at epoch 2, step 2: lower protocol\.lr"):
        for row in run.epochs(lambda network: {}, 1):
            done.append(row["epoch"])
    assert done == [1] == [row["epoch"] for row in run.history]


def test_weights_that_are_no_numbers_are_refused_although_the_loss_was_one():
    settings = phase(lr=1e38, batch_size=40, momentum=0.0, weight_decay=1e4)
    with pytest.raises(UserError, match=r"seed 0 has weights that are no numbers after epoch 1: lower protocol\.lr"):
        go(begin(settings))


def test_embedded_batches_come_before_every_so_manieth_batch_counted_over_all_epochs(monkeypatch):
    """3 batches an epoch, and an extra one before each second: before batch 2, then before 4 and 6."""
    sizes = []

    def loss(logits, labels, **_):
        sizes.append(len(labels))
        return F.cross_entropy(logits, labels)

    monkeypatch.setattr(losses, "build", lambda *_: loss)
    run = trained(embedded=BatchEmbedded(interval=2, iterations=1, sampler=REVERSED), stop=2)
    assert sizes == [16, 16, 16, 8, 16, 16, 16, 16, 8]
    correct = [row["train_acc"] * images / 100 for row, images in zip(run.history, (56, 72), strict=True)]
    assert correct == pytest.approx(np.round(correct))  # of all images that were trained on


@pytest.mark.parametrize("mixture", [NoMixing(), MFW, MANIFOLD])
def test_a_run_that_is_stopped_and_resumed_from_its_state_is_the_same_run(mixture):
    whole = trained(mixing=mixture, sampler=SQRT)
    first = phase(mixing=mixture, sampler=SQRT, stop=1)
    states = go(begin(first))
    resumed = begin(phase(mixing=mixture, sampler=SQRT), state=states[-1])
    resumed.network.train()
    go(resumed)
    assert equal(weights(whole), weights(resumed))
    assert equal(whole.momentum, resumed.momentum)
    assert whole.history == resumed.history


def test_the_seed_the_stream_and_the_epoch_decide_the_draws():
    plain = weights(trained(stop=1))
    assert equal(plain, weights(trained(stop=1)))
    assert not equal(plain, weights(trained(stop=1, stream=1)))
    run = begin(phase(stop=1), seed=1)
    go(run)
    assert not equal(plain, weights(run))
    later = begin(phase(stop=2))
    later.epoch = 1
    go(later)
    assert not equal(plain, weights(later))


@pytest.mark.parametrize(("epochs", "tested"), [(5, [2, 4, 5]), (9, [2, 4])])
def test_tests_come_every_so_many_epochs_and_at_the_schedules_last_and_leave_training_alone(epochs, tested):
    def test(network):
        network.eval()
        return {"test_all": 50.0, "test_few": 10.0}

    settings = phase(epochs=epochs, stop=5)
    run, untested = begin(settings), begin(settings)
    states = go(run, test, test_every=2)
    go(untested, test_every=100)
    assert [row["epoch"] for row in run.history if row.get("test_all") == 50 and row["test_few"] == 10] == tested
    assert [row["epoch"] for row in run.history] == [1, 2, 3, 4, 5]
    assert equal(weights(run), weights(untested))
    assert [state["epoch"] for state in states] == [1, 2, 3, 4, 5]
