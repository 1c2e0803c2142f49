"""The class counts of the imbalance profiles, and the draw of a subset that has them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, assert_never

import numpy as np

from stages.longtail.console.errors import UserError
from stages.longtail.splits.split import Split


def class_counts(profile: Literal["exp", "step"], ratio: float, n_max: int, classes: int) -> np.ndarray:
    """How many images to keep of each class.

    Args:
        profile: `exp`: n_i = int(n_max * ratio ** (-i / (classes - 1))) (Cui et al. 2019, Cao et al. 2019); `step`: the
            first classes // 2 keep n_max, the others int(n_max / ratio) (Buda et al. 2018).
        ratio: images of the largest class over images of the smallest.
        n_max: images of the largest class.
        classes: number of classes.

    Returns:
        int64 (classes,), the largest class first.
    """
    match profile:
        case "exp":
            counts = [int(n_max * ratio ** (-i / max(1, classes - 1))) for i in range(classes)]
        case "step":
            counts = [n_max if i < classes // 2 else int(n_max / ratio) for i in range(classes)]
        case _:
            assert_never(profile)
    return np.array(counts, np.int64)


def checked(labels: np.ndarray, names: Sequence[str], path: Path) -> np.ndarray:
    """The labels from `path`, int64 (n,), if each is a class of these names. Raises UserError."""
    whole = labels.ndim == 1 and labels.dtype.kind in "iu" and isinstance(names, list)
    if not whole or not len(labels) or labels.min() < 0 or labels.max() >= len(names):
        raise UserError(f"{path} has no labels of the classes in meta.json beside it: run the download stage again")
    return labels


def draw(labels: np.ndarray, names: list[str], split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Draw the images to train on and those to hold out.

    One RandomState(seed) shuffles the indices of each class in turn, and the first n_i are kept: the draw of the public
    code of Cao et al. (2019), which most papers share. The last images of each shuffled class are held out. With
    n_max null they reduce what is left to keep, so a subset with a hold-out is not the papers' subset.

    Args:
        labels: int (n,), of the training division.
        names: the classes' names, by label.
        split: the section of the parameters.

    Returns:
        Indices to keep and indices held out, both int64 positions in `labels`, in the order in which they were drawn.

    Raises:
        UserError: a class has too few images.
    """
    sizes = np.bincount(labels, minlength=len(names))
    available = sizes - split.holdout
    for name, size, left in zip(names, sizes, available, strict=True):
        if left < 1:
            raise UserError(
                f"split.holdout is {split.holdout}, but class '{name}' has {size} images: set split.holdout below that"
            )
    if split.profile == "none":
        if split.ratio != 1 or split.n_max is not None:
            raise UserError("split.profile is none, which keeps every image: set split.ratio=1 and split.n_max=null")
        wanted = available
    else:
        wanted = class_counts(split.profile, split.ratio, split.n_max or max(1, int(available.min())), len(names))
    for name, size, left, want in zip(names, sizes, available, wanted, strict=True):
        if want < 1:
            raise UserError(
                f"split.ratio {split.ratio:g} leaves class '{name}' without a training image: lower it, or raise "
                "split.n_max"
            )
        if want > left:
            reserved = f", {split.holdout} of them held out by split.holdout" if split.holdout else ""
            raise UserError(
                f"split.n_max asks for {want} images of class '{name}', which has {size}{reserved}: set split.n_max "
                f"to at most {available.min()}, or to null"
            )
    random = np.random.RandomState(split.seed)
    kept, held = [], []
    for label, want in enumerate(wanted):
        rows = np.flatnonzero(labels == label)
        random.shuffle(rows)
        kept.append(rows[:want])
        held.append(rows[len(rows) - split.holdout :])
    return np.concatenate(kept), np.concatenate(held)


def shots(counts: np.ndarray, many: int, few: int) -> list[str]:
    """Each class's group: many-shot above `many` training images, few-shot below `few`, medium-shot between.

    Kang et al. (2020) have many = 100 and few = 20.
    """
    if few > many + 1:
        raise UserError(f"split.few is {few}, above split.many, {many}: a class would be both; set few to at most many")
    return ["many" if n > many else "few" if n < few else "medium" for n in counts]
