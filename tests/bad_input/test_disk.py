"""Disks, permissions, interruptions: what existed stays as it was, and nothing half written lies beside it."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conftest import Workplace
from inprocess import REPRESENTATION, STAGES, files, needs_dev_full, ok, outputs, refused, start

from stages.longtail.training import checkpoint


def half_written(path: Path) -> Path:
    """Where this process writes a file before it takes its name."""
    return path.with_name(f".{path.name}.{os.getpid()}-{platform.node().partition('.')[0]}.partial")


@needs_dev_full
@pytest.mark.parametrize(("stage", "name"), [(stage, name) for stage in STAGES for name in outputs(stage)])
def test_a_full_disk_names_the_file_and_leaves_what_was_there(trained: Workplace, stage: str, name: str) -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_text("old")
    old = path.read_bytes()
    half_written(path).symlink_to("/dev/full")  # every write to it fails as on a full disk
    line = start(stage)
    assert isinstance(line, str) and "\n" not in line
    assert "no space left on the disk" in line and name in line and "free some space" in line, line
    assert path.read_bytes() == old
    assert not list(Path().rglob("*.partial"))


@needs_dev_full
def test_a_full_disk_while_a_checkpoint_is_kept_leaves_the_one_before(
    trained: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint.Scratch, "EVERY", 0)
    (last,) = Path(".scratch").glob("*/seed-0/epoch-4.pt")
    shutil.rmtree(REPRESENTATION.parent)
    own = last.parent / checkpoint.Scratch("recipe", 0, REPRESENTATION.parent).own.name
    third = own / "epoch-3.pt"
    content = checkpoint.load(last)["state"]
    shutil.rmtree(last.parent)
    own.mkdir(parents=True)
    half_written(third).symlink_to("/dev/full")
    assert "no space left" in str(start("represent"))
    assert [path.name for path in last.parent.rglob("*.pt")] == ["epoch-2.pt"]
    assert not half_written(third).is_symlink() and not REPRESENTATION.exists()
    ok("represent")
    again = checkpoint.load(last)["state"]
    assert all(torch.equal(value, again["network"][name]) for name, value in content["network"].items())


def test_a_disk_that_turns_out_full_when_all_is_written_leaves_what_was_there(
    trained: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    for stage in ("download", "split", "represent", "classify", "evaluate"):
        refused(stage, "no space left on the disk")


@pytest.mark.parametrize("stage", ["download", "represent"])
def test_a_file_that_may_not_grow_to_its_size_leaves_what_was_there(trained: Workplace, stage: str) -> None:
    """Like a disk that is full in the middle of a file, for which /dev/full is too early."""
    resource = pytest.importorskip("resource", reason="no limits on the size of files on this system")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    try:
        refused(stage, outputs(stage)[1 if stage == "download" else 0], "ulimit -f")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def locked(*folders: Path, mode: int = 0o555) -> Iterator[None]:
    """Folders in which nobody may write; root, who may everywhere, is an ordinary user meanwhile."""
    Path().chmod(0o755)
    for folder in folders:
        folder.chmod(mode)
    root = os.geteuid() == 0
    try:
        if root:
            try:
                os.seteuid(65534)
            except OSError:
                pytest.skip("root may write everywhere and cannot become another user here")
        yield
    finally:
        if root:
            os.seteuid(0)
        for folder in folders:
            folder.chmod(0o755)


@pytest.mark.parametrize(("stage", "folder"), [("split", "data/splits"), ("classify", "data/classifier")])
def test_no_permission_to_write_names_the_file(trained: Workplace, stage: str, folder: str) -> None:
    with locked(Path(folder)):
        refused(stage, "no permission for", folder, "change its permissions")


def test_no_permission_to_look_into_a_folder_names_the_file_as_it_is_meant_to_be_called(ready: Workplace) -> None:
    with locked(Path("data/splits"), mode=0):
        line = start("split")
    assert isinstance(line, str) and "no permission for data/splits/" in line and "partial" not in line, line


@pytest.mark.parametrize("epochs", ["before the first epoch", "after some"])
def test_a_scratch_folder_that_cannot_be_written_is_named_with_what_names_another(
    ready: Workplace, epochs: str
) -> None:
    Path(".scratch").mkdir()
    if epochs == "after some":
        ok("represent")
        shutil.rmtree("data/representation")
        for path in Path(".scratch").glob("*/*/*"):
            path.unlink()
    Path("data/representation").mkdir()
    with locked(Path(".scratch"), *Path(".scratch").glob("*/*")):
        refused("represent", "no permission for .scratch/", "LONGTAIL_SCRATCH=FOLDER")


def test_no_permission_to_make_a_folder_names_it(ready: Workplace) -> None:
    shutil.rmtree("data/splits")
    with locked(Path("data")):
        refused("split", "no permission for data/splits")


def test_no_permission_to_read_names_the_file(ready: Workplace) -> None:
    path = Path("data/raw/train_labels.npy")
    before = path.stat().st_mode
    path.chmod(0)
    with locked(Path("data/raw")):
        line = start("split")
    path.chmod(before)
    assert isinstance(line, str) and "no permission for data/raw/train_labels.npy" in line


@pytest.mark.parametrize("name", ["data", "data/splits"])
def test_a_file_where_a_folder_should_be_is_named(ready: Workplace, name: str) -> None:
    shutil.copytree("data/raw", "raw")
    shutil.rmtree(name)
    Path(name).write_text("in the way")
    before = files()
    line = start("split", "--raw", "raw")
    assert isinstance(line, str) and "\n" not in line and "data/splits" in line and "move" in line, line
    assert files() == before


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 143), (signal.SIGUSR2, 143)]
)
@pytest.mark.parametrize("stage", ["download", "split", "represent", "classify", "evaluate"])
def test_an_interruption_leaves_nothing_half_written(
    trained: Workplace, monkeypatch: pytest.MonkeyPatch, stage: str, number: int, code: int
) -> None:
    before = files()
    sync = os.fsync

    def stop(file: int) -> None:
        sync(file)
        os.kill(os.getpid(), number)

    monkeypatch.setattr(os, "fsync", stop)
    assert start(stage) == code
    assert files() == before
