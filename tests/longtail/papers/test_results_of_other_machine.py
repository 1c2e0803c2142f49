"""What comes back from another machine is checked against the recipe in force: here with runs that are recorded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from stages.longtail.configuration import cells
from stages.longtail.console.errors import UserError
from stages.longtail.files import yaml_files
from stages.longtail.papers import jobs, recording
from stages.longtail.papers.experiment_params import Experiment

PAPERS = ROOT / "reports/papers"
RUN, OF = "cifar10-exp-100-joint+method=ncm", "cifar10-exp-100-tau_norm"
METRICS = Path("reports/papers/procrustean/metrics")
DATA = "reports/papers/data/raw/cifar10/meta.json"
NETWORK = f"reports/papers/procrustean/data/representation/{OF}/checkpoint.pt"


def test_a_head_that_is_not_trained_adds_no_epoch(tmp_path: Path) -> None:
    folder = tmp_path / RUN
    shutil.copytree(PAPERS / "procrustean/metrics" / RUN, folder)
    cell = cells.find(f"procrustean/{RUN}", "data/classifier", PAPERS)
    params = Experiment.of(cell.sections(ROOT / "conf"))
    recording._results(folder, params)
    *rows, _, last = (folder / "history.csv").read_text().splitlines(keepends=True)
    (folder / "history.csv").write_text("".join([*rows, last]))
    with pytest.raises(UserError, match="199 epochs, its recipe 200"):
        recording._results(folder, params)


@pytest.fixture
def back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of jobs that came back with a run that is recorded, and with the representation that it goes on from."""
    monkeypatch.chdir(tmp_path)
    for name in ("conf", "tests"):
        Path(name).symlink_to(ROOT / name)
    for name in ("params.yaml", "dvc.yaml", "dvc.lock"):
        for below in ("reports/papers", "reports/papers/procrustean"):
            Path(below).mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / below / name, below)
    for run in (ROOT / METRICS).glob("*/"):
        shutil.copytree(run, METRICS / run.name)
    folder, papers = Path("trip"), cells.PAPERS
    ordered = jobs.order(folder, "procrustean", [RUN], papers, Path("conf"))
    jobs.write(folder, "procrustean", ordered)
    recorded: dict[str, dict[str, Any]] = {}
    for place in (papers, papers / "procrustean"):
        for stage in yaml_files.read(place / "dvc.lock")["stages"].values():
            for item in [*stage.get("deps", []), *stage["outs"]]:
                path = (Path.cwd() / place / item["path"]).resolve()
                if path.is_relative_to(Path.cwd()):
                    name = path.relative_to(Path.cwd()).as_posix()
                    recorded[name] = {"md5": item["md5"], "size": item["size"]}
    for job in ordered.values():
        sums = {path: recorded[path] for path in [*job.reads, *job.writes, *job.results] if path in recorded}
        for path in job.results:
            place = job.place(folder, path)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, place)
            if path == job.manifest:  # recorded before manifests held the recipe
                content = json.loads(place.read_text())
                place.write_text(json.dumps({"recipe": job.recipe, **content}))
            sums[path] = jobs.checksum(place) or {}
        (folder / "done").mkdir(exist_ok=True)
        (folder / f"done/{job.name}.json").write_text(json.dumps({"sha256": job.sha256, "checksums": sums}))
    return folder


def record(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record what came, but for what DVC does."""

    def refuse(error: UserError) -> None:
        raise error

    monkeypatch.setattr(recording, "_enter", lambda told, papers: None)
    return recording.record(folder, cells.PAPERS, Path("conf"), refuse)


def test_what_came_back_whole_is_recorded_in_its_place(back: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(METRICS / RUN)
    assert record(back, monkeypatch) == [f"procrustean/dvc.yaml:represent@{OF}", f"procrustean/dvc.yaml:run@{RUN}"]
    assert "recipe" in json.loads((METRICS / RUN / "manifest.json").read_text())
    assert (METRICS / RUN / "history.csv").read_bytes() == (ROOT / METRICS / RUN / "history.csv").read_bytes()


def test_a_run_whose_recipe_conf_no_longer_composes_is_refused(back: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("conf").unlink()
    shutil.copytree(ROOT / "conf", "conf")
    protocol = Path("conf/protocol/procrustean.yaml")
    protocol.write_text(protocol.read_text().replace("epochs: 200", "epochs: 100"))
    with pytest.raises(UserError, match="conf no longer composes to the recipe"):
        record(back, monkeypatch)


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        (f"params/run-{RUN}.yaml", "resnet32", "resnet20", f"run-{RUN}.yaml was changed after the job was ordered"),
        (f"results/{RUN}/manifest.json", '"recipe": "', '"recipe": "0', "was trained by other parameters than were"),
        (f"results/{RUN}/manifest.json", '"recipe"', '"formerly"', "recipe None"),
        (f"results/{OF}/represent.json", '"recipe": "', '"recipe": "0', f"{OF} was trained by other parameters"),
        (f"results/{RUN}/metrics.json", '"seeds": 1', '"seeds": 2', "came back with the seeds 0, its recipe has 0"),
        (f"results/{RUN}/history.csv", "\n0,", "\n1,", "came back with the seeds 1, its recipe has 0"),
        (f"results/{RUN}/history.csv", "\n0,represent,200,", "\n0,represent,201,", "its history has 200 epochs"),
        (f"results/{RUN}/history.csv", "seed,part,epoch", "seed,part,step", "has no column epoch"),
        ("order.json", '"recipe": "', '"recipe": "0', "was ordered with another recipe"),
        ("order.json", '"jobs"', '"stages"', "order.json is not what this version writes"),
        (f"done/run-{RUN}.json", '"checksums"', '"sums"', f"is not what pack writes: run run-{RUN} again"),
        (f"done/run-{RUN}.json", DATA, "", "meta.json is not the file that run-"),
        (f"done/run-{RUN}.json", NETWORK, "", "checkpoint.pt is not the file that run-"),
        (f"done/represent-{OF}.json", NETWORK, "", "was trained anew there"),
    ],
)
def test_what_is_of_another_recipe_is_refused_by_name_and_nothing_is_taken(
    file: str, old: str, new: str, words: str, back: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (back / file).read_text()
    if old in (DATA, NETWORK):  # another file of this name
        old, new = json.loads(text)["checksums"][old]["md5"], "0" * 32
    assert old in text
    (back / file).write_text(text.replace(old, new))
    before = {path: path.read_bytes() for path in Path("reports").rglob("*") if path.is_file()}
    with pytest.raises(UserError) as raised:
        record(back, monkeypatch)
    assert words in str(raised.value), raised.value
    assert {path: path.read_bytes() for path in Path("reports").rglob("*") if path.is_file()} == before
