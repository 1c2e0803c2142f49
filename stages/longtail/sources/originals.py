"""The image files that go into a pack. They are checked, and those that torchvision does not decode become PNGs."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.longtail.packing import packs
from stages.longtail.packing.packs import Original, Pack
from stages.longtail.sources import duplicates
from stages.longtail.sources.pictures import FORMATS, eight_bits, in_order, naming, orientation


@dataclass(frozen=True)
class Originals:
    """The files of a division. name: train or test, for the progress bar."""

    files: Sequence[Path]
    name: str

    def pack(self, path: Path) -> None:
        """Write the files into a pack. Raises UserError with the path of an unreadable file, and keeps those before."""
        packs.write(path, self._marks(), self._read)

    def _marks(self) -> np.ndarray:
        """int64 (n,), from the name, size and time of change of each file."""
        marks = np.empty(len(self.files), np.int64)
        for row, path in enumerate(self.files):
            status = path.stat()
            seen = b"%s\0%d\0%d" % (os.fsencode(path), status.st_size, status.st_mtime_ns)
            marks[row] = int.from_bytes(hashlib.blake2b(seen, digest_size=8).digest(), "little", signed=True)
        return marks

    def _read(self, first: int) -> Iterator[Original]:
        return in_order(read, self.files, f"packing {self.name}", first)


def read(path: Path) -> Original:
    """The bytes of an RGB or grey JPEG file, which is decoded to its end as a check; of other images those of a PNG.

    Raises UserError with the path of an unreadable file.
    """
    from PIL import Image

    with naming(path):
        content = path.read_bytes()
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            image.load()
            kept = image.format == "JPEG" and image.mode in ("RGB", "L")
            if kept and orientation(image) == 1:
                return Original(content, image.height, image.width)
            upright = eight_bits(image).convert("RGB")
            if kept and _turned_alike(content, upright.size):
                return Original(content, upright.height, upright.width)
            buffer = io.BytesIO()
            upright.save(buffer, "PNG")
            return Original(buffer.getvalue(), upright.height, upright.width)


def _turned_alike(content: bytes, size: tuple[int, int]) -> bool:
    """Whether torchvision turns the image to the same width and height as Pillow."""
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    image = decode_jpeg(
        torch.frombuffer(bytearray(content), dtype=torch.uint8), ImageReadMode.RGB, apply_exif_orientation=True
    )
    return (image.shape[2], image.shape[1]) == size


def hashes(pack: Pack) -> np.ndarray:
    """A hash of each file in a pack, to find files that are there more than once: uint64 (n, 2)."""
    return duplicates.of_files(pack.read(row) for row in range(len(pack)))
