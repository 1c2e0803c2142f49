"""Images on the device as uint8, handed out as normalised channels_last batches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from stages.longtail.artifacts import digest, read_array, read_meta
from stages.longtail.data import augment
from stages.longtail.errors import UserError


@dataclass(frozen=True)
class Images:
    """A division as it lies on disk. images uint8 (n, side, side, channels), memory-mapped; labels int64 (n,)."""

    images: np.ndarray
    labels: np.ndarray
    digest: list[str]  # sha256 of the two arrays
    mean: list[float]
    std: list[float]


def read_division(raw: Path, division: str) -> Images:
    """Read what the download stage wrote, verified by its checksums. division: train or test."""
    meta = read_meta(raw)
    for kind, expected in zip(("images", "labels"), meta["digest"][division], strict=True):
        path = raw / f"{division}_{kind}.npy"
        if digest(path) != expected:
            raise UserError(f"{path} is not what {raw}/meta.json describes: run the download stage again")
    images = read_array(raw / f"{division}_images.npy", mmap=True)
    labels = read_array(raw / f"{division}_labels.npy")
    return Images(images, labels, meta["digest"][division], meta["mean"], meta["std"])


UPLOAD = 1000  # images sent to the device at once: on this side they are never all in memory


class Batches:
    """A division, or a part of it, resident on a device.

    `rows` picks images of the division; positions in what follows count within `rows`. `crop`: pixels a side of the
    windows that are handed out; None: those of the images. Raises UserError if the images have fewer.
    """

    def __init__(self, source: Images, rows: np.ndarray, device: torch.device, pad: int = 0, crop: int | None = None):
        _, self.stored, _, channels = source.images.shape
        self.side, self.pad = crop or self.stored, pad
        if self.side > self.stored:
            raise UserError(
                f"protocol.crop is {crop}, but images are stored with {self.stored} pixels a side: raise dataset.size "
                "to it, or lower it"
            )
        self.labels_host = source.labels[rows]
        self.labels = torch.from_numpy(self.labels_host).to(device)
        padded = self.stored + 2 * pad
        self._padded = torch.empty((len(rows), padded, padded, channels), dtype=torch.uint8, device=device)
        for start in range(0, len(rows), UPLOAD):
            part = torch.from_numpy(source.images[rows[start : start + UPLOAD]]).to(device)
            self._padded[start : start + UPLOAD] = augment.pad(part, pad)
        self._scale = 1 / (255 * torch.tensor(source.std, device=device))
        self._shift = torch.tensor(source.mean, device=device) / torch.tensor(source.std, device=device)

    def __len__(self) -> int:
        return len(self.labels_host)

    def draw(self, kind: str, count: int, random: np.random.Generator) -> np.ndarray:
        """The draws of `count` images, for `training`. kind: protocol.augment."""
        if kind == "resized_crop_flip":
            return augment.draw_resized(count, self.stored, random)
        return augment.draw(kind, count, self.pad, random, self.stored - self.side)

    def training(self, rows: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        """Augmented batch, float32 (b, channels, side, side) in channels_last. rows (b,), draws (b, 3 to 6)."""
        return self._normalise(augment.windows(self._padded, rows, draws, self.side))

    def plain(self, start: int, stop: int) -> torch.Tensor:
        """The middle of the images from position start to stop: float32 (stop - start, channels, side, side)."""
        first = self.pad + (self.stored - self.side) // 2
        inner = slice(first, first + self.side)
        return self._normalise(self._padded[start:stop, inner, inner])

    def _normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        return (pixels * self._scale).sub_(self._shift).permute(0, 3, 1, 2)
