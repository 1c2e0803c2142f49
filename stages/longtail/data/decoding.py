"""Cuts windows from image files: torchvision decodes the whole file, and windows are resized with antialiasing."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stages.longtail.packing.packs import Pack


class Decoder:
    """Decodes images of a pack. This is the work of a worker process.

    side: pixels of the windows. shorter: pixels to which an image's shorter side is resized, for windows of 3 draws.
    """

    def __init__(self, pack: Pack, side: int, shorter: int):
        self.pack, self.side, self.shorter = pack, side, shorter

    def __getitem__(self, piece: tuple[np.ndarray, np.ndarray]) -> Tensor | str:
        """Windows of some images, uint8 (b, side, side, 3).

        If an image cannot be decoded, an error message is returned: the DataLoader would add a worker's traceback to an
        exception.

        piece: rows of the pack (b,) and their draws. Draws are top, left and flip of a window in the resized image,
        int64 (b, 3), or top, left, height, width and flip in the original image, int64 (b, 5).
        """
        windows = torch.empty((len(piece[0]), self.side, self.side, 3), dtype=torch.uint8)
        for window, row, draw in zip(windows, piece[0].tolist(), piece[1].tolist(), strict=True):
            try:
                window.copy_(self._cut(decode(self.pack.read(row)), draw).permute(1, 2, 0))
            except Exception as error:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                return f"image {row} of {self.pack.path} cannot be decoded ({reason}): run the download stage again"
        return windows

    def _cut(self, image: Tensor, draw: list[int]) -> Tensor:
        """Cut a window, uint8 (3, side, side), from an image, uint8 (3, height, width)."""
        side = self.side
        if len(draw) == 5:
            top, left, height, width, flip = draw
            window = resize(image[:, top : top + height, left : left + width], (side, side))
        else:
            top, left, flip = draw
            height, width = resized(np.array(image.shape[1:]), self.shorter).tolist()
            window = resize(image, (height, width))[:, top : top + side, left : left + side]
        return window.flip(2) if flip else window


def decode(content: bytes) -> Tensor:
    """Decode an image file: upright, uint8 (3, height, width). Raises RuntimeError if it is damaged."""
    from torchvision.io import ImageReadMode, decode_image  # here, because its import takes seconds

    data = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    return decode_image(data, ImageReadMode.RGB, apply_exif_orientation=True)


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize uint8 (3, height, width) as torchvision resizes tensors. Pillow's pixels differ by at most one level."""
    return F.interpolate(
        image[None].contiguous(memory_format=torch.channels_last), size, mode="bilinear", antialias=True
    )[0]


def resized(sizes: np.ndarray, shorter: int) -> np.ndarray:
    """Height and width, int64 (..., 2), of images after resizing the shorter side to `shorter`, as in torchvision."""
    return shorter * sizes // sizes.min(-1, keepdims=True)
