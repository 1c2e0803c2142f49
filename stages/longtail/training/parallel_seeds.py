"""Several seeds: one after the other, or at once in one process, a thread and a CUDA stream each.

A seed's draws, kernels and checkpoints are its own, so that it ends as it would alone.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch

from stages.longtail.console.errors import UserError
from stages.longtail.runtime import processes
from stages.longtail.runtime.devices import ONE_AT_A_TIME

Result = TypeVar("Result")
STREAMS = 32  # that torch hands out before it gives one a second time
stopping = threading.Event()  # set when the process was told to stop: threads see it at their next step


class Stopped(BaseException):
    """A thread's way out after `stopping`."""


def check() -> None:
    """Called between steps."""
    if stopping.is_set():
        raise Stopped


def each(seeds: Iterable[int], work: Callable[[int], Result], at_once: int, device: torch.device) -> dict[int, Result]:
    """work(seed) of every seed. A UserError in one does not stop the others; it is raised when they are done.

    Those that find no memory beside the others are tried again alone.
    """
    seeds, results, failed = list(seeds), dict[int, Result](), dict[int, UserError]()
    stopping.clear()
    if device.type == "cuda":
        # torch loads its linear algebra at the first use, which two threads must not meet in.
        torch.linalg.eigh(torch.eye(2, dtype=torch.float64, device=device))
    alone = seeds
    if at_once > 1 and len(seeds) > 1:
        alone = _in_threads(seeds, work, at_once, device, results, failed)
    for seed in alone:
        try:
            results[seed] = _one(seed, work, device)
        except UserError as error:
            if processes.count() > 1:  # the others may not have failed, and wait for this one
                raise
            failed[seed] = error
    if failed:
        done = f"; the others are trained: {', '.join(map(str, sorted(results)))}" if results else ""
        raise UserError("; ".join(str(failed[seed]) for seed in sorted(failed)) + done)
    return {seed: results[seed] for seed in seeds}


def _one(seed: int, work: Callable[[int], Result], device: torch.device) -> Result:
    """On CUDA on a stream of its own, finished when it returns. Raises UserError where the device fails."""
    try:
        with own_stream(device):
            result = work(seed)
            if device.type == "cuda":
                torch.cuda.current_stream(device).synchronize()
            return result
    except torch.AcceleratorError as error:  # not one for lack of memory
        reason = str(error).splitlines()[0]
        raise UserError(f"seed {seed}: {reason}: run again to go on after its last finished epoch") from error


def _in_threads(
    seeds: list[int],
    work: Callable[[int], Result],
    at_once: int,
    device: torch.device,
    results: dict[int, Result],
    failed: dict[int, UserError],
) -> list[int]:
    """Fills `results` and `failed`; returns the seeds for which memory was lacking."""
    crowded: list[int] = []
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(at_once, initializer=torch.set_num_threads, initargs=(threads,)) as pool:
        futures: dict[Future[Result], int] = {}
        try:
            futures |= {pool.submit(_one, seed, work, device): seed for seed in seeds}
            for future in as_completed(futures):
                seed = futures[future]
                try:
                    results[seed] = future.result()
                except UserError as error:
                    failed[seed] = error
                except torch.OutOfMemoryError:
                    crowded.append(seed)
        except BaseException:
            stopping.set()
            pool.shutdown(cancel_futures=True)
            raise
    if crowded:
        print(f"no memory beside the others for seeds {', '.join(map(str, sorted(crowded)))}: they are trained alone")
        futures.clear()  # their errors hold what they had on the device
        free_memory()
    return sorted(crowded)


def free_memory() -> None:
    """Give back to the device what failed attempts held."""
    gc.collect()
    if torch.cuda.is_available():
        with ONE_AT_A_TIME:
            torch.cuda.empty_cache()


def own_stream(device: torch.device) -> AbstractContextManager:
    """On CUDA a stream of its own, after what was launched before: on the default one no graph can be recorded."""
    if device.type != "cuda":
        return nullcontext()
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    return torch.cuda.stream(stream)
