"""Speed of training beside a plain loop, in one run, as ratios: make benchmark

ResNet-32 on CIFAR-10-LT, ratio 100: real images from $LONGTAIL_DATA, or random ones of the same size. Every number is
the best of some rounds, in which the settings take turns. Nothing here asserts: the numbers depend on the machine and
on what else it does.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from stages.longtail.data import augment, random_draws
from stages.longtail.data.batches import Batches, Images
from stages.longtail.models import network
from stages.longtail.recipe import representation as recipe
from stages.longtail.recipe.protocol import Protocol
from stages.longtail.recipe.schedule import Branch, Constant
from stages.longtail.runtime import devices
from stages.longtail.runtime.runtime import Runtime
from stages.longtail.sources import loading
from stages.longtail.splits import imbalance
from stages.longtail.splits.split import Split
from stages.longtail.training import parallel_seeds
from stages.longtail.training.loop import Training
from stages.longtail.training.phase import Phase
from tests.benchmarks import epochs, plain, whole


@dataclass(frozen=True)
class Settings:
    precision: Literal["fp32", "tf32", "bf16"]
    mode: Literal["bitwise", "fast"] = "bitwise"
    at_once: int = 1
    graphs: bool = True
    compiled: bool = False  # by torch.compile, which the engine itself does not use

    def __str__(self) -> str:
        runs = f", {self.at_once} runs at once" if self.at_once > 1 else ""
        without = "" if self.graphs else ", without graphs"
        return f"{self.precision}, {self.mode}{runs}{without}{', torch.compile' if self.compiled else ''}"


SETTINGS = {
    "cpu": [Settings("fp32"), Settings("bf16"), Settings("bf16", "fast", compiled=True)],
    "cuda": [
        *(Settings("bf16", "bitwise", 1, graphs) for graphs in (False, True)),
        *(Settings(precision, "fast") for precision in ("fp32", "tf32", "bf16")),
        *(Settings("bf16", mode, 8) for mode in ("bitwise", "fast")),
        Settings("bf16", "fast", compiled=True),
    ],
}
STEPS = 90 if torch.cuda.is_available() else 25  # in an epoch
ARCHITECTURE = network.Architecture(
    backbone="resnet32", width=16, channels=3, classes=10, head="linear", whitening={}, bilateral=False, auxiliary={}
)


def read() -> tuple[Images, np.ndarray]:
    """Training images and the positions of the long-tailed subset."""
    if whole.at_hand():
        part = loading.load(whole.CIFAR).train
    else:
        print("no CIFAR-10 at $LONGTAIL_DATA: random images instead")
        part = loading.Division(
            np.random.default_rng(0).integers(0, 256, (50000, 32, 32, 3), np.uint8), np.repeat(np.arange(10), 5000)
        )
    split = Split(profile="exp", ratio=100, n_max=None, seed=0, holdout=0, many=100, few=20)
    rows, _ = imbalance.draw(part.labels, [str(c) for c in range(10)], split)
    return Images(part.images, part.labels, "", loading.CIFAR_MEAN, loading.CIFAR_STD), rows


def engine(images: Images, rows: np.ndarray, batch_size: int, device: devices.Compute, steps: int = STEPS) -> Training:
    """The training engine, with epochs of `steps` batches."""
    batches = Batches(images, np.resize(rows, steps * batch_size), device.device, 4)
    protocol = Protocol(
        name="switching",
        backbone="resnet32",
        width=16,
        epochs=200,
        batch_size=batch_size,
        lr=0.1,
        momentum=0.9,
        weight_decay=2e-4,
        schedule=Constant(warmup=0),
        augment="crop_flip",
        pad=4,
    )
    representation = recipe.Representation(
        sampler=recipe.ClassSampler(),
        embedded=recipe.NotEmbedded(),
        loss=recipe.CrossEntropy(),
        weighting=recipe.NoWeighting(),
        head="linear",
        whitening=recipe.NoWhitening(),
        mixing=recipe.NoMixing(),
        auxiliary=recipe.NoAuxiliary(),
        branch=Branch(at="end", plus=0),
    )
    return Training(Phase.of(protocol, representation), 0, network.create(ARCHITECTURE, 0), batches, device)


def our_loop(images: Images, rows: np.ndarray, batch_size: int, settings: Settings) -> tuple[float, float]:
    """Images per second of an epoch after one to warm up, of several runs all together; and what the first took more.

    Raises UserError where the machine lacks what the settings ask for.
    """
    runtime = Runtime(device="auto", precision=settings.precision, threads=None, test_every=1, mode=settings.mode)
    device = devices.resolve(runtime)
    meeting = threading.Barrier(settings.at_once)

    def work(seed: int) -> tuple[float, float]:
        try:
            training = engine(images, rows, batch_size, device)
            if settings.compiled:
                training.network.features = torch.compile(training.network.features)  # type: ignore[method-assign]
            if not settings.graphs:
                training.close()
            first = epoch(training)
        except BaseException:
            meeting.abort()
            raise
        meeting.wait()
        return first, epoch(training)

    seconds = parallel_seeds.each(range(settings.at_once), work, settings.at_once, device.device).values()
    slowest = max(second for _, second in seconds)
    return settings.at_once * STEPS * batch_size / slowest, max(first for first, _ in seconds) - slowest


def epoch(training: Training) -> float:
    """Seconds that an epoch takes."""
    began = time.perf_counter()
    training.train_epoch()  # ends with the losses on the host, so the device is done
    return time.perf_counter() - began


def growth(images: Images, rows: np.ndarray, rounds: int, times: int = 4) -> tuple[float, float]:
    """How many times as long an epoch takes with so many times the images, and so many seeds in turn than one."""
    precision = "bf16" if torch.cuda.is_available() else "fp32"
    device = devices.resolve(Runtime(device="auto", precision=precision, threads=None, test_every=1))

    def seconds(steps: int, seeds: int) -> float:
        """Of an epoch after one to warm up, all seeds together: the least of all rounds."""
        engines = [engine(images, rows, 64, device, steps) for _ in range(seeds)]
        with parallel_seeds.own_stream(device.device):
            for each in engines:
                each.train_epoch()
            return min(sum(epoch(each) for each in engines) for _ in range(rounds))

    once = seconds(STEPS // times, 1)
    return seconds(STEPS // times * times, 1) / once, seconds(STEPS // times, times) / once


def our_augmentation(images: Images, rows: np.ndarray, batch_size: int, device: torch.device) -> float:
    batches = Batches(images, rows, device, 4)
    crops = torch.from_numpy(augment.draw("crop_flip", batch_size, 4, random_draws.generator(0, 0, "augment"))).to(
        device
    )
    chosen = torch.arange(batch_size, device=device)
    return batch_size * repeated(lambda: batches.training(chosen, crops), device)


def plain_augmentation(images: Images, rows: np.ndarray, batch_size: int) -> float:
    dataset = plain.PlainImages(images, rows)
    return batch_size * repeated(lambda: torch.stack([dataset[i][0] for i in range(batch_size)]), torch.device("cpu"))


def repeated(function: Callable[[], Any], device: torch.device) -> float:
    """Calls per second over half a second, after one to warm up."""

    def finish() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    function()
    finish()
    began, calls = time.perf_counter(), 0
    while time.perf_counter() - began < 0.5:
        function()
        calls += 1
    finish()
    return calls / (time.perf_counter() - began)


def measure(
    images: Images, rows: np.ndarray, batch_size: int, device: torch.device, rounds: int, compiled: bool
) -> list[dict[str, Any]]:
    """A row for each setting and one for augmentation."""
    best: dict[str, float] = defaultdict(float)
    start: dict[str, float] = {}
    compiled = compiled and (device.type == "cuda" or shutil.which("g++") is not None)
    settings = [each for each in SETTINGS[device.type] if compiled or not each.compiled]
    for _ in range(rounds):
        model = network.create(ARCHITECTURE, 0)
        best["plain"] = max(best["plain"], plain.speed(model, images, rows, batch_size, STEPS, device))
        for each in list(settings):
            try:
                speed, more = our_loop(images, rows, batch_size, each)
            except Exception as error:  # the others are still worth knowing
                print(f"{each}: {error}")
                settings.remove(each)
                continue
            best[str(each)] = max(best[str(each)], speed)
            start.setdefault(str(each), more)
    table = [
        {"what": f"training, batch {batch_size}, {name}", "plain": best["plain"], "ours": best[name], "start, s": more}
        for name, more in start.items()
    ]
    ours, theirs = partial(our_augmentation, device=device), plain_augmentation
    speeds = {name: function(images, rows, batch_size) for name, function in (("plain", theirs), ("ours", ours))}
    return [*table, {"what": f"augmentation alone, batch {batch_size}", **speeds}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, nargs="+", default=[128, 64], help="sizes (128 64)")
    parser.add_argument(
        "--no-compile", action="store_true", help="leave out torch.compile, most of whose time is start"
    )
    parser.add_argument(
        "--epochs-only", action="store_true", help="only the whole epochs with their tests, batch by batch size"
    )
    args = parser.parse_args()
    images, rows = read()
    device = devices.resolve(Runtime(device="auto", precision="fp32", threads=None, test_every=1)).device
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}, torch {torch.__version__}, Python {platform.python_version()}")
    for batch_size in args.batch:
        table = epochs.measure(engine, network.create(ARCHITECTURE, 0), images, rows, batch_size, args.rounds)
        print(table.to_string(index=False))
    if args.epochs_only:
        return
    results = [
        row
        for batch_size in args.batch
        for row in measure(images, rows, batch_size, device, args.rounds, not args.no_compile)
    ]
    table = pd.DataFrame(results).assign(ratio=lambda frame: (frame.ours / frame.plain).round(2))
    print(table.round({"plain": 0, "ours": 0, "start, s": 1}).to_string(index=False))
    more_images, more_seeds = growth(images, rows, args.rounds)
    print(f"an epoch of 4 times the images takes {more_images:.2f} times as long, 4 seeds in turn {more_seeds:.2f}")
    if whole.at_hand():
        number, precision = (200, "bf16") if device.type == "cuda" else (2, "fp32")
        print(
            f"represent, {precision}: {whole.start_up(precision):.1f} s from the command to the end of the first step"
        )
        took = whole.represent(number, precision)
        what = "its device's" if took["cuda"] else "main"
        print(
            f"represent, {number} epochs of CIFAR-10-LT with their tests, {precision}: {took['seconds']} s, "
            f"{took['peak_memory_gib']} GiB of {what} memory"
        )


if __name__ == "__main__":
    main()
