"""The device and the number format to compute with, resolved from the runtime parameters."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from stages.longtail.errors import UserError
from stages.longtail.recipe import Runtime


@dataclass(frozen=True)
class Compute:
    device: torch.device
    precision: str

    def autocast(self) -> AbstractContextManager:
        """bf16 where the operation allows it; the weights and their updates stay fp32."""
        if self.precision != "bf16":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)


def resolve(runtime: Runtime) -> Compute:
    """Set torch up as `runtime` says. Raises UserError where the machine lacks what is asked for."""
    if runtime.threads:
        torch.set_num_threads(runtime.threads)
    if runtime.device == "cuda" and not torch.cuda.is_available():
        raise UserError("runtime.device is cuda, but torch sees no GPU: set runtime.device to auto or cpu")
    name = "cuda" if runtime.device != "cpu" and torch.cuda.is_available() else "cpu"
    if name == "cpu" and runtime.precision == "bf16" and not _cpu_has_bf16():
        raise UserError("runtime.precision is bf16, which this processor lacks: set runtime.precision to fp32")
    if name == "cpu" and runtime.precision == "tf32":
        raise UserError("runtime.precision is tf32, which only GPUs have: set runtime.precision to fp32")
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = runtime.precision == "tf32"
    torch.backends.cudnn.deterministic = True
    return Compute(torch.device(name), runtime.precision)


def _cpu_has_bf16() -> bool:
    """True with AVX512-BF16 or AMX; elsewhere torch emulates bf16, many times slower than fp32."""
    probes = [getattr(torch.cpu, f"_is_{feature}_supported", None) for feature in ("avx512_bf16", "amx_tile")]
    return any(probe is not None and probe() for probe in probes)
