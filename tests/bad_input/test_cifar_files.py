"""Missing, truncated, altered and malicious CIFAR files and archives."""

from __future__ import annotations

import contextlib
import email.message
import errno
import hashlib
import io
import os
import pickle
import shutil
import signal
import tarfile
import urllib.error
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Workplace, tiny
from inprocess import Bomb, alter, ok, refused, shorten, start
from torchvision.datasets import CIFAR10, CIFAR100
from tqdm import tqdm

from stages.longtail.files import artifacts

unpacks = pytest.mark.skipif(
    not hasattr(tarfile, "data_filter"), reason="Python before 3.11.4 unpacks no archive safely"
)


@pytest.fixture(params=[CIFAR10, CIFAR100], ids=["cifar10", "cifar100"])
def cifar(request: pytest.FixtureRequest, here: Workplace, monkeypatch: pytest.MonkeyPatch) -> Any:
    """torchvision's reader, with a small data set of the same form in downloads/ as the official one."""
    return fake_cifar(request.param, here, monkeypatch)


@pytest.fixture
def cifar10(here: Workplace, monkeypatch: pytest.MonkeyPatch) -> Any:
    return fake_cifar(CIFAR10, here, monkeypatch)


def fake_cifar(reader: Any, here: Workplace, monkeypatch: pytest.MonkeyPatch) -> Any:
    folder = Path("downloads") / reader.base_folder
    folder.mkdir(parents=True)
    names = ["first", "second"]
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3072), dtype=np.uint8)
    labels = "labels" if reader is CIFAR10 else "fine_labels"
    for name in ("train_one", "train_two", "test"):
        (folder / name).write_bytes(pickle.dumps({"data": pixels, labels: [0, 1, 0, 1]}))
    (folder / "names").write_bytes(pickle.dumps({reader.meta["key"]: names}))
    register(reader, monkeypatch)
    with tarfile.open(Path("downloads") / reader.filename, "w:gz") as tar:
        tar.add(folder, reader.base_folder)
    trust_archive(reader, monkeypatch)
    dataset = {"name": reader.__name__.lower(), "root": "downloads", "size": 32, "watch": "conf"}
    here.write(tiny(dataset=dataset))
    return reader


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def register(reader: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the checksums of the unpacked files the official ones."""
    sums = {path.name: md5(path) for path in (Path("downloads") / reader.base_folder).iterdir()}
    monkeypatch.setattr(reader, "train_list", [[name, sums[name]] for name in ("train_one", "train_two")])
    monkeypatch.setattr(reader, "test_list", [["test", sums["test"]]])
    monkeypatch.setattr(reader, "meta", {**reader.meta, "filename": "names", "md5": sums["names"]})


def trust_archive(reader: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the checksum of the archive the official one."""
    archive = Path("downloads") / reader.filename
    monkeypatch.setattr(reader, "tgz_md5", md5(archive))
    return archive


def unpacked(reader: Any) -> Path:
    return Path("downloads") / reader.base_folder


def test_cifar_files_with_the_right_checksums_are_read(cifar: Any) -> None:
    ok("download")
    assert np.load("data/raw/train_images.npy").shape == (8, 32, 32, 3)
    assert np.load("data/raw/train_labels.npy").tolist() == [0, 1, 0, 1] * 2
    assert artifacts.read_json(Path("data/raw/meta.json"))["classes"] == ["first", "second"]


@pytest.mark.parametrize("name", ["train_one", "train_two", "test", "names"])
@pytest.mark.parametrize("damage", ["truncated", "emptied", "altered"])
def test_a_truncated_or_altered_cifar_file_is_named(cifar10: Any, name: str, damage: str) -> None:
    path = unpacked(cifar10) / name
    {"truncated": partial(shorten, length=-1), "emptied": partial(shorten, length=0), "altered": alter}[damage](path)
    refused("download", f"{path} is truncated or altered", "delete")
    assert not Path("data").exists()


def test_a_missing_cifar_file_is_named(cifar: Any) -> None:
    (unpacked(cifar) / "train_two").unlink()
    refused("download", str(unpacked(cifar) / "train_two"), "is missing", "put the official files")


@pytest.mark.parametrize("name", ["train_one", "test", "names"])
def test_no_cifar_file_is_unpickled_before_its_checksum_is_verified(cifar: Any, name: str, tmp_path: Path) -> None:
    path = unpacked(cifar) / name
    path.write_bytes(pickle.dumps(Bomb(tmp_path / "boom")))
    refused("download", str(path))
    assert not (tmp_path / "boom").exists()


def test_no_cifar_file_is_unpickled_before_the_checksums_of_all_are_verified(
    cifar: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = unpacked(cifar)
    (folder / "train_one").write_bytes(pickle.dumps(Bomb(tmp_path / "boom")))
    register(cifar, monkeypatch)
    shorten(folder / "names", -1)
    refused("download", str(folder / "names"))
    assert not (tmp_path / "boom").exists()
    register(cifar, monkeypatch)
    with contextlib.suppress(TypeError):
        start("download")
    assert (tmp_path / "boom").exists(), "the bomb does nothing: this test shows nothing"


@unpacks
def test_a_cifar_archive_with_the_right_checksum_is_unpacked(cifar: Any) -> None:
    shutil.rmtree(unpacked(cifar))
    ok("download")
    assert len(np.load("data/raw/test_labels.npy")) == 4
    assert {path.name for path in Path("downloads").iterdir()} == {cifar.base_folder, cifar.filename}


@pytest.mark.parametrize("damage", ["truncated", "emptied", "altered", "another"])
def test_nothing_is_unpacked_from_a_truncated_or_altered_archive(cifar: Any, damage: str) -> None:
    shutil.rmtree(unpacked(cifar))
    archive = Path("downloads") / cifar.filename
    if damage == "another":
        with tarfile.open(archive, "w:gz") as tar:
            member = tarfile.TarInfo(f"{cifar.base_folder}/train_one")
            tar.addfile(member, io.BytesIO(b""))
    elif damage == "altered":
        alter(archive)
    else:
        shorten(archive, 0 if damage == "emptied" else -1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tarfile, "open", lambda *_, **__: pytest.fail("the archive was opened"))
        refused("download", f"{archive} is truncated or altered", "delete it")
    assert [path.name for path in Path("downloads").iterdir()] == [cifar.filename]


def link(kind: bytes, name: str, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@unpacks
@pytest.mark.parametrize(
    "members",
    [
        [tarfile.TarInfo("../evil")],
        [tarfile.TarInfo("cifar-10-batches-py/../../evil")],
        [tarfile.TarInfo("{outside}/evil")],
        [link(tarfile.SYMTYPE, "way", ".."), tarfile.TarInfo("way/evil")],
        [link(tarfile.SYMTYPE, "way", "{outside}"), tarfile.TarInfo("way/evil")],
        [link(tarfile.SYMTYPE, "evil", "../../../params.yaml")],
        [link(tarfile.LNKTYPE, "evil", "../../params.yaml")],
    ],
    ids=["parent", "inner parent", "absolute", "link to parent", "absolute link", "link to a file", "hard link"],
)
def test_members_of_an_archive_cannot_leave_its_folder(
    cifar10: Any, members: list[tarfile.TarInfo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Path("downloads") / cifar10.filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(unpacked(cifar10), cifar10.base_folder)
        for member in members:
            member.name = member.name.replace("{outside}", str(tmp_path))
            member.linkname = member.linkname.replace("{outside}", str(tmp_path))
            tar.addfile(member, io.BytesIO(b""))
    shutil.rmtree(unpacked(cifar10))
    trust_archive(cifar10, monkeypatch)
    if members[0].name.startswith("/"):  # tar takes the leading slash away: this one stays inside
        ok("download")
    else:
        refused("download", str(archive), "delete it")
        assert [path.name for path in Path("downloads").iterdir()] == [cifar10.filename]
    assert not list(tmp_path.rglob("evil"))


class Response(io.BytesIO):
    """What urlopen gives: an archive, until `length` bytes are read; then `after` happens."""

    url = None

    def __init__(self, content: bytes, stop: int, after: Callable[[], Any] = lambda: None):
        super().__init__(content[:stop])
        self.length, self.after = len(content), after

    def read(self, size: int | None = -1) -> bytes:
        return super().read(size) or self.after() or b""


@pytest.fixture
def served(cifar10: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Nothing is in downloads/, but the network has the archive: served(stop, after), see Response."""
    monkeypatch.setattr("torchvision.datasets.utils.tqdm", partial(tqdm, disable=True))
    content = (Path("downloads") / cifar10.filename).read_bytes()
    shutil.rmtree("downloads")

    def serve(stop: int = len(content), after: Callable[[], Any] = lambda: None) -> None:
        monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: Response(content, stop, after))

    return serve


@unpacks
def test_an_archive_is_downloaded(served: Callable[..., None]) -> None:
    served()
    ok("download")
    assert len(np.load("data/raw/test_labels.npy")) == 4


def test_no_network_and_no_files_says_where_to_put_them(
    cifar: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree("downloads")

    def fail(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError(OSError(-3, "Temporary failure in name resolution"))

    monkeypatch.setattr("urllib.request.urlopen", fail)
    folder = str(tmp_path / "downloads")
    refused("download", "cannot download", cifar.url, cifar.base_folder, folder, "dataset.root", "LONGTAIL_DATA")
    assert not list(Path("downloads").glob("*"))


def test_a_server_that_lacks_the_archive_says_where_to_put_it(
    served: Callable[..., None], cifar10: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise urllib.error.HTTPError(cifar10.url, 404, "Not Found", email.message.Message(), None)

    monkeypatch.setattr("urllib.request.urlopen", fail)
    refused("download", "cannot download", "404", cifar10.base_folder)


@pytest.mark.parametrize("stop", [0, 100])
def test_a_download_that_ends_early_leaves_nothing(served: Callable[..., None], stop: int) -> None:
    served(stop)
    refused("download", "cannot download", "put the unpacked folder")
    assert not list(Path("downloads").glob("*"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_download_that_is_interrupted_leaves_nothing(served: Callable[..., None], number: int, code: int) -> None:
    served(100, lambda: os.kill(os.getpid(), number))
    assert start("download") == code
    assert not list(Path("downloads").glob("*"))


def test_a_disk_that_is_full_while_downloading_is_no_fault_of_the_network(served: Callable[..., None]) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    served(100, full)
    refused("download", "no space left", "downloads")
    assert not list(Path("downloads").glob("*"))


@pytest.mark.parametrize(("name", "size", "right"), [("cifar10", 8, 32), ("cifar100", 33, 32), ("digits", 32, 8)])
def test_a_size_that_the_data_set_does_not_have_is_refused(here: Workplace, name: str, size: int, right: int) -> None:
    here.write(tiny(dataset__name=name, dataset__size=size))
    refused("download", f"dataset.size is {size}", f"to {right}")
