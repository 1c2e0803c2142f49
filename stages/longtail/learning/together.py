"""Several seeds: one after the other, or at once in one process, a thread and a CUDA stream each.

A seed's draws, kernels and checkpoints are its own, so that it ends as it would alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch

from stages.longtail.errors import UserError

Result = TypeVar("Result")
stopping = threading.Event()  # set when the process was told to stop: threads see it at their next step


class Stopped(BaseException):
    """A thread's way out after `stopping`."""


def check() -> None:
    """Called between steps."""
    if stopping.is_set():
        raise Stopped


def each(seeds: Iterable[int], work: Callable[[int], Result], at_once: int, device: torch.device) -> dict[int, Result]:
    """work(seed) of every seed. A UserError in one does not stop the others; it is raised when they are done."""
    seeds, results, failed = list(seeds), dict[int, Result](), dict[int, UserError]()

    def one(seed: int) -> Result:
        with own_stream(device):
            return work(seed)

    if at_once == 1 or len(seeds) == 1:
        for seed in seeds:
            try:
                results[seed] = one(seed)
            except UserError as error:
                failed[seed] = error
    else:
        stopping.clear()
        threads = torch.get_num_threads()
        with ThreadPoolExecutor(at_once, initializer=torch.set_num_threads, initargs=(threads,)) as pool:
            futures: dict[Future[Result], int] = {pool.submit(one, seed): seed for seed in seeds}
            try:
                for future in as_completed(futures):
                    try:
                        results[futures[future]] = future.result()
                    except UserError as error:
                        failed[futures[future]] = error
            except BaseException:
                stopping.set()
                pool.shutdown(cancel_futures=True)
                raise
    if failed:
        done = f"; the others are trained: {', '.join(map(str, sorted(results)))}" if results else ""
        raise UserError("; ".join(str(failed[seed]) for seed in sorted(failed)) + done)
    return {seed: results[seed] for seed in seeds}


def own_stream(device: torch.device) -> AbstractContextManager:
    """On CUDA a stream of its own, after what was launched before: on the default one no graph can be recorded."""
    if device.type != "cuda":
        return nullcontext()
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    return torch.cuda.stream(stream)
