"""Batches of images whose files lie in a pack: decoded when they are asked for, windows cut from whole images."""

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

DRAWN_AT_ONCE = 4096  # images whose windows are drawn at once: of a million that would take gigabytes


class Packed(Batches):
    """A division, or a part of it, of a pack.

    Draws of windows that are resized are in pixels of the original image; others are in pixels of the image after its
    shorter side was resized to `stored`.
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
        """A pack is never uploaded: it is for images that do not fit."""

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
        """The next windows that were announced by `expect`, or, without it, these rows decoded now.

        `rows` may list a batch several times, each time with other quarter turns: each image is decoded once.
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
        """Pixels by which height and width of the resized images exceed the window's, int64 (b, 2)."""
        return decoding.resized(self._sizes[self._rows[positions]], self.stored) - self.side

    def _middle(self, positions: np.ndarray) -> np.ndarray:
        """The draws of the middle, as torchvision's CenterCrop rounds it."""
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

        On CUDA by a stream of its own: nothing waits for the device in a training step, so that the host is ahead of
        it, and the copy is done while the device still computes the step before.
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
    """The batches that fit the source, an array or a pack; see Batches.

    workers: processes that decode a pack's images; None: see devices.workers.
    """
    if not isinstance(source.images, Pack):
        return Batches(source, rows, device, pad, crop)
    return Packed(source, rows, device, pad, crop, devices.workers(device) if workers is None else workers)
