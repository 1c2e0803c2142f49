"""Refuses batches too small for batch normalisation, which cannot train on a single number per channel.

It does so before training begins, not at the end of the first epoch.
"""

from __future__ import annotations

from typing import assert_never

import torch
from torch import Tensor, nn

from stages.longtail.console.errors import UserError
from stages.longtail.models import network
from stages.longtail.models.network import Architecture, Network
from stages.longtail.recipe.representation import AuxiliaryTasks, Bilateral, ClassBalancedBatches, NoAuxiliary
from stages.longtail.training.loop import set_mode
from stages.longtail.training.phase import Phase
from stages.longtail.training.shards import cut


def check(phase: Phase, images: int, architecture: Architecture, side: int) -> None:
    """Refuse a batch, or a part of one, of a single image, of which some trained batch normalisation sees one pixel.

    Whatever its sampler, an epoch has as many draws as there are training images, and embedded batches are whole: the
    last batch alone can be smaller; so can the last part of a batch that is cut. Two streams train on twice as many
    images, but for the last blocks of BBN.

    Args:
        phase: what is trained, and how.
        images: training images.
        architecture: of the network.
        side: of the images that the network is given, in pixels.

    Raises:
        UserError: with the numbers, and a batch size that works.
    """
    if not _one_alone(phase, images, phase.batch_size):
        return
    model = network.create(architecture, 0)
    set_mode(model, phase)
    match phase.auxiliary:
        case NoAuxiliary():
            trained: nn.Module = model
        case AuxiliaryTasks():
            return
        case Bilateral():
            trained = nn.ModuleList([model.last_block, model.second_block])
        case _:
            assert_never(phase.auxiliary)
    if not _sees_one_pixel(model, trained, architecture["channels"], side):
        return
    step = phase.sampler.images if isinstance(phase.sampler, ClassBalancedBatches) else 1
    larger = range(phase.batch_size + step, phase.batch_size + images + step + 1, step)
    works = next((size for size in larger if not _one_alone(phase, images, size)), images + step)
    left = "the last batch of an epoch"
    if phase.shards > 1:
        left = f"one of the {phase.shards} parts (protocol.shards) of a batch"
    raise UserError(
        f"protocol.batch_size is {phase.batch_size}, which leaves one of {images} training images for {left}, and "
        f"{architecture['backbone']} has a feature map of 1x1 pixels for images of {side}, where batch normalisation "
        f"needs two images: set protocol.batch_size to {works}"
    )


def _one_alone(phase: Phase, images: int, batch_size: int) -> bool:
    """Is there a batch of one image, or a part of one?"""
    whole, last = divmod(images, batch_size)
    sizes = ([batch_size] if whole else []) + ([last] if last and not phase.drop_last else [])
    return any(part.stop - part.start == 1 for size in sizes for part in cut(size, phase.shards))


def _sees_one_pixel(model: Network, trained: nn.Module, channels: int, side: int) -> bool:
    """Whether some batch normalisation in `trained` that is in training mode sees feature maps of one pixel."""
    layers = [layer for layer in trained.modules() if isinstance(layer, nn.BatchNorm2d) and layer.training]
    seen: list[bool] = []

    def look(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0].shape[2:].numel() == 1)

    for layer in layers:
        layer.register_forward_pre_hook(look)
    model.eval()
    with torch.no_grad():
        model(torch.zeros(1, channels, side, side))
    return any(seen)
