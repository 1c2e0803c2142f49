"""Images named by list files of lines `path label`, as ImageNet-LT, Places-LT and iNaturalist 2018 are published."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import numpy as np

from stages.longtail.console.errors import UserError
from stages.longtail.files.artifacts import text_path
from stages.longtail.sources.image_folders import TOGETHER, Files, Found, Paths, readable


def find(train: Path, test: Path, root: Path) -> Found:
    """The images in the order of the lists; classes by their labels in the lists.

    A class is named after the folder that has all its training images and no other class's, without the part of the
    path that all images share. If there is no such folder, its name is its number.

    Args:
        train, test: List files. Labels are whole numbers from 0.
        root: The folder that the paths in the lists begin in.

    Raises:
        UserError: A line is not `path label`, a class is missing from a list, or an image from `root`.
    """
    entries = {path: _read(path) for path in (train, test)}
    classes = max(int(entry.labels.max()) for entry in entries.values()) + 1
    for path, entry in entries.items():
        listed = np.unique(entry.labels).tolist()
        if len(listed) < classes:
            absent = next(label for label, there in enumerate([*listed, -1]) if label != there)
            raise UserError(
                f"{path} has no image of class {absent}, but labels go up to {classes - 1}: number the classes from "
                "0 without a gap, and list images of each to train and to test on"
            )
    files = {}
    for path, entry in entries.items():
        files[path] = Files(Paths(root / name for name in entry.paths), entry.labels)
        _all_there(path, files[path].paths, root)
    return Found(_class_names(entries[train], classes), files[train], files[test])


def _read(path: Path) -> Files:
    """The lines of a list: the paths of images, as they stand there, and their labels."""
    if not path.is_file():
        raise UserError(f"{path} is missing: set dataset.lists.train and dataset.lists.test to list files")
    labels = array("q")

    def names() -> Iterator[Path]:
        with open(path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                name, _, label = line.strip().rpartition(" ")
                if not name or not (label.isascii() and label.isdigit() and len(label) < 10):
                    shown = line.rstrip("\n")[:80]
                    raise UserError(f"{path} line {number} is not 'path label', a path and a whole number: {shown!r}")
                labels.append(int(label))
                yield text_path(name.strip())

    try:
        paths = Paths(names())
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text in UTF-8 ({error}): convert it") from None
    if not labels:
        raise UserError(f"{path} names no image: its lines are to be 'path label'")
    return Files(paths, np.array(labels))


def _all_there(path: Path, images: Sequence[Path], root: Path) -> None:
    """Raise UserError if an image of the list `path` is missing."""
    absent: list[Path] = []
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(images), TOGETHER):
            part = images[start : start + TOGETHER]
            absent += [image for image, there in zip(part, pool.map(os.path.isfile, part), strict=True) if not there]
    if absent:
        raise UserError(
            f"{len(absent)} of the {len(images)} images of {path} are missing, the first is {absent[0]}: set "
            f"dataset.root, which is {root}, to the folder that the list's paths begin in"
        )


def _class_names(entries: Files, classes: int) -> list[str]:
    folders: list[set[PurePosixPath]] = [set() for _ in range(classes)]
    for path, label in zip(entries.paths, entries.labels.tolist(), strict=True):
        folders[label].add(PurePosixPath(readable(path.parent)))
    own = [next(iter(mine)) for mine in folders if len(mine) == 1]
    if len(set(own)) < classes or len({folder.is_absolute() for folder in own}) > 1:
        return [str(label) for label in range(classes)]
    common = os.path.commonpath([folder.parent for folder in own])
    return [str(folder.relative_to(common)) for folder in own]
