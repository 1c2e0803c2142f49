"""Classifies image files with a trained network, prepared as its test images were."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from stages.longtail.console.errors import UserError
from stages.longtail.data.batches import Batches, Images
from stages.longtail.evaluation import probabilities
from stages.longtail.evaluation.rounding import text
from stages.longtail.models.network import Network
from stages.longtail.prediction import predict
from stages.longtail.runtime.devices import Compute
from stages.longtail.sources import image_folders
from stages.longtail.sources.pictures import Pictures

TOGETHER = 256  # images are read and classified in groups of this size, so that any folder fits into memory


@dataclass(frozen=True)
class Preparation:
    """How `download` stored the test images, and what they are normalised with.

    side: in pixels. whole: see Pictures. channels: 3, or 1 if the network was trained on grey images. mean, std: one
    value per channel.
    """

    side: int
    whole: bool
    channels: int
    mean: list[float]
    std: list[float]

    def read(self, path: Path) -> np.ndarray:
        """Read an image file: uint8 (side, side, channels). Raises UserError if it is not an image."""
        if not path.exists():
            raise UserError(f"{path} does not exist")
        try:
            image = Pictures([path], self.side, self.whole, path.name).read(path)
        except OSError as error:
            raise UserError(f"{path}: {error.strerror or error}") from error
        if self.channels == 3:
            return image
        from PIL import Image

        return np.asarray(Image.fromarray(image).convert("L"))[..., None]


@dataclass(frozen=True)
class Answer:
    """The answer to one file: the classes from the most to the least likely, with their probabilities.

    probabilities: None if the network's logits do not stand for any, see evaluation.probabilities.
    """

    path: Path
    classes: list[str]
    probabilities: list[float] | None


def find(names: list[Path]) -> list[Path]:
    """The files among `names`, and all images in the folders among them, at any depth, sorted by name.

    Raises UserError for a folder without an image.
    """
    files = []
    for name in names:
        if not name.is_dir():
            files.append(name)
            continue
        paths = sorted(image_folders.walk(name))
        found = [path for path, is_image in zip(paths, image_folders.images_among(paths), strict=True) if is_image]
        if not found:
            raise UserError(f"{name} has no image file")
        files += found
    return files


def classify(
    files: list[Path], preparation: Preparation, network: Network, names: list[str], scale: float, compute: Compute
) -> Iterator[Answer | UserError]:
    """For each file in order yield what the network answers, or the reason why the file could not be read.

    Args:
        files: image files.
        preparation: how the test images were prepared.
        network: trained.
        names: the classes' names, by label.
        scale: of the loss, see predict.logits.
        compute: the device and the precision.
    """

    def read(path: Path) -> np.ndarray | UserError:
        try:
            return preparation.read(path)
        except UserError as error:
            return error

    crop = network.architecture.get("crop")
    probable = probabilities.meant(network.architecture)
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(files), TOGETHER):
            found = list(pool.map(read, files[start : start + TOGETHER]))
            images = [image for image in found if isinstance(image, np.ndarray)]
            answers: Iterator[torch.Tensor] = iter(())
            if images:
                labels = np.zeros(len(images), np.int64)  # unknown; nothing reads them
                stored = Images(np.stack(images), labels, [], preparation.mean, preparation.std)
                batches = Batches(stored, np.arange(len(images)), compute.device, crop=crop)
                answers = iter(predict.logits(network, batches, compute, scale).float())
            for path, image in zip(files[start:], found, strict=False):
                if isinstance(image, UserError):
                    yield image
                    continue
                logits = next(answers)
                order = torch.argsort(logits, descending=True, stable=True)
                shares = logits.softmax(0)[order].tolist() if probable else None
                yield Answer(path, [names[label] for label in order.tolist()], shares)


def line(answer: Answer, top: int) -> str:
    """One line for people: the file and its `top` likeliest classes with their probabilities."""
    shown = answer.classes[:top]
    if answer.probabilities is not None:
        pairs = zip(shown, answer.probabilities, strict=False)
        shown = [f"{name} {text(probability, 4)}" for name, probability in pairs]
    return f"{answer.path}: {', '.join(shown)}"


def table(answer: Answer, top: int) -> pd.DataFrame:
    """Rows for programs, one per class, with the columns file, rank, class and probability."""
    rank = range(1, min(top, len(answer.classes)) + 1)
    shares = None if answer.probabilities is None else answer.probabilities[:top]
    columns = {"file": str(answer.path), "rank": rank, "class": answer.classes[:top], "probability": shares}
    return pd.DataFrame(columns)
