"""Records finished jobs as if DVC had run their stages here: results into git's files, checksums into dvc.lock."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stages.longtail.console.errors import UserError
from stages.longtail.files import yaml_files
from stages.longtail.files.artifacts import digest, read_csv, read_json
from stages.longtail.papers import epochs, jobs, requested_runs
from stages.longtail.papers.experiment_params import Experiment
from stages.longtail.papers.jobs import Checksums, Job


def record(folder: Path, papers: Path, conf: Path, refuse: Callable[[UserError], None]) -> list[str]:
    """Record every finished job of a folder that is not recorded yet.

    Args:
        folder: of the jobs.
        papers, conf: the folders of papers and presets, such as reports/papers and conf.
        refuse: called with the error of a job whose recipe, data or files differ from those here. If it raises,
            nothing is recorded; if it returns, the other jobs are.
    Returns:
        The recorded stages, by their names in DVC.
    """
    ordered = jobs.read(folder)[1]
    found = {name: sums for name, job in ordered.items() if (sums := jobs.finished(folder, job)) is not None}
    locks = _Locks()
    fresh: list[Job] = []
    for name, sums in found.items():
        job = ordered[name]
        made = {path: value["md5"] for need in job.needs for path, value in found.get(need, {}).items()}
        try:
            if locks.has(job, sums, papers):
                continue
            _check(folder, job, papers, conf)
            _same(job, sums, made, locks.outs(papers))
            _leaves_recorded(job, sums, locks.outs_of(job, papers), set(found), papers)
        except UserError as error:
            refuse(error)
        else:
            fresh.append(job)
    for job in fresh:
        for path in job.results:
            _copy(job.place(folder, path), Path(path))
    here = [job for job in fresh if all(Path(path).is_file() for path in [*job.reads, *job.writes])]
    _commit([job.target(papers) for job in here], papers)
    _enter({job.target(papers): found[job.name] for job in fresh if job not in here}, papers)
    return [job.target(papers) for job in fresh]


class _Locks:
    """The papers' dvc.lock files, each read once."""

    def __init__(self) -> None:
        self._read: dict[Path, dict[str, Any]] = {}

    def _stages(self, path: Path) -> dict[str, Any]:
        if path not in self._read:
            self._read[path] = (yaml_files.read(path) if path.is_file() else {}).get("stages") or {}
        return self._read[path]

    def _of(self, job: Job, papers: Path) -> tuple[Path, dict[str, Any]]:
        """The folder that the paths of the job's stage begin in, and the stage; it is empty if it was not recorded."""
        path = job.found(papers).path.with_name("dvc.lock")
        return path.parent, self._stages(path).get(f"{jobs.STAGES[job.kind]}@{job.run}", {})

    def has(self, job: Job, sums: Checksums, papers: Path) -> bool:
        """Whether the job is recorded with these files.

        Args:
            job, sums: the job, and the checksums of its files.
            papers: the folder of the papers.
        """
        folder, stage = self._of(job, papers)
        entries = _md5(folder, [*stage.get("deps", []), *stage.get("outs", [])])
        # The listing of images has their times, which differ between two machines with the same images.
        compared = [name for name in sums if job.kind != "images" or name not in job.reads]
        return job.recipe in str(stage.get("cmd")) and all(entries.get(name) == sums[name]["md5"] for name in compared)

    def outs_of(self, job: Job, papers: Path) -> dict[str, str]:
        """The recorded md5 of the files that the job's stage has written, by path."""
        folder, stage = self._of(job, papers)
        return _md5(folder, stage.get("outs", []))

    def outs(self, papers: Path) -> dict[str, str]:
        """The recorded md5 of data sets and subsets, by path."""
        path = papers / "dvc.lock"
        return _md5(papers, [item for stage in self._stages(path).values() for item in stage.get("outs", [])])


def _md5(folder: Path, items: list[dict[str, Any]]) -> dict[str, str]:
    return {Path(os.path.normpath(folder / item["path"])).as_posix(): item["md5"] for item in items if "md5" in item}


def _check(folder: Path, job: Job, papers: Path, conf: Path) -> None:
    """Refuse a job whose recipe has changed since it was ordered, or whose results are not complete.

    Args:
        folder, job: the folder of the jobs, and the job.
        papers, conf: the folders of papers and presets.
    Raises:
        UserError: why it is refused.
    """
    jobs.check_parameters(folder, job)
    found = job.found(papers)
    if found.entry["recipe"] != job.recipe:
        raise UserError(
            f"{job.cell} was ordered with another recipe than {found.path} has now: order it again, and run it"
        )
    sections, results = found.sections(conf), folder / "results" / job.run
    for path in job.results:
        if not (results / Path(path).name).is_file():
            raise UserError(f"{results} lacks {Path(path).name}: run the job again, or copy the folder whole")
    if manifest := job.manifest:
        _trained(results / Path(manifest).name, job)
    if job.is_run:
        _results(results, Experiment.of(sections))


def _trained(manifest: Path, job: Job) -> None:
    """Refuse a job that was trained with other parameters than were ordered, even if their file was restored since."""
    told = read_json(manifest).get("recipe")
    if told != job.recipe:
        raise UserError(
            f"{manifest} says that {job.cell} was trained by other parameters than were ordered (recipe {told}, "
            f"not {job.recipe}): run it again"
        )


def _results(folder: Path, params: Experiment) -> None:
    """Refuse results whose seeds or epochs differ from those of the run's parameters."""
    history = read_csv(folder / "history.csv")
    if absent := {"seed", "epoch", "loss"} - set(history):
        raise UserError(f"{folder / 'history.csv'} has no column {min(absent)}: run the job again")
    seeds, asked = sorted(history.seed.unique()), sorted(map(str, params.seeds))
    if seeds != asked or read_json(folder / "metrics.json").get("seeds") != len(asked):
        raise UserError(f"{folder.name} came back with the seeds {', '.join(seeds)}, its recipe has {', '.join(asked)}")
    expected = [str(epoch) for epoch in range(1, epochs.of(params).total + 1)]
    trained = history[history.loss != ""]  # a head that comes without training has a row, but no loss
    for seed, rows in trained.groupby("seed", sort=False):
        if rows.epoch.tolist() != expected:
            raise UserError(
                f"{folder.name}, seed {seed}: its history has {len(rows)} epochs, its recipe {len(expected)}"
            )


def _same(job: Job, sums: Checksums, made: dict[str, str], recorded: dict[str, str]) -> None:
    """Refuse a job that read or wrote other files than those here.

    Args:
        job, sums: the job, and the checksums that it noted.
        made: path -> md5 of the files that the jobs before it have made.
        recorded: path -> md5 of the data sets and subsets in dvc.lock.
    Raises:
        UserError: which file differs.
    """
    for path in [*job.reads, *job.writes]:
        if job.kind == "images" and path in job.reads:
            continue  # the listing has the images' times, which differ between machines
        here = digest(Path(path), "md5") if Path(path).is_file() else None
        if path not in sums and not here:
            raise UserError(f"{path} is neither here nor was it there when {job.name} ran: run its stage there as well")
        known = {made.get(path), here or recorded.get(path)} - {None}
        if path in sums and known - {sums[path]["md5"]}:
            verb = "read" if path in job.reads else "wrote"
            raise UserError(
                f"{path} is not the file that {job.name} {verb}: its results belong to another file; run it again"
            )


def _leaves_recorded(job: Job, sums: Checksums, recorded: dict[str, str], with_it: set[str], papers: Path) -> None:
    """Refuse a representation that was trained again elsewhere while recorded runs go on from the earlier one.

    Those runs would have to run again, on files that are not here.

    Args:
        job, sums: the job, and the checksums that it noted.
        recorded: path -> recorded md5 of the files of its stage.
        with_it: the names of the finished jobs that are recorded together with it.
        papers: the folder of the papers.
    Raises:
        UserError: which runs would have to run again.
    """
    anew = [path for path in job.writes if path in recorded and recorded[path] != sums[path]["md5"]]
    if job.kind != "represent" or not anew or all(Path(path).is_file() for path in job.writes):
        return
    paper = papers / job.cell.split("/")[0]
    runs = [name for name, of in requested_runs.representations(paper).items() if of == job.run]
    left = [
        name for name in runs if f"run-{name}" not in with_it and (paper / "metrics" / name / "metrics.json").is_file()
    ]
    if left:
        raise UserError(
            f"{job.cell} was trained anew there, and {', '.join(left)} would have to run again on it: send those as "
            "well, or run here what came back"
        )


def _commit(targets: list[str], papers: Path) -> None:
    """Record stages whose files are here, by `dvc commit`, which also puts the files into DVC's cache."""
    if not targets:
        return
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "--quiet", "--cd", str(papers), "commit", "--force"]
    done = subprocess.run([*command, *targets], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"dvc commit failed: {done.stderr.strip() or done.stdout.strip()}")


def _enter(told: dict[str, Checksums], papers: Path) -> None:
    """Record stages whose files are on another machine. DVC has no command for that.

    told: for each stage the checksums of its files there. papers: the folder of the papers.
    """
    if not told:
        return
    from dvc.repo import Repo
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.meta import Meta

    with Repo(str(papers)) as repo, repo.lock:
        for target, sums in told.items():
            file, _, name = target.rpartition(":")
            stage = repo.stage.load_one(str(papers / (file or "dvc.yaml")), name)
            there = {Path(path).resolve(): value for path, value in sums.items()}
            for item in [*stage.deps, *stage.outs]:
                if value := there.get(Path(item.fs_path)):
                    item.hash_info, item.meta = HashInfo("md5", value["md5"]), Meta(size=value["size"])
                else:
                    item.save()  # not noted there, such as a golden curve: taken from here
            stage.cmd_changed = False
            stage.dump(update_pipeline=False)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
