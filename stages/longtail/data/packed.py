"""Batches of images whose files lie in a pack: decoded when they are asked for, windows cut from whole images."""

from __future__ import annotations

from typing import assert_never

import numpy as np
import torch

from stages.longtail.console.errors import UserError
from stages.longtail.data import augment, decoding
from stages.longtail.data.batches import Batches, Images
from stages.longtail.data.decoding import Decoder
from stages.longtail.files.packs import Pack
from stages.longtail.recipe.protocol import Augment


class Packed(Batches):
    """A division, or a part of it, of a pack. Draws count pixels of the images as they are, or, of windows that are not
    resized, of images whose shorter side has `stored` pixels."""

    def __init__(self, source: Images, rows: np.ndarray, device: torch.device, pad: int = 0, crop: int | None = None):
        super().__init__(source, rows, device, pad, crop)
        if pad:
            raise UserError(f"protocol.pad is {pad}, but dataset.packed cuts windows from whole images: set pad to 0")
        assert isinstance(source.images, Pack)
        self._sizes = source.images.sizes
        self._decoder = Decoder(source.images, self.side, self.stored)

    def _upload(self) -> None:
        """Never: a pack is there for what does not fit."""

    def draw(self, kind: Augment, positions: np.ndarray, random: np.random.Generator) -> np.ndarray:
        match kind:
            case "resized_crop_flip":
                return augment.draw_resized(self._sizes[self._rows[positions]], random)
            case "crop" | "crop_flip":
                return augment.draw(kind, len(positions), 0, random, self._larger(positions))
            case "none":
                return self._middle(positions)
            case _:
                assert_never(kind)

    def training(self, rows: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        turns = draws[:, 3:] if draws.shape[1] < 5 else draws[:, 5:]
        columns = draws.shape[1] - turns.shape[1]
        pixels = self._decode(rows.cpu().numpy(), draws[:, :columns].cpu().numpy())
        return self._normalise(augment.turn(pixels, turns) if turns.shape[1] else pixels)

    def plain(self, start: int, stop: int) -> torch.Tensor:
        positions = np.arange(start, min(stop, len(self)))
        return self._normalise(self._decode(positions, self._middle(positions)))

    def _larger(self, positions: np.ndarray) -> np.ndarray:
        """Pixels by which height and width of the resized images exceed the window's, int64 (b, 2)."""
        return decoding.resized(self._sizes[self._rows[positions]], self.stored) - self.side

    def _middle(self, positions: np.ndarray) -> np.ndarray:
        """The draws of the middle, as torchvision's CenterCrop rounds it."""
        corner = np.rint(self._larger(positions) / 2).astype(np.int64)
        return np.concatenate([corner, np.zeros((len(positions), 1), np.int64)], 1)

    def _decode(self, positions: np.ndarray, draws: np.ndarray) -> torch.Tensor:
        """Windows on the device, uint8 (b, side, side, 3)."""
        pixels = self._decoder[self._rows[positions], draws]
        if isinstance(pixels, str):
            raise UserError(pixels)
        return pixels.to(self._device)


def batches(source: Images, rows: np.ndarray, device: torch.device, pad: int = 0, crop: int | None = None) -> Batches:
    """The batches that fit the source, an array or a pack; see Batches."""
    kind = Packed if isinstance(source.images, Pack) else Batches
    return kind(source, rows, device, pad, crop)
