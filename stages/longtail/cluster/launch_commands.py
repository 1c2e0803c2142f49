"""What `launch --on`, `--status` and `--record` do: run jobs in a pool here or on a cluster, tell of them, record them.

Jobs run plain commands and never DVC, whose locks work on one machine only. One process records what the jobs leave.
"""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from stages.longtail.cluster import attempts, slurm, status
from stages.longtail.cluster.attempts import Attempt
from stages.longtail.cluster.local_pool import LocalPool
from stages.longtail.console.errors import UserError
from stages.longtail.files import yaml_files
from stages.longtail.papers import jobs, recording
from stages.longtail.papers.jobs import Job

ABSENT = ("deleted", "not in cache")  # the words of `dvc status` for recorded files that are not on this machine


def folder_of(papers: Path, paper: str) -> Path:
    """The folder of a paper's jobs, among its files that are not in git."""
    return papers / paper / "data/jobs"


def on_this_machine(
    papers: Path, paper: str, names: list[str], conf: Path, at_once: int | None, gpus: list[int]
) -> list[str]:
    """Carry out the jobs of these runs.

    Args:
        papers, paper, names, conf: the runs, and the folders that describe them.
        at_once: the number of jobs at the same time; None: one for each of the GPUs, or one if none is named.
        gpus: numbers of this machine's GPUs. Each gets one job at a time, or several if at_once is larger than their
            number. Empty: all jobs see what this process sees.
    Returns:
        The names of the jobs that failed.
    """
    folder = folder_of(papers, paper)
    seen = [str(gpu) for gpu in gpus] or [""]
    slots = [seen[number % len(seen)] for number in range(at_once or len(seen))]
    with _alone(folder):
        todo = _order(folder, papers, paper, names, conf)
        return LocalPool(folder, slots).run(todo)


def on_slurm(
    papers: Path, paper: str, names: list[str], conf: Path, at_once: int, options: dict[str, Any]
) -> list[str]:
    """Submit the jobs of these runs.

    Args:
        papers, paper, names, conf: the runs, and the folders that describe them.
        at_once, options: see slurm.submit.
    Returns:
        One line for each array of jobs.
    """
    folder = folder_of(papers, paper)
    with _alone(folder):
        todo = _order(folder, papers, paper, names, conf)
        return slurm.submit(folder, paper, todo, at_once, options) if todo else []


def record(papers: Path, paper: str, conf: Path) -> tuple[list[str], list[str]]:
    """Record the jobs that are done by now.

    Args:
        papers, paper, conf: the paper, and the folders of papers and presets.
    Returns:
        The recorded stages, and one message for each job that was refused.
    """
    refused: list[str] = []
    recorded = recording.record(folder_of(papers, paper), papers, conf, refuse=lambda error: refused.append(str(error)))
    return recorded, refused


def told(papers: Path, paper: str) -> list[str]:
    """One line for each run; see status.lines."""
    return status.lines(folder_of(papers, paper))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Only one process at a time may order jobs of a folder, or be their pool."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"jobs of {folder} are being carried out by another launch: wait for its end") from None
        yield


def _order(folder: Path, papers: Path, paper: str, names: list[str], conf: Path) -> list[Job]:
    """Write the jobs of these runs into order.json, beside those of earlier runs that are still asked for.

    Args:
        folder: of the jobs.
        papers, paper, names, conf: the runs, and the folders that describe them.
    Returns:
        The jobs to carry out now, each after those that it needs. Left out are jobs that DVC has recorded, that are
        finished, running or in the queue, and those that only such jobs need.
    """
    ordered = jobs.order(folder, paper, names, papers, conf)
    recorded, here = _recorded(papers, paper, list(ordered.values()))
    busy = slurm.queued(folder) | {name for name in ordered if attempts.read(folder, name).state == "running"}
    known: dict[str, Job] = {}
    todo: dict[str, Job] = {}

    def settle(name: str, is_wanted: bool) -> None:
        """Enter a job, and the jobs that it needs, unless it is done. A run is done once it is recorded; the files of
        other jobs must also be on this machine."""
        job = ordered[name]
        if name in here or (is_wanted and name in recorded):
            return
        for need in job.needs:
            if need not in known:
                settle(need, is_wanted=False)
        known[name] = replace(job, needs=[need for need in job.needs if need in known])
        if name not in busy and not _is_finished(folder, known[name], known):
            todo[name] = known[name]

    for name, job in ordered.items():
        if job.is_run:
            settle(name, is_wanted=True)
    earlier = jobs.read(folder)[1] if (folder / "order.json").is_file() else {}
    kept = {name: job for name, job in earlier.items() if name not in known and _is_current(job, papers)}
    every = {**kept, **known}
    for job in sorted(kept.values(), key=lambda job: job.wave):
        if any(need not in every for need in job.needs):  # a job that it needs is no longer asked for
            del every[job.name]
    jobs.write(folder, paper, dict(sorted(every.items(), key=lambda item: item[1].wave)))
    for name in todo:
        before = attempts.read(folder, name)
        if before.state in ("failed", "done"):
            attempts.write(folder, name, Attempt("waiting", log_from=before.log_from))
    return sorted(todo.values(), key=lambda job: job.wave)


def _is_current(job: Job, papers: Path) -> bool:
    """Whether the job is still asked for, with the same recipe."""
    try:
        return job.found(papers).entry["recipe"] == job.recipe
    except UserError:
        return False


def _is_finished(folder: Path, job: Job, known: dict[str, Job]) -> bool:
    """Whether a job is finished: it has read the files that it would read now, and those that it wrote are here.

    Args:
        folder: of the jobs.
        job: of these.
        known: jobs by name, among them those that it needs.
    """
    sums = jobs.finished(folder, job)
    if sums is None or not all(job.place(folder, path).is_file() for path in [*job.writes, *job.results]):
        return False
    made = {path: one for need in job.needs for path, one in (jobs.finished(folder, known[need]) or {}).items()}
    # A file that was absent when the job ran, such as a golden curve, has no checksum.
    return all(
        (path in sums and sums[path] == made.get(path)) or jobs.checksum(Path(path)) == sums.get(path)
        for path in job.reads
    )


def _recorded(papers: Path, paper: str, ordered: list[Job]) -> tuple[set[str], set[str]]:
    """What DVC has recorded already.

    Args:
        papers, paper: the folder of the papers, and the paper.
        ordered: its jobs.
    Returns:
        The names of the jobs that DVC has recorded with their present recipe and inputs, and the names of those among
        them whose files are on this machine.
    """
    targets = {job.target(papers): job.name for job in ordered}
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "--cd", str(papers), "status", "--json", *targets]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"dvc status failed: {done.stderr.strip() or done.stdout.strip()}")
    changed = json.loads(done.stdout)
    locked = set()
    for path, prefix in ((papers / "dvc.lock", ""), (papers / paper / "dvc.lock", f"{paper}/dvc.yaml:")):
        content = yaml_files.read(path) if path.is_file() else {}
        locked |= {f"{prefix}{name}" for name in content.get("stages") or {}}
    here = {name for target, name in targets.items() if target in locked and target not in changed}
    away = {
        name
        for target, name in targets.items()
        if target in locked and all(_is_absence(change) for change in changed.get(target, ()))
    }
    return away | here, here


def _is_absence(change: Any) -> bool:
    """Whether DVC's only complaint about a stage is that files are not on this machine."""
    return isinstance(change, dict) and all(one in ABSENT for files in change.values() for one in files.values())
