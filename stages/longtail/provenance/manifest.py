"""The manifest beside a result: which recipe, code, machine and versions made it, how fast, and the checkpoint's hash.

No stage reads it. dvc.yaml does not declare the current experiment's, so that its times do not change dvc.lock.
"""

from __future__ import annotations

import platform
import resource
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stages.longtail.provenance import code_revision
from stages.longtail.runtime import processes
from stages.longtail.runtime.devices import Compute


def facts() -> dict[str, Any]:
    """What may differ between two processes that train epochs of the same run."""
    return {"threads": torch.get_num_threads(), "revision": code_revision.current()}


def describe(compute: Compute, at_once: int, seconds: float, images: int) -> dict[str, Any]:
    """Versions, machine, revision and speed of this process.

    Args:
        compute: the device and the precision.
        at_once: seeds trained at once.
        seconds: that the training took.
        images: trained in these seconds. Epochs that came from checkpoints do not count; what earlier processes say of
            themselves is in the manifest's `earlier`.
    """
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
        **({"processes": processes.count()} if processes.count() > 1 else {}),
        **facts(),
        "seconds": round(seconds, 1),
        "images": images,
        "images_per_second": round(images / seconds) if images else None,
        "peak_memory_gib": round(peak / 2**30, 2),
    }


def processor() -> str:
    """The processor's model as Linux tells it, such as AMD EPYC 7B13; on other systems what Python knows."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
