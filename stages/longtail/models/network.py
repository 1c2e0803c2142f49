"""The network: groups of convolutions, pooling, optional whitening, a head. Checkpoints keep its architecture."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import ModuleType
from typing import Any, NotRequired, TypedDict

import torch
from torch import Tensor, nn

from stages.longtail.models import heads, resnet_cifar, resnet_imagenet
from stages.longtail.models.whitening import Whitening
from stages.longtail.runtime.devices import ONE_AT_A_TIME


class Architecture(TypedDict):
    """Plain values from which a checkpoint's network is built again."""

    backbone: str
    width: int
    channels: int  # of the images
    classes: int
    head: heads.Kind
    whitening: dict[str, float]  # arguments of models.whitening.Whitening; empty: no whitening
    bilateral: bool  # there are two last blocks, and the features are those of both, concatenated
    auxiliary: dict[str, int]  # further linear heads, used only in training: name and number of outputs
    projection: NotRequired[int | None]  # outputs of a linear layer and a ReLU before the head; None: there are none
    projection_relu: NotRequired[bool]  # False: the linear layer without the ReLU
    crop: NotRequired[int | None]  # side in pixels of the window that the network sees; None: the whole image


def family(backbone: str) -> ModuleType:
    """The module with the backbone's groups and their initialisation."""
    return resnet_cifar if backbone in resnet_cifar.BLOCKS else resnet_imagenet


def features_size(architecture: Architecture) -> int:
    """Number of features that the head sees."""
    backbone = architecture["backbone"]
    channels = family(backbone).features(backbone, architecture["width"]) * (2 if architecture["bilateral"] else 1)
    return architecture.get("projection") or channels


class Network(nn.Module):
    def __init__(self, architecture: Architecture):
        super().__init__()
        self.architecture = architecture
        backbone, width = architecture["backbone"], architecture["width"]
        self.groups: nn.ModuleList = family(backbone).groups(backbone, architecture["channels"], width)
        if architecture["bilateral"]:
            self.second_block = copy.deepcopy(self.last_block)  # `create` draws its weights anew
        if projection := architecture.get("projection"):
            rectified = [nn.ReLU(inplace=True)] if architecture.get("projection_relu", True) else []
            self.projection = nn.Sequential(nn.Linear(self.channels, projection), *rectified)
        if architecture["whitening"]:
            self.whitening = Whitening(self.features_size, **architecture["whitening"])
        self.head: nn.Module = heads.build(architecture["head"], self.features_size, architecture["classes"])
        self.auxiliary = nn.ModuleDict(
            {name: nn.Linear(self.features_size, outputs) for name, outputs in architecture["auxiliary"].items()}
        )

    @property
    def channels(self) -> int:
        backbone = self.architecture["backbone"]
        return family(backbone).features(backbone, self.architecture["width"])

    @property
    def features_size(self) -> int:
        return features_size(self.architecture)

    @property
    def last_block(self) -> nn.Module:
        return self.groups[-1][-1]  # type: ignore[index]

    def features(self, x: Tensor, mix: Callable[[Tensor], Tensor] | None = None, after: int = 0) -> Tensor:
        """The features of a batch of images.

        Args:
            x: float32 images (b, channels, side, side).
            mix: applied to the feature maps after group `after`, or to the images if `after` is 0.
            after: number of a group, from 1.

        Returns:
            (b, features_size).
        """
        if self.architecture["bilateral"]:
            shared = self.shared(x)
            pooled = [resnet_cifar.pool(block(shared)) for block in (self.last_block, self.second_block)]
            return self._whiten(torch.cat(pooled, 1))
        if mix and after == 0:
            x = mix(x)
        for number, group in enumerate(self.groups, start=1):
            x = group(x)
            if mix and after == number:
                x = mix(x)
        x = resnet_cifar.pool(x)
        return self._whiten(self._project(x) if self.architecture.get("projection") else x)

    def shared(self, x: Tensor) -> Tensor:
        """The feature maps before the last block, which the two branches of a bilateral network share."""
        for group in self.groups[:-1]:
            x = group(x)
        return self.groups[-1][:-1](x)  # type: ignore[index]

    def _project(self, pooled: Tensor) -> Tensor:
        if self.architecture.get("projection_relu", True):
            return self.projection(pooled)
        with torch.autocast(pooled.device.type, enabled=False):  # bf16 would put a plane's points on a grid
            return self.projection(pooled)

    def _whiten(self, features: Tensor) -> Tensor:
        return self.whitening(features) if self.architecture["whitening"] else features

    def logits(self, features: Tensor) -> Tensor:
        """Logits (b, classes) in float32 whatever the precision.

        In bf16 classes would tie, and a tie goes to the class with the lower number, which is the larger one.
        """
        with torch.autocast(features.device.type, enabled=False):
            return self.head(features.float())

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.features(x))


def create(architecture: Architecture, seed: int) -> Network:
    """A network initialised from `seed`. It is drawn on the CPU and so the same for every device."""
    with ONE_AT_A_TIME, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(architecture)
        family(architecture["backbone"]).initialise(network)
    return network


def new_head(network: Network, seed: int, kind: heads.Kind = "linear") -> None:
    """Give the network a freshly initialised head that depends on `seed` alone.

    It is drawn from a number that `seed` gives, not from `seed` itself, from which the whole network was drawn.
    """
    with ONE_AT_A_TIME, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.manual_seed(int(torch.randint(2**31, ()).item()))
        head = heads.build(kind, network.features_size, network.architecture["classes"])
        family(network.architecture["backbone"]).initialise(head)
    _replace_head(network, kind, head.to(next(network.parameters()).device))


def scale_head(network: Network, bias: bool = False) -> None:
    """Make the linear head one of LWS, with a scale of 1 per class; the logits stay what they were.

    bias: scale the bias too.
    """
    with ONE_AT_A_TIME:
        head = heads.ScaledHead(network.features_size, network.architecture["classes"], bias)
    head.linear.load_state_dict(network.head.state_dict())
    _replace_head(network, "scaled_bias" if bias else "scaled", head)


def nearest_mean_head(network: Network, distance: heads.Distance, features: Tensor, labels: Tensor) -> None:
    """Replace the head by one that compares features with class means.

    Args:
        network: changed in place.
        distance: see heads.NearestMeanHead.
        features: of the training images, float32 (n, features_size).
        labels: of the training images, int64 (n,).
    """
    head = heads.NearestMeanHead(network.features_size, network.architecture["classes"], distance).to(features.device)
    head.centre, head.means = heads.class_means(features, labels, network.architecture["classes"])
    _replace_head(network, "ncm_cosine" if distance == "cosine" else "ncm_euclidean", head)


def _replace_head(network: Network, kind: heads.Kind, head: nn.Module) -> None:
    network.head = head
    network.architecture = {**network.architecture, "head": kind}


def restore(architecture: Architecture, weights: dict[str, Any], device: torch.device) -> Network:
    """Build a checkpoint's network on the device."""
    with ONE_AT_A_TIME:
        network = Network(architecture)
    network.load_state_dict(weights)
    return place(network, device)


def place(network: Network, device: torch.device) -> Network:
    """Move the network to the device, in the memory layout in which CPUs and GPUs convolve fastest."""
    return network.to(device).to(memory_format=torch.channels_last)
