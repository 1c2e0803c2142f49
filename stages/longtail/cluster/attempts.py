"""The state of each job, in FOLDER/state/JOB.json. Once a job has begun, only the job itself writes that file.

A running job touches its file every BEAT seconds, so that a job whose machine died is noticed without asking SLURM.
"""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from stages.longtail.files.artifacts import read_json, write_json

BEAT = 20.0  # seconds between two touches
SILENT = 300.0  # seconds without a touch after which a running job counts as stopped


@dataclass(frozen=True)
class Attempt:
    """The last attempt at a job.

    state: waiting, running, stopped (it goes on later), failed or done.
    place: `slurm ID` or `local`.
    host, pid: the machine and the process that carry the job out.
    resumed: how often the job went on after it was stopped.
    log_from: the byte of FOLDER/log/JOB.txt at which this attempt begins.
    error: why it failed.
    """

    state: str
    place: str = ""
    host: str = ""
    pid: int = 0
    resumed: int = 0
    log_from: int = 0
    error: str = ""


def path_of(folder: Path, job: str) -> Path:
    return folder / "state" / f"{job}.json"


def log_of(folder: Path, job: str) -> Path:
    return folder / "log" / f"{job}.txt"


def host() -> str:
    return platform.node().partition(".")[0]


def write(folder: Path, job: str, attempt: Attempt) -> None:
    write_json(path_of(folder, job), asdict(attempt))


def read(folder: Path, job: str) -> Attempt:
    """The last attempt: `waiting` if there was none, `stopped` if its process died or gave no sign of life for long."""
    path = path_of(folder, job)
    try:
        attempt = Attempt(**read_json(path))
        touched = path.stat().st_mtime
    except FileNotFoundError:
        return Attempt("waiting")
    if attempt.state == "running" and not _lives(attempt, touched):
        return Attempt(**{**asdict(attempt), "state": "stopped"})
    return attempt


def _lives(attempt: Attempt, touched: float) -> bool:
    """Whether a running job is alive. On this machine its process must exist, but the pid may be another program's by
    now. So the file must have been touched lately as well, as on other machines."""
    if attempt.host == host() and not psutil.pid_exists(attempt.pid):
        return False
    return time.time() - touched < SILENT


@contextmanager
def beating(folder: Path, job: str) -> Iterator[None]:
    """Touch the job's file every BEAT seconds."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT):
            with suppress(OSError):  # a shared disk that hangs for a moment must not end the job
                os.utime(path_of(folder, job))

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
