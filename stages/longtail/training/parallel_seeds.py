"""Trains several seeds: one after the other, or at the same time in one process, each in a thread with a CUDA stream.

Seeds share no random draws, kernels or checkpoints, so each gives the result that it would give alone.
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
STREAMS = 32  # how many torch has; then it hands out the first one again
stopping = threading.Event()  # set when the process is to stop; threads see it before their next step


class Stopped(BaseException):
    """Ends a thread after `stopping` was set."""


def check() -> None:
    """Raise Stopped if the process is to stop. Called between steps."""
    if stopping.is_set():
        raise Stopped


def each(seeds: Iterable[int], work: Callable[[int], Result], at_once: int, device: torch.device) -> dict[int, Result]:
    """Do some work for every seed. A UserError of one seed is raised when the others are done.

    Seeds for which there was not enough memory beside the others are tried again, one after the other.

    Args:
        seeds: to work on.
        work: gives the result of a seed.
        at_once: how many seeds are worked on at the same time.
        device: on which; on CUDA each seed has a stream.

    Returns:
        The results by seed, in the order of `seeds`.

    Raises:
        UserError: for all seeds that failed.
    """
    seeds, results, failed = list(seeds), dict[int, Result](), dict[int, UserError]()
    stopping.clear()
    if device.type == "cuda":
        # torch loads its linear algebra when it is first used, which two threads must not do at the same time.
        torch.linalg.eigh(torch.eye(2, dtype=torch.float64, device=device))
    alone = seeds
    if at_once > 1 and len(seeds) > 1:
        alone = _in_threads(seeds, work, at_once, device, results, failed)
    for seed in alone:
        try:
            results[seed] = _one(seed, work, device)
        except UserError as error:
            if processes.count() > 1:  # other processes may not have failed, and would wait for this one
                raise
            failed[seed] = error
    if failed:
        done = f"; the others are trained: {', '.join(map(str, sorted(results)))}" if results else ""
        raise UserError("; ".join(str(failed[seed]) for seed in sorted(failed)) + done)
    return {seed: results[seed] for seed in seeds}


def _one(seed: int, work: Callable[[int], Result], device: torch.device) -> Result:
    """Work on one seed, on CUDA in its own stream, which is done when this returns.

    Raises UserError if the device fails.
    """
    try:
        with own_stream(device):
            result = work(seed)
            if device.type == "cuda":
                torch.cuda.current_stream(device).synchronize()
            return result
    except torch.AcceleratorError as error:  # a lack of memory is another kind of error
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
    """Work on several seeds at the same time; fill `results` and `failed`.

    Args:
        seeds, work, at_once, device: see `each`.
        results, failed: what came out, by seed.

    Returns:
        The seeds for which there was not enough memory.
    """
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
        futures.clear()  # errors in them keep memory of the device
        free_memory()
    return sorted(crowded)


def free_memory() -> None:
    """Free the memory of the device that failed attempts still hold."""
    gc.collect()
    if torch.cuda.is_available():
        with ONE_AT_A_TIME:
            torch.cuda.empty_cache()


def own_stream(device: torch.device) -> AbstractContextManager:
    """A context with a new CUDA stream, which waits for what was launched before; elsewhere it does nothing.

    Graphs cannot be recorded on the default stream.
    """
    if device.type != "cuda":
        return nullcontext()
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    return torch.cuda.stream(stream)
