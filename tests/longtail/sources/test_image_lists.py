"""List files, `path label` a line, with the original folders, as users of ImageNet-LT and the like have them."""

from __future__ import annotations

import hashlib
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, Workplace, composed, tiny
from inprocess import ok, refused, start
from PIL import Image

from stages.longtail.console.errors import UserError
from stages.longtail.files import artifacts
from stages.longtail.sources import image_lists
from stages.longtail.sources.large_sets import SETS

# Paths as in the published lists, of which the test lists and that of Places-LT for training were seen.
TRAIN = {
    "ImageNet": ["train/n02/n02_9.JPEG 1", "train/n01/n01_4.JPEG 0", "train/n01/n01_1.JPEG 0"],
    "Places": ["train/apartment_building-outdoor/00000001.jpg 1", "train/balcony-exterior/00000001.jpg 0"],
    "iNaturalist": ["train_val2018/Plantae/7477/3b.jpg 1", "train_val2018/Aves/10/2c.jpg 0"],
}
TEST = {
    "ImageNet": ["val/n02/ILSVRC2012_val_00000001.JPEG 1", "val/n01/ILSVRC2012_val_00000002.JPEG 0"],
    "Places": ["val/balcony-exterior/Places365_val_1.jpg 0", "val/apartment_building-outdoor/Places365_val_2.jpg 1"],
    "iNaturalist": ["train_val2018/Plantae/7477/x.jpg 1", "train_val2018/Aves/10/y.jpg 0"],
}
CLASSES = {
    "ImageNet": ["n01", "n02"],
    "Places": ["balcony-exterior", "apartment_building-outdoor"],
    "iNaturalist": ["Aves/10", "Plantae/7477"],
}


def write(folder: Path, train: list[str], test: list[str], end: str = "\n") -> tuple[Path, Path]:
    """The lists, and below folder/images an image for each line, the number of the line in red."""
    for name, lines in (("train", train), ("test", test)):
        (folder / f"{name}.txt").write_bytes("".join(line + end for line in lines).encode())
        for number, line in enumerate(lines):
            path = folder / "images" / (line.rpartition(" ")[0] or "none.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 16), (100 * number, 50, 200)).save(path, "PNG")
    return folder / "train.txt", folder / "test.txt"


@pytest.mark.parametrize("name", TRAIN)
def test_published_lists_are_read_with_their_own_labels(name: str, tmp_path: Path) -> None:
    lists = write(tmp_path, TRAIN[name], TEST[name])
    found = image_lists.find(*lists, tmp_path / "images")
    assert found.classes == CLASSES[name]
    for files, lines in ((found.train, TRAIN[name]), (found.test, TEST[name])):
        assert [str(path.relative_to(tmp_path / "images")) for path in files.paths] == [line[:-2] for line in lines]
        assert files.labels.tolist() == [int(line[-1]) for line in lines]


# How many classes a set has; for the test, images of its largest class and test images of each; a class's folder, a
# line for training and one to test.
IN = "train_val2018/{folder}/"
SHAPES = {
    "ImageNet": (1000, 6, 1, "n{c:08}", "train/{folder}/{folder}_{n}.JPEG", "val/{folder}/ILSVRC2012_val_{n:08}.JPEG"),
    "Places": (365, 12, 2, "scene{c}-indoor", "train/{folder}/{n:08}.jpg", "val/{folder}/Places365_val_{n:08}.jpg"),
    "iNaturalist": (8142, 2, 1, "{kingdom}/{c}", IN + "a{n:031x}.jpg", IN + "b{n:031x}.jpg"),
}


def of_all_classes(name: str) -> tuple[list[str], list[str], list[str]]:
    """Class names, training and test lines as a published set has them: all classes, here with few images of each."""
    classes, most, tested, folder_form, train_form, test_form = SHAPES[name]
    names, train, test = [], [], []
    for label in range(classes):
        names.append(folder_form.format(c=label, kingdom=("Plantae", "Insecta", "Aves", "Fungi")[label % 4]))
        images = max(1, most - label * most // classes)
        train += [f"{train_form.format(folder=names[-1], n=n)} {label}" for n in range(images)]
        test += [f"{test_form.format(folder=names[-1], n=n)} {label}" for n in range(tested)]
    if name == "iNaturalist":  # whose lists are in no order, those of the others in that of the labels
        for lines in (train, test):
            np.random.RandomState(0).shuffle(lines)
    return names, train, test


@pytest.mark.parametrize("name", SHAPES)
def test_lists_of_all_classes_of_a_published_set_are_read(name: str, tmp_path: Path) -> None:
    names, train, test = of_all_classes(name)
    image = tmp_path / "image.jpg"
    Image.new("RGB", (4, 4)).save(image)
    for line in train + test:
        path = tmp_path / line.split(" ")[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.hardlink_to(image)
    for division, lines in (("train", train), ("test", test)):
        (tmp_path / f"{division}.txt").write_text("".join(f"{line}\n" for line in lines))
    found = image_lists.find(tmp_path / "train.txt", tmp_path / "test.txt", tmp_path)
    assert found.classes == names
    for files, lines in ((found.train, train), (found.test, test)):
        assert [f"{path.relative_to(tmp_path)} {c}" for path, c in zip(files.paths, files.labels, strict=True)] == lines
        assert len(np.bincount(files.labels)) == SHAPES[name][0]


def test_without_a_folder_of_its_own_a_class_has_its_number(tmp_path: Path) -> None:
    lists = write(tmp_path, ["a.png 0", "b c.png 1"], ["c.png 0", "d.png 1"])
    assert image_lists.find(*lists, tmp_path / "images").classes == ["0", "1"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"], ids=repr)
def test_ends_of_lines_and_empty_lines_do_not_matter(end: str, tmp_path: Path) -> None:
    lists = write(tmp_path, TRAIN["ImageNet"], TEST["ImageNet"], end)
    assert image_lists.find(*lists, tmp_path / "images").train.labels.tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("train", "words"),
    [
        (["a/1.png 0", "b.png"], "train.txt line 2 is not 'path label'"),
        (["a.png,0"], "train.txt line 1 is not 'path label'"),
        (["a/1.png 0", "b/1.png -1"], "train.txt line 2 is not 'path label'"),
        (["a/1.png 1", "b/1.png 2"], "train.txt has no image of class 0, but labels go up to 2"),
        (["a/1.png 0"], "train.txt has no image of class 1"),
        (["a/1.png 0", "b/1.png 1", "c/1.png 2"], "test.txt has no image of class 2"),
        (["a/1.png 0", "b/1.png 999999999"], "train.txt has no image of class 1"),
        ([], "train.txt names no image"),
    ],
)
def test_lists_that_are_none_are_refused_by_line_or_class(train: list[str], words: str, tmp_path: Path) -> None:
    lists = write(tmp_path, train, ["a/7.png 0", "b/7.png 1"])
    with pytest.raises(UserError) as raised:
        image_lists.find(*lists, tmp_path / "images")
    assert words in str(raised.value)


def test_missing_images_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    lists = write(tmp_path, TRAIN["ImageNet"], TEST["ImageNet"])
    (tmp_path / "images/train/n01/n01_4.JPEG").unlink()
    with pytest.raises(UserError, match=r"1 of the 3 images of .*train\.txt are missing, the first is .*n01_4\.JPEG"):
        image_lists.find(*lists, tmp_path / "images")


def own(here: Workplace, name: str = "folder", **changes: object) -> None:
    write(here.folder, TRAIN["Places"], TEST["Places"])
    dataset = {**composed(f"dataset={name}")["dataset"], "root": "images", "size": 8}
    here.write(tiny(dataset=dataset | {"lists": {"train": "train.txt", "test": "test.txt"}} | changes))


def test_lists_of_ones_own_are_downloaded(here: Workplace) -> None:
    own(here)
    ok("download")
    assert artifacts.read_json(Path("data/raw/meta.json"))["classes"] == CLASSES["Places"]
    assert np.load("data/raw/train_labels.npy").tolist() == [1, 0]
    assert np.load("data/raw/train_images.npy")[:, 0, 0].tolist() == [[0, 50, 200], [100, 50, 200]]


def test_a_named_set_takes_only_the_published_lists(here: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    own(here, "places_lt")
    refused("download", "train.txt is not the published Places_LT_train.txt", "dataset=folder")
    sums = [hashlib.sha256(Path(f"{name}.txt").read_bytes()).hexdigest() for name in ("train", "test")]
    blob = hashlib.sha1(b"blob %d\0" % Path("train.txt").stat().st_size + Path("train.txt").read_bytes()).hexdigest()
    for train in (sums[0], blob):
        lists = {"train": ("Places_LT_train.txt", train), "test": ("Places_LT_test.txt", sums[1])}
        monkeypatch.setitem(SETS, "places_lt", replace(SETS["places_lt"], lists=lists))
        ok("download")
    Path("train.txt").write_bytes(Path("train.txt").read_bytes().replace(b"\n", b"\r\n"))  # git on Windows does that
    ok("download")


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("folder", {"lists": {"train": "train.txt", "test": None}}, "dataset.lists.train is set, but"),
        ("folder", {"lists": {"train": "train.txt", "test": "no.txt"}}, "no.txt is missing"),
        ("places_lt", {"lists": {"train": "no.txt", "test": "test.txt"}}, "no.txt is missing"),
        ("tiny_imagenet", {"size": 64}, "Tiny-ImageNet has no published lists"),
        ("cifar10", {"size": 32}, "cifar10 has none"),
        ("folder", {"root": "nowhere"}, "dataset.root is 'nowhere'"),
        ("folder", {"lists": {"train": "a\0", "test": "test.txt"}}, "is missing: set dataset.lists.train"),
    ],
)
def test_lists_that_make_no_sense_are_refused(name: str, changes: dict, words: str, here: Workplace) -> None:
    own(here, name, **changes)
    refused("download", words)
    line = start("download", "--list")  # the listing, which comes first where DVC runs them
    assert isinstance(line, str) and words in line, line


def test_the_published_lists_are_known_by_their_checksums() -> None:
    assert {name for name, known in SETS.items() if known.lists} == {"imagenet_lt", "places_lt", "inaturalist2018"}
    for known in SETS.values():
        for _, checksum in known.lists.values():
            assert len(bytes.fromhex(checksum)) in (20, 32)  # a git blob, a sha256
    assert all(composed(f"dataset={name}", conf=ROOT / "conf")["dataset"]["root"] is None for name in SETS)


def test_an_image_of_a_list_takes_little_memory(tmp_path: Path) -> None:
    """A Path for each would take four times as much: half a gigabyte for a million images."""
    (tmp_path / "class").mkdir()
    for number in range(1000):
        (tmp_path / f"class/{number:030}.jpg").touch()
    for division in ("train", "test"):
        (tmp_path / f"{division}.txt").write_text("".join(f"class/{number:030}.jpg 0\n" for number in range(1000)))
    tracemalloc.start()
    try:
        found = image_lists.find(tmp_path / "train.txt", tmp_path / "test.txt", tmp_path)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found.train.paths) == len(found.test.paths) == 1000
    assert held / 2000 < len(str(tmp_path)) + 100
