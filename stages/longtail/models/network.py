"""A network: groups of convolutions, a pooling, perhaps whitening, a head. Its architecture goes into checkpoints."""

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
    """Plain values, from which the network of a checkpoint is built again."""

    backbone: str
    width: int
    channels: int  # of the images
    classes: int
    head: heads.Kind
    whitening: dict[str, float]  # what models.whitening.Whitening is made with; empty: none
    bilateral: bool  # a second last block; the features are those of both, one after the other
    auxiliary: dict[str, int]  # further linear heads, used in training alone: name and number of outputs
    projection: NotRequired[int | None]  # outputs of a linear layer and a ReLU that make the features; None: none
    projection_relu: NotRequired[bool]  # False: of the linear layer alone
    crop: NotRequired[int | None]  # pixels a side of the images that it is given; None: whole ones


def family(backbone: str) -> ModuleType:
    """The module that has the backbone's groups and their initialisation."""
    return resnet_cifar if backbone in resnet_cifar.BLOCKS else resnet_imagenet


def features_size(architecture: Architecture) -> int:
    """Channels of the features before the head."""
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
            self.second_block = copy.deepcopy(self.last_block)  # its weights are drawn anew by `create`
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
        """Images (b, channels, side, side) to features (b, features_size). `mix` is applied after group `after`."""
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
        """All but the last block, for the two branches of a bilateral network."""
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
        """float32 whatever the precision: bf16 would tie classes, and a tie goes to the lower, larger one."""
        with torch.autocast(features.device.type, enabled=False):
            return self.head(features.float())

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.features(x))


def create(architecture: Architecture, seed: int) -> Network:
    """A network initialised from `seed`, the same on every device: the draw is made on the CPU."""
    with ONE_AT_A_TIME, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(architecture)
        family(architecture["backbone"]).initialise(network)
    return network


def new_head(network: Network, seed: int, kind: heads.Kind = "linear") -> None:
    """Give the network a freshly initialised head, drawn from `seed` and from no other draw."""
    with ONE_AT_A_TIME, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.manual_seed(int(torch.randint(2**31, ()).item()))
        head = heads.build(kind, network.features_size, network.architecture["classes"])
        family(network.architecture["backbone"]).initialise(head)
    _replace_head(network, kind, head.to(next(network.parameters()).device))


def scale_head(network: Network, bias: bool = False) -> None:
    """Put a scale of 1 on each class of the linear head (LWS), and on its bias; the logits stay what they were."""
    with ONE_AT_A_TIME:
        head = heads.ScaledHead(network.features_size, network.architecture["classes"], bias)
    head.linear.load_state_dict(network.head.state_dict())
    _replace_head(network, "scaled_bias" if bias else "scaled", head)


def nearest_mean_head(network: Network, distance: heads.Distance, features: Tensor, labels: Tensor) -> None:
    """Replace the head by the class means of `features` (n, features_size), float32, with `labels` (n,)."""
    head = heads.NearestMeanHead(network.features_size, network.architecture["classes"], distance).to(features.device)
    head.centre, head.means = heads.class_means(features, labels, network.architecture["classes"])
    _replace_head(network, "ncm_cosine" if distance == "cosine" else "ncm_euclidean", head)


def _replace_head(network: Network, kind: heads.Kind, head: nn.Module) -> None:
    network.head = head
    network.architecture = {**network.architecture, "head": kind}


def restore(architecture: Architecture, weights: dict[str, Any], device: torch.device) -> Network:
    """The network of a checkpoint, on the device."""
    with ONE_AT_A_TIME:
        network = Network(architecture)
    network.load_state_dict(weights)
    return place(network, device)


def place(network: Network, device: torch.device) -> Network:
    """On the device, in the layout in which both CPUs and GPUs convolve fastest."""
    return network.to(device).to(memory_format=torch.channels_last)
