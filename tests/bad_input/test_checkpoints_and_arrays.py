"""Checkpoints and arrays between the stages that are cut short, altered or malicious."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Workplace
from inprocess import CLASSIFIER, REPRESENTATION, Bomb, alter, ok, refused, shorten

from stages.longtail.console.errors import UserError
from stages.longtail.files import artifacts
from stages.longtail.training import checkpoint

LENGTHS = [0, 1, 2, 1000, 20000, -2000, -22, -1]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize(("stage", "path"), [("classify", REPRESENTATION), ("evaluate", CLASSIFIER)])
def test_a_checkpoint_cut_short_is_named(trained: Workplace, stage: str, path: Path, length: int) -> None:
    assert path.stat().st_size > 22000
    shorten(path, length)
    refused(stage, f"{path} is cut short", "delete it and run again the stage that makes it")


@pytest.mark.parametrize("length", LENGTHS)
def test_a_checkpoint_cut_short_in_the_scratch_folder_is_named(trained: Workplace, length: int) -> None:
    (path,) = Path(".scratch").glob("*/seed-0/epoch-4.pt")
    shorten(path, length)
    refused("represent", f"{path} is cut short", "delete it")
    path.unlink()
    ok("represent")


def test_a_checkpoint_cut_anywhere_is_refused(finished: Path, tmp_path: Path) -> None:
    content = (finished / REPRESENTATION).read_bytes()
    path = tmp_path / "checkpoint.pt"
    for length in range(0, len(content), 97):
        path.write_bytes(content[:length])
        with pytest.raises(UserError, match="cut short"):
            checkpoint.load(path)


@pytest.mark.parametrize("content", [[1, 2], {"seeds": [0]}, {"network": {}}])
def test_a_checkpoint_of_something_else_is_refused(trained: Workplace, content: Any) -> None:
    torch.save(content, REPRESENTATION)
    refused("classify", str(REPRESENTATION), "is not a checkpoint of a stage", "run again the stage that makes it")


def test_a_meta_json_without_its_keys_says_which(ready: Workplace) -> None:
    Path("data/raw/meta.json").write_text("{}")
    for stage in ("split", "represent"):
        refused(stage, "meta.json lacks classes, digest, mean, std", "run the download stage")


@pytest.mark.parametrize("labels", [[-1, 0], [0, 10], [[0, 1]], [0.0, 1.0], ["a", "b"], 3, []], ids=repr)
def test_labels_that_are_of_no_class_are_refused(ready: Workplace, labels: Any) -> None:
    np.save("data/raw/train_labels.npy", np.array(labels))
    refused("split", "data/raw/train_labels.npy has no labels of the classes", "run the download stage again")


@pytest.mark.parametrize("table", ["class,name\n0,a\n", "class,name,count,shot\n0,a,many,many\n"])
def test_a_class_table_without_columns_or_numbers_is_named(ready: Workplace, table: str) -> None:
    Path("data/splits/classes.csv").write_text(table)
    refused("represent", "classes.csv is damaged", "run the split stage")


def test_a_checkpoint_of_random_bytes_is_refused(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    path = tmp_path / "checkpoint.pt"
    for length in range(200):
        path.write_bytes(random.bytes(length))
        with pytest.raises(UserError, match="not a checkpoint"):
            checkpoint.load(path)


def pickled(path: Path, content: Any, form: str) -> None:
    if form.startswith("protocol"):
        path.write_bytes(pickle.dumps(content, protocol=int(form[-1])))
    else:
        protocol = 4 if form.endswith("4") else 2
        torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=form.startswith("zip"))


@pytest.mark.parametrize("form", ["protocol 2", "protocol 4", "zip 2", "zip 4", "legacy"])
@pytest.mark.parametrize("stage", ["represent", "classify", "evaluate"])
def test_a_checkpoint_that_is_a_malicious_pickle_is_refused_and_executes_nothing(
    trained: Workplace, tmp_path: Path, stage: str, form: str
) -> None:
    (scratch,) = Path(".scratch").glob("*/seed-0/epoch-4.pt")
    path = {"represent": scratch, "classify": REPRESENTATION, "evaluate": CLASSIFIER}[stage]
    pickled(path, {"seeds": {0: Bomb(tmp_path / "boom")}}, form)
    refused(stage, f"{path} is cut short or not a checkpoint", "delete it")
    assert not (tmp_path / "boom").exists()
    if stage == "classify":
        if form.startswith("protocol"):
            pickle.loads(path.read_bytes())
        else:
            torch.load(path, weights_only=False)
        assert (tmp_path / "boom").exists(), "the bomb does nothing: this test shows nothing"


def test_a_missing_checkpoint_says_which_stage_makes_it(ready: Workplace) -> None:
    refused("classify", str(REPRESENTATION), "does not exist", "run the stage that makes it")


# Arrays and tables between the stages.


@pytest.mark.parametrize(
    "path",
    ["raw/train_images.npy", "raw/test_images.npy", "raw/train_labels.npy", "splits/kept.npy", "splits/held.npy"],
)
@pytest.mark.parametrize("length", [0, 1, 70, -1])
def test_an_array_cut_short_is_named(ready: Workplace, path: str, length: int) -> None:
    if path == "splits/held.npy" and length == -1:
        length = -2  # it holds no number: only its header can be cut
    shorten(Path("data", path), length)
    what, remedy = ("not what data/raw/meta.json describes", "run the download stage again")
    if path.startswith("splits"):
        what, remedy = ("damaged", "delete it and run the stage that makes it")
    refused("represent", f"data/{path} is {what}", remedy)


@pytest.mark.parametrize("name", ["train_images", "train_labels", "test_images", "test_labels"])
def test_an_altered_array_is_named(ready: Workplace, name: str) -> None:
    alter(Path(f"data/raw/{name}.npy"))
    refused("represent", f"data/raw/{name}.npy is not what data/raw/meta.json describes")


@pytest.mark.parametrize("content", [b"PK\x03\x04" + b"a" * 50, pickle.dumps([1]), b"\x93NUMPY\x01\x00\x02\x00('"])
def test_a_file_that_is_no_array_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "kept.npy"
    path.write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        artifacts.read_array(path)


def test_an_array_of_pickles_is_refused_and_executes_nothing(ready: Workplace, tmp_path: Path) -> None:
    np.save("data/splits/kept.npy", np.array([Bomb(tmp_path / "boom")], dtype=object), allow_pickle=True)
    refused("represent", "data/splits/kept.npy is damaged")
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe"])
def test_a_damaged_meta_json_is_named(ready: Workplace, content: bytes) -> None:
    Path("data/raw/meta.json").write_bytes(content)
    refused("split", "data/raw/meta.json is not valid json", "run the stage that makes it")


@pytest.mark.parametrize("content", [b"", b"class,name\n0,1\n0,1,2\n", b"class,name\n0,\xff\xfe\n"])
def test_a_damaged_table_is_named(ready: Workplace, content: bytes) -> None:
    Path("data/splits/classes.csv").write_bytes(content)
    refused("represent", "data/splits/classes.csv is not a csv file", "run the stage that makes it")
