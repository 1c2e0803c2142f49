"""The section `protocol` of the parameters."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stages.longtail.configuration.schema import Count, NonNegative, Positive, Section, Share
from stages.longtail.recipe.schedule import Schedule

OfCifar = Literal["resnet8", "resnet20", "resnet32", "resnet44", "resnet56"]
OfImageNet = Literal[
    "resnet10", "resnet12", "resnet18", "resnet50", "resnet101", "resnet152", "resnext50", "resnext152"
]


Pretrained = Literal["resnet18", "resnet50", "resnet101", "resnet152", "resnext50"]  # that torchvision has weights of

Augment = Literal["none", "crop", "crop_flip", "resized_crop_flip"]


class Protocol(Section):
    """What a paper keeps fixed while it compares methods."""

    name: str
    backbone: Literal[OfCifar, OfImageNet]
    width: Count  # channels of the first group of convolutions; the papers have 16 for CIFAR's networks, 64 for others
    epochs: Count
    batch_size: Count
    lr: Positive
    momentum: Share
    weight_decay: NonNegative
    schedule: Schedule
    augment: Augment
    pad: Annotated[int, Field(ge=0, le=64)]  # pixels of zero padding before the crop
    crop: Count | None = None  # side of the window that the network sees, the middle one in tests; null: whole images
    nesterov: bool = False  # Nesterov momentum
    drop_last: bool = False  # leave out an epoch's last batch if it is smaller than the others
    shards: Count = 1  # parts of a batch, each normalised by its own statistics: see training/shards.py
    projection: Count | None = None  # outputs of a linear layer and a ReLU before the head; null: there are none
    projection_relu: bool = True  # false: the linear layer without the ReLU
    weights: Literal["imagenet"] | None = None  # that the backbone starts from: torchvision's; null: drawn by the seed
    trained: Literal["all", "last_block"] = "all"  # of the backbone; the rest keeps the weights that it starts from
    trunk_lr: Positive | None = None  # of all but the heads; null: lr
