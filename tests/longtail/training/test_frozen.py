"""What a phase trains moves, and what it freezes stays: weights, statistics and momentum."""

import copy

import pytest
import torch
from test_loop import LABELS, NARROW, PAD, TASKS, WHITE, begin, equal, go, naive_image, phase, weights
from torch.nn import functional as F

from stages.longtail.models import network as networks
from stages.longtail.recipe.representation import AuxiliaryTasks, ClassSampler


def moved_by(settings, **start):
    """Names of what an epoch or more moves: parameters and statistics."""
    run = begin(settings, **start)
    before = weights(run)
    go(run)
    return {name for name, value in weights(run).items() if not torch.equal(value, before[name])}


def named(run, *prefixes):
    return {name for name in run.network.state_dict() if name.startswith(prefixes)}


@pytest.mark.parametrize("head", ["linear", "scaled"])
def test_a_frozen_trunk_does_not_move_nor_do_its_batch_norm_statistics(head):
    settings = phase(trained="head" if head == "linear" else "scale", sampler=ClassSampler(kind="balanced"))
    assert moved_by(settings, head=head) == ({"head.weight", "head.bias"} if head == "linear" else {"head.scale"})


@pytest.mark.parametrize("architecture", [NARROW, WHITE])
def test_a_frozen_trunk_can_work_by_each_batchs_statistics_whose_averages_then_drift(architecture):
    settings = phase(trained="head", frozen="batch", stop=1)
    statistics = named(begin(settings, architecture=architecture), "groups.", "whitening.")
    statistics = {name for name in statistics if "running" in name or "num_batches" in name or "whitening" in name}
    moved = moved_by(settings, architecture=architecture)
    assert moved == {"head.weight", "head.bias"} | statistics


def test_frozen_features_are_whitened_by_the_running_statistics_which_stay():
    assert moved_by(phase(trained="head"), architecture=WHITE) == {"head.weight", "head.bias"}


@pytest.mark.parametrize(("backbone", "block"), [("resnet8", "groups.3.0."), ("resnet20", "groups.3.2.")])
def test_the_last_block_is_trained_with_the_head_its_statistics_too_and_nothing_before_it(backbone, block):
    settings = phase(trained="last_block", stop=1)
    architecture = NARROW | {"backbone": backbone}
    expected = named(begin(settings, architecture=architecture), block, "head.")
    assert len(expected) == 2 + 2 * 5 + 2  # two convolutions, two batch norms, a linear layer
    assert moved_by(settings, architecture=architecture) == expected


def test_whitening_after_a_trained_last_block_follows_it():
    settings = phase(trained="last_block", stop=1)
    run = begin(settings, architecture=WHITE)
    assert moved_by(settings, architecture=WHITE) == named(run, "groups.3.0.", "head.", "whitening.")


@pytest.mark.parametrize("architecture", [NARROW, WHITE, NARROW | {"bilateral": True}])
def test_all_is_every_weight_and_every_statistic(architecture):
    run = begin(phase(), architecture=architecture)
    assert moved_by(phase(), architecture=architecture) == set(run.network.state_dict())


def test_only_what_is_trained_asks_for_gradients():
    for which, prefixes in (("head", ("head.",)), ("last_block", ("head.", "groups.3.0."))):
        run = begin(phase(trained=which))
        asking = {name for name, parameter in run.network.named_parameters() if parameter.requires_grad}
        assert asking == {name for name, _ in run.network.named_parameters() if name.startswith(prefixes)}
        assert run.trained.keys() == run.momentum.keys() == asking


def test_heads_of_auxiliary_tasks_are_trained_with_the_tasks_and_left_alone_without():
    auxiliary = {"auxiliary.second.weight", "auxiliary.second.bias"}
    with_tasks = begin(phase(auxiliary=AuxiliaryTasks()), architecture=TASKS)
    assert auxiliary < with_tasks.trained.keys()
    assert auxiliary < moved_by(phase(auxiliary=AuxiliaryTasks(), stop=1), architecture=TASKS)
    without = moved_by(phase(stop=1), architecture=TASKS)
    assert without == set(with_tasks.network.state_dict()) - auxiliary


def test_what_is_newly_trained_starts_without_momentum_and_the_rest_goes_on_with_it():
    first = phase(trained="head", stop=1)
    state = go(begin(first))[-1]
    assert set(state["momentum"]) == {"head.weight", "head.bias"} and state["momentum"]["head.weight"].any()
    run = begin(phase(), state=state)
    assert run.momentum.keys() == run.trained.keys() == dict(run.network.named_parameters()).keys()
    for name, momentum in run.momentum.items():
        assert torch.equal(momentum, state["momentum"].get(name, torch.zeros_like(momentum))), name


def test_going_on_from_a_state_leaves_the_state_as_it_was():
    first = phase(stop=1)
    state = go(begin(first))[-1]
    before = copy.deepcopy(state)
    go(begin(phase(), state=state))
    for part in ("network", "momentum"):
        assert equal(state[part], before[part])
    assert state["history"] == before["history"] and state["epoch"] == 1


@pytest.mark.parametrize("which", ["head", "last_block"])
def test_what_is_frozen_works_in_evaluation_mode_and_what_is_trained_in_training_mode(which):
    """One epoch against torch's SGD on the trained layers alone, after features that running statistics normalise."""
    settings = phase(trained=which, batch_size=40, augment="none", stop=1)
    run = begin(settings)
    model = networks.create(NARROW, 0).eval()
    inputs = torch.stack([naive_image(position, PAD, PAD, 0) for position in range(40)])
    frozen = 4 if which == "head" else 3
    trained = model.groups[frozen:].train()
    own = torch.nn.Sequential(*trained, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), model.head)
    for group in model.groups[:frozen]:
        inputs = group(inputs)
    optimiser = torch.optim.SGD(own.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-3)
    F.cross_entropy(own(inputs.detach()), torch.tensor(LABELS)).backward()
    optimiser.step()
    go(run)
    for (name, mine), theirs in zip(run.network.state_dict().items(), model.state_dict().values(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-5), name
