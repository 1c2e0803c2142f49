"""Reads the subset that `split` drew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from stages.longtail.console.errors import UserError
from stages.longtail.files.artifacts import read_array, read_csv


@dataclass(frozen=True)
class Subset:
    """Which training images are used.

    kept, held: positions in the training division, int64, of the images to train on and of those held out.
    classes: one row per class, with the columns class, name, count and shot.
    """

    kept: np.ndarray
    held: np.ndarray
    classes: pd.DataFrame

    def counts(self, labels: np.ndarray) -> list[int]:
        """How many images of each class are kept, given the division's labels (n,).

        Empty if the subset is not of these labels: it has positions beyond their end.
        """
        if len(self.kept) and self.kept.max() >= len(labels):
            return []
        return np.bincount(labels[self.kept], minlength=len(self.classes)).tolist()

    @property
    def shots(self) -> list[str]:
        return self.classes["shot"].tolist()


def read(folder: Path) -> Subset:
    return Subset(read_array(folder / "kept.npy"), read_array(folder / "held.npy"), read_classes(folder))


def read_classes(folder: Path) -> pd.DataFrame:
    path = folder / "classes.csv"
    try:
        return read_csv(path)[["class", "name", "count", "shot"]].astype({"class": int, "count": int})
    except (KeyError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}): delete it and run the split stage") from error
