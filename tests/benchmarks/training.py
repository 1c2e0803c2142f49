"""Speed of training beside a plain loop, in one run, as ratios: make benchmark

The plain loop is written the way the papers' public code is: PIL transforms in DataLoader workers, eager fp32, the
default memory format, `.item()` in every step. ResNet-32 on CIFAR-10-LT, ratio 100: real images from $LONGTAIL_DATA, or
random ones of the same size. Nothing here asserts: the numbers depend on the machine and on what else it does.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
import yaml
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms.functional import to_pil_image

from stages.longtail import compute, errors, recipe
from stages.longtail.data import augment, draws, imbalance, sources
from stages.longtail.data.batches import Batches, Images
from stages.longtail.learning import together, training
from stages.longtail.learning.phase import Phase
from stages.longtail.models import network


@dataclass(frozen=True)
class Settings:
    precision: Literal["fp32", "tf32", "bf16"]
    mode: Literal["bitwise", "fast"] = "bitwise"
    at_once: int = 1
    graphs: bool = True

    def __str__(self) -> str:
        runs = f", {self.at_once} runs at once" if self.at_once > 1 else ""
        return f"{self.precision}, {self.mode}{runs}{'' if self.graphs else ', without graphs'}"


SETTINGS = {
    "cpu": [Settings("fp32"), Settings("bf16")],
    "cuda": [
        *(Settings("bf16", "bitwise", 1, graphs) for graphs in (False, True)),
        *(Settings(precision, "fast") for precision in ("fp32", "tf32", "bf16")),
        *(Settings("bf16", mode, 8) for mode in ("bitwise", "fast")),
    ],
}
STEPS = 90 if torch.cuda.is_available() else 25  # in an epoch
CIFAR = recipe.Dataset("cifar10", None, 32, "")
ROOT = Path(__file__).resolve().parents[2]
ARCHITECTURE = network.Architecture(
    backbone="resnet32", width=16, channels=3, classes=10, head="linear", whitening={}, bilateral=False, auxiliary={}
)


class PlainImages(Dataset):
    """CIFAR as torchvision hands it out: a PIL image through the usual transforms, one at a time."""

    def __init__(self, images: Images, rows: np.ndarray):
        self.images = [to_pil_image(image) for image in images.images[rows]]
        self.labels = images.labels[rows]
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(images.mean, images.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[position]), int(self.labels[position])


def read() -> tuple[Images, np.ndarray]:
    """Training images and the positions of the long-tailed subset."""
    if (sources.root_of(CIFAR) / "cifar-10-batches-py").is_dir():
        part = sources.load(CIFAR).train
    else:
        print("no CIFAR-10 at $LONGTAIL_DATA: random images instead")
        part = sources.Division(
            np.random.default_rng(0).integers(0, 256, (50000, 32, 32, 3), np.uint8), np.repeat(np.arange(10), 5000)
        )
    split = recipe.Split("exp", 100.0, None, 0, 0, 100, 20)
    rows, _ = imbalance.draw(part.labels, [str(c) for c in range(10)], split)
    return Images(part.images, part.labels, "", sources.CIFAR_MEAN, sources.CIFAR_STD), rows


def plain_loop(images: Images, rows: np.ndarray, batch_size: int, device: torch.device) -> float:
    """Images per second of the plain loop."""
    model = network.create(ARCHITECTURE, 0).to(device).train()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=2e-4)
    loader = DataLoader(PlainImages(images, rows), batch_size, shuffle=True, num_workers=min(4, os.cpu_count() or 1))
    total, began = 0.0, 0.0
    for step, (inputs, labels) in enumerate(loader):
        if step == 3:
            began = time.perf_counter()
        loss = F.cross_entropy(model(inputs.to(device)), labels.to(device))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        total += loss.item()
        if step == STEPS + 2:
            break
    return STEPS * batch_size / (time.perf_counter() - began)


def engine(images: Images, rows: np.ndarray, batch_size: int, device: compute.Compute) -> training.Epochs:
    """The training engine, with epochs of STEPS batches."""
    batches = Batches(images, rows[: STEPS * batch_size], device.device, 4)
    protocol = recipe.Protocol(
        "switching", "resnet32", 16, 200, batch_size, 0.1, 0.9, 2e-4, recipe.Constant("constant", 0), "crop_flip", 4
    )
    phase = Phase.of_protocol(
        protocol,
        name="represent",
        sampler=recipe.ClassSampler(),
        loss=recipe.CrossEntropy(),
        weighting=recipe.NoWeighting(),
        stop=200,
    )
    run = training.start(network.create(ARCHITECTURE, 0), phase, device, None)
    return training.Epochs(run, phase, 0, batches, device)


def our_loop(
    images: Images, rows: np.ndarray, batch_size: int, device: compute.Compute, at_once: int = 1, graphs: bool = True
) -> float:
    """Images per second of an epoch of the engine after one to warm up; of several runs at once, all together."""
    meeting = threading.Barrier(at_once)

    def work(seed: int) -> float:
        try:
            epochs = engine(images, rows, batch_size, device)
            if not graphs:
                epochs.close()
            epochs.next()
        except BaseException:
            meeting.abort()
            raise
        meeting.wait()
        began = time.perf_counter()
        epochs.next()  # ends with the losses on the host, so the device is done
        return time.perf_counter() - began

    seconds = together.each(range(at_once), work, at_once, device.device)
    return at_once * STEPS * batch_size / max(seconds.values())


def our_augmentation(images: Images, rows: np.ndarray, batch_size: int, device: torch.device) -> float:
    batches = Batches(images, rows, device, 4)
    crops = torch.from_numpy(augment.draw("crop_flip", batch_size, 4, draws.generator(0, 0, "augment"))).to(device)
    chosen = torch.arange(batch_size, device=device)
    return batch_size * repeated(lambda: batches.training(chosen, crops), device)


def plain_augmentation(images: Images, rows: np.ndarray, batch_size: int) -> float:
    dataset = PlainImages(images, rows)
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


def represent(epochs: int, precision: str) -> dict[str, Any]:
    """The manifest of `represent` on CIFAR-10-LT with a ResNet-32 tested after every epoch, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        values = yaml.safe_load((ROOT / "params.yaml").read_text())
        root = str(sources.root_of(CIFAR).resolve())
        values["dataset"] |= {"name": "cifar10", "size": 32, "root": root}
        values["split"] |= {"n_max": None, "ratio": 100}
        values["protocol"] |= {"epochs": epochs, "pad": 4, "augment": "crop_flip", "backbone": "resnet32"}
        values["protocol"]["schedule"] = {"kind": "constant", "warmup": 0}
        values["runtime"] |= {"precision": precision, "threads": None}
        Path(folder, "params.yaml").write_text(yaml.safe_dump(values))
        for stage in ("download", "split", "represent"):
            subprocess.run(
                [sys.executable, "-m", f"stages.{stage}"],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        return json.loads(Path(folder, "data/representation/manifest.json").read_text())


def main() -> None:
    images, rows = read()
    auto = compute.resolve(recipe.Runtime("auto", "fp32", None, 1))
    name = torch.cuda.get_device_name() if auto.device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}, torch {torch.__version__}, Python {platform.python_version()}")
    results = []
    for batch_size in (128, 64):
        compute.resolve(recipe.Runtime("auto", "fp32", None, 1))  # what ran before may have been of another mode
        plain = plain_loop(images, rows, batch_size, auto.device)
        for settings in SETTINGS[auto.device.type]:
            try:
                resolved = compute.resolve(recipe.Runtime("auto", settings.precision, None, 1, mode=settings.mode))
            except errors.UserError as error:
                print(error)
                continue
            speed = our_loop(images, rows, batch_size, resolved, settings.at_once, settings.graphs)
            results.append({"what": f"training, batch {batch_size}, {settings}", "plain": plain, "ours": speed})
        results.append(
            {
                "what": f"augmentation alone, batch {batch_size}",
                "plain": plain_augmentation(images, rows, batch_size),
                "ours": our_augmentation(images, rows, batch_size, auto.device),
            }
        )
    table = pd.DataFrame(results).assign(ratio=lambda frame: (frame.ours / frame.plain).round(2))
    print(table.round({"plain": 0, "ours": 0}).to_markdown(index=False))
    if (sources.root_of(CIFAR) / "cifar-10-batches-py").is_dir():
        epochs, precision = (200, "bf16") if auto.device.type == "cuda" else (2, "fp32")
        took = represent(epochs, precision)
        what = "its device's" if took["cuda"] else "main"
        print(
            f"represent, {epochs} epochs of CIFAR-10-LT with their tests, {precision}: {took['seconds']} s, "
            f"{took['peak_memory_gib']} GiB of {what} memory"
        )


if __name__ == "__main__":
    main()
