"""What tests share: a copy of the working tree to run stages in, and where real CIFAR lies."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
import yaml
from golden.curves import SHORT

from stages.longtail.configuration.composition import compose

ROOT = Path(__file__).resolve().parents[1]
os.environ["OMP_NUM_THREADS"] = "1"  # in this process and every stage that a test starts: bit-for-bit, and no crowding

# The files that take a minute and more. They begin first, so that none of them is left for a single process at the end.
LONG = ("papers", "two_processes", "cluster", "other_machine", "pipeline", "add_a_method")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem.removeprefix("test_") not in LONG)


def copy_project(folder: Path) -> None:
    """Copy the working tree, without what git ignores, into `folder`, as a git repository with nothing committed."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.check_output(listed, cwd=ROOT, text=True).splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=folder, check=True)


def tiny(**changes: Any) -> dict[str, Any]:
    """The committed parameters, shortened to seconds: 4 epochs of a narrow network. `changes` are dotted keys with
    `__` for the dot, as in tiny(protocol__epochs=2)."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["protocol"] |= {"epochs": 4, "width": 4}
    params["protocol"]["schedule"]["milestones"] = [2]
    params["runtime"]["threads"] = 1
    for key, value in changes.items():
        *sections, leaf = key.split("__")
        section = params
        for name in sections:
            section = section[name]
        section[leaf] = value
    return params


def composed(*overrides: str, conf: Path = ROOT / "conf") -> dict[str, Any]:
    """What `dvc exp run -S` makes of conf/ with these overrides."""
    return compose(overrides, conf)


class Workplace:
    """A folder with the stages' code in which scripts run as a user runs them."""

    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "stages").symlink_to(ROOT / "stages")
        shutil.copytree(ROOT / "conf", folder / "conf")

    def write(self, params: dict[str, Any]) -> None:
        (self.folder / "params.yaml").write_text(yaml.safe_dump(params))

    def popen(self, stage: str, *arguments: str, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", f"stages.{stage}", *arguments],
            cwd=self.folder,
            env={**os.environ, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, stage: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        with self.popen(stage, *arguments, **env) as process:
            out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def ok(self, *stages: str) -> None:
        """Run stages that must succeed."""
        for stage in stages:
            result = self.run(stage)
            assert result.returncode == 0, f"{stage}: {result.stderr}"

    def refused(self, stage: str, *words: str, **env: str) -> str:
        """Run a stage that must end in one line on stderr with these words, exit code 1, and no file half written."""
        before = {path for path in self.folder.rglob("*") if path.is_file()}
        result = self.run(stage, **env)
        line = result.stderr.strip()
        assert result.returncode == 1, f"exit code {result.returncode}: {result.stderr}"
        assert line.startswith("error: ") and "\n" not in line, result.stderr
        for word in words:
            assert word in line, f"{word!r} is not in {line!r}"
        new = {path for path in self.folder.rglob("*") if path.is_file()} - before
        assert not [path for path in new if "partial" in path.name], new
        return line


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    place = Workplace(tmp_path)
    place.write(tiny())
    return place


@pytest.fixture(scope="session")
def split_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which download and split have run with the tiny parameters."""
    from inprocess import ok

    place = Workplace(tmp_path_factory.mktemp("digits"))
    place.write(tiny())
    with chdir(place.folder):
        ok("download", "split")
    return place.folder


@pytest.fixture
def digits(workplace: Workplace, split_digits: Path) -> Workplace:
    """A workplace with the digits downloaded and split."""
    shutil.copytree(split_digits / "data", workplace.folder / "data")
    return workplace


@pytest.fixture
def here(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """A workplace that is the working directory, with its data in data/downloads."""
    monkeypatch.chdir(workplace.folder)
    monkeypatch.delenv("LONGTAIL_DATA", raising=False)
    return workplace


@pytest.fixture
def ready(here: Workplace, split_digits: Path) -> Workplace:
    """The digits, split."""
    shutil.copytree(split_digits / "data", "data")
    return here


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, split_digits: Path) -> Path:
    """A folder in which represent, classify and evaluate have run, too."""
    from inprocess import ok

    place = Workplace(tmp_path_factory.mktemp("finished"))
    place.write(tiny())
    shutil.copytree(split_digits / "data", place.folder / "data")
    with chdir(place.folder):
        ok("represent", "classify", "evaluate")
    return place.folder


@pytest.fixture
def trained(here: Workplace, finished: Path) -> Workplace:
    """All stages but tables have run."""
    for folder in ("data", "reports", ".scratch"):
        shutil.copytree(finished / folder, folder)
    return here


@pytest.fixture
def carry_out(tmp_path: Path, split_digits: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """carry_out("method=crt", ...) composes a short recipe on digits and runs it in this process, from split to
    evaluate, in a new folder, which it returns and leaves as the working directory."""
    from inprocess import ok

    def carry_out(*overrides: str) -> Path:
        folder = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        shutil.copytree(split_digits / "data/raw", folder / "data/raw")
        monkeypatch.chdir(folder)
        monkeypatch.setattr(os, "fsync", lambda _: None)  # a quarter of the time
        Path("params.yaml").write_text(yaml.safe_dump(composed(*SHORT, *overrides)))
        ok("split", "represent", "classify", "evaluate")
        return folder

    return carry_out


@pytest.fixture(scope="session")
def cifar_root() -> Path:
    root = Path(os.environ.get("LONGTAIL_DATA", ""))
    if not os.environ.get("LONGTAIL_DATA") or not (root / "cifar-10-batches-py").is_dir():
        pytest.skip("LONGTAIL_DATA names no folder with cifar-10-batches-py: real CIFAR is not tested")
    return root


@pytest.fixture
def change() -> Callable[..., dict[str, Any]]:
    return tiny
