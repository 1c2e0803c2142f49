"""Tiny-ImageNet as its archive unpacks: train/<id>/images/, and one val/images/ whose classes a text file names."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from stages.longtail.console.errors import UserError
from stages.longtail.sources.image_folders import Files, Found, Paths, images_among, visible

FOLDER = "tiny-imagenet-200"  # what the archive unpacks to
ANNOTATIONS = Path("val/val_annotations.txt")  # file name, class and a box, apart by tabs


def find(folder: Path) -> Found:
    """The classes by name and, as test, the validation images: what train/<class>/* and test/<class>/* would give.

    Raises UserError where an image or a class of val_annotations.txt is missing.
    """
    classes = [path.name for path in visible(folder / "train") if path.is_dir()]
    names: dict[str, list[str]] = {name: [] for name in classes}
    for number, line in enumerate((folder / ANNOTATIONS).read_text(encoding="utf-8").splitlines(), 1):
        image, _, rest = line.partition("\t")
        if (name := rest.split("\t")[0]) not in names:
            raise UserError(
                f"{folder / ANNOTATIONS} line {number}: {name or line!r} is not a class of {folder / 'train'}"
            )
        if not (folder / "val/images" / image).is_file():
            raise UserError(f"{folder / 'val/images' / image} is missing, which {ANNOTATIONS} names: unpack it again")
        names[name].append(image)
    for name, images in names.items():
        if not images:
            raise UserError(f"class '{name}' has no test image: {folder / ANNOTATIONS} names none")
    train = [[path for path in visible(folder / "train" / name / "images") if path.is_file()] for name in classes]
    test = [[folder / "val/images" / image for image in sorted(names[name], key=os.fsencode)] for name in classes]
    return Found(classes, _only_images(folder / "train", classes, train), _files(test))


def _files(by_class: list[list[Path]]) -> Files:
    labels = np.repeat(np.arange(len(by_class), dtype=np.int64), [len(paths) for paths in by_class])
    return Files(Paths(path for paths in by_class for path in paths), labels)


def _only_images(train: Path, classes: list[str], by_class: list[list[Path]]) -> Files:
    kept = []
    for name, paths in zip(classes, by_class, strict=True):
        kept.append([path for path, yes in zip(paths, images_among(paths), strict=True) if yes])
        if not kept[-1]:
            raise UserError(f"class '{name}' has no train image: put some in {train / name / 'images'}")
    return _files(kept)
