"""Tiny-ImageNet as its archive unpacks, made small: the same arrays as from folders rearranged by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import Workplace, composed, tiny
from inprocess import ok, refused
from PIL import Image

from stages.longtail.files import artifacts

IDS = ("n02124075", "n01443537", "n04067472")


def unpack(folder: Path) -> None:
    """The archive's tree: images and boxes of each class, validation images with one text, unlabelled test images."""
    random = np.random.default_rng(0)

    def paint(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (64, 64, 3), np.uint8)).save(path, "JPEG")

    for name in IDS:
        for number in range(4):
            paint(folder / f"train/{name}/images/{name}_{number}.JPEG")
        boxes = "".join(f"{name}_{number}.JPEG\t0\t10\t63\t58\n" for number in range(4))
        (folder / f"train/{name}/{name}_boxes.txt").write_text(boxes)
    lines = []
    for number in range(6):
        paint(folder / f"val/images/val_{number}.JPEG")
        lines.append(f"val_{number}.JPEG\t{IDS[number % 3]}\t0\t32\t44\t62\n")
        paint(folder / f"test/images/test_{number}.JPEG")
    (folder / "val/val_annotations.txt").write_text("".join(lines))
    (folder / "wnids.txt").write_text("\n".join(IDS) + "\n")
    (folder / "words.txt").write_text("n02124075\tEgyptian cat\n")


def rearrange(official: Path, folder: Path) -> None:
    """What a person does by hand."""
    for line in (official / "val/val_annotations.txt").read_text().splitlines():
        image, name = line.split("\t")[:2]
        for division, source in (("test", f"val/images/{image}"), ("train", f"train/{name}/images")):
            for path in [official / source] if division == "test" else sorted((official / source).iterdir()):
                (folder / division / name).mkdir(parents=True, exist_ok=True)
                (folder / division / name / path.name).write_bytes(path.read_bytes())


def arrays() -> dict[str, np.ndarray]:
    return {path.name: np.load(path) for path in Path("data/raw").glob("*.npy")}


@pytest.mark.parametrize("place", ["tiny_imagenet", "tiny-imagenet-200", "tiny_imagenet/tiny-imagenet-200"])
def test_the_official_folder_is_read_as_it_unpacks(
    place: str, here: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    here.write(tiny(dataset=composed("dataset=tiny_imagenet")["dataset"]))
    rearranged = Path("data/downloads/tiny_imagenet")
    unpack(Path("unpacked"))
    rearrange(Path("unpacked"), rearranged)
    ok("download")
    expected = arrays()
    assert expected["train_labels.npy"].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert expected["test_labels.npy"].tolist() == [0, 0, 1, 1, 2, 2]
    rearranged.rename("rearranged")
    Path("data/downloads", place).parent.mkdir(exist_ok=True)
    Path("unpacked").rename(Path("data/downloads", place))
    capsys.readouterr()
    ok("download")
    assert artifacts.read_json(Path("data/raw/meta.json"))["classes"] == sorted(IDS)
    assert arrays().keys() == expected.keys() and all(np.array_equal(arrays()[key], expected[key]) for key in expected)
    assert "not read" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda root: (root / "val/images/val_3.JPEG").unlink(), "val/images/val_3.JPEG is missing"),
        (
            lambda root: (root / "val/val_annotations.txt").write_text("val_0.JPEG\tn00\t1\n"),
            "line 1: 'n00' is not a class",
        ),
        (
            lambda root: (root / "val/val_annotations.txt").write_text("val_0.JPEG\n"),
            "line 1: 'val_0.JPEG' is not a class",
        ),
        (lambda root: (root / "val/val_annotations.txt").write_text(""), "class 'n01443537' has no test image"),
        (lambda root: [p.unlink() for p in root.glob("train/n04*/images/*")], "class 'n04067472' has no train image"),
    ],
)
def test_what_is_missing_is_named(damage: object, words: str, here: Workplace) -> None:
    here.write(tiny(dataset=composed("dataset=tiny_imagenet")["dataset"]))
    unpack(Path("data/downloads/tiny-imagenet-200"))
    damage(Path("data/downloads/tiny-imagenet-200"))
    refused("download", words)
