"""The cache is honest: what dvc.yaml declares is what the scripts import, read and write, nothing missing or extra."""

from __future__ import annotations

import ast
import copy
import inspect
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, Workplace, tiny

from stages.longtail.configuration import parameters
from stages.longtail.papers import published
from stages.longtail.provenance import imports
from stages.longtail.recipe.protocol import Protocol
from stages.longtail.splits.split import Split
from stages.longtail.validation import whole_file

PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
del PIPELINE["listing"]  # no stage with the digits: tests/longtail/sources/test_listing.py

# Runs the stages one after the other and prints of each the files below the working directory that it opened, and the
# sections that it read. What all share, above all torch, is imported once, and before anything is noted.
WATCH = """
import importlib, json, os, sys
here = os.getcwd() + os.sep
opened = {}
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        path = os.path.join(here, os.fsdecode(arguments[0]))
        if opened and path.startswith(here):
            opened["written" if arguments[2] & (os.O_WRONLY | os.O_RDWR) else "read"].add(path[len(here):])
stages = {name: importlib.import_module("stages." + name) for name in sys.argv[1:]}
del sys.argv[1:]
from stages.longtail.configuration import parameters
load = parameters.load
sys.addaudithook(hook)
result = {}
for name, stage in stages.items():
    seen = []
    parameters.load = lambda path: seen.append(load(path)) or seen[0]
    opened.update(read=set(), written=set())
    stage.main()
    result[name] = {"params": sorted(seen[0].read), **{kind: sorted(paths) for kind, paths in opened.items()}}
print("WATCHED " + json.dumps(result))
"""


def declared(stage: str, kind: str) -> set[str]:
    return {item if isinstance(item, str) else next(iter(item)) for item in PIPELINE[stage].get(kind, [])}


EXACT = ("download", "split", "represent", "classify")  # the cheap last two may rerun for nothing


@pytest.mark.parametrize("stage", PIPELINE)
def test_declared_folders_are_the_import_closure(stage: str) -> None:
    """To the file: a stage reruns for every change of what it imports and, where that costs hours, for no other."""
    below: set[str] = set()
    for path in declared(stage, "deps"):
        if path.startswith("stages/"):
            below |= {found.relative_to(ROOT).as_posix() for found in [ROOT / path, *(ROOT / path).rglob("*.py")]}
    declared_files = {path for path in below if path.endswith(".py")}
    closure = set(imports.files(f"stages.{stage}"))
    assert closure <= declared_files
    assert stage not in EXACT or declared_files == closure


def test_nothing_but_the_validation_is_imported_unseen() -> None:
    """What a stage imports by a name in a string is in no closure: only what can do nothing but refuse may be."""
    found = []
    for path in sorted((ROOT / "stages").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__", "exec")):
                found.append((path.name, ast.unparse(node.args[0])))
    assert found == [("parameters.py", "'stages.longtail.validation.whole_file'")]
    closures = [set(imports.files(f"stages.{stage}")) for stage in PIPELINE]
    assert not [path for closure in closures for path in closure if "/validation/" in path]


def test_the_validation_can_only_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it did to what it is handed, or returned, the stage reads what the file has."""
    assert inspect.signature(whole_file.check).return_annotation == "None"
    assert whole_file.check(tiny(), tmp_path) is None

    def meddle(raw: dict[str, Any], path: Path) -> dict[str, Any]:
        raw["split"]["ratio"] = 7.0
        raw["protocol"].clear()
        return {}

    monkeypatch.setattr(whole_file, "check", meddle)
    params = parameters.Params(tiny(), tmp_path)
    assert params.section("split", Split).ratio == 20.0
    assert params.section("protocol", Protocol).epochs == 4


def test_a_new_loss_makes_neither_download_nor_split_stale() -> None:
    losses = "stages/longtail/recipe/representation.py"
    reruns = {stage for stage in PIPELINE if any(losses.startswith(path) for path in declared(stage, "deps"))}
    assert reruns == {"represent", "classify", "evaluate", "tables"}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every stage run once, in order, with what it opened and read."""
    place = Workplace(tmp_path_factory.mktemp("watched"))
    place.write(tiny())
    for path in published.files(ROOT / "reports/papers"):
        copy = place.folder / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True)
        copy.symlink_to(path)
    command = [sys.executable, "-c", WATCH, *PIPELINE]
    done = subprocess.run(command, cwd=place.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("WATCHED "))
    return json.loads(line.removeprefix("WATCHED "))


@pytest.mark.parametrize("stage", PIPELINE)
def test_declared_parameters_are_those_read(stage: str, watched: dict[str, Any]) -> None:
    assert declared(stage, "params") == set(watched[stage]["params"])


@pytest.mark.parametrize("stage", PIPELINE)
def test_declared_files_are_those_read_and_written(stage: str, watched: dict[str, Any]) -> None:
    def data(paths: list[str]) -> set[str]:
        kept = {p for p in paths if p.startswith(("data/", "reports/", "conf/"))}
        return {"conf" if p.startswith("conf/") else p for p in kept}

    outputs = declared(stage, "outs") | declared(stage, "metrics")
    manifest = {"represent": {"data/representation/manifest.json"}, "classify": {"data/classifier/manifest.json"}}
    written = {
        os.path.join(os.path.dirname(path), os.path.basename(path)[1:].split(".partial")[0].rsplit(".", 1)[0])
        for path in watched[stage]["written"]
        if path.startswith(("data/", "reports/"))
    }
    assert written == outputs | manifest.get(stage, set())
    inputs = {p for p in declared(stage, "deps") if not p.startswith("stages/") and p not in ("${dataset.watch}",)}
    assert data(watched[stage]["read"]) - outputs == inputs


# A parameter's section decides which stages it reruns; what follows them reruns if their outputs change.
RERUN = {
    "method": {"tables"},
    "dataset": {"download", "tables"},
    "split": {"split", "tables"},
    "protocol": {"represent", "classify", "tables"},
    "representation": {"represent", "classify", "evaluate", "tables"},
    "classifier": {"classify", "evaluate", "tables"},
    "seeds": {"represent", "classify", "evaluate", "tables"},
    "runtime": {"represent", "classify", "evaluate"},
}


def leaves(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in leaves(inner, (*path, key))]
    return [path]


def test_each_parameter_reruns_exactly_its_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dvc.repo import Repo

    for name in ("stages", "conf", "dvc.yaml", "dvc.lock", "params.yaml", "reports"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(ROOT / name)
    original = yaml.safe_load((ROOT / "params.yaml").read_text())
    (tmp_path / "params.yaml").unlink()
    monkeypatch.chdir(tmp_path)
    Repo.init(".", no_scm=True)

    def changed() -> set[str]:
        with Repo(".") as repo:
            status = repo.status()
        return {
            stage
            for stage, entries in status.items()
            for entry in entries
            if isinstance(entry, dict) and "params.yaml" in entry.get("changed deps", {})
        }

    (tmp_path / "params.yaml").write_text(yaml.safe_dump(original))
    assert changed() == set()
    for leaf in leaves(original):
        params = copy.deepcopy(original)
        section = params
        for key in leaf[:-1]:
            section = section[key]
        value = section[leaf[-1]]
        section[leaf[-1]] = value + 1 if isinstance(value, int | float) else "changed"
        if leaf == ("dataset", "watch"):
            section[leaf[-1]] = "conf/config.yaml"
        if leaf == ("dataset", "listing"):
            section[leaf[-1]] = ["images"]
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
        assert changed() == RERUN[leaf[0]], ".".join(leaf)


def test_byte_code_reruns_nothing_and_code_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The declared folders hold __pycache__ wherever Python is allowed to write it."""
    from dvc.repo import Repo

    ignore = shutil.ignore_patterns("__pycache__")
    for folder in ("stages", "conf"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignore)
    for name in ("dvc.yaml", "params.yaml", ".dvcignore"):
        shutil.copy2(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    Repo.init(".", no_scm=True)

    def digests() -> dict[str, str]:
        """DVC's digest of each code dependency of `download`, whatever dvc.lock has."""
        with Repo(".") as repo:
            [download] = repo.stage.collect("download")
            return {dep.def_path: dep.get_hash().value for dep in download.deps if dep.def_path.startswith("stages")}

    before = digests()
    compiled = tmp_path / "stages/longtail/sources/__pycache__/loading.cpython-311.pyc"
    compiled.parent.mkdir()
    compiled.write_bytes(b"compiled")
    assert digests() == before
    (tmp_path / "stages/longtail/sources/more.py").write_text("")
    after = digests()
    assert {path for path in before if after[path] != before[path]} == {"stages/longtail/sources"}
