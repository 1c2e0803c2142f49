"""Folders of images: whole ones, and corrupt images and empty classes, which are named."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Workplace, tiny
from inprocess import ok, refused
from PIL import Image

from stages.longtail.files import artifacts


@pytest.fixture
def images(here: Workplace, split_digits: Path) -> Path:
    """images/: the digits as png files, 4 of each of 3 classes to train on and 2 to test."""
    for division, count in (("train", 4), ("test", 2)):
        pixels, labels = (np.load(split_digits / f"data/raw/{division}_{kind}.npy") for kind in ("images", "labels"))
        for label in range(3):
            folder = Path("images") / division / f"digit {label}"
            folder.mkdir(parents=True)
            for number, image in enumerate(pixels[labels == label][:count]):
                Image.fromarray(image[..., 0]).save(folder / f"{number}.png")
    dataset = {"name": "folder", "root": "images", "size": 8, "watch": "images"}
    here.write(tiny(dataset=dataset, split__profile="none", split__ratio=1, split__n_max=None, protocol__epochs=3))
    return Path("images")


def test_a_folder_of_images_goes_through_all_stages(images: Path, split_digits: Path) -> None:
    ok("download", "split", "represent", "classify", "evaluate", "tables")
    pixels, labels = (np.load(split_digits / f"data/raw/test_{kind}.npy") for kind in ("images", "labels"))
    expected = np.concatenate([pixels[labels == label][:2] for label in range(3)])
    assert np.array_equal(np.load("data/raw/test_images.npy"), np.repeat(expected, 3, axis=3))
    assert np.load("data/raw/test_labels.npy").tolist() == [0, 0, 1, 1, 2, 2]
    assert pd.read_csv("reports/per_class.csv")["name"].tolist() == ["digit 0", "digit 1", "digit 2"]
    assert 0 <= artifacts.read_json(Path("reports/metrics.json"))["acc"]["all"] <= 100
    assert "joint on folder" in Path("reports/table.md").read_text()


RED = [[255, 0, 0]]
GREY = [[100, 100, 100]]


@pytest.mark.parametrize(
    ("image", "pixel"),
    [
        (Image.new("L", (8, 8), 100), GREY),
        (Image.new("LA", (8, 8), (100, 255)), GREY),
        (Image.new("1", (8, 8), 1), [[255, 255, 255]]),
        (Image.fromarray(np.full((8, 8), 100 * 257, np.uint16)), GREY),
        (Image.new("RGB", (8, 8), "red"), RED),
        (Image.new("RGBA", (8, 8), "red"), RED),
        (Image.new("RGB", (8, 8), "red").convert("P"), RED),
        (Image.new("RGB", (40, 20), "red"), RED),
    ],
    ids=["grey", "grey and alpha", "black and white", "16-bit grey", "RGB", "RGBA", "palette", "another size"],
)
def test_images_of_every_kind_become_rgb_of_one_size(images: Path, image: Image.Image, pixel: list[list[int]]) -> None:
    image.save(images / "train/digit 1/a.png")
    ok("download")
    pixels, labels = np.load("data/raw/train_images.npy"), np.load("data/raw/train_labels.npy")
    assert pixels.shape == (13, 8, 8, 3) and pixels.dtype == np.uint8
    assert np.unique(pixels[labels == 1][4].reshape(-1, 3), axis=0).tolist() == pixel


@pytest.mark.parametrize("division", ["train", "test"])
@pytest.mark.parametrize("damage", ["cut", "empty", "text", "broken header"])
def test_a_corrupt_image_is_named(images: Path, division: str, damage: str) -> None:
    path = images / division / "digit 1" / "1.png"
    content = path.read_bytes()
    broken = {"cut": content[:-30], "empty": b"", "text": b"no image\n", "broken header": content[:8] + b"\0" * 99}
    path.write_bytes(broken[damage])
    refused("download", f"{path} is not a readable image", "repair it or remove it")


@pytest.mark.parametrize("division", ["train", "test"])
@pytest.mark.parametrize("how", ["no folder", "empty folder", "no image in it"])
def test_a_class_without_an_image_is_named(images: Path, division: str, how: str) -> None:
    folder = images / division / "digit 2"
    shutil.rmtree(folder)
    if how != "no folder":
        folder.mkdir()
    if how == "no image in it":
        (folder / "notes.txt").write_text("none yet")
    refused("download", "class 'digit 2'", f"no {division} image")


@pytest.mark.parametrize("division", ["train", "test"])
def test_a_folder_whose_classes_are_all_empty_is_refused(images: Path, division: str) -> None:
    for path in (images / division).rglob("*.png"):
        path.unlink()
    refused("download", "class 'digit 0'", f"no {division} image")


@pytest.mark.parametrize("root", [None, "", "nowhere", "params.yaml"], ids=repr)
def test_a_root_that_is_no_folder_is_refused(images: Path, here: Workplace, root: str | None) -> None:
    here.write(tiny(dataset__name="folder", dataset__root=root))
    refused("download", f"dataset.root is {root!r}", "set it to the folder of your images")


def test_a_root_without_class_folders_is_refused(images: Path) -> None:
    shutil.rmtree(images / "train")
    refused("download", str(images / "train"), "no class folders", "train/<class>/")
