"""Batch normalisation cannot train on one number a channel: refused before training, not at the end of an epoch."""

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


def check(phase: Phase, images: int, architecture: Architecture, side: int) -> None:
    """Refuse a phase whose last batch of an epoch has one image, of which some trained layer sees one pixel.

    Whatever its sampler, an epoch has as many draws as there are training images, and embedded batches are whole: the
    last batch alone can be smaller. Two streams train on twice as many images, but for the last blocks of BBN.

    Args:
        phase: what is trained, and how.
        images: training images.
        architecture: of the network.
        side: pixels a side of the images that it is given.
    Raises:
        UserError: with the numbers, and a batch size that works.
    """
    last = images % phase.batch_size or phase.batch_size
    if last > 1 or (phase.drop_last and last < phase.batch_size):
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
    works = next((size for size in larger if images % size != 1), images + step)
    raise UserError(
        f"protocol.batch_size is {phase.batch_size}, which leaves one of {images} training images for the last batch "
        f"of an epoch, and {architecture['backbone']} has a feature map of 1x1 pixels for images of {side}, where "
        f"batch normalisation needs two images: set protocol.batch_size to {works}"
    )


def _sees_one_pixel(model: Network, trained: nn.Module, channels: int, side: int) -> bool:
    """Does a layer of batch normalisation in `trained` that is in training mode see maps of one pixel?"""
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
