"""How far each job is: FOLDER/state/JOB.json, which the job alone writes once it has begun.

A job that runs touches its file now and then, so that one whose machine died is seen without asking SLURM.
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

BEAT = 20.0  # seconds from one touch to the next
SILENT = 300.0  # seconds without a touch after which a job is taken for dead


@dataclass(frozen=True)
class Attempt:
    """The last attempt at a job.

    state: waiting, running, stopped (it goes on later), failed or done.
    place: `slurm ID`, or `local`; host, pid: of the process that carries it out.
    resumed: how often it went on after it was stopped.
    log_from: where in FOLDER/log/JOB.txt this attempt begins.
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
    """The last attempt; one that nobody began is waiting, and one that gave no sign of life for long is stopped."""
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
    """On this machine a process that has ended is seen at once; the touches tell the rest, also of a pid used again."""
    if attempt.host == host() and not psutil.pid_exists(attempt.pid):
        return False
    return time.time() - touched < SILENT


@contextmanager
def beating(folder: Path, job: str) -> Iterator[None]:
    """Touch the job's file every BEAT seconds."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT):
            with suppress(OSError):  # of a shared disk that hangs for a moment: the job itself does not
                os.utime(path_of(folder, job))

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
