"""Runs on a machine without DVC and Hydra: `send` writes what it needs, run.sh runs it, `take` records the results.

    python -m stages.longtail.papers.handback send FOLDER --paper switching [RUN ...]
    bash FOLDER/run.sh        # there, in the repository's root; FOLDER then holds the small results as well. A run
                              # that fails does not keep the others from being done
    python -m stages.longtail.papers.handback take FOLDER
`take` puts metrics, classes and histories where the grid expects them, and enters into dvc.lock the checksums that the
large files had on the other machine.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from stages.longtail.configuration import cells
from stages.longtail.configuration.messages import suggest
from stages.longtail.console import errors
from stages.longtail.console.errors import UserError
from stages.longtail.files.artifacts import write_text
from stages.longtail.provenance import revision

SMALL = ("metrics.json", "per_class.csv", "predictions.npz", "history.csv", "manifest.json")


def send(folder: Path, paper: str, runs: list[str], reports: Path, conf: Path) -> None:
    """Write plain parameter files, run.sh, and plan.json, which lists the stages in order."""
    papers = [path.parent.name for path in sorted(reports.glob("*/params.yaml"))]
    if paper not in papers:
        raise UserError(f"--paper says '{paper}', which {reports} has no grid of{suggest(paper, papers)}")
    grid_path, shared_path = reports / paper / "params.yaml", reports / "params.yaml"
    grid = yaml.safe_load(grid_path.read_text())
    kinds = {name: kind for kind in ("runs", "alone") for name in grid[kind] or {}}
    script, plan = list[str](), list[dict[str, str]]()
    if commit := revision.current():
        script.append(f"export {revision.VARIABLE}={commit}")
    script += ["trap 'exit 130' INT TERM", "failed="]  # told to stop, it does not go on with the next run

    def stage(path: Path, kind: str, name: str, commands: list[str]) -> None:
        file = folder / "params" / f"{path.parent.name}-{kind}-{name}.yaml"
        if not any(planned["cell"] == f"{kind}.{name}" for planned in plan):
            write_text(file, yaml.safe_dump(cells.sections(path, f"{kind}.{name}", conf)))
            lines.extend(f"python3 -m stages.{command} --params {file}" for command in commands)
            plan.append({"file": str(path.with_name("dvc.yaml")), "cell": f"{kind}.{name}"})

    for name in runs or list(kinds):
        if name not in kinds:
            raise UserError(f"{grid_path} has no run '{name}'{suggest(name, kinds)}")
        lines: list[str] = []
        entry = grid[kinds[name]][name]
        data, split = entry["data"], entry["split"]
        inputs = f"--raw data/grid/raw/{data} --splits data/grid/splits/{split}"
        of = entry.get("of", name)
        learned = f"data/grid/{paper}/representation/{of}"
        manifests = f"reports/{paper}/metrics"
        represent = f"represent {inputs} --out {learned} --manifest {manifests}/{of}/represent.json"
        stage(shared_path, "datasets", data, [f"download --out data/grid/raw/{data}"])
        split_command = f"split --raw data/grid/raw/{data} --out data/grid/splits/{split}"
        stage(shared_path, "splits", split, [split_command])
        if kinds[name] == "runs":
            stage(grid_path, "representations", of, [represent])
        rest = [
            f"classify {inputs} --representation {learned} --out data/grid/{paper}/classifier/{name} "
            f"--manifest {manifests}/{name}/manifest.json",
            f"evaluate {inputs} --classifier data/grid/{paper}/classifier/{name} --out reports/{paper}/metrics/{name}",
        ]
        stage(grid_path, kinds[name], name, rest if kinds[name] == "runs" else [represent, *rest])
        lines.append(f"python3 -m stages.longtail.papers.handback pack {folder} --paper {paper} {name}")
        script.append(" &&\n".join(lines) + f' ||\nfailed="$failed {name}"')
    script.append('[ -z "$failed" ] || { echo "failed:$failed"; exit 1; }')
    write_text(folder / "plan.json", json.dumps({"paper": paper, "stages": plan}, indent=1) + "\n")
    write_text(folder / "run.sh", "\n".join(script) + "\n")


def pack(folder: Path, paper: str, runs: list[str], reports: Path) -> None:
    """Copy the small results of runs into the folder, with the checksums of all that DVC would have recorded."""
    for name in runs:
        target = folder / "results" / name
        target.mkdir(parents=True, exist_ok=True)
        for file in SMALL:
            shutil.copy2(reports / paper / "metrics" / name / file, target / file)
    for told in (reports / paper / "metrics").glob("*/represent.json"):
        target = folder / "results" / told.parent.name
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy2(told, target / told.name)
    files = [path for path in Path("data/grid").rglob("*") if path.is_file() and path.suffix != ".partial"]
    checksums = {path.as_posix(): {"md5": _md5(path), "size": path.stat().st_size} for path in sorted(files)}
    write_text(folder / "checksums.json", json.dumps(checksums, indent=1) + "\n")


def take(folder: Path, reports: Path) -> list[str]:
    """Put the results in place and record the stages of plan.json whose results came back. Returns their names."""
    from dvc.repo import Repo

    plan = json.loads((folder / "plan.json").read_text())
    checksums = json.loads((folder / "checksums.json").read_text())
    came = {path.parent.name for path in (folder / "results").glob("*/metrics.json")}
    for name in sorted(path.name for path in (folder / "results").iterdir()):
        target = reports / plan["paper"] / "metrics" / name
        target.mkdir(parents=True, exist_ok=True)
        for file in (folder / "results" / name).iterdir():
            shutil.copyfile(file, target / file.name)
    recorded = []
    with Repo() as repo:
        for planned in plan["stages"]:
            kind, _, name = planned["cell"].partition(".")
            if kind in ("runs", "alone") and name not in came:
                continue
            group = {"datasets": "download", "splits": "split", "representations": "represent", "runs": "run"}
            stage = repo.stage.load_one(planned["file"], f"{group.get(kind, kind)}@{name}")
            _record(stage, checksums)
            recorded.append(f"{planned['file']}:{stage.name}")
    return recorded


def _record(stage: Any, checksums: dict[str, dict[str, Any]]) -> None:
    """Enter a stage into dvc.lock: files that are here as they are, others as they were where they were made."""
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.meta import Meta

    for item in [*stage.deps, *stage.outs]:
        path = Path(item.fs_path)
        there = checksums.get(path.relative_to(Path.cwd()).as_posix())
        if path.is_file():
            item.save()
            if there and item.hash_info.value != there["md5"]:
                raise UserError(f"{path} is not the file that the other machine used: its results do not belong here")
        elif there:
            item.hash_info, item.meta = HashInfo("md5", there["md5"]), Meta(size=there["size"])
        else:
            raise UserError(f"{path} is neither here nor in the other machine's checksums: run its stage there as well")
    stage.cmd_changed = False
    stage.dump(update_pipeline=False)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("send", "pack", "take"))
    parser.add_argument("folder", type=Path, help="where parameters and results travel")
    parser.add_argument("runs", nargs="*", help="runs of the paper's params.yaml (all)")
    parser.add_argument("--paper", default="", help="such as switching")
    parser.add_argument("--reports", type=Path, default=Path("reports"), help="folder (reports)")
    parser.add_argument("--conf", type=Path, default=Path("conf"), help="folder (conf)")
    args = parser.parse_intermixed_args()
    if args.what == "send":
        send(args.folder, args.paper, args.runs, args.reports, args.conf)
    elif args.what == "pack":
        pack(args.folder, args.paper, args.runs, args.reports)
    else:
        print("\n".join(take(args.folder, args.reports)))


if __name__ == "__main__":
    errors.run(main)
