"""A network: groups of convolutions, a pooling, a head. Its architecture, a plain dict, goes into checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from stages.longtail.models import heads, resnet_cifar


class Architecture(TypedDict):
    backbone: str
    width: int
    channels: int  # of the images
    classes: int
    head: str  # see heads.build


class Network(nn.Module):
    def __init__(self, architecture: Architecture):
        super().__init__()
        self.architecture = architecture
        self.groups = resnet_cifar.groups(architecture["backbone"], architecture["channels"], architecture["width"])
        self.head: nn.Module = heads.build(architecture["head"], self.features_size, architecture["classes"])

    @property
    def features_size(self) -> int:
        return 4 * self.architecture["width"]

    def features(self, x: Tensor, mix: Callable[[Tensor], Tensor] | None = None, after: int = 0) -> Tensor:
        """Images (b, channels, side, side) to features (b, features_size). `mix` is applied after group `after`."""
        if mix and after == 0:
            x = mix(x)
        for number, group in enumerate(self.groups, start=1):
            x = group(x)
            if mix and after == number:
                x = mix(x)
        return resnet_cifar.pool(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def create(architecture: Architecture, seed: int) -> Network:
    """A network initialised from `seed`, the same on every device: the draw is made on the CPU."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(architecture)
        resnet_cifar.initialise(network)
    return network


def new_head(network: Network, seed: int) -> None:
    """Give the network a freshly initialised linear head, drawn from `seed` and from no other draw."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.manual_seed(int(torch.randint(2**31, ()).item()))
        head = heads.build("linear", network.features_size, network.architecture["classes"])
        resnet_cifar.initialise(head)
    _replace_head(network, "linear", head)


def scale_head(network: Network) -> None:
    """Put a scale of 1 on each class of the linear head (LWS); the logits stay what they were."""
    head = heads.ScaledHead(network.features_size, network.architecture["classes"])
    head.linear.load_state_dict(network.head.state_dict())
    _replace_head(network, "scaled", head)


def nearest_mean_head(network: Network, distance: str, features: Tensor, labels: Tensor) -> None:
    """Replace the head by the class means of `features` (n, features_size), float32, with `labels` (n,)."""
    head = heads.NearestMeanHead(network.features_size, network.architecture["classes"], distance).to(features.device)
    head.centre, head.means = heads.class_means(features, labels, network.architecture["classes"])
    _replace_head(network, f"ncm_{distance}", head)


def _replace_head(network: Network, kind: str, head: nn.Module) -> None:
    network.head = head
    network.architecture = {**network.architecture, "head": kind}


def restore(architecture: Architecture, weights: dict[str, Any], device: torch.device) -> Network:
    """The network of a checkpoint, on the device."""
    network = Network(architecture)
    network.load_state_dict(weights)
    return place(network, device)


def place(network: Network, device: torch.device) -> Network:
    """On the device, in the layout in which both CPUs and GPUs convolve fastest."""
    return network.to(device).to(memory_format=torch.channels_last)
