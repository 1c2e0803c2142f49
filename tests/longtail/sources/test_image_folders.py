"""Class folders as people have them: subfolders, hidden and tools' folders, links, odd names, other files."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from conftest import Workplace, tiny
from inprocess import ok, refused
from PIL import Image

from stages.longtail.console.errors import UserError
from stages.longtail.files import artifacts
from stages.longtail.sources import image_folders
from stages.longtail.sources.image_folders import Found


def paint(*paths: Path | str) -> None:
    for path in map(Path, paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), "red").save(path, None if path.suffix in (".png", ".jpg") else "PNG")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes, two images each to train on, one to test."""
    for name in ("ant", "cat"):
        paint(*(tmp_path / path for path in (f"train/{name}/1.png", f"train/{name}/2.png", f"test/{name}/3.png")))
    return tmp_path


def train(found: Found, root: Path) -> dict[str, list[str]]:
    """The training images of each class, below their division."""
    names = [str(path.relative_to(root / "train")) for path in found.train.paths]
    return {
        kind: [name for name, own in zip(names, found.train.labels, strict=True) if own == label]
        for label, kind in enumerate(found.classes)
    }


def test_subfolders_are_walked_as_torchvision_does(root: Path) -> None:
    from torchvision.datasets import ImageFolder

    paint(root / "train/cat/more/deep/0.png", root / "train/cat/more/5.png", root / "train/ant/0.png")
    found = image_folders.find(root)
    expected = {"ant": ["0.png", "1.png", "2.png"], "cat": ["1.png", "2.png", "more/5.png", "more/deep/0.png"]}
    assert train(found, root) == {kind: [f"{kind}/{name}" for name in names] for kind, names in expected.items()}
    walked = ImageFolder(str(root / "train"))
    assert [path for path, _ in walked.samples] == [str(path) for path in found.train.paths]
    assert walked.targets == found.train.labels.tolist() and walked.classes == found.classes and not found.notes


def test_images_are_known_by_content_and_others_are_counted_and_named(root: Path) -> None:
    paint(root / "train/cat/none", root / "train/cat/photo.jfif", root / "test/ant/sub/x.tmp")
    for name in ("train/cat/notes.txt", "train/ant/list.csv", "train/README", "test/cat/a.heic"):
        (root / name).write_text("no image")
    found = image_folders.find(root)
    assert train(found, root)["cat"] == ["cat/1.png", "cat/2.png", "cat/none", "cat/photo.jfif"]
    assert [path.name for path in found.test.paths] == ["3.png", "x.tmp", "3.png"]
    assert found.notes == (
        "note: 3 files are not read in train/, not an image in a class folder: README, ant/list.csv, cat/notes.txt",
        "note: 1 file is not read in test/, not an image in a class folder: cat/a.heic",
    )


def test_hidden_and_tools_folders_are_no_classes(root: Path) -> None:
    before = image_folders.find(root)
    for name in (".ipynb_checkpoints", "@eaDir", "__MACOSX", "__pycache__"):
        paint(root / "train" / name / "x.png", root / "train/cat" / name / "1.png")
    paint(root / "train/cat/.hidden.png")
    (root / "train/cat/.DS_Store").write_bytes(b"\0\0\0\1Bud1")
    found = image_folders.find(root)
    assert found.classes == ["ant", "cat"] and list(found.train.paths) == list(before.train.paths) and not found.notes


@pytest.mark.parametrize("content", ["notes.txt", None], ids=["a file", "empty"])
def test_a_folder_without_images_is_named_as_what_it_is(root: Path, content: str | None) -> None:
    (root / "train/scripts").mkdir()
    if content:
        (root / "train/scripts" / content).write_text("no image")
    with pytest.raises(UserError) as raised:
        image_folders.find(root)
    words = f"there is 1 file ({content})" if content else "it is empty"
    assert words in str(raised.value) and "remove the folder 'scripts' if it is not a class" in str(raised.value)


@pytest.mark.parametrize(
    ("move", "words"),
    [
        (("train", "images/train"), "they lie one level deeper: set dataset.root to ROOT/images"),
        (("train", "training"), "there are 2 folders (test, training)"),
        (("test", "val"), "ROOT/test has no class folders, but ROOT/val has: call it test"),
        (("train/ant", "ant"), "class 'ant' has no train image"),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else "",
)
def test_what_was_found_is_said_when_nothing_is_read(root: Path, move: tuple[str, str], words: str) -> None:
    (root / move[1]).parent.mkdir(exist_ok=True)
    (root / move[0]).rename(root / move[1])
    with pytest.raises(UserError) as raised:
        image_folders.find(root)
    assert words.replace("ROOT", str(root)) in str(raised.value)


def test_images_without_class_folders_are_said(tmp_path: Path) -> None:
    paint(*(tmp_path / f"train/{number}.png" for number in range(5)))
    with pytest.raises(UserError, match=r"in train/ there are 5 files \(0\.png, 1\.png, 2\.png, \.\.\.\)"):
        image_folders.find(tmp_path)


def test_classes_one_level_deeper_are_not_one_class(root: Path) -> None:
    for division in ("train", "test"):
        (root / division).rename(root / "moved")
        (root / division).mkdir()
        (root / "moved").rename(root / division / "images")
    with pytest.raises(UserError, match=r"images is the only class, and its images lie one level deeper, in ant, cat"):
        image_folders.find(root)


def test_linked_divisions_classes_and_files_are_read(root: Path) -> None:
    expected = train(image_folders.find(root), root)
    (root / "elsewhere").mkdir()
    for name in ("train/cat", "train/ant/1.png", "train"):
        (root / name).rename(root / "elsewhere" / Path(name).name)
        (root / name).symlink_to(root / "elsewhere" / Path(name).name)
    assert train(image_folders.find(root), root) == expected


def test_a_link_in_a_circle_or_to_nowhere_is_named(root: Path) -> None:
    (root / "train/cat/again").symlink_to(root / "train")
    with pytest.raises(UserError, match=r"again(/cat)* is a link to a folder that it lies in|lies in"):
        image_folders.find(root)
    (root / "train/cat/again").unlink()
    (root / "train/cat/4.png").symlink_to("nowhere.png")
    with pytest.raises(UserError, match=r"4\.png is a link to nowhere\.png, which does not exist"):
        image_folders.find(root)


def test_names_that_look_the_same_are_one_class(root: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    paint(root / "train" / composed / "1.png", root / "train" / apart / "2.png", root / "test" / apart / "3.png")
    found = image_folders.find(root)
    assert found.classes == ["ant", "cat", composed] and found.train.labels.tolist() == [0, 0, 1, 1, 2, 2]


def own(here: Workplace) -> None:
    for name in ("ant", "cat"):
        paint(f"images/train/{name}/1.png", f"images/test/{name}/2.png")
    dataset = {"name": "folder", "root": "images", "size": 8, "watch": "images", "listing": []}
    here.write(tiny(dataset=dataset, split__profile="none", split__ratio=1, split__n_max=None, protocol__epochs=3))


def test_a_class_folder_that_is_not_utf8_is_refused_before_anything_is_written(here: Workplace) -> None:
    own(here)
    os.mkdir(b"images/train/caf\xe9")
    refused("download", r"images/train/caf\xe9 is not UTF-8: rename it")


def test_a_file_whose_name_is_not_utf8_is_read_and_can_be_named(here: Workplace, capsys: pytest.CaptureFixture) -> None:
    own(here)
    os.rename(b"images/train/cat/1.png", b"images/train/cat/caf\xe9.png")
    Path(os.fsdecode(b"images/train/cat/\xe9.txt")).write_text("no image")
    ok("download")
    assert r"cat/\xe9.txt" in capsys.readouterr().out


def test_names_beyond_ascii_go_through_all_stages_in_the_locale_c(here: Workplace) -> None:
    own(here)
    for division in ("train", "test"):
        Path(f"images/{division}/cat").rename(f"images/{division}/Käfer 甲虫")
    Path("images").rename("Bilder ä")
    params = tiny(protocol__epochs=2, split__profile="none", split__ratio=1, split__n_max=None)
    params["dataset"] |= {"name": "folder", "root": "Bilder ä"}
    here.write(params)
    for stage in ("download", "split", "represent", "classify", "evaluate", "tables"):
        done = here.run(stage, LC_ALL="C", PYTHONUTF8="0")
        assert done.returncode == 0, done.stderr
    assert artifacts.read_json(Path("data/raw/meta.json"))["classes"] == ["Käfer 甲虫", "ant"]
    assert "Käfer 甲虫" in Path("reports/per_class.csv").read_text(encoding="utf-8")


def test_the_same_image_in_train_and_test_is_counted(here: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    own(here)  # all of its images are the same
    Image.new("RGB", (8, 8), "blue").save("images/test/cat/3.png")
    ok("download")
    printed = capsys.readouterr().out.splitlines()
    assert "note: 2 of 3 test images are training images, too" in printed
    assert "note: 1 of 2 training images repeat another" in printed
    assert "note: images in more than one class: 1" in printed


def test_digits_have_no_note(here: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    ok("download")
    assert capsys.readouterr().out == "digits: 1200 training and 597 test images\n"
