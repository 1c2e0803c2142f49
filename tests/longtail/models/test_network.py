"""The network: its seeds, the place where features are mixed, and the exchange of its head."""

import pytest
import torch

from stages.longtail.models import heads
from stages.longtail.models import network as networks

NARROW = {"backbone": "resnet8", "width": 4, "channels": 3, "classes": 5, "head": "linear"}
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


@pytest.mark.parametrize("change", [lambda network: None, scaled, nearest_mean])
def test_a_network_comes_back_from_its_architecture_and_weights(change):
    network = networks.create(NARROW, 0).eval()
    change(network)
    restored = networks.restore(network.architecture, network.state_dict(), torch.device("cpu")).eval()
    assert torch.allclose(restored(IMAGES), network(IMAGES), atol=1e-6)
    assert same(restored, network)


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
