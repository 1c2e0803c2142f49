"""Processes that decode images ahead of the training, or the testing, that will ask for them."""

from __future__ import annotations

import atexit
import multiprocessing
import signal
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from stages.longtail.console.errors import STOPS, UserError
from stages.longtail.data.decoding import Decoder

PIECE = 32  # images that a process decodes in one go: batches are put together from pieces
Piece = tuple[np.ndarray, np.ndarray]  # rows (b,) and draws (b, 3 or 5), see Decoder


class Workers:
    """torch's DataLoader over pieces of batches. What comes out does not depend on the number of processes.

    count: of processes; 0: this one decodes when it is asked. keep: they stay from one plan to the next.
    """

    def __init__(self, decoder: Decoder, count: int, device: torch.device, keep: bool):
        self._plan = _Plan()
        self._loader: DataLoader[Tensor | str] = DataLoader(
            decoder,  # type: ignore[arg-type]
            batch_size=None,
            sampler=self._plan,
            num_workers=count,
            collate_fn=_as_it_is,  # type: ignore[arg-type]
            pin_memory=device.type == "cuda",
            persistent_workers=keep and count > 0,
            worker_init_fn=_outlive_signals,
            generator=torch.Generator(),  # it draws a number that nothing here uses: not from where others draw
        )

    def batches(self, plan: Sequence[Piece]) -> Iterator[list[Tensor]]:
        """The windows of each batch, uint8 (b, side, side, 3), in pieces; decoding begins at once.

        Raises UserError for an image that cannot be decoded, or a process that ended.
        """
        self._plan.pieces = [
            (rows[start : start + PIECE], draws[start : start + PIECE])
            for rows, draws in plan
            for start in range(0, len(rows), PIECE)
        ]
        return self._put_together(iter(self._loader), [-(-len(rows) // PIECE) for rows, _ in plan])

    def _put_together(self, pieces: Iterator[Tensor | str], counts: list[int]) -> Iterator[list[Tensor]]:
        for count in counts:
            batch = []
            for _ in range(count):
                try:
                    piece = next(pieces)
                except RuntimeError as error:
                    raise UserError(
                        f"a process that decodes images ended ({str(error).splitlines()[0]}): set runtime.workers "
                        "lower if memory was short, and run again to go on after the last finished epoch"
                    ) from error
                if isinstance(piece, str):
                    raise UserError(piece)
                batch.append(piece)
            yield batch


class _Plan:
    """What the DataLoader takes for a sampler: it looks here anew in every epoch."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []

    def __iter__(self) -> Iterator[Piece]:
        return iter(self.pieces)

    def __len__(self) -> int:
        return len(self.pieces)


def _as_it_is(piece: Tensor | str) -> Tensor | str:
    return piece


def _outlive_signals(_: int) -> None:
    """A signal that reaches all processes of a job is for the main one, which may still have a checkpoint to write."""
    for signum in STOPS:
        signal.signal(signum, signal.SIG_IGN)


@atexit.register
def _end() -> None:
    """Kill the decoding processes that are left when Python exits: it would wait for them, and they ignore its signal.

    If the main process is killed, torch's own watchdog ends them.
    """
    if left := [child for child in multiprocessing.active_children() if child.daemon]:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch would raise an error
        for child in left:
            child.kill()
