"""The ResNets and ResNeXts for ImageNet, made of torchvision's blocks, and the ResNet-12 of few-shot learning.

They are groups of convolutions between which a method can act: the first convolution with its pooling, then four
groups of blocks. ResNet-12 has four groups of one block each and nothing before them.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

# Blocks in each of the four groups. The two smallest have plain blocks, the others bottlenecks; ResNeXts are 32x4d.
BLOCKS = {
    "resnet10": (1, 1, 1, 1),
    "resnet18": (2, 2, 2, 2),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
    "resnext50": (3, 4, 6, 3),
    "resnext152": (3, 8, 36, 3),
}
PLAIN = ("resnet10", "resnet18")
# Channels of each block of ResNet-12 over those of the first: 64, 160, 320, 640 in Lee et al. 2019.
RESNET12 = (1, 2.5, 5, 10)


def features(backbone: str, width: int) -> int:
    """Number of channels of the last group."""
    if backbone == "resnet12":
        return round(RESNET12[-1] * width)
    return 8 * width * (1 if backbone in PLAIN else 4)


def groups(backbone: str, channels: int, width: int) -> nn.ModuleList:
    """Build the groups of convolutions.

    Args:
        backbone: a key of BLOCKS, or resnet12.
        channels: of the images.
        width: channels of the first group.

    Returns:
        Modules that map (b, channels, side, side) to (b, features, side / 32, side / 32), one after the other; those of
        ResNet-12 to side / 16.
    """
    if backbone == "resnet12":
        sizes = [round(ratio * width) for ratio in RESNET12]
        pairs = zip([channels, *sizes], sizes, strict=False)
        return nn.ModuleList(nn.Sequential(TripleBlock(before, after)) for before, after in pairs)

    from torchvision.models.resnet import BasicBlock, Bottleneck  # here, because its import takes seconds

    block: type[BasicBlock | Bottleneck] = BasicBlock if backbone in PLAIN else Bottleneck
    cardinality, base_width = (32, 4) if backbone.startswith("resnext") else (1, 64)
    result = [
        nn.Sequential(
            nn.Conv2d(channels, width, 7, 2, 3, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
        )
    ]
    before = width
    for group, count in enumerate(BLOCKS[backbone]):
        planes, stride = width * 2**group, 2 if group else 1
        after = planes * block.expansion
        shortcut = None
        if stride != 1 or before != after:
            shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
        blocks = [block(before, planes, stride, shortcut, cardinality, base_width)]
        blocks += [block(after, planes, 1, None, cardinality, base_width) for _ in range(count - 1)]
        result.append(nn.Sequential(*blocks))
        before = after
    return nn.ModuleList(result)


class TripleBlock(nn.Module):
    """A block of ResNet-12: three 3x3 convolutions, leaky ReLUs, a 1x1 convolution as shortcut, max pooling by 2."""

    def __init__(self, channels_in: int, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential(nn.Conv2d(channels_in, channels, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.bn1(self.conv1(x)), 0.1, inplace=True)
        y = F.leaky_relu(self.bn2(self.conv2(y)), 0.1, inplace=True)
        y = self.bn3(self.conv3(y)) + self.shortcut(x)
        return F.max_pool2d(F.leaky_relu(y, 0.1, inplace=True), 2)


def initialise(module: nn.Module) -> None:
    """Draw Kaiming-normal weights (fan-out, gain of a ReLU) for convolutions, as torchvision does.

    Linear layers keep the weights that torch gave them.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
