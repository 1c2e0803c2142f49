"""Parameters that the data cannot satisfy, and representations of something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Workplace, tiny
from inprocess import REPRESENTATION, files, ok, refused

from stages.longtail.training import checkpoint


def test_a_broken_parameter_file_is_named_in_one_line(here: Workplace) -> None:
    Path("params.yaml").write_text("split: [1\nseeds: [0]\n")  # yaml's own message has several
    refused("split", "params.yaml is not valid yaml", "line 2")


def test_a_missing_parameter_file_is_named(here: Workplace) -> None:
    Path("params.yaml").unlink()
    refused("split", "params.yaml does not exist")


# The subset.


def test_a_ratio_below_1_is_refused_by_the_script(ready: Workplace) -> None:
    ready.write(tiny(split__ratio=0.5))
    ready.refused("split", "params.yaml: split.ratio: must be at least 1, found 0.5")


@pytest.mark.parametrize("profile", ["exp", "step"])
def test_a_ratio_that_would_empty_a_class_names_the_class(ready: Workplace, profile: str) -> None:
    ready.write(tiny(split__ratio=120, split__profile=profile))
    ok("split")
    ready.write(tiny(split__ratio=121, split__profile=profile))
    refused("split", "split.ratio 121", f"class '{9 if profile == 'exp' else 5}'", "lower it")


def test_n_max_larger_than_a_class_names_the_class(ready: Workplace) -> None:
    ready.write(tiny(split__n_max=121))
    refused("split", "split.n_max asks for 121 images of class '0', which has 120", "at most 120")


def test_n_max_larger_than_what_holdout_leaves_names_the_class(ready: Workplace) -> None:
    ready.write(tiny(split__n_max=120, split__holdout=1))
    refused("split", "split.n_max asks for 120 images of class '0'", "1 of them held out", "at most 119")


@pytest.mark.parametrize("n_max", [None, 1])
@pytest.mark.parametrize("holdout", [120, 121])
def test_a_holdout_that_leaves_nothing_to_train_on_names_the_class(
    ready: Workplace, holdout: int, n_max: int | None
) -> None:
    ready.write(tiny(split__n_max=n_max, split__holdout=holdout, split__ratio=1))
    refused("split", f"split.holdout is {holdout}", "class '0' has 120 images", "below that")


def test_few_above_many_is_refused(ready: Workplace) -> None:
    ready.write(tiny(split__few=200))
    refused("split", "split.few is 200", "split.many, 100")


def test_a_profile_of_all_images_with_a_ratio_is_refused(ready: Workplace) -> None:
    ready.write(tiny(split__profile="none"))
    refused("split", "split.profile is none", "split.ratio=1", "split.n_max=null")


# The samplers.


@pytest.mark.parametrize("axis", ["sampler", "embedded"])
def test_more_blocks_than_classes_are_refused(ready: Workplace, axis: str) -> None:
    """By the stage that meets them: an embedded sampler by the first batch before which it comes."""
    sampler = {"kind": "b3rs", "blocks": 11}
    embedded = {"kind": "bet", "interval": 2, "iterations": 1, "sampler": sampler}
    ready.write(tiny(**{f"representation__{axis}": sampler if axis == "sampler" else embedded}))
    refused("represent", "`blocks` of the b3rs sampler is 11", "10 classes", "change it")


# A representation of something else.


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"protocol__backbone": "resnet20"}, ["its backbone is resnet8", "say resnet20"]),
        ({"protocol__width": 8}, ["its width is 4", "say 8", "run the represent stage again"]),
        ({"protocol__epochs": 6}, ["stopped at epoch 4", "representation.branch says 6"]),
        ({"representation__branch": {"at": "start", "plus": 3}}, ["stopped at epoch 4", "says 3"]),
        ({"representation__whitening": "zca"}, ["its whitening is {}", "say {'epsilon': 1e-05"]),
        ({"representation__auxiliary": "bilateral"}, ["its bilateral is False", "say True"]),
        ({"representation__auxiliary": "tasks"}, ["its auxiliary is {}", "say {'second': 10}"]),
        ({"representation__head": "cosine", "representation__loss": "ldam"}, ["its head is linear", "say cosine"]),
        ({"seeds": [0, 5]}, ["no seed 5", "`seeds`", "run again the stage that makes it"]),
    ],
    ids=["backbone", "width", "epochs", "branch", "whitening", "bilateral", "tasks", "head", "seed"],
)
def test_a_representation_of_another_recipe_is_refused(
    trained: Workplace, changes: dict[str, Any], words: list[str]
) -> None:
    trained.write(tiny(**changes))
    refused("classify", "data/representation/checkpoint.pt", *words)


def learn_from_others(**architecture: int) -> None:
    """Make the representation one of other data."""
    content = checkpoint.load(REPRESENTATION)
    content["seeds"][0]["architecture"] |= architecture
    checkpoint.save(REPRESENTATION, content)


def test_a_representation_of_another_class_count_is_refused_by_the_script(trained: Workplace) -> None:
    learn_from_others(classes=9)
    before = files()
    words = (str(REPRESENTATION), "its classes is 9", "say 10", "run the represent stage again")
    trained.refused("classify", *words)
    assert files() == before


def test_a_representation_of_images_with_other_channels_is_refused(trained: Workplace) -> None:
    learn_from_others(channels=3)
    refused("classify", str(REPRESENTATION), "its channels is 3", "say 1", "run the represent stage again")


def test_a_subset_of_fewer_classes_is_refused(trained: Workplace) -> None:
    path = Path("data/splits/classes.csv")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    refused("represent", "data/splits", "run the split stage again")


def test_events_that_were_not_counted_are_refused(trained: Workplace) -> None:
    trained.write(tiny(runtime__regularity=True))
    refused("classify", str(REPRESENTATION), "runtime.regularity", "run the represent stage again")
    refused("evaluate", "data/classifier/checkpoint.pt", "runtime.regularity", "run again the stage that makes it")


def test_dropping_the_last_batch_must_leave_one(ready: Workplace) -> None:
    images = len(np.load("data/splits/kept.npy"))
    ready.write(tiny(protocol__drop_last=True, protocol__batch_size=images + 1))
    refused("represent", "protocol.drop_last leaves no batch", f"there are {images} training images", "lower it")


def test_batches_that_cannot_be_whitened_are_told_of(ready: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    """16 channels: the batches of 64 are whitened; that of the last images of an epoch, or batches of 16, are not."""
    images = len(np.load("data/splits/kept.npy"))
    for size in (64, 16):
        ready.write(tiny(representation__whitening="zca", protocol__batch_size=size, protocol__epochs=1))
        ok("represent")
        small = [n for n in (size, images % size) if 0 < n <= 16]
        said = [line for line in capsys.readouterr().out.splitlines() if "singular covariance of 16 channels" in line]
        assert len(said) == bool(small) and all(str(n) in said[0] for n in small)
