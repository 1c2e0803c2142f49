"""Images that occur more than once in a data set: in train and in test, or in two classes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np


class Hashed:
    """Iterates over `images` and hashes each, so that one pass is enough for images that exceed memory."""

    def __init__(self, images: Any):
        self.images = images
        self.shape, self.dtype = images.shape, images.dtype
        self._found = bytearray()

    def __iter__(self) -> Iterator[np.ndarray]:
        for image in self.images:
            self._found += _hash(np.ascontiguousarray(image).data)
            yield image

    @property
    def hashes(self) -> np.ndarray:
        """Of the images so far, uint64 (n, 2)."""
        return _numbers(self._found)


def of_files(contents: Iterable[bytes]) -> np.ndarray:
    """Hashes of image files, uint64 (n, 2)."""
    found = bytearray()
    for content in contents:
        found += _hash(content)
    return _numbers(found)


def _hash(content: bytes | memoryview) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _numbers(found: bytearray) -> np.ndarray:
    return np.frombuffer(found, np.uint64).reshape(-1, 2)


def notes(train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> list[str]:
    """Find images that occur more than once.

    Args:
        train, test: hashes of the pixels (as stored) or of the files, uint64 (n, 2).
        train_labels, test_labels: int64 (n,).
    Returns:
        Notes for the user.
    """
    _, image = np.unique(np.concatenate([train, test]), axis=0, return_inverse=True)
    image, labels = image.ravel(), np.concatenate([train_labels, test_labels])
    seen = np.zeros(len(image), bool)
    seen[image[: len(train)]] = True
    found = []
    if both := np.count_nonzero(seen[image[len(train) :]]):
        found.append(f"note: {both} of {len(test)} test images are training images, too")
    if again := len(train) - np.count_nonzero(seen):
        found.append(f"note: {again} of {len(train)} training images repeat another")
    classes = labels.max() + 1
    if two := np.count_nonzero(np.bincount(np.unique(image * classes + labels) // classes) > 1):
        found.append(f"note: images in more than one class: {two}")
    return found
