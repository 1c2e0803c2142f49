"""One line for each run: waiting, running, stopped, failed or done. Only the jobs' files are read."""

from __future__ import annotations

import re
from pathlib import Path

from stages.longtail.cluster import attempts
from stages.longtail.cluster.attempts import Attempt
from stages.longtail.papers import jobs
from stages.longtail.papers.jobs import Job

# A line of training/progress.py.
PROGRESS = re.compile(r"^(\w+, seed \d+: epoch \d+ of \d+), .*?(\d+ images/s, \d+ s left)$", re.M)


def lines(folder: Path) -> list[str]:
    """One line for each run, in the order in which they were ordered."""
    ordered = jobs.read(folder)[1]
    runs = [job for job in ordered.values() if job.is_run]
    width = max((len(job.run) for job in runs), default=0)
    found = [(job.run, *_line(folder, job, ordered)) for job in runs]
    return [f"{state:<8} {run:<{width}}  {more}".rstrip() for run, state, more in found]


def _line(folder: Path, run: Job, ordered: dict[str, Job]) -> tuple[str, str]:
    """The state of a run, and what its line says after its name.

    Args:
        folder: of the jobs.
        run: the job that ends the run.
        ordered: all jobs by name.
    """
    chain = jobs.chain(run, ordered)
    tried = {job.name: attempts.read(folder, job.name) for job in chain}
    times = sum(attempt.resumed for attempt in tried.values())
    resumed = [f"resumed {times} time{'s' * (times > 1)}"] if times else []
    if jobs.finished(folder, run) is not None:
        return "done", "; ".join(resumed)
    for job in chain:
        attempt = tried[job.name]
        if attempt.state == "failed":
            return "failed", "; ".join([f"{'' if job is run else f'{job.name}: '}{attempt.error}", *resumed])
    for job in chain:
        attempt = tried[job.name]
        if attempt.state == "running":
            return "running", "; ".join([_progress(folder, job, attempt), *resumed])
        if attempt.state == "stopped" and attempt.place == "local":
            return "stopped", "; ".join(["ask for it again, and it goes on", *resumed])
        if attempt.state == "stopped":
            return "waiting", "; ".join(["SLURM stopped it, and will start it again unless it was cancelled", *resumed])
    return "waiting", "; ".join(resumed)


def _progress(folder: Path, job: Job, attempt: Attempt) -> str:
    log = attempts.log_of(folder, job.name)
    with open(log, "rb") as file:
        file.seek(attempt.log_from)
        said = file.read().decode(errors="replace")
    told = PROGRESS.findall(said)
    return ", ".join(told[-1]) if told else f"{job.name} on {attempt.host}, {attempt.place}"
