"""Whole epochs of CIFAR-10-LT with a test of all test images after each, beside the plain loop: in turn, by the clock
and by the time that the processor worked, which others on the machine disturb less."""

from __future__ import annotations

import resource
import time
from collections import defaultdict
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import nn

from stages.longtail.console.errors import UserError
from stages.longtail.data.batches import Batches, Images
from stages.longtail.prediction import predict
from stages.longtail.runtime import devices
from stages.longtail.runtime.runtime import Precision, Runtime
from stages.longtail.sources import loading
from stages.longtail.training import parallel_seeds
from stages.longtail.training.loop import Training
from tests.benchmarks import plain, whole

Engine = Callable[[Images, np.ndarray, int, devices.Compute, int], Training]


def read_test() -> Images:
    """The test images, or random ones of their size."""
    if whole.at_hand():
        part = loading.load(whole.CIFAR).test
    else:
        pixels = np.random.default_rng(1).integers(0, 256, (10000, 32, 32, 3), np.uint8)
        part = loading.Division(pixels, np.repeat(np.arange(10), 1000))
    return Images(part.images, part.labels, [], loading.CIFAR_MEAN, loading.CIFAR_STD)


def ours(
    engine: Engine, images: Images, rows: np.ndarray, test: Images, batch_size: int, precision: Precision
) -> Callable[[], None]:
    """The engine, ready for an epoch with its test."""
    runtime = Runtime(device="auto", precision=precision, threads=None, test_every=1)
    device = devices.resolve(runtime)
    training = engine(images, rows, batch_size, device, -(-len(rows) // batch_size))
    tested = Batches(test, np.arange(len(test.labels)), device.device)

    def run() -> None:
        devices.resolve(runtime)  # the plain loop has set torch as it comes
        with parallel_seeds.own_stream(device.device):
            training.train_epoch()
            (predict.predict(training.network, tested, device) == tested.labels).sum().item()

    return run


def seconds(run: Callable[[], None]) -> tuple[float, float]:
    """By the clock, and of the processor, DataLoader's workers included."""

    def worked() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(one.ru_utime + one.ru_stime for one in used)

    began, before = time.perf_counter(), worked()
    run()
    return time.perf_counter() - began, worked() - before


def measure(
    engine: Engine, model: nn.Module, images: Images, rows: np.ndarray, batch_size: int, rounds: int
) -> pd.DataFrame:
    """The least of some rounds, in which the loops take turns, the first epoch of each with what starting costs."""
    test = read_test()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loops = {"plain": plain.Epochs(model, images, rows, test, batch_size, device).run}
    precisions: tuple[Precision, ...] = ("fp32", "bf16")
    for precision in precisions:
        try:
            loops[precision] = ours(engine, images, rows, test, batch_size, precision)
        except UserError as error:  # the other is still worth knowing
            print(f"{precision}: {error}")
    clock: dict[str, float] = defaultdict(lambda: float("inf"))
    work = clock.copy()
    for _ in range(rounds):
        for name, run in loops.items():
            took, worked = seconds(run)
            clock[name], work[name] = min(clock[name], took), min(work[name], worked)
    return pd.DataFrame(
        {
            "epoch with its test": f"batch {batch_size}, {name}",
            "seconds": round(clock[name], 1),
            "ratio": round(clock["plain"] / clock[name], 2),
            "CPU seconds": round(work[name], 1),
            "CPU ratio": round(work["plain"] / work[name], 2),
        }
        for name in loops
    )
