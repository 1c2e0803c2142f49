"""Images as uint8, on the device where they fit, served as normalised channels_last batches."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

import numpy as np
import torch

from stages.longtail.console.errors import UserError
from stages.longtail.data import augment
from stages.longtail.files.artifacts import read_array, read_meta
from stages.longtail.packing.checksums import sha256
from stages.longtail.packing.packs import Pack
from stages.longtail.recipe.protocol import Augment
from stages.longtail.runtime import devices, processes


@dataclass(frozen=True)
class Images:
    """A division (train or test) on disk.

    images: uint8 (n, side, side, channels), memory-mapped; or a Pack of image files. labels: int64 (n,).
    """

    images: np.ndarray | Pack
    labels: np.ndarray
    digest: list[str]  # sha256 of the two arrays; of a pack also its `size`
    mean: list[float]
    std: list[float]
    size: int = 0  # of a pack: pixels to which the shorter side of an image is resized before its middle is cut out

    @property
    def side(self) -> int:
        """Pixels a side of the largest square that the network can be given."""
        return self.size if isinstance(self.images, Pack) else self.images.shape[1]

    @property
    def channels(self) -> int:
        return 3 if isinstance(self.images, Pack) else self.images.shape[-1]


def read_division(raw: Path, division: str) -> Images:
    """Read a division, train or test, as `download` wrote it. Raises UserError if its checksums do not match."""
    meta = read_meta(raw)
    for kind, expected in zip(("images", "labels"), meta["digest"][division], strict=True):
        path = raw / f"{division}_{kind}.npy"
        if sha256(path) != expected:
            raise UserError(f"{path} is not what {raw}/meta.json describes: run the download stage again")
    path = raw / f"{division}_images.npy"
    labels, digests = read_array(raw / f"{division}_labels.npy"), meta["digest"][division]
    if "size" not in meta:
        return Images(read_array(path, mmap=True), labels, digests, meta["mean"], meta["std"])
    size = meta["size"]
    return Images(Pack(path), labels, [*digests, f"size {size}"], meta["mean"], meta["std"], size)


UPLOAD = 1000  # images sent to the device at once, so that main memory never holds them all


class Batches:
    """A division or a part of it, resident on a device or, if it does not fit there, sent batch by batch from disk."""

    pixels: torch.Tensor | None  # uint8 (n, padded side, padded side, channels) on the device; None: streamed

    def __init__(self, source: Images, rows: np.ndarray, device: torch.device, pad: int = 0, crop: int | None = None):
        """Send the images to the device if they leave half of its free memory.

        Args:
            source: the division.
            rows: which of its images, int64 (n,). All methods take positions in `rows`.
            device: where batches go.
            pad: pixels of padding on every side, for training.
            crop: side in pixels of the windows that batches have; None: that of the images.

        Raises:
            UserError: the images are smaller than `crop`.
        """
        self.stored, self.channels = source.side, source.channels
        self.side, self.pad = crop or self.stored, pad
        if self.side > self.stored:
            raise UserError(
                f"protocol.crop is {crop}, but images are stored with {self.stored} pixels a side: raise dataset.size "
                "to it, or lower it"
            )
        self.labels_host = source.labels[rows]
        self.labels = torch.from_numpy(self.labels_host).to(device)
        self._source, self._rows, self._device = source.images, rows, device
        self.pixels = self._upload()
        self._scale = 1 / (255 * torch.tensor(source.std, device=device))
        self._shift = torch.tensor(source.mean, device=device) / torch.tensor(source.std, device=device)

    def _upload(self) -> torch.Tensor | None:
        """All images, padded, on the device; None if they do not fit."""
        padded, count = self.stored + 2 * self.pad, len(self)
        size = count * padded**2 * self.channels
        if not devices.fits(size * (1 if self._device.type == "cuda" else processes.here()), self._device):
            print(f"{size / 2**30:.1f} GiB of images do not fit in memory: each batch is read from the disk")
            return None
        pixels = torch.empty((count, padded, padded, self.channels), dtype=torch.uint8, device=self._device)
        for start in range(0, count, UPLOAD):
            pixels[start : start + UPLOAD] = augment.pad(self._send(slice(start, start + UPLOAD)), self.pad)
        return pixels

    def __len__(self) -> int:
        return len(self.labels_host)

    def only(self, positions: np.ndarray) -> Batches:
        """The images at these positions, as batches of their own."""
        part = copy.copy(self)
        part.labels_host, part._rows = self.labels_host[positions], self._rows[positions]
        part.labels = torch.from_numpy(part.labels_host).to(self._device)
        if self.pixels is not None:
            part.pixels = self.pixels[torch.from_numpy(positions).to(self._device)]
        return part

    def draw(self, kind: Augment, positions: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Draw the augmentation of the images at `positions`, for `training`: int64 (n, 3), or (n, 5) if resized."""
        match kind:
            case "resized_crop_flip":
                return augment.draw_resized(np.full((len(positions), 2), self.stored), random)
            case "none" | "crop" | "crop_flip":
                return augment.draw(kind, len(positions), self.pad, random, self.stored - self.side)
            case _:
                assert_never(kind)

    def expect(self, streams: Sequence[tuple[np.ndarray, np.ndarray]], parts: Iterable[slice]) -> None:
        """What `training` will be asked for in an epoch, for those who read ahead; here nobody does.

        Args:
            streams: positions (n,) and draws (n, 3 or 5), for each image that a step takes at once.
            parts: of the streams, in their order: a batch each, or what this process computes of one.
        """

    def training(self, rows: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        """The augmented batch of positions `rows` (b,) with their draws (b, 3 to 6).

        Returns:
            float32 (b, channels, side, side), channels_last.
        """
        pixels = self.pixels
        if pixels is None:
            pixels = augment.pad(self._send(rows.cpu().numpy()), self.pad)
            rows = torch.arange(len(rows), device=self._device)
        return self._normalise(augment.windows(pixels, rows, draws, self.side))

    def plain(self, start: int, stop: int) -> torch.Tensor:
        """The images from position start to stop without augmentation, each cut to the window in its middle.

        Returns:
            float32 (stop - start, channels, side, side), channels_last.
        """
        resident = self.pixels
        first = (0 if resident is None else self.pad) + (self.stored - self.side) // 2
        inner = slice(first, first + self.side)
        pixels = self._send(slice(start, stop)) if resident is None else resident[start:stop]
        return self._normalise(pixels[:, inner, inner])

    def parts(self, size: int) -> Iterator[torch.Tensor]:
        """All images by `plain`, `size` at a time."""
        for start in range(0, len(self), size):
            yield self.plain(start, start + size)

    @property
    def resident(self) -> bool:
        return self.pixels is not None

    def stream(self) -> None:
        """Give the device's memory back and read from disk from now on; the batches stay the same."""
        self.pixels = None

    def close(self) -> None:
        """End the processes that read ahead: here there are none."""

    def _send(self, positions: slice | np.ndarray) -> torch.Tensor:
        """Images from disk to the device: uint8 (b, side, side, channels), without padding."""
        images = torch.from_numpy(self._source[self._rows[positions]])  # type: ignore[index]
        if self._device.type == "cuda":
            return images.pin_memory().to(self._device, non_blocking=True)
        return images

    def _normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        return (pixels * self._scale).sub_(self._shift).permute(0, 3, 1, 2)
