"""The CIFAR ResNets: their sizes worked out by hand, their shortcut and their initialisation."""

import math

import pytest
import torch

from stages.longtail.models import resnet_cifar
from stages.longtail.models.network import Network, create


def architecture(**changes):
    plain = {"backbone": "resnet32", "width": 16, "channels": 3, "classes": 10, "head": "linear"}
    return {**plain, "whitening": {}, "bilateral": False, "auxiliary": {}, **changes}


def size(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_resnet32_has_464154_parameters():
    """A 3x3 convolution a -> b has 9ab weights, a batch norm 2b, an option-A shortcut none."""
    network = Network(architecture())
    by_hand = [
        9 * 3 * 16 + 2 * 16,
        10 * (9 * 16 * 16 + 2 * 16),
        9 * 16 * 32 + 9 * (9 * 32 * 32) + 10 * (2 * 32),
        9 * 32 * 64 + 9 * (9 * 64 * 64) + 10 * (2 * 64),
    ]
    assert [size(group) for group in network.groups] == by_hand
    assert size(network.head) == 64 * 10 + 10
    assert size(network) == sum(by_hand) + 650 == 464_154


@pytest.mark.parametrize(("backbone", "layers"), {"resnet8": 8, "resnet20": 20, "resnet32": 32, "resnet56": 56}.items())
def test_the_number_in_a_name_counts_convolutions_and_the_head(backbone, layers):
    network = Network(architecture(backbone=backbone, width=2))
    convolutions = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    assert len(convolutions) + 1 == layers
    assert all(convolution.bias is None for convolution in convolutions)


def test_each_group_gives_its_shape():
    x = torch.zeros(2, 3, 32, 32)
    shapes = []
    for group in resnet_cifar.groups("resnet32", 3, 16):
        x = group(x)
        shapes.append(tuple(x.shape))
    assert shapes == [(2, 16, 32, 32), (2, 16, 32, 32), (2, 32, 16, 16), (2, 64, 8, 8)]
    assert resnet_cifar.pool(x).shape == (2, 64)


def test_pool_is_the_mean_over_places():
    x = torch.arange(24.0).view(2, 3, 2, 2)
    assert resnet_cifar.pool(x).tolist() == [[1.5, 5.5, 9.5], [13.5, 17.5, 21.5]]


def silent(block):
    """A block whose convolutions give nothing, so that what comes out is the rectified shortcut."""
    torch.nn.init.zeros_(block.conv1.weight)
    torch.nn.init.zeros_(block.conv2.weight)
    return block.eval()


def test_a_widening_shortcut_takes_every_second_pixel_and_adds_zero_channels_on_both_sides():
    x = torch.rand(2, 4, 6, 6) + 0.1
    y = silent(resnet_cifar.Block(4, 8, 2))(x)
    assert y.shape == (2, 8, 3, 3)
    assert torch.equal(y[:, 2:6], x[:, :, 0::2, 0::2])
    assert not y[:, :2].any() and not y[:, 6:].any()


def test_a_plain_shortcut_is_the_identity_and_a_block_ends_in_a_relu():
    x = torch.randn(2, 4, 6, 6)
    before = x.clone()
    assert torch.equal(silent(resnet_cifar.Block(4, 4, 1))(x), before.clamp(min=0))
    assert torch.equal(x, before)


def test_a_block_is_two_normalised_convolutions_with_a_relu_between():
    torch.manual_seed(0)
    block, x = resnet_cifar.Block(3, 3, 1), torch.randn(4, 3, 5, 5)

    def layer(value, weight):
        value = torch.nn.functional.conv2d(value, weight, padding=1)
        mean, variance = value.mean((0, 2, 3), keepdim=True), value.var((0, 2, 3), unbiased=False, keepdim=True)
        return (value - mean) / (variance + 1e-5).sqrt()

    inner = layer(x, block.conv1.weight).clamp(min=0)
    assert torch.allclose(block(x), (layer(inner, block.conv2.weight) + x).clamp(min=0), atol=1e-5)


def test_weights_are_kaiming_normal_by_fan_in():
    network = create(architecture(classes=100), 0)
    layers = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    assert len(layers) == 32
    for layer in layers:
        weight = layer.weight.detach()
        deviation = math.sqrt(2 / weight[0].numel())
        assert weight.std() == pytest.approx(deviation, rel=0.12)
        assert (weight.abs() > 2 * deviation).float().mean() == pytest.approx(0.0455, abs=0.03)  # a normal's tails


def test_batch_norms_start_as_the_identity():
    norms = [m for m in create(architecture(), 0).modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == 31
    assert all((norm.weight == 1).all() and (norm.bias == 0).all() for norm in norms)
