"""Carries out one job, in a local pool or on SLURM: runs its commands, one after the other, and keeps its state."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stages.longtail.cluster import attempts
from stages.longtail.cluster.attempts import Attempt
from stages.longtail.console.errors import STOPS, UserError
from stages.longtail.papers import jobs
from stages.longtail.papers.jobs import HERE, Job

# The exit codes of a stage that was told to stop, negative if the signal came before the stage handled signals.
STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM, *(-stop for stop in STOPS))


class Stopped(Exception):
    """A signal stopped the stage, which goes on after its last finished epoch when the job is carried out again."""


def carry_out(
    folder: Path, name: str, place: str, environment: Mapping[str, str], begun: Callable[[Any], None]
) -> None:
    """Carry out a job of this folder in the working directory.

    Args:
        folder, name: the folder of the jobs, and the job's name.
        place: for the status: `local` or `slurm ID`.
        environment: variables that are added to those of this process.
        begun: called with the subprocess.Popen of each command.
    Raises:
        Stopped: a signal stopped it; it can be carried out again.
        UserError: it failed; its status has the same message.
    """
    ordered = jobs.read(folder)[1]
    if name not in ordered:
        raise UserError(f"{name} is not asked for any more: {folder}/order.json does not have it")
    job = ordered[name]
    before = attempts.read(folder, name)
    if before.state == "running" and before.place != place:
        raise UserError(f"{name} runs already, on {before.host}: {before.place}")
    log = attempts.log_of(folder, name)
    log.parent.mkdir(parents=True, exist_ok=True)
    now = Attempt(
        "running",
        place,
        attempts.host(),
        os.getpid(),
        before.resumed + (before.state in ("running", "stopped")),
        log.stat().st_size if log.is_file() else 0,
    )
    attempts.write(folder, name, now)
    try:
        with attempts.beating(folder, name):
            _commands(folder, job, log, environment, begun, now.log_from)
    except UserError as error:
        attempts.write(folder, name, replace(now, state="failed", error=" ".join(str(error).split())))
        raise
    except BaseException:
        attempts.write(folder, name, replace(now, state="stopped"))
        raise
    attempts.write(folder, name, replace(now, state="done"))


def _commands(
    folder: Path,
    job: Job,
    log: Path,
    environment: Mapping[str, str],
    begun: Callable[[Any], None],
    log_from: int,
) -> None:
    """Run a job's commands, and note that it is finished.

    Args:
        folder, job: the folder of the jobs, and the job.
        log: takes the output of the commands.
        environment, begun: see carry_out.
        log_from: the byte of the log at which this attempt begins.
    Raises:
        Stopped, UserError: see carry_out.
    """
    for need in job.needs:
        if jobs.finished(folder, jobs.read(folder)[1][need]) is None:
            raise UserError(f"{need} is not done, which it needs")
    jobs.unpack(folder, job)
    for words in job.commands:
        stage, *options = (word.replace(HERE, str(folder), 1) for word in words)
        with open(log, "a") as output:
            print(f"> {stage} {' '.join(options)}", file=output, flush=True)
            process = subprocess.Popen(
                [sys.executable, "-m", f"stages.{stage}", *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
            )
            begun(process)
            code = process.wait()
        if code in STOPPED:
            raise Stopped
        if code:
            killed = f"{signal.Signals(-code).name} ended it; " if code < 0 else ""
            raise UserError(f"{killed}{stage}: {_last_line(log, log_from)}")
    jobs.pack(folder, job)


def _last_line(log: Path, log_from: int) -> str:
    """The last line that a stage printed, which is its error."""
    with open(log, "rb") as file:
        file.seek(log_from)
        said = file.read().decode(errors="replace").split("\n")
    return next((line.removeprefix("error: ") for line in reversed(said) if line.strip()), "it said nothing")
