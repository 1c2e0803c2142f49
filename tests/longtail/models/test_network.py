"""The network: its seeds, the place where features are mixed, its parts by axis, and the exchange of its head."""

import pytest
import torch

from stages.longtail.models import heads
from stages.longtail.models import network as networks

NARROW = {"backbone": "resnet8", "width": 4, "channels": 3, "classes": 5, "head": "linear"}
NARROW |= {"whitening": {}, "bilateral": False, "auxiliary": {}}
WHITE = NARROW | {"whitening": {"epsilon": 1e-5, "momentum": 0.1}}
BILATERAL = NARROW | {"bilateral": True}
TASKS = NARROW | {"auxiliary": {"second": 5, "rotation": 4}}
IMAGES = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def same(first, second):
    return all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    assert same(networks.create(NARROW, 3), networks.create(NARROW, 3))
    first, other = networks.create(NARROW, 3), networks.create(NARROW, 4)
    drawn = [name for name, weight in first.named_parameters() if weight.dim() > 1 or name == "head.bias"]
    assert len(drawn) == 9  # 7 convolutions and the head's two
    for name in drawn:
        assert not torch.equal(first.get_parameter(name), other.get_parameter(name)), name


def test_creating_a_network_leaves_the_global_generator_alone():
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    networks.new_head(networks.create(NARROW, 3), 3)
    assert torch.equal(torch.rand(3), expected)


def test_logits_are_the_head_of_the_pooled_groups():
    network = networks.create(NARROW, 0).eval()
    x = IMAGES
    for group in network.groups:
        x = group(x)
    features = x.mean((2, 3))
    assert torch.allclose(network.features(IMAGES), features, atol=1e-6)
    assert torch.allclose(network(IMAGES), features @ network.head.weight.T + network.head.bias, atol=1e-5)


@pytest.mark.parametrize(
    ("after", "shape"),
    {0: (6, 3, 8, 8), 1: (6, 4, 8, 8), 2: (6, 4, 8, 8), 3: (6, 8, 4, 4), 4: (6, 16, 2, 2)}.items(),
)
def test_mix_is_applied_once_after_its_group(after, shape):
    network, seen = networks.create(NARROW, 0).eval(), []

    def mix(x):
        seen.append(tuple(x.shape))
        return x.flip(0)

    x = IMAGES
    for group in network.groups[:after]:
        x = group(x)
    x = x.flip(0)
    for group in network.groups[after:]:
        x = group(x)
    assert torch.allclose(network.features(IMAGES, mix, after), x.mean((2, 3)), atol=1e-6)
    assert seen == [shape]


def pooled(network, block):
    """Features of one branch, one group after the other."""
    x = network.groups[2](network.groups[1](network.groups[0](IMAGES)))
    return block(x).mean((2, 3))  # resnet8's last group is one block


def test_a_bilateral_networks_features_are_those_of_both_last_blocks():
    network = networks.create(BILATERAL, 0).eval()
    by_hand = torch.cat([pooled(network, network.last_block), pooled(network, network.second_block)], 1)
    assert torch.allclose(network.features(IMAGES), by_hand, atol=1e-6)
    assert torch.allclose(network(IMAGES), by_hand @ network.head.weight.T + network.head.bias, atol=1e-5)
    assert by_hand.shape == (6, 32) and network.features_size == 32
    assert not torch.allclose(by_hand[:, :16], by_hand[:, 16:], atol=1e-2)


def test_the_shared_part_ends_before_the_last_block_of_a_deeper_network():
    network = networks.create(BILATERAL | {"backbone": "resnet20"}, 0).eval()
    x = IMAGES
    for layer in [*network.groups[:-1], *list(network.groups[-1])[:2]]:
        x = layer(x)
    assert torch.allclose(network.shared(IMAGES), x, atol=1e-6)
    branches = [block(x).mean((2, 3)) for block in (network.groups[-1][2], network.second_block)]
    assert torch.allclose(network.features(IMAGES), torch.cat(branches, 1), atol=1e-6)


def test_the_second_last_block_has_weights_of_its_own_drawn_from_the_seed():
    one, two, other = (networks.create(BILATERAL, seed) for seed in (3, 3, 4))
    assert same(one, two)
    for name in ("conv1", "conv2"):
        mine = one.second_block.get_submodule(name).weight
        assert not torch.equal(mine, one.last_block.get_submodule(name).weight)
        assert not torch.equal(mine, other.second_block.get_submodule(name).weight)


def test_whitening_comes_between_the_pooling_and_the_head():
    network = networks.create(WHITE, 0).eval()
    with torch.no_grad():
        network.whitening.mean.uniform_()
        network.whitening.covariance.copy_(torch.diag(torch.arange(1.0, 17.0)))
    centred = pooled(network, network.last_block) - network.whitening.mean
    by_hand = (centred / (torch.arange(1.0, 17.0) + 1e-5).sqrt()).float()
    assert torch.allclose(network.features(IMAGES), by_hand, atol=1e-5)
    assert torch.allclose(network(IMAGES), network.head(by_hand), atol=1e-5)


def test_auxiliary_heads_have_their_outputs_and_no_say_in_the_logits():
    network = networks.create(TASKS, 0).eval()
    before = network(IMAGES)
    assert {name: tuple(head.weight.shape) for name, head in network.auxiliary.items()} == {
        "second": (5, 16),
        "rotation": (4, 16),
    }
    with torch.no_grad():
        for parameter in network.auxiliary.parameters():
            parameter.fill_(7)
    assert torch.equal(network(IMAGES), before)


def test_auxiliary_heads_are_drawn_from_the_seed():
    one, two, other = (networks.create(TASKS, seed) for seed in (3, 3, 4))
    assert same(one.auxiliary, two.auxiliary)
    assert not torch.equal(one.auxiliary["second"].weight, other.auxiliary["second"].weight)
    assert not torch.equal(one.auxiliary["second"].weight, one.head.weight)


def test_a_new_cosine_head_is_a_cosine_head_of_the_networks_size():
    network = networks.create(BILATERAL | {"head": "cosine"}, 0)
    first = network.head.weight.clone()
    networks.new_head(network, 0, "cosine")
    assert isinstance(network.head, heads.CosineHead) and network.head.weight.shape == (5, 32)
    assert network.architecture["head"] == "cosine" and not torch.equal(network.head.weight, first)


def test_a_new_head_depends_on_the_seed_alone_and_is_not_the_first_one():
    one, two, other = networks.create(NARROW, 0), networks.create(NARROW, 9), networks.create(NARROW, 0)
    first = one.head.weight.clone()
    for network, seed in ((one, 7), (two, 7), (other, 8)):
        networks.new_head(network, seed)
    assert torch.equal(one.head.weight, two.head.weight) and torch.equal(one.head.bias, two.head.bias)
    assert not torch.equal(one.head.weight, other.head.weight)
    assert not torch.equal(one.head.weight, first)


def test_the_new_head_of_a_seed_is_not_the_head_that_the_seed_began_with():
    network = networks.create(NARROW, 5)
    first = network.head.weight.clone()
    networks.new_head(network, 5)
    assert not torch.equal(network.head.weight, first)
    torch.manual_seed(5)
    drawn_as_the_trunk_was = torch.nn.Linear(16, 5)
    assert not torch.equal(network.head.bias, drawn_as_the_trunk_was.bias)


def test_a_scale_on_the_head_changes_no_logit():
    network = networks.create(NARROW, 0).eval()
    before = network(IMAGES)
    networks.scale_head(network)
    assert torch.equal(network(IMAGES), before)
    assert network.architecture["head"] == "scaled"


def scaled(network):
    networks.scale_head(network)


def nearest_mean(network):
    features = network.features(IMAGES).detach()
    networks.nearest_mean_head(network, "euclidean", features, torch.tensor([0, 1, 2, 3, 4, 0]))


def whitened(network):
    with torch.no_grad():
        network.whitening.covariance.mul_(3)
        network.whitening.mean.add_(1)


@pytest.mark.parametrize(
    ("architecture", "change"),
    [
        *((NARROW, change) for change in (lambda network: None, scaled, nearest_mean)),
        *((WHITE, whitened), (BILATERAL, scaled), (BILATERAL, nearest_mean), (TASKS, scaled)),
    ],
)
def test_a_network_comes_back_from_its_architecture_and_weights(architecture, change):
    network = networks.create(architecture, 0).eval()
    change(network)
    restored = networks.restore(network.architecture, network.state_dict(), torch.device("cpu")).eval()
    assert torch.allclose(restored(IMAGES), network(IMAGES), atol=1e-6)
    assert same(restored, network) and restored.state_dict().keys() == network.state_dict().keys()


def test_exchanging_a_head_leaves_the_architecture_of_other_networks_alone():
    networks.scale_head(networks.create(NARROW, 0))
    assert NARROW["head"] == "linear"


def test_the_nearest_mean_head_classifies_by_the_features_it_was_given():
    """Features along the axes: each class's own sample is nearest to its mean."""
    network = networks.create(NARROW, 0)
    features = torch.eye(16)[:5] * 3
    networks.nearest_mean_head(network, "cosine", features, torch.arange(5))
    assert network.head(features).argmax(1).tolist() == [0, 1, 2, 3, 4]
    assert isinstance(network.head, heads.NearestMeanHead)
