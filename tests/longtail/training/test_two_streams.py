"""Auxiliary tasks (`balance` Eq. 2) and BBN (Zhou et al. 2020): losses from the network's pieces, image by image."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from stages.longtail.data.batches import Batches, Images
from stages.longtail.models import network as networks
from stages.longtail.recipe.representation import (
    AuxiliaryTasks,
    Bilateral,
    ClassBalancedBatches,
    ClassSampler,
    CrossEntropy,
    EffectiveNumber,
    NoWeighting,
)
from stages.longtail.recipe.schedule import Constant
from stages.longtail.runtime.devices import Compute
from stages.longtail.training import loop, two_streams
from stages.longtail.training.phase import Phase

CPU = Compute(torch.device("cpu"), "fp32")
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
LABELS = np.random.default_rng(1).permutation(np.repeat([0, 1, 2], [25, 10, 5]))
MEAN, STD, PAD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.25], 1
IMAGES = Batches(Images(PIXELS, LABELS, [], MEAN, STD), np.arange(40), CPU.device, PAD)
NARROW = {"backbone": "resnet8", "width": 4, "channels": 3, "classes": 3, "head": "linear", "whitening": {}}

# A batch of 5, and its second batch of 5: image, then top, left and flip.
ROWS, CROPS = [0, 7, 7, 21, 39], [[0, 1, 0], [2, 2, 1], [1, 0, 0], [1, 1, 1], [0, 0, 0]]
SECOND_ROWS, SECOND_CROPS = [3, 5, 0, 30, 11], [[2, 0, 1], [1, 1, 0], [0, 2, 0], [1, 2, 1], [2, 1, 0]]
BATCH = [torch.tensor(array) for array in (ROWS, CROPS, SECOND_ROWS, SECOND_CROPS)]
MAIN, SECOND = list(zip(ROWS, CROPS, strict=True)), list(zip(SECOND_ROWS, SECOND_CROPS, strict=True))
TURNS = [[0, 1], [3, 2], [1, 1], [2, 3], [2, 0]]  # of an image of the batch, and of the second


def phase(auxiliary, **changes):
    settings = {
        **{"sampler": ClassBalancedBatches(images=2), "loss": CrossEntropy()},
        **{"weighting": NoWeighting(), "auxiliary": auxiliary, "augment": "crop_flip"},
        **{"schedule": Constant(warmup=0), "lr": 0.1, "weight_decay": 0.0, "momentum": 0.9, "batch_size": 16},
        **{"epochs": 4, "stop": 4, "last": 4, **changes},
    }
    return Phase(**settings)


def objective(auxiliary, **changes):
    return loop.objective(phase(auxiliary, **changes), IMAGES, CPU.device)


def tasks_network():
    """With auxiliary heads, its statistics those of no batch; in evaluation mode, which makes images independent."""
    network = networks.create(NARROW | {"bilateral": False, "auxiliary": {"second": 3, "rotation": 4}}, 0)
    return settled(network)


def bilateral_network():
    return settled(networks.create(NARROW | {"bilateral": True, "auxiliary": {}}, 0))


def settled(network):
    with torch.no_grad():
        for _ in range(5):
            network.train()(torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(0)) + 0.3)
    return network.eval()


def seen(row, crop, turns=0):
    """One training image, in NumPy: padded, cropped, flipped, turned counterclockwise, normalised. (1, 3, 8, 8)"""
    top, left, flip = crop
    padded = np.pad(PIXELS[row], ((PAD, PAD), (PAD, PAD), (0, 0)))
    image = padded[top : top + 8, left : left + 8]
    image = np.rot90(image[:, ::-1] if flip else image, turns)
    return torch.tensor(((image / 255 - MEAN) / STD).transpose(2, 0, 1)[None].copy(), dtype=torch.float32)


def mean_loss(network, head, pairs):
    """Mean cross-entropy of a head over (image, label) pairs, one image at a time."""
    each = [-head(network.features(image)).log_softmax(1)[0, label] for image, label in pairs]
    return torch.stack(each).mean()


def upright(draws):
    return [(seen(row, crop), LABELS[row]) for row, crop in draws]


def rotated():
    """(image, quarter turns, row) of the whole of [B_main; B_second]."""
    turns = [main for main, _ in TURNS] + [second for _, second in TURNS]
    return [(seen(row, crop, turn), turn, row) for (row, crop), turn in zip(MAIN + SECOND, turns, strict=True)]


@pytest.mark.parametrize("rotation", ["none", "task"])
def test_the_loss_of_the_tasks_is_equation_2(rotation):
    network = tasks_network()
    auxiliary = AuxiliaryTasks(lambda1=0.5, lambda2=0.7, lambda3=1.3, rotation=rotation)
    turns = [] if rotation == "none" else [torch.tensor(TURNS)]
    loss, correct = objective(auxiliary).loss(network, 0, *BATCH, *turns)
    expected = 0.5 * mean_loss(network, network.head, upright(MAIN))
    expected = expected + 0.7 * mean_loss(network, network.auxiliary["second"], upright(SECOND))
    if rotation == "task":
        pairs = [(image, turn) for image, turn, _ in rotated()]
        expected = expected + 1.3 * mean_loss(network, network.auxiliary["rotation"], pairs)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert int(correct) == sum(int(network(image).argmax() == label) for image, label in upright(MAIN))


def test_rotations_as_augmentation_are_more_images_of_their_classes_for_both_heads():
    network = tasks_network()
    auxiliary = AuxiliaryTasks(lambda1=0.5, lambda2=0.7, lambda3=1.3, rotation="augment")
    loss, correct = objective(auxiliary).loss(network, 0, *BATCH, torch.tensor(TURNS))
    more = [(image, LABELS[row]) for image, _, row in rotated()]
    expected = 0.5 * mean_loss(network, network.head, upright(MAIN) + more[:5])
    expected = expected + 0.7 * mean_loss(network, network.auxiliary["second"], upright(SECOND) + more[5:])
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert int(correct) == sum(int(network(image).argmax() == label) for image, label in upright(MAIN))


def test_the_recipes_loss_and_weights_are_those_of_the_main_head_alone():
    """The second head's is the plain cross-entropy (`balance` section 3.4)."""
    network = tasks_network()
    weighted = objective(AuxiliaryTasks(lambda1=1.0, lambda2=1.0), weighting=EffectiveNumber(beta=0.9))
    loss, _ = weighted.loss(network, 0, *BATCH)
    weights = np.array([1 / (1 - 0.9**25), 1 / (1 - 0.9**10), 1 / (1 - 0.9**5)])
    weights *= 3 / weights.sum()
    main = [mean_loss(network, network.head, [pair]) * weights[pair[1]] for pair in upright(MAIN)]
    expected = torch.stack(main).mean() + mean_loss(network, network.auxiliary["second"], upright(SECOND))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def gradients(rotation="task", **weights):
    """The largest gradient of each part of the network; 0 where there is none."""
    network = tasks_network()
    auxiliary = AuxiliaryTasks(**{"lambda1": 0.0, "lambda2": 0.0, "lambda3": 0.0, **weights}, rotation=rotation)
    turns = [] if rotation == "none" else [torch.tensor(TURNS)]
    objective(auxiliary).loss(network, 0, *BATCH, *turns)[0].backward()
    parts = {"trunk": network.groups, "main": network.head, **network.auxiliary}
    return {
        name: max(0.0 if p.grad is None else float(p.grad.abs().max()) for p in part.parameters())
        for name, part in parts.items()
    }


@pytest.mark.parametrize("rotation", ["none", "task", "augment"])
@pytest.mark.parametrize(("weight", "head"), [("lambda1", "main"), ("lambda2", "second")])
def test_each_stream_moves_the_trunk_and_its_own_head_but_no_other(weight, head, rotation):
    moved = gradients(rotation, **{weight: 1.0})
    assert {name for name, gradient in moved.items() if gradient > 0} == {"trunk", head}


def test_the_rotation_task_moves_the_trunk_and_its_own_head_but_no_other():
    assert {name for name, gradient in gradients(lambda3=1.0).items() if gradient > 0} == {"trunk", "rotation"}


def test_the_main_head_sees_nothing_of_the_second_batch():
    """Its gradient stays what it is when the second batch becomes another."""
    network, kept = tasks_network(), []
    for second in ((BATCH[2], BATCH[3]), (BATCH[0], BATCH[1])):
        network.zero_grad()
        loss, _ = objective(AuxiliaryTasks(lambda1=0.5)).loss(network, 0, *BATCH[:2], *second)
        loss.backward()
        kept.append((network.head.weight.grad.clone(), network.auxiliary["second"].weight.grad.clone()))
    assert torch.allclose(kept[0][0], kept[1][0], atol=1e-6)
    assert not torch.allclose(kept[0][1], kept[1][1], atol=1e-3)


@pytest.mark.parametrize("auxiliary", [AuxiliaryTasks(), AuxiliaryTasks(rotation="task"), Bilateral()])
def test_an_epoch_is_as_many_draws_of_each_sampler_as_images(auxiliary):
    drawn = objective(auxiliary).draw(0, 1)
    assert [len(array) for array in drawn.arrays] == [40] * len(drawn.arrays)
    assert [array.shape[1:] for array in drawn.arrays[:4]] == [(), (3,), (), (3,)]
    assert drawn.variants == [0, 0, 0]


def test_each_stream_is_drawn_by_its_own_sampler():
    """CBS: 8 classes of 2 images per batch, here with 3 classes 6, 6 and 4. The second: every image once an epoch."""
    main, _, second, _ = objective(AuxiliaryTasks()).draw(0, 0).arrays
    assert sorted(second) == list(range(40))
    assert sorted(np.bincount(LABELS[main[:16]])) == [4, 6, 6]
    swapped = objective(AuxiliaryTasks(sampler=ClassBalancedBatches(images=2)), sampler=ClassSampler(kind="instance"))
    main, _, second, _ = swapped.draw(0, 0).arrays
    assert sorted(main) == list(range(40)) and sorted(np.bincount(LABELS[second[:16]])) == [4, 6, 6]


def test_two_streams_of_one_sampler_are_drawn_apart():
    same = ClassSampler(kind="instance")
    main, crops, second, second_crops = objective(AuxiliaryTasks(sampler=same), sampler=same).draw(0, 0).arrays
    assert (main != second).any() and (crops != second_crops).any()


def test_turns_are_drawn_for_both_batches_and_come_equally_often():
    tasks = objective(AuxiliaryTasks(rotation="task"))
    turns = np.concatenate([tasks.draw(0, epoch).arrays[4] for epoch in range(50)])
    assert turns.shape == (2000, 2)
    for column in turns.T:
        assert np.bincount(column) == pytest.approx([500] * 4, abs=75)
    assert abs(np.corrcoef(turns.T)[0, 1]) < 0.1


@pytest.mark.parametrize("auxiliary", [AuxiliaryTasks(rotation="task"), Bilateral()])
def test_the_seed_the_epoch_and_the_stream_decide_every_draw(auxiliary):
    def same(first, second):
        return [bool((a == b).all()) for a, b in zip(first.arrays[:5], second.arrays[:5], strict=True)]

    plain, drawn = objective(auxiliary), 5 if isinstance(auxiliary, AuxiliaryTasks) else 4  # alpha is not drawn
    assert all(same(plain.draw(3, 1), plain.draw(3, 1)))
    for other in (plain.draw(4, 1), plain.draw(3, 2), objective(auxiliary, stream=1).draw(3, 1)):
        assert not any(same(plain.draw(3, 1), other)[:drawn])


def test_alpha_of_bbn_falls_from_1_as_a_parabola():
    """1 - (t / 4)^2."""
    drawn = [objective(Bilateral()).draw(0, epoch).arrays[4] for epoch in range(4)]
    assert [array.tolist() for array in drawn] == [[alpha] * 40 for alpha in (1.0, 0.9375, 0.75, 0.4375)]


@pytest.mark.parametrize(
    ("epochs", "total", "last"),
    [(200, None, 1 - (199 / 200) ** 2), (90, None, 0.2079), (180, None, 0.198975), (90, 90, 1 - (89 / 90) ** 2)],
)
def test_alpha_counts_to_100_of_90_and_to_200_of_180_epochs_as_bbns_code(epochs, total, last):
    """1 - (89 / 100)^2 = 0.2079 and 1 - (179 / 200)^2 = 0.198975 in the last epoch."""
    assert Bilateral(total=total).alpha(epochs - 1, epochs) == pytest.approx(last)
    drawn = objective(Bilateral(total=total), epochs=epochs).draw(0, epochs - 1).arrays[4]
    assert drawn == pytest.approx(np.full(40, last))


def alphas(value):
    return torch.full((5,), value)


@pytest.mark.parametrize("alpha", [1.0, 0.75, 0.4375, 0.0])
def test_bbn_mixes_the_features_of_its_branches_and_the_losses_of_their_labels(alpha):
    """Zhou et al. Eq. 1 to 4, image pair by image pair: W [2 alpha f_c; 2 (1 - alpha) f_r]."""
    network = bilateral_network()
    loss, correct = objective(Bilateral()).loss(network, 0, *BATCH, alphas(alpha))
    weight, bias, losses, right = network.head.weight, network.head.bias, [], 0
    for (image, label), (second, second_label) in zip(upright(MAIN), upright(SECOND), strict=True):
        f_c = network.last_block(network.shared(image)).mean((2, 3))[0]
        f_r = network.second_block(network.shared(second)).mean((2, 3))[0]
        logits = weight[:, :16] @ f_c * 2 * alpha + weight[:, 16:] @ f_r * 2 * (1 - alpha) + bias
        own = -logits.log_softmax(0)
        losses.append(alpha * own[label] + (1 - alpha) * own[second_label])
        right += int(logits.argmax() == label)
    assert loss.item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-5)
    assert int(correct) == right


def test_halfway_bbn_trains_on_the_logits_that_it_is_tested_with():
    """The same images in both streams, in evaluation mode: the loss is that of the network's own logits."""
    network = bilateral_network()
    loss, correct = objective(Bilateral()).loss(network, 0, *BATCH[:2], *BATCH[:2], alphas(0.5))
    logits = network(torch.cat([image for image, _ in upright(MAIN)]))
    labels = torch.tensor(LABELS[ROWS])
    assert loss.item() == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert int(correct) == int((logits.argmax(1) == labels).sum())


@pytest.mark.parametrize(("alpha", "still"), [(1.0, "second_block"), (0.0, "last_block")])
def test_at_either_end_one_branch_of_bbn_rests(alpha, still):
    network = bilateral_network()
    objective(Bilateral()).loss(network, 0, *BATCH, alphas(alpha))[0].backward()
    for name in ("last_block", "second_block"):
        gradient = max(float(p.grad.abs().max()) for p in getattr(network, name).parameters())
        assert (gradient == 0) == (name == still)
    assert all(bool(p.grad.any()) for p in network.groups[0].parameters())


@pytest.mark.parametrize(
    ("auxiliary", "architecture"),
    [
        (AuxiliaryTasks(), {"bilateral": False, "auxiliary": {"second": 3}}),
        (AuxiliaryTasks(rotation="augment"), {"bilateral": False, "auxiliary": {"second": 3}}),
        (AuxiliaryTasks(rotation="task"), {"bilateral": False, "auxiliary": {"second": 3, "rotation": 4}}),
        (Bilateral(), {"bilateral": True, "auxiliary": {}}),
    ],
)
def test_two_epochs_train_every_weight_and_do_so_again_in_the_same_way(auxiliary, architecture):
    states = []
    for _ in range(2):
        network = networks.create(NARROW | architecture, 0)
        before = {name: value.clone() for name, value in network.state_dict().items()}
        run = loop.Training(phase(auxiliary, lr=0.01), 0, network, IMAGES, CPU)
        for _ in range(2):
            row = run.train_epoch()
            assert np.isfinite(row["loss"]) and 0 <= row["train_acc"] <= 100
        after = run.network.state_dict()
        assert all(not torch.equal(after[name], value) for name, value in before.items())
        states.append(after)
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_the_auxiliary_axis_chooses_the_objective():
    assert isinstance(objective(AuxiliaryTasks()), two_streams.Tasks)
    assert isinstance(objective(Bilateral()), two_streams.Branches)
