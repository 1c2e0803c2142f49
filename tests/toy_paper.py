"""A paper on digits, made up: three methods, two ratios, runs of three epochs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import psutil
import warm
import yaml
from conftest import ROOT, copy_project
from test_pipeline import call

COLUMNS = (ROOT / "reports/papers/switching/published.csv").read_text().splitlines()[0]
ROWS = ("Joint,toy,joint", "Re-trained,toy,crt", "Switched,toy,switching")
PUBLISHED = {"joint": (60.0, 70.0), "crt": (99.9, 99.8), "switching": (50.0, 50.5)}
PAPERS = ("balance", "decoupling", "end_to_end", "procrustean", "switching")
FIRST = "digits-exp-20-joint-precisionfp32"


def line(label: str, ratio: int, value: float, overrides: str = "runtime.precision=fp32 seeds=[0]") -> str:
    return f'1,{label},"{overrides}",digits,resnet8,exp,{ratio},3,,all,top1,{value},own,'


def toy(value: float = 50.0, seeds: str = "[0]") -> str:
    overrides = f"runtime.precision=fp32 seeds={seeds}"
    lines = [COLUMNS, "1,Theirs,,,,digits,resnet8,exp,20,,,all,top1,42.0,copied,"]
    for label in ROWS:
        for ratio, number in zip((20, 10), PUBLISHED[label.split(",")[2]], strict=True):
            lines.append(line(label, ratio, number, overrides))
    return "\n".join(lines) + "\n"


def make(folder: Path) -> Path:
    """Make `folder` a copy of the project whose only paper is the toy, its plan written, nothing asked for."""
    warm.start()
    copy_project(folder)
    papers = folder / "reports/papers"
    (papers / "toy").mkdir()
    (papers / "toy/about.md").write_text("# toy\n\nMade up.\n")
    for name in PAPERS:
        shutil.rmtree(papers / name)
    (papers / "dvc.lock").unlink()
    (papers / "toy/published.csv").write_text(toy())
    stages = (folder / "dvc.yaml").read_text()
    for name in PAPERS[1:]:
        stages = stages.replace(f"      - reports/papers/{name}/published.csv\n", "")
    (folder / "dvc.yaml").write_text(stages.replace(f"papers/{PAPERS[0]}/", "papers/toy/"))
    small = (folder / "conf/protocol/small.yaml").read_text()
    for old, new in (("name: small", "name: toy"), ("epochs: 30", "epochs: 3"), ("[20]", "[1]"), ("16", "4")):
        assert old in small
        small = small.replace(old, new)
    (folder / "conf/protocol/toy.yaml").write_text(small)
    launch(folder, "--update")
    call(folder, "git", "add", "-A")
    call(folder, "git", "commit", "-qm", "toy")
    return folder


def stage_runs(process: int) -> bool:
    """Is one of the process's children a stage?"""
    try:
        return any("stages." in " ".join(child.cmdline()) for child in psutil.Process(process).children(recursive=True))
    except psutil.Error:  # one has just ended
        return False


def launch(folder: Path, *arguments: str, check: bool = True) -> str:
    return call(folder, "python", "-m", "stages.launch", *arguments, check=check, timeout=600)


def entries(folder: Path) -> dict[str, Any]:
    """The runs of the toy that were asked for."""
    return yaml.safe_load((folder / "reports/papers/toy/params.yaml").read_text())["runs"]


def dvc(folder: Path, *arguments: str, check: bool = True) -> str:
    return call(folder, "dvc", "--cd", "reports/papers", *arguments, check=check)


def tables(folder: Path, *options: str, check: bool = True) -> str:
    return call(folder, "python", "-m", "stages.tables", *options, check=check)
