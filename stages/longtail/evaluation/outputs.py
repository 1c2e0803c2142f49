"""The final networks' outputs for the test images: logits, for DVC's cache, and predicted classes, for git."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.longtail.console.errors import UserError
from stages.longtail.files.artifacts import atomic


@dataclass(frozen=True)
class Outputs:
    """The outputs of several seeds, in the order of the test images.

    logits: float16 (seeds, n, classes); the largest of each image is 0. labels: int64 (n,).
    """

    logits: np.ndarray
    labels: np.ndarray
    seeds: tuple[int, ...]

    @property
    def predicted(self) -> np.ndarray:
        """The class of the largest logit, int64 (seeds, n); in a tie the class with the lowest number."""
        return self.logits.argmax(-1)


def write(path: Path, outputs: Outputs) -> None:
    """Write logits.npz; the same outputs give the same bytes."""
    seeds = np.array(outputs.seeds, np.int64)
    _write(path, logits=outputs.logits, labels=_small(outputs.labels), seeds=seeds, compressed=False)


def read(path: Path) -> Outputs:
    """Read logits.npz. Raises UserError if it is damaged."""
    arrays = _read(path, "logits", "labels", "seeds")
    return Outputs(arrays["logits"], arrays["labels"].astype(np.int64), tuple(arrays["seeds"].tolist()))


def write_predictions(path: Path, outputs: Outputs) -> None:
    """Write predictions.npz: predicted classes and labels, under 20 KB per seed for 10,000 images of 100 classes."""
    seeds = np.array(outputs.seeds, np.int64)
    _write(path, predicted=_small(outputs.predicted), labels=_small(outputs.labels), seeds=seeds, compressed=True)


def read_predictions(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read predictions.npz: predicted classes, int64 (seeds, n), and labels, int64 (n,).

    Raises UserError if it is damaged.
    """
    arrays = _read(path, "predicted", "labels", "seeds")
    return arrays["predicted"].astype(np.int64), arrays["labels"].astype(np.int64)


def _small(classes: np.ndarray) -> np.ndarray:
    """Class numbers in the narrowest integer type that has room for them."""
    return classes.astype(np.min_scalar_type(int(classes.max(initial=0))))


def _write(path: Path, compressed: bool, **arrays: np.ndarray) -> None:
    buffer = io.BytesIO()  # in memory first, so that a full disk is an ordinary OSError
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)  # type: ignore[arg-type]
    with atomic(path) as file:
        file.write(buffer.getbuffer())


def _read(path: Path, *names: str) -> dict[str, np.ndarray]:
    content = io.BytesIO(path.read_bytes())  # a missing file is an ordinary OSError
    try:
        with np.load(content, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in names}
    except Exception as error:  # a damaged zip fails in many ways
        raise UserError(f"{path} is damaged ({error}): delete it and run the evaluate stage again") from error
