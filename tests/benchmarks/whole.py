"""The stage `represent` as a user starts it: how long until its first step, and a run with its tests and its memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from stages.longtail.sources import loading
from stages.longtail.sources.dataset import Dataset

ROOT = Path(__file__).resolve().parents[2]
CIFAR = Dataset(name="cifar10", root=None, size=32, watch="")
# Runs the stage up to the end of its first step, then says when that was.
FIRST_STEP = """
import os, time
from stages import represent
from stages.longtail.configuration import command_line
from stages.longtail.training import loop
step = loop.Training.update
def first(*arguments):
    step(*arguments)
    print(time.time(), flush=True)
    os._exit(0)
loop.Training.update = first
command_line.run(represent.main)
"""


def at_hand() -> bool:
    """Is CIFAR-10 there?"""
    return (loading.root_of(CIFAR) / "cifar-10-batches-py").is_dir()


@contextmanager
def split_cifar(epochs: int, precision: str) -> Iterator[Path]:
    """A folder with CIFAR-10-LT and the parameters of a ResNet-32 tested after every epoch, ready to train."""
    with tempfile.TemporaryDirectory() as folder:
        values = yaml.safe_load((ROOT / "params.yaml").read_text())
        values["dataset"] |= {"name": "cifar10", "size": 32, "root": str(loading.root_of(CIFAR).resolve())}
        values["split"] |= {"n_max": None, "ratio": 100}
        values["protocol"] |= {"epochs": epochs, "pad": 4, "augment": "crop_flip", "backbone": "resnet32"}
        values["protocol"]["schedule"] = {"kind": "constant", "warmup": 0}
        values["runtime"] |= {"precision": precision, "threads": None}
        Path(folder, "params.yaml").write_text(yaml.safe_dump(values))
        for stage in ("download", "split"):
            python(folder, "-m", f"stages.{stage}")
        yield Path(folder)


def python(folder: str | Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


def start_up(precision: str) -> float:
    """Seconds from the command to the end of the first training step."""
    with split_cifar(1, precision) as folder:
        began = time.time()
        return float(python(folder, "-c", FIRST_STEP).split()[-1]) - began


def represent(epochs: int, precision: str) -> dict[str, Any]:
    """The manifest of so many epochs."""
    with split_cifar(epochs, precision) as folder:
        python(folder, "-m", "stages.represent")
        return json.loads((folder / "data/representation/manifest.json").read_text())
