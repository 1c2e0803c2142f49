"""Chooses the device and the number format to compute with, as the section `runtime` says."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never

import torch
import torch.distributed as dist

from stages.longtail.console.errors import UserError
from stages.longtail.runtime.runtime import Precision, Runtime

# Seeds that train at once are threads of one process. Under this lock they take turns with what the process shares: to
# draw from torch's generator (every new layer does), to silence warnings, to write the history. On a GPU they also take
# turns with what can make the whole device wait, since that would break another thread's recording of a CUDA graph:
# recording one, and the first call of any kernel (the library loads, allocates and, in mode `fast`, measures).
ONE_AT_A_TIME = threading.RLock()
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of mallopt(3)


@dataclass(frozen=True)
class Compute:
    device: torch.device
    precision: Precision

    def autocast(self) -> AbstractContextManager:
        """A context in which operations compute in bf16 where torch allows it; weights and updates stay fp32."""
        match self.precision:
            case "fp32" | "tf32":
                return nullcontext()
            case "bf16":  # without autocast's cache, which all threads would share
                return torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False)
            case _:
                assert_never(self.precision)


def resolve(runtime: Runtime) -> Compute:
    """Set torch up as `runtime` says. Raises UserError if the machine lacks the device or the precision."""
    if runtime.threads:
        torch.set_num_threads(runtime.threads)
    if runtime.device == "cuda" and not torch.cuda.is_available():
        raise UserError("runtime.device is cuda, but torch sees no GPU: set runtime.device to auto or cpu")
    name = kind(runtime)
    if name == "cpu" and runtime.precision == "bf16" and not _cpu_has_bf16():
        raise UserError(
            "runtime.precision is bf16, which this processor lacks: set runtime.precision to fp32 (of a paper's run: "
            "python -m stages.launch PAPER RUN --set runtime.precision=fp32)"
        )
    if name == "cpu" and runtime.precision == "tf32":
        raise UserError("runtime.precision is tf32, which only GPUs have: set runtime.precision to fp32")
    with warnings.catch_warnings(action="ignore"):  # some releases of torch announce another way
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = runtime.precision == "tf32"
    _set_mode(runtime.mode, name)
    if name == "cpu":
        keep_freed_memory()
    device = torch.device(name)
    if name == "cuda" and dist.is_initialized():
        device = torch.device(name, int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    return Compute(device, runtime.precision)


def keep_freed_memory() -> None:
    """Have the C library keep what is freed for what comes next, instead of giving it back to the system.

    Each training step frees its activations. If they go back, the next step gets pages that the system first has to
    map and clear: 7% of the time (docs/speed.md). Blocks of more than 32 MiB still go back. Nothing is computed
    otherwise. Only glibc has these options.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(MMAP_THRESHOLD, 32 * 2**20)
        mallopt(TRIM_THRESHOLD, -1)  # never


def kind(runtime: Runtime) -> Literal["cuda", "cpu"]:
    """The kind of device that `runtime` comes to on this machine."""
    return "cuda" if runtime.device != "cpu" and torch.cuda.is_available() else "cpu"


def _set_mode(mode: str, device: str) -> None:
    """In mode `bitwise`, allow only kernels that give the same bits each time. On a CPU the two modes are the same."""
    if device == "cuda":
        # cuBLAS needs it to be deterministic where several streams run; torch looks for it once per process.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if device == "cuda" and mode == "bitwise":
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # warn_only, as torch has no deterministic kernel for some operations (max-pooling in the ImageNet networks).
    torch.use_deterministic_algorithms(device == "cuda" and mode == "bitwise", warn_only=True)
    torch.backends.cudnn.deterministic = mode == "bitwise"
    torch.backends.cudnn.benchmark = mode == "fast"


def workers(device: torch.device) -> int:
    """The default number of workers that decode images.

    With a GPU it is the number of cores that this process may use, divided by the processes that share the run on this
    machine. Without one it is 0, because training keeps all cores busy.
    """
    if device.type == "cpu":
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def fits(size: int, device: torch.device) -> bool:
    """Whether `size` bytes leave half of the device's free memory (for a CPU: of the main memory)."""
    free = free_memory(device)
    return free is None or size <= free / 2


def free_memory(device: torch.device) -> int | None:
    """The device's free memory in bytes; None if the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return found[0] if found else None


def _cpu_has_bf16() -> bool:
    """Whether the CPU has AVX512-BF16 or AMX. Without them torch emulates bf16, many times slower than fp32."""
    probes = [getattr(torch.cpu, f"_is_{feature}_supported", None) for feature in ("avx512_bf16", "amx_tile")]
    return any(probe is not None and probe() for probe in probes)
