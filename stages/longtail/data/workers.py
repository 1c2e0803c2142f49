"""Worker processes that decode images before training or testing needs them."""

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

PIECE = 32  # images that a worker decodes together; batches are put together from such pieces
Piece = tuple[np.ndarray, np.ndarray]  # rows (b,) and draws (b, 3 or 5), see Decoder


class Workers:
    """torch's DataLoader over pieces of batches. The batches do not depend on the number of workers."""

    def __init__(self, decoder: Decoder, count: int, device: torch.device, keep: bool):
        """Start no worker yet.

        Args:
            decoder: what the workers run.
            count: the number of workers; 0: this process decodes each batch when it is needed.
            device: where the batches go.
            keep: whether the workers stay from one plan to the next.
        """
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
            # DataLoader draws a seed for its workers, which nothing here uses, but not from torch's own generator.
            generator=torch.Generator(),
        )

    def batches(self, plan: Sequence[Piece]) -> Iterator[list[Tensor]]:
        """The windows of each batch of a plan, uint8 (b, side, side, 3), in pieces. Decoding begins at once.

        Raises UserError if an image cannot be decoded or a worker ended.
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
    """The DataLoader's sampler, whose pieces change from epoch to epoch."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []

    def __iter__(self) -> Iterator[Piece]:
        return iter(self.pieces)

    def __len__(self) -> int:
        return len(self.pieces)


def _as_it_is(piece: Tensor | str) -> Tensor | str:
    return piece


def _outlive_signals(_: int) -> None:
    """Ignore the signals that stop a job: the main process gets them as well, and ends its workers when it is ready."""
    for signum in STOPS:
        signal.signal(signum, signal.SIG_IGN)


@atexit.register
def _end() -> None:
    """Kill the workers that are left when Python exits, which would wait for them: they ignore its signal.

    If the main process is killed, torch's own watchdog ends the workers.
    """
    if left := [child for child in multiprocessing.active_children() if child.daemon]:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # otherwise torch raises an error
        for child in left:
            child.kill()
