"""The backbones of ImageNet against torchvision's own models, ResNet-12 against its definition, and the projection."""

import ast
import inspect

import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from stages.longtail.models import network as networks
from stages.longtail.models import resnet_imagenet

THEIRS = {
    "resnet10": lambda: ResNet(BasicBlock, [1, 1, 1, 1]),
    "resnet18": models.resnet18,
    "resnet50": models.resnet50,
    "resnet101": models.resnet101,
    "resnet152": models.resnet152,
    "resnext50": models.resnext50_32x4d,
    "resnext152": lambda: ResNet(Bottleneck, [3, 8, 36, 3], groups=32, width_per_group=4),
}
PARAMETERS = {  # millions, as torchvision's documentation prints them, with 1000 classes
    "resnet18": 11.689512,
    "resnet50": 25.557032,
    "resnet101": 44.549160,
    "resnet152": 60.192808,
    "resnext50": 25.028904,
}


def architecture(backbone, width=64, classes=1000, **more):
    plain = {"channels": 3, "head": "linear", "whitening": {}, "bilateral": False, "auxiliary": {}}
    return {"backbone": backbone, "width": width, "classes": classes, **plain, **more}


def images(count, side):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("backbone", THEIRS)
def test_it_has_as_many_parameters_as_torchvisions_model(backbone):
    with torch.device("meta"):
        ours, theirs = networks.Network(architecture(backbone)), THEIRS[backbone]()
    counts = [sum(parameter.numel() for parameter in model.parameters()) for model in (ours, theirs)]
    assert counts[0] == counts[1] == round(1e6 * PARAMETERS.get(backbone, counts[1] / 1e6))


@pytest.mark.parametrize("backbone", ["resnet10", "resnet18", "resnet50", "resnext50"])
def test_its_groups_compute_what_torchvisions_model_with_the_same_weights_does(backbone):
    ours, theirs = networks.create(architecture(backbone), 0), THEIRS[backbone]()
    for layer in ours.modules():
        if isinstance(layer, nn.BatchNorm2d):  # as after training, so that no two layers are alike
            for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
    mine = dict(ours.state_dict())
    theirs.load_state_dict(dict(zip(theirs.state_dict(), mine.values(), strict=True)))
    batch = images(2, 40)
    with torch.no_grad():
        expected = theirs.eval()(batch)
        assert torch.allclose(ours.eval()(batch), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("backbone", "width", "side", "shapes"),
    [
        ("resnet10", 64, 64, [(64, 16), (64, 16), (128, 8), (256, 4), (512, 2)]),
        ("resnet18", 8, 64, [(8, 16), (8, 16), (16, 8), (32, 4), (64, 2)]),
        ("resnet101", 64, 224, [(64, 56), (256, 56), (512, 28), (1024, 14), (2048, 7)]),
        ("resnext152", 32, 224, [(32, 56), (128, 56), (256, 28), (512, 14), (1024, 7)]),
        ("resnet12", 64, 84, [(64, 42), (160, 21), (320, 10), (640, 5)]),
        ("resnet12", 4, 84, [(4, 42), (10, 21), (20, 10), (40, 5)]),
    ],
)
def test_every_group_gives_what_the_next_one_takes(backbone, width, side, shapes):
    with torch.device("meta"):
        network, x = networks.Network(architecture(backbone, width, 7)), torch.empty(2, 3, side, side)
        assert network.head(network.features(x)).shape == (2, 7)
        for group, (channels, size) in zip(network.groups, shapes, strict=True):
            x = group(x)
            assert x.shape == (2, channels, size, size)
    assert network.features_size == network.head.in_features == shapes[-1][0]


@pytest.mark.parametrize("after", range(6))
def test_mix_is_applied_after_its_group_the_stem_is_the_first(after):
    network, batch = networks.create(architecture("resnet10", 8, 5), 0).eval(), images(4, 40)
    x = batch
    for number, group in enumerate([nn.Identity(), *network.groups]):
        x = group(x)
        if number == after:
            x = x.flip(0)
    with torch.no_grad():
        assert torch.allclose(network.features(batch, lambda z: z.flip(0), after), x.mean((2, 3)), atol=1e-5)


@pytest.mark.parametrize("backbone", ["resnet10", "resnet50", "resnet12"])
def test_the_last_block_is_the_last_thing_before_the_pooling(backbone):
    network, batch = networks.create(architecture(backbone, 8, 5), 0).eval(), images(2, 40)
    with torch.no_grad():
        last = network.last_block(network.shared(batch))
        assert torch.equal(last.mean((2, 3)), network.features(batch))
    assert list(network.last_block.parameters())[-1] is list(network.groups.parameters())[-1]


def test_two_last_blocks_double_the_features():
    network = networks.create(architecture("resnet10", 8, 5, bilateral=True), 0).eval()
    assert network.features(images(2, 40)).shape == (2, network.features_size) == (2, 2 * 64)
    first, second = (next(block.parameters()) for block in (network.last_block, network.second_block))
    assert not torch.equal(first, second)


def test_convolutions_are_drawn_by_fan_out_and_the_head_as_torch_draws_it():
    network = networks.create(architecture("resnet18", classes=50), 0)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and layer.weight.numel() > 30_000:
            fan_out = layer.out_channels * layer.kernel_size[0] ** 2
            assert float(layer.weight.detach().std()) == pytest.approx((2 / fan_out) ** 0.5, rel=0.03)
    for _ in range(2):
        head = network.head
        assert float(head.weight.detach().abs().max()) == pytest.approx(512**-0.5, rel=0.01)
        networks.new_head(network, 1)


def test_a_block_of_resnet_12_is_leaky_and_pools():
    block, x = resnet_imagenet.TripleBlock(3, 3).eval(), images(2, 6)
    for convolution in (block.conv1, block.conv2, block.conv3):
        nn.init.zeros_(convolution.weight)
    block.shortcut[0].weight.data = torch.eye(3)[:, :, None, None]
    block.shortcut[1].eps = 0.0
    leaky = torch.where(x > 0, x, 0.1 * x)
    expected = leaky.view(2, 3, 3, 2, 3, 2).amax((3, 5))
    assert torch.allclose(block(x), expected, atol=1e-6)


def test_resnet_12_has_three_convolutions_and_a_shortcut_a_block():
    """12.4 million parameters, as the few-shot literature says."""
    with torch.device("meta"):
        groups = resnet_imagenet.groups("resnet12", 3, 64)
    pairs = zip((3, 64, 160, 320), (64, 160, 320, 640), strict=True)
    expected = sum(9 * a * b + 18 * b * b + a * b + 4 * 2 * b for a, b in pairs)
    assert sum(parameter.numel() for parameter in groups.parameters()) == expected
    assert expected == pytest.approx(12.4e6, rel=0.01)


def test_features_are_projected_and_rectified():
    network, batch = networks.create(architecture("resnet10", 8, 5, projection=24), 0).eval(), images(4, 40)
    layer, pooled = network.projection[0], batch
    with torch.no_grad():
        for group in network.groups:
            pooled = group(pooled)
        pooled = pooled.mean((2, 3))
        expected = (pooled @ layer.weight.T + layer.bias).clamp(min=0)
        assert torch.allclose(network.features(batch), expected, atol=1e-5) and (expected == 0).any()
    assert network.features_size == network.head.in_features == 24
    restored = networks.restore(network.architecture, network.state_dict(), torch.device("cpu")).eval()
    assert torch.allclose(restored(batch), network(batch), atol=1e-5)


def test_a_projection_alone_keeps_both_signs_and_every_bit_under_autocast():
    made = architecture("resnet10", 8, 5, projection=2, projection_relu=False)
    network, batch = networks.create(made, 0).eval(), images(4, 40)
    kept = []
    network.projection.register_forward_hook(lambda module, inputs, output: kept.append((*inputs, output)))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        features = network.features(batch)
    (pooled, projected), layer = kept[0], network.projection[0]
    assert torch.equal(features, projected) and features.dtype == torch.float32 and features.shape == (4, 2)
    assert torch.equal(features, torch.nn.functional.linear(pooled, layer.weight, layer.bias)) and (features < 0).any()


def test_an_architecture_of_before_there_were_projections_is_still_read():
    assert "projection" not in architecture("resnet8", 4, 5)
    assert networks.create(architecture("resnet8", 4, 5), 0).features(images(2, 8)).shape == (2, 16)


def test_torchvision_is_imported_only_when_such_a_network_is_built():
    """Its import takes seconds, which every stage would pay."""
    tree = ast.parse(inspect.getsource(resnet_imagenet))
    at_the_top, everywhere = (
        {node.module for node in nodes if isinstance(node, ast.ImportFrom)} for nodes in (tree.body, ast.walk(tree))
    )
    assert "torchvision.models.resnet" in everywhere - at_the_top
