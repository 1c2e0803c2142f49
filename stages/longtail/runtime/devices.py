"""The device and the number format to compute with, resolved from the runtime parameters."""

from __future__ import annotations

import os
import threading
import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

import torch

from stages.longtail.console.errors import UserError
from stages.longtail.runtime.runtime import Precision, Runtime

# Seeds that train at once do so in threads of one process. One at a time they do what belongs to all of it: draw from
# torch's generator (every new layer does), silence warnings, write the growing history, and, on a GPU, what can make
# the whole device wait, which ends another thread's recording of a graph: record one, and whatever a library sees for
# the first time (it loads, allocates and, in mode `fast`, measures).
ONE_AT_A_TIME = threading.RLock()


@dataclass(frozen=True)
class Compute:
    device: torch.device
    precision: Precision

    def autocast(self) -> AbstractContextManager:
        """bf16 where the operation allows it; the weights and their updates stay fp32."""
        match self.precision:
            case "fp32" | "tf32":
                return nullcontext()
            case "bf16":  # without the cache, which is all threads'
                return torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False)
            case _:
                assert_never(self.precision)


def resolve(runtime: Runtime) -> Compute:
    """Set torch up as `runtime` says. Raises UserError where the machine lacks what is asked for."""
    if runtime.threads:
        torch.set_num_threads(runtime.threads)
    if runtime.device == "cuda" and not torch.cuda.is_available():
        raise UserError("runtime.device is cuda, but torch sees no GPU: set runtime.device to auto or cpu")
    name = "cuda" if runtime.device != "cpu" and torch.cuda.is_available() else "cpu"
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
    return Compute(torch.device(name), runtime.precision)


def _set_mode(mode: str, device: str) -> None:
    """bitwise: only kernels that give the same bits each time. A CPU has no others here: both modes are one."""
    if device == "cuda":
        # cuBLAS asks for it where streams are at work, and torch looks once in a process whether it is there.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if device == "cuda" and mode == "bitwise":
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # Where torch has no such kernel (the max-pooling of ImageNet's networks), it warns.
    torch.use_deterministic_algorithms(device == "cuda" and mode == "bitwise", warn_only=True)
    torch.backends.cudnn.deterministic = mode == "bitwise"
    torch.backends.cudnn.benchmark = mode == "fast"


def fits(size: int, device: torch.device) -> bool:
    """Do so many bytes leave half of what is free of the device's memory, the main memory for a CPU?"""
    free = free_memory(device)
    return free is None or size <= free / 2


def free_memory(device: torch.device) -> int | None:
    """Bytes; None where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return found[0] if found else None


def _cpu_has_bf16() -> bool:
    """True with AVX512-BF16 or AMX; elsewhere torch emulates bf16, many times slower than fp32."""
    probes = [getattr(torch.cpu, f"_is_{feature}_supported", None) for feature in ("avx512_bf16", "amx_tile")]
    return any(probe is not None and probe() for probe in probes)
