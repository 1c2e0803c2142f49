"""Jobs: the stages of a paper's runs as plain commands, which need neither DVC nor Hydra, and the files that they made.

FOLDER/order.json  the jobs, each after those that it needs
FOLDER/params/     their parameters, as they were when the jobs were ordered
FOLDER/results/    the files of runs that belong into git
FOLDER/done/       one file for each finished job, with the checksums of all files that it read and wrote
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stages.longtail.configuration import cells
from stages.longtail.configuration.cells import Cell
from stages.longtail.console.errors import UserError
from stages.longtail.files import yaml_files
from stages.longtail.files.artifacts import digest, read_json, write_json, write_text

Checksums = dict[str, dict[str, Any]]  # path -> md5 and size, as in dvc.lock
HERE = "$here"  # stands in commands for the folder, which may be copied to another machine
# For each kind of cells their stage in dvc.yaml. A stage needs only stages that come before it here.
STAGES = {"datasets": "download", "images": "images", "splits": "split", "represent": "represent"}
STAGES |= {"runs": "run", "older": "older"}
COMMANDS = {"images": [["download", "--list"], ["download"]], "represent": [["represent"]], "splits": [["split"]]}
COMMANDS |= {"datasets": [["download"]], "runs": [["classify"], ["evaluate"]], "older": [["classify"], ["evaluate"]]}
INPUTS = {
    "download": {},
    "split": {"raw": "data/raw"},
    "represent": {"raw": "data/raw", "splits": "data/splits"},
    "classify": {"raw": "data/raw", "splits": "data/splits", "representation": "data/representation"},
    "evaluate": {"raw": "data/raw", "splits": "data/splits", "classifier": "data/classifier"},
}
OUTPUTS = {"download": "data/raw", "split": "data/splits", "represent": "data/representation"}
OUTPUTS |= {"classify": "data/classifier", "evaluate": "reports"}


@dataclass(frozen=True)
class Job:
    """One stage of one cell.

    name: such as run-cifar10-exp-100-crt; its parameters are in FOLDER/params/NAME.yaml.
    kind, cell: see configuration/cells.py.
    recipe: the digest of the cell's recipe when the job was ordered.
    sha256: of the parameter file.
    commands: for each command the words after `python -m stages.`, with HERE for the folder.
    needs: the names of the jobs whose output it reads.
    reads, writes, results: the paths that dvc.yaml declares. Results belong into git, and lie in FOLDER/results/ until
        they are recorded.
    """

    name: str
    kind: str
    cell: str
    recipe: str
    sha256: str
    commands: list[list[str]]
    needs: list[str]
    reads: list[str]
    writes: list[str]
    results: list[str]

    @property
    def run(self) -> str:
        """The cell's name without its paper."""
        return self.cell.split("/")[-1]

    @property
    def is_run(self) -> bool:
        return self.kind in ("runs", "older")

    @property
    def manifest(self) -> str | None:
        """The result that holds the recipe of the training; None if the job does not train."""
        return next((path for path in self.results if Path(path).name in ("represent.json", "manifest.json")), None)

    @property
    def trains(self) -> bool:
        return self.is_run or self.kind == "represent"

    @property
    def wave(self) -> int:
        """The job's place in the order of the stages. Jobs of the same wave do not need each other."""
        return ["download", "images", "split", "represent", "run", "older"].index(STAGES[self.kind])

    def found(self, papers: Path) -> Cell:
        out = next(out for out, kinds in cells.KINDS.items() if self.kind in kinds)
        return cells.find(self.cell, out, papers)

    def target(self, papers: Path) -> str:
        """The stage's name for `dvc --cd reports/papers`."""
        below = self.found(papers).path.parent.relative_to(papers).as_posix()
        return f"{'' if below == '.' else f'{below}/dvc.yaml:'}{STAGES[self.kind]}@{self.run}"

    def place(self, folder: Path, path: str) -> Path:
        """The place of a file that the job reads or writes, until it is recorded."""
        return folder / "results" / self.run / Path(path).name if path in self.results else Path(path)


def order(folder: Path, paper: str, names: Iterable[str], papers: Path, conf: Path) -> dict[str, Job]:
    """Make the jobs of these runs, and write their parameter files.

    Args:
        folder: of the jobs.
        paper, names: the paper, and runs of it that were asked for.
        papers, conf: the folders of papers and presets, such as reports/papers and conf.
    Returns:
        The jobs by name, each after those that it needs.
    """
    made: dict[str, Job] = {}
    known: dict[tuple[str, str], str] = {}  # (cell, folder that its stage writes) -> name of the job
    for name in names:
        run = cells.find(f"{paper}/{name}", "data/classifier", papers)
        before: list[str] = []
        for cell, out in (
            (run.entry["data"], "data/raw"),
            (run.entry["split"], "data/splits"),
            (f"{paper}/{run.entry['of']}", "data/representation"),
            (f"{paper}/{name}", "data/classifier"),
        ):
            if (cell, out) not in known:
                found = cells.find(cell, out, papers)
                key = known[cell, out] = f"{STAGES[found.kind]}-{found.name}"
                made[key] = _job(folder, key, cell, found, before, conf)
            before = [known[cell, out]]
    return {job.name: job for job in sorted(made.values(), key=lambda job: job.wave)}


def _job(folder: Path, name: str, cell: str, found: Cell, needs: list[str], conf: Path) -> Job:
    text = yaml_files.dump(found.sections(conf))
    write_text(folder / "params" / f"{name}.yaml", text)
    reads, writes, results = _declared(found)
    return Job(
        name,
        found.kind,
        cell,
        found.entry["recipe"],
        hashlib.sha256(text.encode()).hexdigest(),
        [_command(words, name, found) for words in COMMANDS[found.kind]],
        needs,
        reads,
        writes,
        results,
    )


def _command(words: list[str], name: str, found: Cell) -> list[str]:
    stage, *options = words
    results = f"{HERE}/results/{found.name}"
    out = OUTPUTS[stage]
    folders = {option: found.folder(current).as_posix() for option, current in INPUTS[stage].items()}
    folders["out"] = results if out == "reports" else found.folder(out).as_posix()
    if out in cells.MANIFESTS:
        folders["manifest"] = f"{results}/{found.manifest(out).name}"
    pairs = [word for option, path in folders.items() for word in (f"--{option}", path)]
    return [stage, *options, "--params", f"{HERE}/params/{name}.yaml", *pairs]


def _declared(found: Cell) -> tuple[list[str], list[str], list[str]]:
    """The files that dvc.yaml declares for the cell's stage: what it reads, its cached outputs, its outputs in git."""
    declared = yaml_files.read(found.path.with_name("dvc.yaml"))["stages"][STAGES[found.kind]]["do"]
    values = {"key": found.name, "paper": found.path.parent.name}
    values |= {f"item.{key}": value for key, value in found.entry.items()}

    def path(item: str) -> str:
        below = re.sub(r"\$\{(.+?)\}", lambda match: str(values[match[1]]), item)
        return Path(os.path.normpath(found.path.parent / below)).as_posix()

    in_git = [path(next(iter(item))) for item in declared["outs"] if not isinstance(item, str)]
    cached = [path(item) for item in declared["outs"] if isinstance(item, str)]
    return [path(item) for item in declared.get("deps", [])], cached, in_git


def write(folder: Path, paper: str, jobs: dict[str, Job]) -> None:
    """Write order.json."""
    write_json(folder / "order.json", {"paper": paper, "jobs": [asdict(job) for job in jobs.values()]})


def read(folder: Path) -> tuple[str, dict[str, Job]]:
    """The paper, and the jobs by name. Raises UserError if nothing was ordered in this folder."""
    path = folder / "order.json"
    if not path.is_file():
        raise UserError(
            f"{path} does not exist: nothing was ordered yet. python -m stages.launch PAPER RUN --on local (or slurm) "
            "does, and for another machine python -m stages.other_machine send"
        )
    content = read_json(path)
    try:
        return content["paper"], {job["name"]: Job(**job) for job in content["jobs"]}
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is not what this version writes ({error!r}): order the jobs again") from error


def chain(job: Job, ordered: dict[str, Job]) -> list[Job]:
    """All jobs that a job needs, directly or not, each after those that it needs itself, and at the end the job."""
    return [*(before for need in job.needs for before in chain(ordered[need], ordered)), job]


def pack(folder: Path, job: Job) -> None:
    """Note that a job is finished, with the checksums of the files that it read and wrote.

    Files that it declares but this machine lacks are left out, such as golden curves where only the code was copied.
    """
    check_parameters(folder, job)
    checksums: Checksums = {}
    for path in [*job.reads, *job.writes, *job.results]:
        place = job.place(folder, path)
        if found := checksum(place):
            checksums[path] = found
        elif path not in job.reads:
            raise UserError(f"{job.name} did not write {place}")
    write_json(_done(folder, job), {"sha256": job.sha256, "checksums": checksums})


def checksum(path: Path) -> dict[str, Any] | None:
    """md5 and size of a file; None if there is no such file."""
    return {"md5": digest(path, "md5"), "size": path.stat().st_size} if path.is_file() else None


def unpack(folder: Path, job: Job) -> None:
    """Remove the note that a job is finished, because it begins again."""
    _done(folder, job).unlink(missing_ok=True)


def finished(folder: Path, job: Job) -> Checksums | None:
    """The checksums of a finished job; None if it is not finished, or was finished with other parameters."""
    path = _done(folder, job)
    if not path.is_file():
        return None
    content = read_json(path)
    if not isinstance(content, dict) or {"sha256", "checksums"} - set(content):
        raise UserError(f"{path} is not what pack writes: run {job.name} again")
    return content["checksums"] if content["sha256"] == job.sha256 else None


def check_parameters(folder: Path, job: Job) -> None:
    """Refuse a parameter file that is not the one that was ordered."""
    path = folder / "params" / f"{job.name}.yaml"
    if digest(path) != job.sha256:
        raise UserError(f"{path} was changed after the job was ordered, so it did not run {job.cell}: order it again")


def _done(folder: Path, job: Job) -> Path:
    return folder / "done" / f"{job.name}.json"
