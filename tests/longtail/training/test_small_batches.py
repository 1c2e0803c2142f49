"""A last batch of one image that batch normalisation cannot train on is refused before the first epoch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Workplace, composed, tiny
from inprocess import ok, refused

from stages.longtail.configuration.parameters import parse
from stages.longtail.console.errors import UserError
from stages.longtail.models import network
from stages.longtail.recipe.protocol import Protocol
from stages.longtail.recipe.representation import ClassBalancedBatches, Representation
from stages.longtail.training import loop, small_batches
from stages.longtail.training.phase import Phase
from stages.longtail.training.session import architecture


def recipe(*overrides: str, **protocol: Any) -> tuple[Phase, network.Architecture]:
    plain = composed("protocol.width=4", *overrides)
    settings = parse(Protocol, plain["protocol"] | protocol, "protocol")
    representation = parse(Representation, plain["representation"], "representation")
    return Phase.of(settings, representation), architecture(settings, representation, 1, 3)


def trains_on_one(phase: Phase, built: network.Architecture, side: int) -> bool:
    """Does torch itself train the network, or BBN's blocks, on a single image?"""
    model = network.create(built, 0)
    loop.set_mode(model, phase)
    x = torch.zeros(1, 1, side, side)
    try:
        if built["bilateral"]:
            model.last_block(model.shared(x.repeat(2, 1, 1, 1))[:1])
        else:
            model(x)
    except ValueError as error:
        assert "more than 1 value per channel" in str(error)
        return False
    return True


@pytest.mark.parametrize("method", ["joint", "cbs", "bbn", "bet", "mfw"])
@pytest.mark.parametrize(
    ("backbone", "side"), [("resnet8", 8), ("resnet8", 4), ("resnet18", 8), ("resnet18", 64), ("resnet12", 16)]
)
def test_what_torch_cannot_train_on_is_refused_and_nothing_else(method: str, backbone: str, side: int) -> None:
    phase, built = recipe(f"method={method}", backbone=backbone)
    possible = trains_on_one(phase, built, side)
    if possible:
        small_batches.check(phase, 65, built, side)
    else:
        with pytest.raises(UserError, match="one of 65 training images for the last batch"):
            small_batches.check(phase, 65, built, side)
    small_batches.check(phase, 66, built, side)
    small_batches.check(phase, 64, built, side)


def test_the_sides_above_are_of_both_kinds() -> None:
    kinds = {
        trains_on_one(*recipe(backbone=backbone), side)
        for backbone, side in (("resnet8", 8), ("resnet8", 4), ("resnet18", 8), ("resnet18", 64), ("resnet12", 16))
    }
    assert kinds == {True, False}


@pytest.mark.parametrize("trained", ["head", "scale"])
def test_what_is_frozen_needs_no_second_image(trained: Any) -> None:
    phase, built = recipe(backbone="resnet18")
    small_batches.check(replace(phase, trained=trained), 65, built, 8)


def test_a_last_batch_that_is_dropped_is_no_trouble() -> None:
    phase, built = recipe("method=joint", backbone="resnet18", batch_size=8)
    with pytest.raises(UserError):
        small_batches.check(phase, 65, built, 8)
    small_batches.check(replace(phase, drop_last=True), 65, built, 8)
    with pytest.raises(UserError):  # no smaller batch, but whole ones of one image
        small_batches.check(replace(phase, drop_last=True, batch_size=1), 65, built, 8)


def test_auxiliary_tasks_have_a_second_image() -> None:
    small_batches.check(*_of(recipe("method=cbs_rrs", backbone="resnet18")), 8)


def _of(made: tuple[Phase, network.Architecture]) -> tuple[Phase, int, network.Architecture]:
    return made[0], 65, made[1]


@pytest.mark.parametrize("batch_size", [1, 2, 4, 8, 16, 32, 64])
@pytest.mark.parametrize("images", [1, 4])
def test_the_batch_size_that_is_offered_works(batch_size: int, images: int) -> None:
    phase, built = recipe(backbone="resnet18", batch_size=batch_size)
    if images > 1:
        phase = replace(phase, sampler=ClassBalancedBatches(images=images))
    with pytest.raises(UserError, match=f"protocol.batch_size is {batch_size}, which leaves one of 65") as caught:
        small_batches.check(phase, 65, built, 8)
    offered = int(str(caught.value).split()[-1])
    assert offered > batch_size and 65 % offered != 1 and (images == 1 or (offered - batch_size) % images == 0)
    small_batches.check(replace(phase, batch_size=offered), 65, built, 8)


def test_represent_refuses_it_before_training(ready: Workplace) -> None:
    count = len(np.load("data/splits/kept.npy"))
    ready.write(tiny(protocol__backbone="resnet18", protocol__batch_size=count - 1))
    refused("represent", f"protocol.batch_size is {count - 1}", f"one of {count} training images", "1x1", "resnet18")
    ready.write(tiny(protocol__backbone="resnet18", protocol__batch_size=count, protocol__epochs=3))
    ok("represent")
