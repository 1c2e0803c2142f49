"""Batches of images from a pack: each image is decoded when it is needed, and a window is cut from the whole image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import assert_never

import numpy as np
import torch

from stages.longtail.console.errors import UserError
from stages.longtail.data import augment, decoding
from stages.longtail.data.batches import Batches, Images
from stages.longtail.data.decoding import Decoder
from stages.longtail.data.workers import Workers
from stages.longtail.packing.packs import Pack
from stages.longtail.recipe.protocol import Augment
from stages.longtail.runtime import devices

DRAWN_AT_ONCE = 4096  # images whose windows are drawn together: for a million at once it would take gigabytes


class Packed(Batches):
    """A division in a pack, or a part of it. For its parameters see Batches and `batches` below.

    Draws of windows that are resized are in pixels of the original image. Other draws are in pixels of the image after
    its shorter side was resized to `stored`.
    """

    def __init__(
        self,
        source: Images,
        rows: np.ndarray,
        device: torch.device,
        pad: int = 0,
        crop: int | None = None,
        workers: int = 0,
    ):
        super().__init__(source, rows, device, pad, crop)
        if pad:
            raise UserError(f"protocol.pad is {pad}, but dataset.packed cuts windows from whole images: set pad to 0")
        assert isinstance(source.images, Pack)
        self._sizes = source.images.sizes
        self._decoder, self._count = Decoder(source.images, self.side, self.stored), workers
        self._workers: Workers | None = None
        self._ahead: Iterator[list[torch.Tensor]] = iter(())
        self._copies = torch.cuda.Stream(device) if device.type == "cuda" else None

    def _upload(self) -> None:
        """Nothing: packs are for images that do not fit on the device."""

    def draw(self, kind: Augment, positions: np.ndarray, random: np.random.Generator) -> np.ndarray:
        match kind:
            case "resized_crop_flip":
                sizes = self._sizes[self._rows[positions]]
                groups = np.split(sizes, range(DRAWN_AT_ONCE, len(sizes), DRAWN_AT_ONCE))
                return np.concatenate([augment.draw_resized(group, random) for group in groups])
            case "crop" | "crop_flip":
                return augment.draw(kind, len(positions), 0, random, self._larger(positions))
            case "none":
                return self._middle(positions)
            case _:
                assert_never(kind)

    def expect(self, streams: Sequence[tuple[np.ndarray, np.ndarray]], parts: Iterable[slice]) -> None:
        if self._workers is None:
            self._workers = Workers(self._decoder, self._count, self._device, keep=True)
        plan = []
        for part in parts:
            rows = np.concatenate([self._rows[positions[part]] for positions, _ in streams])
            plan.append((rows, np.concatenate([draws[part] for _, draws in streams])))
        self._ahead = self._workers.batches(plan)

    def close(self) -> None:
        """End the processes that read ahead."""
        self._workers, self._ahead = None, iter(())

    def training(self, rows: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        """The next windows that `expect` announced. If it was not called, these rows are decoded now.

        `rows` may list a batch several times, each time with other quarter turns; each image is decoded only once.
        """
        turns = draws[:, 3:] if draws.shape[1] < 5 else draws[:, 5:]
        pieces = next(self._ahead, None)
        if pieces is None:
            columns = draws.shape[1] - turns.shape[1]
            pieces = [self._decode(rows.cpu().numpy(), draws[:, :columns].cpu().numpy())]
        pixels = self._send_pieces(pieces)
        pixels = pixels.repeat(len(rows) // len(pixels), 1, 1, 1)
        return self._normalise(augment.turn(pixels, turns) if turns.shape[1] else pixels)

    def plain(self, start: int, stop: int) -> torch.Tensor:
        positions = np.arange(start, min(stop, len(self)))
        return self._normalise(self._send_pieces([self._decode(positions, self._middle(positions))]))

    def parts(self, size: int) -> Iterator[torch.Tensor]:
        parts = [np.arange(start, min(start + size, len(self))) for start in range(0, len(self), size)]
        plan = [(self._rows[part], self._middle(part)) for part in parts]
        for pieces in Workers(self._decoder, self._count, self._device, keep=False).batches(plan):
            yield self._normalise(self._send_pieces(pieces))

    def _larger(self, positions: np.ndarray) -> np.ndarray:
        """By how many pixels the resized images are higher and wider than the window, int64 (b, 2)."""
        return decoding.resized(self._sizes[self._rows[positions]], self.stored) - self.side

    def _middle(self, positions: np.ndarray) -> np.ndarray:
        """The draws of the windows in the middle, rounded as by torchvision's CenterCrop."""
        corner = np.rint(self._larger(positions) / 2).astype(np.int64)
        return np.concatenate([corner, np.zeros((len(positions), 1), np.int64)], 1)

    def _decode(self, positions: np.ndarray, draws: np.ndarray) -> torch.Tensor:
        """Windows, uint8 (b, side, side, 3), decoded in this process."""
        pixels = self._decoder[self._rows[positions], draws]
        if isinstance(pixels, str):
            raise UserError(pixels)
        return pixels

    def _send_pieces(self, pieces: list[torch.Tensor]) -> torch.Tensor:
        """A batch on the device, uint8 (b, side, side, 3).

        On CUDA the copy has its own stream. A training step never waits for the device, so the host is ahead of it,
        and the copy runs while the device still computes the step before.
        """
        if self._copies is None:
            return torch.cat(pieces) if len(pieces) > 1 else pieces[0]
        with torch.cuda.stream(self._copies):
            pixels = torch.cat([piece.to(self._device, non_blocking=True) for piece in pieces])
        current = torch.cuda.current_stream(self._device)
        current.wait_stream(self._copies)
        pixels.record_stream(current)
        return pixels


def batches(
    source: Images,
    rows: np.ndarray,
    device: torch.device,
    pad: int = 0,
    crop: int | None = None,
    workers: int | None = None,
) -> Batches:
    """The batches of a source: Batches of an array, or Packed of a pack.

    Args:
        source, rows, device, pad, crop: see Batches.
        workers: the number of processes that decode a pack's images; None: see devices.workers.
    Raises:
        UserError: the images are smaller than `crop`, or a pack is to be padded.
    """
    if not isinstance(source.images, Pack):
        return Batches(source, rows, device, pad, crop)
    return Packed(source, rows, device, pad, crop, devices.workers(device) if workers is None else workers)
