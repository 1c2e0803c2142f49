"""CUDA graphs: the hundreds of kernels of a training step are recorded once and then launched together."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from stages.longtail.runtime.devices import ONE_AT_A_TIME

Step = Callable[..., tuple[Tensor, Tensor]]
EAGER = 3  # steps of a kind before one is recorded: in these, libraries choose kernels and allocate memory
broken = (
    threading.Event()
)  # set by a recording that failed, after which torch's allocator cannot be relied on for another


def record(step: Callable[[], Any], pool: Any) -> tuple[Callable[[], None], Any]:
    """Record a step on the current stream without running it.

    Returns what replays the step, and its result, whose tensors are filled by each replay. pool: the graphs' memory.
    """
    graph = torch.cuda.CUDAGraph()
    stream = torch.cuda.current_stream()
    with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
        result = step()
    return graph.replay, result


class Graphs:
    """Calls step(variant, *batch) directly at first, and later replays a graph of it, one per variant and batch size.

    The first steps count as training, so graphs change nothing about what is trained. If the device turns out to be
    unable to record the step, a notice says so and the step is always called directly.
    """

    def __init__(
        self,
        step: Step,
        clean: Callable[[], None],
        held: Any = None,
        possible: bool = True,
        record: Callable[..., Any] = record,
    ) -> None:
        """Record nothing yet.

        Args:
            step: returns the loss and the number of correct predictions of a batch.
            clean: removes what a step leaves behind that failed half-way.
            held: what the graphs read; it lives as long as they do.
            possible: False if the step cannot be recorded.
            record: the function above, or another one in tests.
        """
        self.step, self.clean, self.held, self.possible, self.record = step, clean, held, possible, record
        self.seen: Counter[tuple[int, int]] = Counter()
        self.graphs: dict[tuple[int, int], tuple[Callable[[], None], list[Tensor], tuple[Tensor, Tensor]]] = {}
        self.pool = torch.cuda.graph_pool_handle() if torch.cuda.is_available() else None

    def __call__(self, variant: int, *batch: Tensor) -> tuple[Tensor, Tensor]:
        kind = (variant, len(batch[0]))
        if kind not in self.graphs:
            self.seen[kind] += 1
            if self.seen[kind] <= EAGER:
                with ONE_AT_A_TIME:
                    return self.step(variant, *batch)
            if not self.possible or not self._recorded(kind, batch):
                return self.step(variant, *batch)
        replay, inputs, outputs = self.graphs[kind]
        for mine, given in zip(inputs, batch, strict=True):
            mine.copy_(given)
        replay()
        loss, hits = outputs
        return loss.clone(), hits.clone()

    def _recorded(self, kind: tuple[int, int], batch: tuple[Tensor, ...]) -> bool:
        """Record a graph for batches like this one. Returns False, and prints a notice, if that fails."""
        inputs = [tensor.clone() for tensor in batch]
        with ONE_AT_A_TIME:
            if broken.is_set():  # perhaps by another thread, while this one waited for the lock
                return False
            try:
                replay, outputs = self.record(lambda: self.step(kind[0], *inputs), self.pool)
            except RuntimeError as error:
                cause = error.__context__ or error  # the end of a failed recording raises an error of its own
                if not isinstance(cause, Exception):
                    raise cause from None  # the process was told to stop during the recording
                broken.set()
                reason = (str(cause).splitlines() or [type(cause).__name__])[0]
            else:
                self.graphs[kind] = replay, inputs, outputs
                return True
        # The memory of the failed recording is freed only here, after the handler.
        self.clean()
        print(f"training goes on without CUDA graphs: {reason}")
        return False
