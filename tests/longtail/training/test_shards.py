"""A batch in parts, in one process: what DataParallel computes. Two processes: tests/test_two_processes.py."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch.func import functional_call
from torch.nn import functional as F

from stages.longtail.data.batches import Batches, Images
from stages.longtail.models import network as networks
from stages.longtail.recipe.representation import (
    LDAM,
    AuxiliaryTasks,
    Bilateral,
    ClassSampler,
    CrossEntropy,
    EffectiveNumber,
    MajorFeatureWeakening,
    Mixup,
    NoWeighting,
    Remix,
)
from stages.longtail.recipe.schedule import Constant
from stages.longtail.runtime.devices import Compute
from stages.longtail.training import loop, losses, mixing, shards
from stages.longtail.training.loop import Training
from stages.longtail.training.phase import Phase

CPU = Compute(torch.device("cpu"), "fp32")
LABELS = np.random.default_rng(1).permutation(np.repeat([0, 1, 2], [25, 10, 5]))
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
IMAGES = Batches(Images(PIXELS, LABELS, [], [0.5, 0.4, 0.3], [0.2, 0.3, 0.25]), np.arange(40), CPU.device, 1)
NARROW = {"backbone": "resnet8", "width": 4, "channels": 3, "classes": 3, "head": "linear"}
NARROW |= {"whitening": {}, "bilateral": False, "auxiliary": {}}
WEIGHTS = EffectiveNumber(beta=0.9, divide_by="weights")


def phase(**changes):
    settings = {
        **{"sampler": ClassSampler(kind="instance"), "loss": CrossEntropy(), "weighting": NoWeighting()},
        **{"schedule": Constant(warmup=0), "lr": 0.1, "weight_decay": 5e-3, "momentum": 0.9, "batch_size": 16},
        **{"epochs": 2, "stop": 2, "last": 2, "augment": "crop_flip", **changes},
    }
    return Phase(**settings)


def trained(architecture=NARROW, **changes):
    run = Training(phase(**changes), 0, networks.create(architecture, 0), IMAGES, CPU)
    return run, list(run.epochs(lambda network: {}, 1))


def sizes(images, number):
    return [part.stop - part.start for part in shards.cut(images, number)]


@pytest.mark.parametrize(
    ("images", "number", "expected"),
    [(8, 2, [4, 4]), (7, 2, [4, 3]), (9, 8, [2, 2, 2, 2, 1]), (1, 4, [1]), (5, 1, [5]), (0, 2, [])],
)
def test_a_batch_is_cut_as_torch_chunks_it(images, number, expected):
    assert sizes(images, number) == expected
    if images:
        assert expected == [len(part) for part in torch.arange(images).chunk(number)]


def in_parallel(network, images, number):
    """What DataParallel gives: logits of replicas, each on its chunk; the first is the network, averages and all."""
    chunks = images.chunk(number)
    twin, weights = copy.deepcopy(network), dict(network.named_parameters())
    return torch.cat([network(chunks[0]), *(functional_call(twin, weights, chunk) for chunk in chunks[1:])])


@pytest.mark.parametrize("weighting", [NoWeighting(), WEIGHTS], ids=["plain", "divided by weights"])
def test_two_epochs_in_three_parts_are_those_of_data_parallel(weighting):
    """Batches of 16, 16 and 8 images: parts of 6, 6 and 4, and of 3, 3 and 2."""
    run, rows = trained(shards=3, weighting=weighting)
    network = networks.place(networks.create(NARROW, 0), CPU.device).train()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-3)
    weights = losses.effective_number_weights(np.array([25, 10, 5]), 0.9) if weighting == WEIGHTS else np.ones(3)
    found = []
    for epoch in range(2):
        order, crops = (torch.from_numpy(array) for array in run.objective.draw(0, epoch).arrays)
        for batch, windows in zip(order.split(16), crops.split(16), strict=True):
            logits = in_parallel(network, IMAGES.training(batch, windows), 3)
            loss = F.cross_entropy(logits, IMAGES.labels[batch], torch.tensor(weights, dtype=torch.float32))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            found.append(loss.item())
    for name, value in network.state_dict().items():
        assert torch.allclose(value, run.network.state_dict()[name], rtol=1e-3, atol=1e-5), name
    expected = [np.average(found[start : start + 3], weights=[16, 16, 8]) for start in (0, 3)]
    assert [row["loss"] for row in rows] == pytest.approx(expected, rel=1e-4)


def test_parts_have_statistics_of_their_own():
    """So that another number of parts is another recipe; one part is the whole batch."""
    (one, _), (two, _) = trained(), trained(shards=2)
    assert not torch.allclose(one.network.head.weight, two.network.head.weight, rtol=1e-3)


@pytest.mark.parametrize("architecture", [NARROW, NARROW | {"whitening": {"epsilon": 1e-5, "momentum": 0.1}}])
def test_running_averages_follow_the_first_part_alone(architecture):
    network = networks.create(architecture, 0).train()
    twin = copy.deepcopy(network)
    images = torch.randn(8, 3, 8, 8)
    split = shards.Shards(4, network, [*network.head.parameters()])
    split.step(lambda variant, batch, whole: [network(*batch).sum().detach(), torch.tensor(0)], 0, [images])
    twin(images[:2])
    for (name, mine), theirs in zip(network.named_buffers(), twin.buffers(), strict=True):
        assert torch.equal(mine, theirs), name
    network(images)  # and all of a batch that is not cut
    assert any(not torch.equal(mine, theirs) for mine, theirs in zip(network.buffers(), twin.buffers(), strict=True))


OBJECTIVES: dict[str, dict[str, Any]] = {
    "plain": {},
    "ldam": {"loss": LDAM(), "weighting": WEIGHTS},
    "tasks": {"auxiliary": AuxiliaryTasks(), "weighting": WEIGHTS},
    "rotation task": {"auxiliary": AuxiliaryTasks(rotation="task")},
    "rotation augments": {"auxiliary": AuxiliaryTasks(rotation="augment"), "weighting": WEIGHTS},
    "bbn": {"auxiliary": Bilateral(), "weighting": WEIGHTS},
    "mixup": {"mixing": Mixup(), "weighting": WEIGHTS},
    "remix": {"mixing": Remix(groups=(2,))},
    "mfw": {"mixing": MajorFeatureWeakening(group=2)},
}


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_the_losses_of_the_parts_add_up_to_that_of_the_batch(kind):
    """In evaluation mode, where images do not see each other; partners in a mixture are of the same part."""
    changes = OBJECTIVES[kind]
    auxiliary = {"second": 3, "rotation": 4} if isinstance(changes.get("auxiliary"), AuxiliaryTasks) else {}
    bilateral, head = isinstance(changes.get("auxiliary"), Bilateral), "cosine" if kind == "ldam" else "linear"
    built = NARROW | {"auxiliary": auxiliary, "bilateral": bilateral, "head": head}
    network = networks.create(built, 0).eval()
    objective = loop.objective(phase(shards=3, **changes), IMAGES, CPU.device)
    drawn = objective.draw(0, 1)
    batch = [torch.from_numpy(array)[:16] for array in drawn.arrays]
    parts = shards.cut(16, 3)
    found = [
        objective.loss(network, drawn.variants[0], *(tensor[part] for tensor in batch), whole=batch) for part in parts
    ]
    if "mixing" in changes:  # partners count from the beginning of a part
        batch[3] = torch.cat([batch[3][part] + part.start for part in parts])
    loss, hits = objective.loss(network, drawn.variants[0], *batch)
    assert sum(part.item() for part, _ in found) == pytest.approx(loss.item(), rel=1e-5)
    assert sum(part.item() for _, part in found) == hits.item()


def test_partners_are_of_the_same_part():
    labels = np.zeros(40, np.int64)
    whole, cut = (
        mixing.draw(Mixup(), np.array([40]), labels, 16, np.random.default_rng(0), shards=number) for number in (1, 3)
    )
    for start, size in ((0, 6), (6, 6), (12, 4), (16, 6), (22, 6), (28, 4), (32, 3), (35, 3), (38, 2)):
        assert sorted(cut.partner[start : start + size]) == list(range(size))
    assert sorted(whole.partner[:16]) == list(range(16))
