"""Runs on a machine without DVC and Hydra: what stages/other_machine.py sends there, and how it takes the results back.

FOLDER/params/  plain parameter files        FOLDER/run.sh     what to run, in the repository's root
FOLDER/order.json  the stages, in order       FOLDER/results/, FOLDER/checksums.json  what comes back
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from stages.longtail.configuration import cells
from stages.longtail.console.errors import UserError
from stages.longtail.console.suggestions import suggest
from stages.longtail.files import yaml_files
from stages.longtail.files.artifacts import digest, read_csv, read_json, write_json, write_text
from stages.longtail.papers import epochs, plan, published, requested_runs
from stages.longtail.papers.experiment_params import Experiment
from stages.longtail.provenance import revision

SMALL = ("metrics.json", "metrics_more.json", "per_class.csv", "predictions.npz", "history.csv", "manifest.json")
STAGES = {"datasets": "download", "images": "images", "splits": "split"}
STAGES |= {"represent": "represent", "runs": "run", "older": "older"}
SCRIPT = """\
# Run it in the repository's root: bash {folder}/run.sh. A run that fails does not keep the others from being done.
here=$(cd "$(dirname "$0")" && pwd)
trap 'exit 130' INT TERM  # told to stop, it does not go on with the next run
failed=
"""


@dataclass(frozen=True)
class Ordered:
    """A stage that runs elsewhere. cell: as in --cell; sha256: of the parameter file `file` in FOLDER/params/."""

    kind: str
    cell: str
    recipe: str
    file: str
    sha256: str


def send(folder: Path, paper: str, runs: list[str], papers: Path, conf: Path) -> list[str]:
    """Write plain parameter files, run.sh, and order.json. Returns the names of the runs: all that have no results."""
    known = [path.parent.name for path in published.files(papers)]
    if paper not in known:
        raise UserError(f"--paper says '{paper}', which {papers} has no folder of{suggest(paper, known)}")
    requests = requested_runs.read(papers / paper)
    for name in runs:
        if name not in requests:
            planned = plan.read(papers / paper)
            if name not in planned:
                raise UserError(f"{paper} has no run '{name}'{suggest(name, [*requests, *planned])}")
            raise UserError(f"{name} was not asked for: python -m stages.launch {paper} {name} --only-enter enters it")
    names = runs or [name for name in requests if not (papers / paper / "metrics" / name / "metrics.json").is_file()]
    if not names:
        raise UserError(f"every run of {paper} that was asked for has results: name those to run again")
    ordered: list[Ordered] = []
    script = [f"export {revision.VARIABLE}={commit}" for commit in [revision.current()] if commit]
    for name in names:
        lines = []
        run = cells.find(f"{paper}/{name}", "data/classifier", papers)
        of, data, split = run.entry["of"], run.entry["data"], run.entry["split"]
        for cell, out, stages in (
            (data, "data/raw", ["download"]),
            (split, "data/splits", ["split"]),
            (f"{paper}/{of}", "data/representation", ["represent"]),
            (f"{paper}/{name}", "data/classifier", ["classify", "evaluate"]),
        ):
            found = cells.find(cell, out, papers)
            file = f"{cell.replace('/', '-')}-{STAGES[found.kind]}.yaml"
            if any(before.file == file for before in ordered):
                continue
            text = yaml_files.dump(found.sections(conf))
            write_text(folder / "params" / file, text)
            sha256 = hashlib.sha256(text.encode()).hexdigest()
            ordered.append(Ordered(found.kind, cell, found.entry["recipe"], file, sha256))
            if found.kind == "images":
                stages = ["download --list", *stages]
            for stage in stages:
                paths = _paths(stage.split()[0], run)
                lines.append(f'python3 -m stages.{stage} --params "$here/params/{file}" {paths}')
        lines.append(f'python3 -m stages.other_machine pack "$here" {name}')
        script.append(" &&\n".join(lines) + f' ||\nfailed="$failed {name}"')
    script.append('[ -z "$failed" ] || { echo "failed:$failed"; exit 1; }')
    write_json(folder / "order.json", {"paper": paper, "stages": [asdict(stage) for stage in ordered]})
    write_text(folder / "run.sh", SCRIPT.format(folder=folder.name) + "\n".join(script) + "\n")
    return names


def _paths(stage: str, run: cells.Cell) -> str:
    """The folders of a stage of this run, as options."""
    options = {
        "download": {"out": "data/raw"},
        "split": {"raw": "data/raw", "out": "data/splits"},
        "represent": {"raw": "data/raw", "splits": "data/splits", "out": "data/representation"},
        "classify": {
            "raw": "data/raw",
            "splits": "data/splits",
            "representation": "data/representation",
            "out": "data/classifier",
        },
        "evaluate": {"raw": "data/raw", "splits": "data/splits", "classifier": "data/classifier", "out": "reports"},
    }[stage]
    paths = [f"--{option} {run.folder(current).as_posix()}" for option, current in options.items()]
    if options["out"] in cells.MANIFESTS:
        paths.append(f"--manifest {run.manifest(options['out']).as_posix()}")
    return " ".join(paths)


def pack(folder: Path, runs: list[str], papers: Path) -> None:
    """Copy the small results of runs into the folder, with the checksums of all that DVC would have recorded."""
    order = _order(folder)
    _parameters(folder, _done(order, runs))
    metrics = papers / order["paper"] / "metrics"
    for name in runs:
        for file in SMALL:
            _copy(metrics / name / file, folder / "results" / name / file)
    for told in metrics.glob("*/represent.json"):
        _copy(told, folder / "results" / told.parent.name / told.name)
    shared = [papers / "data", papers / order["paper"] / "data"]
    files = [path for place in shared for path in place.rglob("*") if path.is_file() and path.suffix != ".partial"]
    checksums = {path.as_posix(): {"md5": digest(path, "md5"), "size": path.stat().st_size} for path in sorted(files)}
    write_json(folder / "checksums.json", checksums)


def take(folder: Path, papers: Path, conf: Path) -> list[str]:
    """Put the results in place and record their stages. Returns the stages' names.

    Raises UserError, with nothing changed, where something that came back is not of the recipe now in force.
    """
    order = _order(folder)
    came = sorted(path.parent.name for path in (folder / "results").glob("*/metrics.json"))
    if not came or not (folder / "checksums.json").is_file():
        raise UserError(
            f"{folder} has no results: run `bash {folder.name}/run.sh` on the other machine, then copy the folder back"
        )
    checksums = read_json(folder / "checksums.json")
    done = _done(order, came)
    _parameters(folder, done)
    for stage in done:
        found = cells.find(stage.cell, _out(stage.kind), papers)
        if found.entry["recipe"] != stage.recipe:
            raise UserError(
                f"{stage.cell} was sent with another recipe than {found.path} has now: send it again, and run it there"
            )
        if found.kind in ("runs", "older"):
            _results(folder / "results" / found.name, Experiment.of(found.sections(conf)))
        else:
            found.sections(conf)
    return _record(folder, papers, order["paper"], done, came, checksums)


def _order(folder: Path) -> dict[str, Any]:
    path = folder / "order.json"
    if not path.is_file():
        raise UserError(
            f"{path} does not exist: write it with python -m stages.other_machine send {folder} --paper PAPER"
        )
    content = read_json(path)
    return content | {"stages": [Ordered(**stage) for stage in content["stages"]]}


def _out(kind: str) -> str:
    return next(out for out, kinds in cells.KINDS.items() if kind in kinds)


def _parameters(folder: Path, stages: list[Ordered]) -> None:
    """Refuse parameter files that are not those that were sent."""
    for stage in stages:
        path = folder / "params" / stage.file
        if digest(path) != stage.sha256:
            raise UserError(f"{path} was changed after it was sent: what it ran is not {stage.cell}; send it again")


def _done(order: dict[str, Any], came: list[str]) -> list[Ordered]:
    """The stages behind the runs that came back."""
    return [
        stage for stage in order["stages"] if stage.kind not in ("runs", "older") or stage.cell.split("/")[1] in came
    ]


def _results(folder: Path, params: Experiment) -> None:
    """Refuse a run's results whose seeds or epochs are not those of its parameters."""
    for file in SMALL:
        if not (folder / file).is_file():
            raise UserError(f"{folder} lacks {file}: pack it again on the other machine")
    history = read_csv(folder / "history.csv")
    seeds = sorted(int(seed) for seed in history.seed.unique())
    if seeds != sorted(params.seeds) or read_json(folder / "metrics.json")["seeds"] != len(params.seeds):
        raise UserError(f"{folder.name} came back with the seeds {seeds}, its recipe has {sorted(params.seeds)}")
    expected = list(range(1, epochs.of(params).total + 1))
    trained = history[history.loss != ""]  # a head that comes without training has a row, but no loss
    for seed, rows in trained.groupby("seed", sort=False):
        if pd.to_numeric(rows.epoch).tolist() != expected:
            raise UserError(
                f"{folder.name}, seed {seed}: its history has {len(rows)} epochs, its recipe {len(expected)}"
            )


def _record(
    folder: Path, papers: Path, paper: str, done: list[Ordered], came: list[str], checksums: dict[str, dict[str, Any]]
) -> list[str]:
    """Copy the small files and enter the stages into dvc.lock: files that are here as they are, others as they were
    where they were made."""
    from dvc.repo import Repo

    small = {
        (papers / paper / "metrics" / path.relative_to(folder / "results")).resolve(): path
        for path in sorted((folder / "results").glob("*/*"))
        if path.parent.name in came or path.name == "represent.json"
    }
    there = {Path(name).resolve(): value for name, value in checksums.items()}
    with Repo(str(papers)) as repo, repo.lock:
        stages = []
        for stage in done:
            file = cells.find(stage.cell, _out(stage.kind), papers).path.with_name("dvc.yaml")
            loaded = repo.stage.load_one(str(file), f"{STAGES[stage.kind]}@{stage.cell.split('/')[-1]}")
            for item in [*loaded.deps, *loaded.outs]:
                path = Path(item.fs_path)
                if path not in small and path not in there and not path.is_file():
                    raise UserError(
                        f"{path} is neither here nor in {folder}/checksums.json: run its stage there as well"
                    )
            if stage.kind in ("datasets", "splits"):
                for item in loaded.outs:
                    _same(item, there)
            stages.append(loaded)
        for target, path in small.items():
            _copy(path, target)
        for loaded in stages:
            for item in [*loaded.deps, *loaded.outs]:
                _enter(item, there)
            loaded.cmd_changed = False
            loaded.dump(update_pipeline=False)
        return [stage.addressing for stage in stages]


def _same(item: Any, there: dict[Path, Any]) -> None:
    """Refuse data that are others here, or in dvc.lock, than there."""
    path = Path(item.fs_path)
    here = digest(path, "md5") if path.is_file() else item.hash_info.value
    if here and path in there and here != there[path]["md5"]:
        raise UserError(f"{path} is not the file that the other machine used: its results do not belong here")


def _enter(item: Any, there: dict[Path, Any]) -> None:
    """Give a stage's file the checksum that it has there or, where it is none of those, here."""
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.meta import Meta

    path = Path(item.fs_path)
    if path in there:
        item.hash_info, item.meta = HashInfo("md5", there[path]["md5"]), Meta(size=there[path]["size"])
    else:
        item.save()


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
