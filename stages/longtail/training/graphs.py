"""CUDA graphs: the hundreds of kernels of a training step, recorded once and launched as one."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from stages.longtail.runtime.devices import ONE_AT_A_TIME

Step = Callable[..., tuple[Tensor, Tensor]]
EAGER = 3  # steps of a kind before one is recorded: libraries choose their kernels and allocate in them
broken = threading.Event()  # set by a recording that failed: torch's allocator is not to be trusted with another one


def record(step: Callable[[], Any], pool: Any) -> tuple[Callable[[], None], Any]:
    """Record a step on the current stream without running it. Returns what replays it and what it will have given."""
    graph = torch.cuda.CUDAGraph()
    stream = torch.cuda.current_stream()
    with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
        result = step()
    return graph.replay, result


class Graphs:
    """Calls step(variant, *batch) as it is the first times and then by a graph, one for each variant and batch size.

    The first steps are real ones, so that nothing is trained that would not be without graphs. clean: undoes what a
    step that fails half-way leaves behind. held: what the graphs read, kept alive with them. possible: False where the
    step cannot be recorded and is always called. `record` as above, or another for tests. Where the device turns out
    to be unable to record the step, it is called as it is, with a notice.
    """

    def __init__(
        self,
        step: Step,
        clean: Callable[[], None],
        held: Any = None,
        possible: bool = True,
        record: Callable[..., Any] = record,
    ) -> None:
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
        """Record a graph for batches like this one. False, and a notice, if that fails."""
        inputs = [tensor.clone() for tensor in batch]
        with ONE_AT_A_TIME:
            if broken.is_set():  # perhaps while this one waited for its turn
                return False
            try:
                replay, outputs = self.record(lambda: self.step(kind[0], *inputs), self.pool)
            except RuntimeError as error:
                cause = error.__context__ or error  # ending a recording that failed fails as well
                if not isinstance(cause, Exception):
                    raise cause from None  # told to stop while it recorded
                broken.set()
                reason = (str(cause).splitlines() or [type(cause).__name__])[0]
            else:
                self.graphs[kind] = replay, inputs, outputs
                return True
        # Only here, outside the handler, is what the failed recording held let go.
        self.clean()
        print(f"training goes on without CUDA graphs: {reason}")
        return False
