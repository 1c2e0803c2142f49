"""CUDA graphs: the hundreds of kernels of a training step, recorded once and launched as one."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Step = Callable[..., tuple[Tensor, Tensor]]
EAGER = 3  # steps of a kind before one is recorded: libraries choose their kernels and allocate in them
RECORDING = threading.Lock()  # torch synchronises the device before a recording, which would break another thread's


def record(step: Callable[[], Any], pool: Any) -> tuple[Callable[[], None], Any]:
    """Record a step on the current stream without running it. Returns what replays it and what it will have given."""
    graph = torch.cuda.CUDAGraph()
    stream = torch.cuda.current_stream()
    with RECORDING, torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
        result = step()
    return graph.replay, result


class Graphs:
    """Calls step(variant, *batch) as it is the first times and then by a graph, one for each variant and batch size.

    The first steps are real ones, so that nothing is trained that would not be without graphs. `record` as above, or
    another for tests. held: what the graphs read, kept alive with them. Where the device cannot record the step, it is
    called as it is, with a notice.
    """

    def __init__(self, step: Step, held: Any = None, record: Callable[..., Any] = record):
        self.step, self.held, self.record = step, held, record
        self.seen: Counter[tuple[int, int]] = Counter()
        self.graphs: dict[tuple[int, int], tuple[Callable[[], None], list[Tensor], tuple[Tensor, Tensor]]] = {}
        self.pool = torch.cuda.graph_pool_handle() if torch.cuda.is_available() else None
        self.works = True

    def __call__(self, variant: int, *batch: Tensor) -> tuple[Tensor, Tensor]:
        kind = (variant, len(batch[0]))
        if kind not in self.graphs:
            self.seen[kind] += 1
            if self.seen[kind] <= EAGER or not self.works:
                return self.step(variant, *batch)
            inputs = [tensor.clone() for tensor in batch]
            try:
                replay, outputs = self.record(lambda: self.step(variant, *inputs), self.pool)
            except RuntimeError as error:
                self.works = False
                print(f"training goes on without CUDA graphs: {str(error).splitlines()[0]}")
                return self.step(variant, *batch)
            self.graphs[kind] = replay, inputs, outputs
        replay, inputs, outputs = self.graphs[kind]
        for mine, given in zip(inputs, batch, strict=True):
            mine.copy_(given)
        replay()
        loss, hits = outputs
        return loss.clone(), hits.clone()
