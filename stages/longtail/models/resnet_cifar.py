"""The ResNets of He et al. 2016 for 32x32 images, as groups of convolutions between which a method can act."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BLOCKS = {"resnet8": 1, "resnet20": 3, "resnet32": 5, "resnet44": 7, "resnet56": 9}  # blocks in each of 3 groups


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut without weights (option A: stride, then channels of zeros on both sides)."""

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride = stride
        self.extra = (channels - channels_in) // 2

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        if self.extra:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.extra, self.extra))
        return F.relu(y + x, inplace=True)


def features(backbone: str, width: int) -> int:
    """Number of channels of the last group."""
    return 4 * width


def groups(backbone: str, channels: int, width: int) -> nn.ModuleList:
    """Build the four groups of convolutions.

    Args:
        backbone: a key of BLOCKS.
        channels: of the images.
        width: channels of the first group.

    Returns:
        Modules that map (b, channels, side, side) to (b, 4 * width, side / 4, side / 4), one after the other.
    """
    first = nn.Sequential(nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
    result, before = [first], width
    for group in range(3):
        after = width * 2**group
        blocks = []
        for block in range(BLOCKS[backbone]):
            blocks.append(Block(before, after, 2 if group and not block else 1))
            before = after
        result.append(nn.Sequential(*blocks))
    return nn.ModuleList(result)


def initialise(module: nn.Module) -> None:
    """Draw Kaiming-normal weights (fan-in, gain of a ReLU) for convolutions and linear layers.

    So does the public code of Cao et al. (2019), which most papers share.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)


def pool(features: Tensor) -> Tensor:
    """Global average pooling: (b, channels, h, w) to float32 (b, channels)."""
    return torch.flatten(F.adaptive_avg_pool2d(features.float(), 1), 1)
