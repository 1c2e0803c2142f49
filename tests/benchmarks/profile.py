"""Where the time of a training step goes: python -m tests.benchmarks.profile [PRECISION [BATCH]]

ResNet-32 on CIFAR-10-LT, ratio 100, one thread on a CPU, or a GPU with and without graphs. Prints the share of each
kind of kernel and, on a GPU, for how much of the time the device computes at all.
"""

from __future__ import annotations

import argparse
import time

import pandas as pd
import torch
from torch.profiler import ProfilerActivity, profile

from stages.longtail.runtime import devices
from stages.longtail.runtime.runtime import Runtime
from stages.longtail.training import parallel_seeds
from stages.longtail.training.loop import Training
from tests.benchmarks.training import STEPS, engine, read


def shares(training: Training, device: torch.device) -> tuple[pd.DataFrame, float, float]:
    """Share of each operator's own time, seconds of the epoch without the profiler, and of the device's kernels."""
    training.train_epoch()
    began = time.perf_counter()
    training.train_epoch()
    seconds = time.perf_counter() - began
    cuda = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]) as recorded:
        training.train_epoch()
    which = "self_device_time_total" if cuda else "self_cpu_time_total"
    own = {
        event.key: getattr(event, which)
        for event in recorded.key_averages()  # on a GPU the kernels alone: operators count their kernels' time again
        if not cuda or (event.device_type == torch.autograd.DeviceType.CUDA and not event.is_user_annotation)
    }
    total = sum(own.values())
    frame = pd.DataFrame({"operator": own.keys(), "percent": [round(100 * t / total, 1) for t in own.values()]})
    return frame.sort_values("percent", ascending=False).head(12), seconds, total / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("precision", nargs="?", default="fp32", choices=["fp32", "tf32", "bf16"])
    parser.add_argument("batch", nargs="?", type=int, default=128)
    args = parser.parse_args()
    images, rows = read()
    device = devices.resolve(Runtime(device="auto", precision=args.precision, threads=1, test_every=1))
    for graphs in (True, False) if device.device.type == "cuda" else (False,):
        with parallel_seeds.own_stream(device.device):
            training = engine(images, rows, args.batch, device)
            if not graphs:
                training.close()
            frame, seconds, busy = shares(training, device.device)
        speed = f"{STEPS * args.batch / seconds:.0f} images/s"
        print(f"{device.device.type}, {args.precision}, batch {args.batch}{', graphs' if graphs else ''}: {speed}")
        if device.device.type == "cuda":
            print(f"the device computes {100 * busy / seconds:.0f}% of the time")
        print(frame.to_string(index=False))


if __name__ == "__main__":
    main()
