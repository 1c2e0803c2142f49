"""Finds a data set's image files: in class folders, in the layout of Tiny-ImageNet, or by list files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from stages.longtail.console.errors import UserError
from stages.longtail.files.artifacts import text_path
from stages.longtail.sources import image_folders, image_lists, tiny_imagenet
from stages.longtail.sources.dataset import Dataset
from stages.longtail.sources.image_folders import Found
from stages.longtail.sources.large_sets import SETS


def root_of(dataset: Dataset) -> Path:
    """dataset.root, else $LONGTAIL_DATA, else data/downloads."""
    return text_path(dataset.root) if dataset.root else Path(os.environ.get("LONGTAIL_DATA") or "data/downloads")


def folder_of(dataset: Dataset) -> Path:
    """The folder of the images. Raises UserError if there is none, with what belongs there."""
    if dataset.name == "folder" or (lists_of(dataset) and dataset.root):
        if not dataset.root or not text_path(dataset.root).is_dir():
            raise UserError(
                f"dataset.root is {dataset.root!r}, which is not a folder: set it to the folder of your images"
            )
        return text_path(dataset.root)
    if dataset.name not in SETS:
        raise UserError(f"{dataset.name} is not read from image files: it has no listing, set dataset.listing to []")
    folder = root_of(dataset) / dataset.name
    if dataset.name == "tiny_imagenet":
        for unpacked in (folder, folder / tiny_imagenet.FOLDER, folder.with_name(tiny_imagenet.FOLDER)):
            if (unpacked / tiny_imagenet.ANNOTATIONS).is_file():
                return unpacked
    if not lists_of(dataset):
        SETS[dataset.name].check(folder)
    return folder


def find(dataset: Dataset) -> Found:
    """The image files of a data set that is read from such. Raises UserError if they are not in order."""
    folder, lists = folder_of(dataset), lists_of(dataset)
    if lists:
        return image_lists.find(*lists, folder)
    if dataset.name == "tiny_imagenet" and (folder / tiny_imagenet.ANNOTATIONS).is_file():
        return tiny_imagenet.find(folder)
    return image_folders.find(folder)


def files(dataset: Dataset) -> Iterator[Path]:
    """Every file that `find` looks at, image or not. Raises UserError where the folder or a listed image is missing."""
    folder, lists = folder_of(dataset), lists_of(dataset)
    if lists:
        found = image_lists.find(*lists, folder)
        yield from lists
        yield from found.train.paths
        yield from found.test.paths
        return
    for division in ("train", "test", "val"):
        if (folder / division).is_dir():
            yield from image_folders.walk(folder / division)


def lists_of(dataset: Dataset) -> tuple[Path, Path] | None:
    """The list files. For the papers' sets they are checked to be the published ones."""
    train, test = dataset.lists.train, dataset.lists.test
    if not train and not test:
        return None
    if not train or not test:
        absent, given = ("train", "test") if test else ("test", "train")
        raise UserError(f"dataset.lists.{given} is set, but dataset.lists.{absent} is not: set both, or neither")
    paths = text_path(train), text_path(test)
    if dataset.name in SETS:
        for division, path in zip(("train", "test"), paths, strict=True):
            SETS[dataset.name].check_list(division, path)
    elif dataset.name != "folder":
        raise UserError(f"dataset.lists names image files, but {dataset.name} has none: set both lists to null")
    return paths
