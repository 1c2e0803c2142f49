"""A set of ImageNet's shape, in small: JPEGs in folders, list files, 1,000 classes, through every stage."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT, Workplace
from inprocess import ok, start
from PIL import Image

from stages.longtail.configuration.composition import compose
from stages.longtail.packing.packs import Pack
from stages.longtail.sources.large_sets import SETS

CLASSES = 1000
COUNTS = np.maximum(1, (4 * 4.0 ** (-np.arange(CLASSES) / (CLASSES - 1)) + 0.5).astype(int))  # 4 to 1


def paint(root: Path) -> dict[str, tuple[str, str]]:
    """The images, below root, and the lists, beside it. Returns names and checksums of the lists."""
    random = np.random.default_rng(0)
    lists = {}
    for division, counts in (("train", COUNTS), ("test", np.ones(CLASSES, int))):
        lines = []
        for label, count in enumerate(counts):
            for number in range(count):
                name = f"{division}/n{label:08}/{number}.JPEG" if division == "train" else f"val/{label:08}.JPEG"
                path = root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = random.integers(0, 256, (3, 4, 3), np.uint8).repeat(8, 0).repeat(8, 1)
                Image.fromarray(pixels[: 24 - label % 5]).save(path, "JPEG")
                lines.append(f"{name} {label}\n")
        listed = Path(f"{division}.txt")
        listed.write_text("".join(lines[index] for index in random.permutation(len(lines))))
        lists[division] = (f"ImageNet_LT_{division}.txt", hashlib.sha256(listed.read_bytes()).hexdigest())
    return lists


@pytest.mark.slow
def test_a_thousand_classes_go_through_every_stage(here: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """And training is the same to the last bit whatever the number of processes that decode."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    lists = paint(Path("images"))
    monkeypatch.setitem(SETS, "imagenet_lt", replace(SETS["imagenet_lt"], lists=lists))
    raw = compose(["dataset=imagenet_lt", "protocol=decoupling_imagenet", "method=crt"], ROOT / "conf")
    raw["dataset"] |= {"root": "images", "size": 20, "lists": {"train": "train.txt", "test": "test.txt"}}
    raw["protocol"] |= {"backbone": "resnet10", "width": 8, "crop": 16, "epochs": 2, "batch_size": 256}
    raw["classifier"]["epochs"] = 2
    raw["seeds"], raw["runtime"] = [0], raw["runtime"] | {"threads": 1, "workers": 1}
    here.write(raw)

    ok("download", "split", "represent")
    decoded_by_one = torch.load("data/representation/checkpoint.pt", weights_only=True)["seeds"][0]
    shutil.rmtree(".scratch")
    here.write(raw | {"runtime": raw["runtime"] | {"workers": 0}})
    ok("represent", "classify", "evaluate")
    decoded_here = torch.load("data/representation/checkpoint.pt", weights_only=True)["seeds"][0]
    for name, value in decoded_by_one["network"].items():
        assert torch.equal(value, decoded_here["network"][name]), name

    pack = Pack(Path("data/raw/train_images.npy"))
    first = Path("train.txt").read_text().split()[0]
    assert len(pack) == COUNTS.sum() and pack.read(0) == (Path("images") / first).read_bytes()
    classes = pd.read_csv("data/splits/classes.csv")
    assert classes["count"].tolist() == COUNTS.tolist() and classes["name"][7] == "n00000007"
    assert len(pd.read_csv("reports/per_class.csv")) == CLASSES
    history = pd.read_csv("reports/history.csv")
    assert history["part"].tolist() == ["represent"] * 2 + ["head"] * 2 and np.isfinite(history["loss"]).all()
    Path("reports/papers").symlink_to(ROOT / "reports/papers")
    assert start("tables", "--conf", str(ROOT / "conf")) is None
    assert "few" in Path("reports/table.md").read_text()
    metrics = json.loads(Path("reports/metrics.json").read_text())
    assert metrics["acc"]["all"] == pytest.approx(history["test_all"].iloc[-1], abs=1e-3)
