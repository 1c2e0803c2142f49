"""Weights that a network starts from (`protocol.weights`): torchvision's, trained on ImageNet, version 1."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

from stages.longtail.console.errors import UserError
from stages.longtail.files.artifacts import digest
from stages.longtail.models import network
from stages.longtail.models.network import Architecture, Network

URL = "https://download.pytorch.org/models"
FILES = {  # the name ends in the first digits of the file's sha256
    "resnet18": "resnet18-f37072fd.pth",
    "resnet50": "resnet50-0676ba61.pth",
    "resnet101": "resnet101-63fe2227.pth",
    "resnet152": "resnet152-394f9c45.pth",
    "resnext50": "resnext50_32x4d-7cdf4587.pth",
}


def create(architecture: Architecture, seed: int) -> Network:
    """A network as `network.create` makes it, its convolutions and their normalisation as in the file.

    The file is $LONGTAIL_DATA/weights/NAME (data/downloads/weights/NAME), fetched if it is not there.

    Raises:
        UserError: it cannot be fetched, is not the published one, or is of other shapes than the network.
    """
    folder = Path(os.environ.get("LONGTAIL_DATA") or "data/downloads") / "weights"
    path = folder / FILES[architecture["backbone"]]
    if not path.is_file():
        _fetch(path)
    if not digest(path).startswith(_checksum(path)):
        raise UserError(f"{path} is truncated or altered (its sha256 is not the published one): delete it")
    published = torch.load(path, map_location="cpu", weights_only=True)
    model = network.create(architecture, seed)
    try:
        model.groups.load_state_dict({name: published[_theirs(name)] for name in model.groups.state_dict()})
    except (KeyError, RuntimeError) as error:  # torch's error has a line for each tensor
        raise UserError(
            f"{path} has no weights for this network, which has {architecture['channels']} channels of input and a "
            f"width of {architecture['width']}: protocol.weights needs 3 and 64"
        ) from error
    return model


def _theirs(name: str) -> str:
    """torchvision's name of a parameter or an average of `groups`: 0.0 and 0.1 are its conv1 and bn1, 1 its layer1."""
    group, _, rest = name.partition(".")
    if group == "0":
        module, _, rest = rest.partition(".")
        return f"{('conv1', 'bn1')[int(module)]}.{rest}"
    return f"layer{group}.{rest}"


def _checksum(path: Path) -> str:
    return path.stem.rpartition("-")[2]


def _fetch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(f"{URL}/{path.name}", str(path), _checksum(path), sys.stderr.isatty())
    except (OSError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"cannot download {URL}/{path.name} ({reason}): put it in {path.parent}") from error
