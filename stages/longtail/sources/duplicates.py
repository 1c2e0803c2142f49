"""Images that occur more than once in a data set: in train and in test, or in two classes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np


class Hashed:
    """Iterates over `images` and keeps a hash of each, so that one pass is enough for images that exceed memory."""

    def __init__(self, images: Any):
        self.images = images
        self.shape, self.dtype = images.shape, images.dtype
        self.hashes: list[bytes] = []

    def __iter__(self) -> Iterator[np.ndarray]:
        for image in self.images:
            self.hashes.append(hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest())
            yield image


def notes(train: list[bytes], train_labels: np.ndarray, test: list[bytes], test_labels: np.ndarray) -> list[str]:
    """Notes for the user about repeated images, found by hashes of their pixels (as stored) or of their files."""
    found = []
    classes: dict[bytes, set[int]] = {}
    for image, label in zip(train + test, [*train_labels.tolist(), *test_labels.tolist()], strict=True):
        classes.setdefault(image, set()).add(label)
    seen = set(train)
    if both := sum(image in seen for image in test):
        found.append(f"note: {both} of {len(test)} test images are training images, too")
    if again := len(train) - len(seen):
        found.append(f"note: {again} of {len(train)} training images repeat another")
    if two := sum(len(labels) > 1 for labels in classes.values()):
        found.append(f"note: images in more than one class: {two}")
    return found
