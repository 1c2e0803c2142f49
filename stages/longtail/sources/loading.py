"""Where images come from. Every source returns the same thing: uint8 images, labels and class names per division."""

from __future__ import annotations

import contextlib
import errno
import io
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, assert_never

import numpy as np
from tqdm import tqdm

from stages.longtail.console.errors import UserError
from stages.longtail.console.suggestions import suggest
from stages.longtail.files.artifacts import digest
from stages.longtail.sources import layouts
from stages.longtail.sources.dataset import Dataset
from stages.longtail.sources.image_folders import Paths
from stages.longtail.sources.large_sets import IMAGENET_MEAN, IMAGENET_STD, SETS
from stages.longtail.sources.layouts import root_of
from stages.longtail.sources.originals import Originals
from stages.longtail.sources.pictures import Pictures

DIGITS_TRAIN_PER_CLASS = 120
# Of CIFAR-10; the common code uses them for CIFAR-100 too, and so do we.
CIFAR_MEAN, CIFAR_STD = [0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]


@dataclass(frozen=True)
class Division:
    """Training or test images, uint8 (n, side, side, channels), and labels, int64 (n,), indices into the class names.

    The images of large sets are files: Pictures are decoded while one iterates over them, Originals not at all.
    """

    images: np.ndarray | Pictures | Originals
    labels: np.ndarray


@dataclass(frozen=True)
class Source:
    """mean, std: what batches are normalised with, one value per channel, in [0, 1]."""

    classes: list[str]
    train: Division
    test: Division
    mean: list[float]
    std: list[float]


def load(dataset: Dataset) -> Source:
    """Read a data set, or those of its classes that `dataset.classes` names.

    Raises UserError if a file is missing, altered or no image, a class has no test image, or there is no such class.
    """
    source = _whole(dataset)
    return _only(source, dataset.classes) if dataset.classes else source


def _whole(dataset: Dataset) -> Source:
    match dataset.name:
        case "digits":
            _no_files(dataset)
            return _digits(dataset)
        case "cifar10" | "cifar10_four" | "cifar100":
            _no_files(dataset)
            return _cifar(dataset)
        case "imagenet_lt" | "places_lt" | "inaturalist2018" | "tiny_imagenet" | "tiered_imagenet":
            return _large(dataset)
        case "folder":
            return _folder(dataset)
        case _:
            assert_never(dataset.name)


def _only(source: Source, names: Sequence[str]) -> Source:
    """The source with these classes alone, labelled in this order, normalised as the whole is."""
    for number, name in enumerate(names):
        if name not in source.classes:
            raise UserError(f"dataset.classes: the data set has no class '{name}'{suggest(name, source.classes)}")
        if name in names[:number]:
            raise UserError(f"dataset.classes names '{name}' twice")
    label = np.full(len(source.classes), -1)
    label[[source.classes.index(name) for name in names]] = np.arange(len(names))

    def part(division: Division) -> Division:
        labels = label[division.labels]
        rows, images = np.flatnonzero(labels >= 0), division.images
        if isinstance(images, Pictures | Originals):
            return Division(replace(images, files=Paths(images.files[row] for row in rows.tolist())), labels[rows])
        return Division(images[rows], labels[rows])

    return replace(source, classes=list(names), train=part(source.train), test=part(source.test))


def _no_files(dataset: Dataset) -> None:
    """Raise UserError for what only makes sense of image files."""
    layouts.lists_of(dataset)
    if dataset.packed:
        raise UserError(f"dataset.packed is true, but {dataset.name} has no image files: set it to false")


def _digits(dataset: Dataset) -> Source:
    """The UCI test set of handwritten digits that scikit-learn bundles: 1,797 grey images of 8x8, 16 levels."""
    from sklearn.datasets import load_digits

    if dataset.size != 8:
        raise UserError(f"dataset.size is {dataset.size}, but digits are 8 pixels a side: set dataset.size to 8")
    bunch = load_digits()
    images = (bunch.images * (255 / 16)).round().astype(np.uint8)[..., None]
    labels = bunch.target.astype(np.int64)
    by_class = [np.flatnonzero(labels == c) for c in range(10)]
    train = np.sort(np.concatenate([rows[:DIGITS_TRAIN_PER_CLASS] for rows in by_class]))
    test = np.sort(np.concatenate([rows[DIGITS_TRAIN_PER_CLASS:] for rows in by_class]))
    names = [str(c) for c in range(10)]
    return _measured(names, Division(images[train], labels[train]), Division(images[test], labels[test]))


def _cifar(dataset: Dataset) -> Source:
    """CIFAR through torchvision's reader. Its files are pickles, so each one's md5 is verified before it is opened."""
    from torchvision.datasets import CIFAR10, CIFAR100

    if dataset.size != 32:
        raise UserError(f"dataset.size is {dataset.size}, but {dataset.name} has 32 pixels a side: set it to 32")
    reader = CIFAR100 if dataset.name == "cifar100" else CIFAR10
    root = root_of(dataset)
    folder = root / reader.base_folder
    files = [*reader.train_list, *reader.test_list, (reader.meta["filename"], reader.meta["md5"])]
    if not folder.exists():
        _download_cifar(reader, root)
    with tqdm(desc=f"checking {folder.name}", unit="B", unit_scale=True, disable=None) as bar:
        for name, md5 in files:
            path = folder / name
            if not path.is_file():
                raise UserError(f"{path} is missing: put the official files of {dataset.name} in {folder}")
            if digest(path, "md5", progress=bar.update) != md5:
                raise UserError(f"{path} is truncated or altered (its md5 is not the official one): delete {folder}")
    with contextlib.redirect_stdout(io.StringIO()):
        train, test = (reader(str(root), train=division, download=False) for division in (True, False))
    return Source(
        list(train.classes),
        Division(train.data, np.asarray(train.targets, np.int64)),
        Division(test.data, np.asarray(test.targets, np.int64)),
        CIFAR_MEAN,
        CIFAR_STD,
    )


def _download_cifar(reader: Any, root: Path) -> None:
    """Fetch the official archive, verify its md5, and only then unpack it, with no member outside its folder."""
    from torchvision.datasets.utils import download_url

    archive = root / reader.filename
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root) as scratch:
        if not archive.exists():
            try:
                download_url(reader.url, scratch, reader.filename, reader.tgz_md5)
            except (OSError, RuntimeError) as error:
                if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                    error.filename = str(archive)
                    raise
                raise UserError(
                    f"cannot download {reader.url} ({error}): put the unpacked folder {reader.base_folder} in "
                    f"{root.resolve()}, or set dataset.root or $LONGTAIL_DATA to the folder that holds it"
                ) from error
            (Path(scratch) / reader.filename).replace(archive)
        if digest(archive, "md5") != reader.tgz_md5:
            raise UserError(
                f"{archive} is truncated or altered (its md5 is not the official one): delete it and run again"
            )
        if not hasattr(tarfile, "data_filter"):
            raise UserError(
                f"Python 3.11.4 or newer unpacks {archive} safely: use one, or unpack it yourself in {root}"
            )
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(scratch, filter="data")
        except tarfile.TarError as error:
            raise UserError(f"{archive} cannot be unpacked ({error}): delete it and run again") from error
        (Path(scratch) / reader.base_folder).replace(root / reader.base_folder)


def _folder(dataset: Dataset) -> Source:
    """A person's own images, squeezed into squares, normalised by their own pixels; or packed, by ImageNet's."""
    classes, train, test = _divisions(dataset, whole=True)
    if dataset.packed:
        return Source(classes, train, test, list(IMAGENET_MEAN), list(IMAGENET_STD))
    return _measured(classes, _in_memory(train), _in_memory(test))


def _large(dataset: Dataset) -> Source:
    """Images of one of the papers' large sets, as they are or cut to squares, read when they are written."""
    known = SETS[dataset.name]
    classes, train, test = _divisions(dataset, whole=False)
    if note := known.note(len(train.labels), len(test.labels)):
        print(note)
    return Source(classes, train, test, list(known.mean), list(known.std))


def _divisions(dataset: Dataset, whole: bool) -> tuple[list[str], Division, Division]:
    """Class names, training and test division. whole: see Pictures."""
    found = layouts.find(dataset)
    for note in found.notes:
        print(note)
    train, test = (
        Division(
            Originals(files.paths, name) if dataset.packed else Pictures(files.paths, dataset.size, whole, name),
            files.labels,
        )
        for name, files in (("train", found.train), ("test", found.test))
    )
    return found.classes, train, test


def _in_memory(division: Division) -> Division:
    assert isinstance(division.images, Pictures)
    images = np.empty(division.images.shape, np.uint8)
    for row, image in enumerate(division.images):
        images[row] = image
    return Division(images, division.labels)


def _measured(classes: list[str], train: Division, test: Division) -> Source:
    """A source normalised by the mean and standard deviation of its own training pixels, rounded to four digits."""
    images = np.asarray(train.images)
    levels = np.arange(256) / 255
    mean, std = [], []
    for channel in range(images.shape[-1]):
        # A part at a time: bincount makes 64-bit integers of what it counts.
        parts = np.array_split(images[..., channel], -(-len(images) // 1000))
        counts = np.sum([np.bincount(part.ravel(), minlength=256) for part in parts], axis=0)
        share = counts / counts.sum()
        average = float(share @ levels)
        mean.append(round(average, 4))
        std.append(max(1e-4, round(float(share @ (levels - average) ** 2) ** 0.5, 4)))
    return Source(classes, train, test, mean, std)
