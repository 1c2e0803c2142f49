"""How a result came about: a manifest beside it, which names it by the checkpoint's sha256.

Nothing reads it, so that two runs may differ in it alone; dvc.yaml does not declare that of the current experiment, so
that its times do not change dvc.lock.
"""

from __future__ import annotations

import platform
import resource
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stages.longtail.provenance import revision
from stages.longtail.runtime.devices import Compute


def facts() -> dict[str, Any]:
    """Of this process, what may differ from that of another one that trains the same epochs."""
    return {"threads": torch.get_num_threads(), "revision": revision.current()}


def describe(compute: Compute, at_once: int, seconds: float, images: int) -> dict[str, Any]:
    """versions, machine, revision, speed. images: trained in these seconds, not those that came from checkpoints:
    how those came about stands beside it as `earlier`."""
    cuda = compute.device.type == "cuda"
    peak = torch.cuda.max_memory_allocated() if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "cuda": torch.version.cuda if cuda else None,
        "device": torch.cuda.get_device_name() if cuda else processor(),
        "precision": compute.precision,
        "mode": "bitwise" if torch.backends.cudnn.deterministic else "fast",
        "seeds_at_once": at_once,
        **facts(),
        "seconds": round(seconds, 1),
        "images": images,
        "images_per_second": round(images / seconds) if images else None,
        "peak_memory_gib": round(peak / 2**30, 2),
    }


def processor() -> str:
    """Its model where Linux tells, such as AMD EPYC 7B13."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
