"""How a result came about: a manifest beside it. Nothing reads it, so that two runs may differ in it alone."""

from __future__ import annotations

import platform
import resource
import subprocess
from typing import Any

import numpy as np
import torch

from stages.longtail.compute import Compute


def describe(compute: Compute, seconds: float, images: int) -> dict[str, Any]:
    """versions, machine, revision, speed. images: trained in these seconds, not those that came from checkpoints."""
    cuda = compute.device.type == "cuda"
    peak = torch.cuda.max_memory_allocated() if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "cuda": torch.version.cuda if cuda else None,
        "device": torch.cuda.get_device_name() if cuda else platform.processor() or platform.machine(),
        "precision": compute.precision,
        "threads": torch.get_num_threads(),
        "revision": revision(),
        "seconds": round(seconds, 1),
        "images": images,
        "images_per_second": round(images / seconds) if images else None,
        "peak_memory_gib": round(peak / 2**30, 2),
    }


def revision() -> str | None:
    """The commit of the working directory, with a + where files differ from it; None outside git."""
    try:
        commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "stages", "conf"], capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.stdout.strip() + ("+" if changed.returncode else "")
