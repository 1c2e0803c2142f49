"""What DVC watches of image files: a listing made before it looks. Its digest, and the whole through DVC itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, Workplace, composed
from PIL import Image

from stages.longtail.configuration import cells
from stages.longtail.console.errors import UserError
from stages.longtail.sources import listing
from stages.longtail.sources.dataset import Dataset


def paint(root: Path, colour: str = "red") -> None:
    for path in ("train/ant/1.png", "train/cat/1.png", "test/ant/1.png", "test/cat/1.png"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), colour).save(root / path)


def digest(root: Path) -> str:
    raw = composed("dataset=folder", f"dataset.root={root}")
    return listing.of(Dataset(**raw["dataset"]))["sha256"]


@pytest.mark.parametrize("change", ["add", "remove", "rename", "resize", "touch", "relink"])
def test_each_change_of_a_name_a_size_a_time_or_a_link_shows(change: str, tmp_path: Path) -> None:
    paint(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")  # with the same times
    (tmp_path / "a/train/dog").symlink_to("cat")
    before, path = digest(tmp_path / "a"), tmp_path / "a/train/cat/1.png"
    assert digest(tmp_path / "a") == before
    status = path.stat()
    match change:
        case "add":
            shutil.copy2(path, path.with_name("2.png"))
        case "remove":
            path.unlink()
        case "rename":
            path.rename(path.with_name("2.png"))
        case "resize":
            path.write_bytes(path.read_bytes() + b"\0")
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        case "touch":
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1000))
        case "relink":
            (tmp_path / "a/train/dog").unlink()
            (tmp_path / "a/train/dog").symlink_to(tmp_path / "b/train/cat")
    assert digest(tmp_path / "a") != before


def test_a_copy_elsewhere_with_its_times_is_the_same(tmp_path: Path) -> None:
    paint(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_a_set_that_is_not_read_from_image_files_has_no_listing() -> None:
    with pytest.raises(UserError, match="digits is not read from image files"):
        listing.of(Dataset(**composed()["dataset"]))


class Project(Workplace):
    """The stages up to download in a repository of their own, run through DVC."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
        kept = {name: stages[name] for name in ("listing", "download")}
        (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": kept}, sort_keys=False))
        self.write(composed())
        self.call("git", "init", "-q")
        self.call("dvc", "init", "-q")
        shutil.copy2(ROOT / ".dvc/config", folder / ".dvc/config")
        (folder / ".dvcignore").write_text("__pycache__\n*.pyc\n")
        (folder / ".gitignore").write_text("/data\n/other\n/images\n")
        self.call("git", "add", "-A")
        self.call("git", "commit", "-qm", "start")

    def call(self, *command: str, code: int = 0, **env: str) -> str:
        names = {
            f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
        }
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, **names, "PATH": path, **env}
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert (done.returncode != 0) == (code != 0), done.stdout + done.stderr
        return done.stdout + done.stderr

    def downloads(self, *command: str, **env: str) -> bool:
        """Whether the command ran the stage that reads the images."""
        told = self.call(*command, **env)
        return "Running stage 'download'" in told or "Running stage 'images@tiny_imagenet'" in told

    def papers(self) -> None:
        """Add the papers' project, as it is, in which a run needs Tiny-ImageNet."""
        papers, overrides = self.folder / cells.PAPERS, ["dataset=tiny_imagenet", "dataset.size=8"]
        papers.mkdir(parents=True)
        shutil.copy2(ROOT / cells.PAPERS / "dvc.yaml", papers)
        recipe = cells.digest(composed(*overrides), cells.SECTIONS["images"])
        entry = {"compose": " ".join(overrides), "recipe": recipe}
        entries = {"datasets": {}, "images": {"tiny_imagenet": entry}, "splits": {}}
        (papers / "params.yaml").write_text(yaml.safe_dump(entries))
        self.call("dvc", "--cd", str(cells.PAPERS), "init", "-q", "--subdir")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.delenv("LONGTAIL_DATA", raising=False)
    return Project(tmp_path)


def test_dvc_sees_where_the_links_of_a_folder_lead(project: Project) -> None:
    repro = ("dvc", "exp", "run", "-S", "dataset=folder", "-S", "dataset.root=images", "-S", "dataset.size=8")
    assert "'nowhere', which is not a folder" in project.call(*repro, "-S", "dataset.root=nowhere", code=1)
    for name in ("red", "blue"):
        paint(project.folder / "other" / name, name)
    (project.folder / "images").mkdir()
    for part in ("train", "test"):
        (project.folder / "images" / part).symlink_to(f"../other/red/{part}")
    assert project.downloads(*repro)
    assert not project.downloads(*repro)
    (project.folder / "images/train").unlink()
    (project.folder / "images/train").symlink_to("../other/blue/train")
    assert project.downloads(*repro)


@pytest.mark.parametrize("papers", [False, True], ids=["own", "papers"])
def test_dvc_sees_an_image_more_and_another_folder_of_a_large_set(papers: bool, project: Project) -> None:
    project.write(composed("dataset=tiny_imagenet", "dataset.size=8"))
    repro = ("dvc", "repro")
    if papers:
        project.papers()
        repro = ("dvc", "--cd", str(cells.PAPERS), "repro")
    assert "data/downloads/tiny_imagenet/train is missing" in project.call(*repro, code=1)
    for root in ("data/downloads", "other"):
        paint(project.folder / root / "tiny_imagenet")
    assert project.downloads(*repro)
    assert not project.downloads(*repro)
    Image.new("RGB", (8, 8), "blue").save(project.folder / "data/downloads/tiny_imagenet/train/cat/2.png")
    assert project.downloads(*repro)
    assert project.downloads(*repro, LONGTAIL_DATA="other")
    if papers:
        return
    project.write(composed())
    assert project.downloads(*repro)
    assert "Data and pipelines are up to date" in project.call(*repro)  # digits need no listing
