"""Several processes that share one run, each with its own GPU, started by a stage itself or by torchrun.

Every process runs the same stage and trains the same network. The processes share the parts of a batch
(training/shards.py) and the images of a test. Only the first one writes files and prints. With one process, which is
the usual case, these functions return what they are given.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from stages.longtail.console import errors
from stages.longtail.console.errors import UserError
from stages.longtail.runtime import devices
from stages.longtail.runtime.runtime import Runtime

Value = TypeVar("Value")
LOST = "lost the others"
RESTARTS = 3  # times that a stage starts its processes again because one of them was killed


class Killed(UserError):
    """A process was ended by a signal, and reported no error of its own."""


def count() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This process's number. Process 0 reads the checkpoints in .scratch/ and writes the stage's files."""
    return dist.get_rank() if dist.is_initialized() else 0


def here() -> int:
    """The number of processes on this machine, which share its main memory."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if dist.is_initialized() else 1


def total(values: Tensor) -> Tensor:
    """The sum over all processes, in place."""
    if count() > 1:
        _together(dist.all_reduce, values)
    return values


def align(tensors: Iterable[Tensor]) -> None:
    """Copy the first process's values to all processes, in place."""
    if count() > 1:
        for tensor in tensors:
            values = tensor.contiguous()
            _together(dist.broadcast, values, 0)
            tensor.copy_(values)


def agreed(value: Callable[[], Value]) -> Value:
    """Call `value` in the first process only, and return its result in all of them."""
    box: list[Any] = [value() if rank() == 0 else None]
    if count() > 1:
        _together(dist.broadcast_object_list, box, 0)
    return box[0]


def collected(part: Tensor) -> Tensor:
    """All processes' parts, concatenated, in every process."""
    if count() == 1:
        return part
    parts: list[Any] = [None] * count()
    _together(dist.all_gather_object, parts, part.cpu())
    return torch.cat(parts).to(part.device)


def _together(work: Callable[..., Any], *values: Any) -> None:
    """Do what needs all processes. Raises UserError if another one has ended, which reports its own reason."""
    try:
        work(*values)
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise UserError(f"process {rank()} {LOST}: {str(error).splitlines()[0]}") from error


def shared(module: str, shards: int, runtime: Runtime) -> bool:
    """Share a stage between processes if its parameters say so.

    Args:
        module: of the stage, such as stages.represent.
        shards: `protocol.shards`. More processes than that would have nothing to do.
        runtime: has the device and the number of processes.
    Returns:
        True if processes were started and have done all of the work. False if this process is to do it, alone or as
        one of those that were started.
    Raises:
        UserError: there are more processes than shards or GPUs, or one of them failed; the message is its error.
    """
    if dist.is_initialized():
        return False
    if dist.is_torchelastic_launched():
        _join(devices.kind(runtime), shards)
        return False
    on_cuda = devices.kind(runtime) == "cuda"
    gpus = torch.cuda.device_count() if on_cuda else 1
    number = runtime.processes or min(gpus, shards)
    _check(number, shards)
    if on_cuda and number > gpus:
        raise UserError(
            f"runtime.processes is {number}, but torch sees {gpus} GPU{'s' if gpus > 1 else ''}: set it to null, which "
            "starts one for each"
        )
    if number > 1:
        _launch(module, number)
    return number > 1


def _check(number: int, shards: int) -> None:
    if number > shards:
        raise UserError(
            f"{number} processes are to share a batch of {shards} part{'s' if shards > 1 else ''}: set protocol.shards "
            "to their number or more (another recipe), or runtime.processes, or torchrun's --nproc-per-node, lower"
        )


def _join(kind: str, shards: int) -> None:
    """Connect to the other processes. torch's elastic launch has left their addresses in the environment.

    Processes that are started again must not find in the store what those before have left there.
    """
    told = os.environ
    one_store = told["TORCHELASTIC_USE_AGENT_STORE"] == "True"  # for all restarts
    if one_store and int(told["TORCHELASTIC_MAX_RESTARTS"]) and told["GROUP_WORLD_SIZE"] != "1":
        # Each machine counts only the restarts that it caused (pytorch/pytorch#108158): they would wait for each other.
        raise UserError(
            "torchrun restarts processes of several machines only with a store of its own for each restart: set "
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 in the environment, or leave out --max-restarts"
        )
    store, number, size = next(dist.rendezvous("env://"))
    if one_store:
        store = dist.PrefixStore(told["TORCHELASTIC_RESTART_COUNT"], store)
    _check(size, shards)
    backend = "cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=number, world_size=size)
    if sys.platform == "linux":  # end when the process that started this one ends, even if it is killed
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    if number:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115


def _launch(module: str, number: int) -> None:
    """Run this command in `number` processes on this machine, by torch's elastic launch, and wait for them.

    Where one of them is killed, all are started again, and go on after the last finished epoch.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logger = logging.getLogger("torch.distributed.elastic")  # its message is printed in one line here
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // number)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=number,
        run_id=f"longtail-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,  # torch would also start those again that ended with an error, which would come again
        signals_to_handle=",".join(signum.name for signum in errors.STOPS),
    )
    try:
        for left in reversed(range(RESTARTS + 1)):
            try:
                elastic_launch(config, sys.executable)("-m", module, *sys.argv[1:])
                return
            except ChildFailedError as failed:
                reason = _reason(failed.failures, number)
                if not isinstance(reason, Killed):
                    raise reason from None
                if not left:
                    again = "run the same command again to go on after the last finished epoch"
                    raise UserError(f"{reason}, after {RESTARTS} restarts: {again}") from None
                print(f"{reason}: all are started again, and go on after the last finished epoch", flush=True)
    except SignalException as stop:
        raise errors.Interrupted(signal.Signals(stop.sigval).name) from None


def _reason(failures: dict[int, Any], number: int) -> UserError | errors.Interrupted:
    """The error to report, chosen from torch's ProcessFailure of each process, because all fail once one has failed.

    First choice is an error that a process reported itself, then a process that ended without a report, and last that
    all processes were told to stop, as SLURM tells every process of a job.
    """
    said = [failure for failure in failures.values() if isinstance(failure.message, dict)]
    for failure in sorted(said, key=lambda failure: failure.timestamp):
        if LOST not in failure.message["message"]:
            return UserError(failure.message["message"].removeprefix("error: "))
    for process, failure in failures.items():
        if failure not in said and failure.exitcode not in (130, 143, -signal.SIGTERM):
            with suppress(ValueError):
                return Killed(f"process {process} of {number} was ended by {signal.Signals(-failure.exitcode).name}")
            return UserError(
                f"process {process} of {number} ended with exit code {failure.exitcode} and no error of its own: what "
                "it printed says why"
            )
    if len(said) < len(failures):
        return errors.Interrupted("SIGTERM")
    return UserError(said[0].message["message"].removeprefix("error: "))
