"""Speed and memory of packed images beside torchvision's ImageFolder: python -m tests.benchmarks.decoding [--images N]

Prints the CPU time per image from file to normalised batch, for generated JPEGs of 500 x 375 that cost a decoder what
photographs cost: RandomResizedCrop of 224 and a flip, the two in turn, best of three rounds, in one process and with
two worker processes, all processes counted. With --memory it also prints the peak memory of the download stage and of
reading an epoch, for 10,000 and for 200,000 small images.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from stages.longtail.data import packed
from stages.longtail.data.batches import Images, read_division
from stages.longtail.packing.packs import Pack
from stages.longtail.sources.large_sets import IMAGENET_MEAN, IMAGENET_STD
from stages.longtail.sources.originals import Originals

BATCH, ROUNDS, CLASSES = 64, 3, 10
CPU = torch.device("cpu")


def photograph(random: np.random.Generator, width: int, height: int) -> Image.Image:
    """Shapes with fine noise on them, which have about as many bytes as a photograph of this size."""
    shapes = random.integers(0, 256, (height // 16, width // 16, 3), np.uint8)
    smooth = np.asarray(Image.fromarray(shapes).resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return Image.fromarray((smooth + random.integers(-14, 15, smooth.shape)).clip(0, 255).astype(np.uint8))


def cpu_seconds() -> float:
    """The CPU time of this process and of those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def plain(folder: Path, workers: int) -> None:
    """torchvision's training example."""
    prepare = [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    prepare += [transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    images = ImageFolder(str(folder), transforms.Compose(prepare))
    for _ in DataLoader(images, BATCH, shuffle=True, num_workers=workers):
        pass


def ours(pack: Path, workers: int) -> None:
    source = Images(Pack(pack), np.zeros(len(Pack(pack)), np.int64), [], list(IMAGENET_MEAN), list(IMAGENET_STD), 256)
    epoch(source, workers, 224)


def epoch(source: Images, workers: int, crop: int) -> None:
    """Read all images, in random order, batch by batch."""
    images = packed.batches(source, np.arange(len(source.labels)), CPU, crop=crop, workers=workers)
    random = np.random.default_rng(0)
    order = random.permutation(len(images))
    draws = images.draw("resized_crop_flip", order, random)
    images.expect([(order, draws)], [slice(start, start + BATCH) for start in range(0, len(order), BATCH)])
    pieces = zip(torch.from_numpy(order).split(BATCH), torch.from_numpy(draws).split(BATCH), strict=True)
    for rows, windows in pieces:
        images.training(rows, windows)


def speed(count: int) -> pd.DataFrame:
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [folder / f"images/{number % CLASSES}/{number}.jpg" for number in range(count)]
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            photograph(random, 500, 375).save(path, quality=90)
        size = sum(path.stat().st_size for path in paths) / count / 1024
        print(f"{count} JPEGs of 500 x 375, {size:.0f} KiB each, torch {torch.__version__}")
        Originals(paths, "train").pack(folder / "train_images.npy")
        rows = []
        for workers in (0, 2):
            contenders: dict[str, Callable[[], None]] = {
                "ImageFolder": lambda workers=workers: plain(folder / "images", workers),  # type: ignore[misc]
                "pack": lambda workers=workers: ours(folder / "train_images.npy", workers),  # type: ignore[misc]
            }
            best = dict.fromkeys(contenders, float("inf"))
            for _ in range(ROUNDS):
                for what, run in contenders.items():
                    began = cpu_seconds()
                    run()
                    best[what] = min(best[what], cpu_seconds() - began)
            row = {"worker processes": workers} | {
                f"{what}, ms": 1000 * seconds / count for what, seconds in best.items()
            }
            row |= {f"{what}, images/s per core": count / seconds for what, seconds in best.items()}
            rows.append(row | {"ratio": best["ImageFolder"] / best["pack"]})
    return pd.DataFrame(rows)


def memory(count: int) -> dict[str, object]:
    """Peak memory, MiB, of the download stage and of reading an epoch of `count` images, each in its own process."""
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        contents = []
        for _ in range(100):
            photograph(random, 48, 32).save(buffer := io.BytesIO(), "JPEG", quality=90)
            contents.append(buffer.getvalue())
        for number in range(count):
            path = folder / f"images/{number // 1000}/{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(contents[number % 100] + number.to_bytes(4))  # no two files are the same
        for division, numbers in (("train", range(count)), ("test", range(CLASSES))):
            lines = [f"{number // 1000}/{number}.jpg {number % CLASSES}\n" for number in numbers]
            (folder / f"{division}.txt").write_text("".join(lines))
        dataset = {"name": "folder", "root": "images", "size": 32, "packed": True, "watch": ""}
        dataset["lists"] = {"train": "train.txt", "test": "test.txt"}
        (folder / "params.yaml").write_text(yaml.safe_dump({"dataset": dataset}))
        began = time.perf_counter()
        download = peak("import sys; sys.argv = ['download']; from stages import download; download.main()", folder)
        seconds = time.perf_counter() - began
        reading = peak("from tests.benchmarks import decoding; decoding.read()", folder)
    return {"images": count, "download, MiB": download, "seconds": seconds, "an epoch, MiB": reading}


def read() -> None:
    torch.set_num_threads(1)
    epoch(read_division(Path("data/raw"), "train"), 0, 32)


def peak(code: str, folder: Path) -> float:
    """Peak memory, MiB, of a Python process that runs `code`. (wait4 would begin with the memory of this process.)"""
    tell = "print(*[line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')])"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    command = [sys.executable, "-c", f"{code}\n{tell}"]
    told = subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    return int(told.split()[-1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--memory", action="store_true")
    args = parser.parse_args()
    print(speed(args.images).round(2).to_markdown(index=False))
    if args.memory:
        print(pd.DataFrame([memory(count) for count in (10_000, 200_000)]).round(0).to_markdown(index=False))


if __name__ == "__main__":
    main()
