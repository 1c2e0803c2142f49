"""Submits jobs to a SLURM cluster, by submitit. After that nothing needs to stay open."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.longtail.cluster.carry_out import Stopped, carry_out
from stages.longtail.console.errors import UserError
from stages.longtail.files.artifacts import read_json, write_json
from stages.longtail.papers.jobs import STAGES, Job

MAX_TIMEOUTS = 10_000  # how often a job may reach its time limit; each time it goes on where it stopped
PATIENCE = 60  # seconds that a stage that was told to stop has to write its checkpoint
GRACE = 600  # the longest time in seconds between SLURM's signal to a job and its end


@dataclass
class Work:
    """A job as submitit runs it. submitit submits it again when SLURM stops it at its time limit or preempts it."""

    folder: Path
    name: str
    _process: int | None = None

    def __call__(self) -> None:
        try:
            carry_out(self.folder, self.name, _place(), {}, self._begun)
        except Stopped:
            # If SLURM sent the signal that submitit handles, submitit puts the job back into the queue during this
            # sleep. If SLURM is about to end the job, SLURM puts it back, unless the job was cancelled. If the job is
            # still here after GRACE seconds, something else has stopped its stage.
            time.sleep(GRACE)
            raise UserError(f"{self.name}: a signal that is not SLURM's stopped its stage") from None

    def _begun(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process.pid

    def _is_alive(self) -> bool:
        """Whether the stage still runs. Popen must not be asked, because this handler interrupts its `wait`."""
        if self._process is None:
            return False
        with suppress(ChildProcessError):
            return os.waitid(os.P_PID, self._process, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None
        return False

    def checkpoint(self) -> Any:
        """Called by submitit when SLURM's signal comes, which the stage gets as well."""
        from submitit.helpers import DelayedSubmission

        end = time.monotonic() + PATIENCE
        while self._is_alive() and time.monotonic() < end:
            time.sleep(0.1)
        return DelayedSubmission(Work(self.folder, self.name))


def _place() -> str:
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"slurm {array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else f"slurm {os.environ['SLURM_JOB_ID']}"


def submit(folder: Path, paper: str, todo: list[Job], at_once: int, options: dict[str, Any]) -> list[str]:
    """Submit one array of jobs for each kind of stage.

    An array begins when the array before it and those of earlier calls that it needs have ended, failed jobs included.

    Args:
        folder: of the jobs, on a disk that all machines of the cluster share.
        paper: appears in the names of the jobs in the queue.
        todo: the jobs to submit.
        at_once: the number of jobs of an array that may run at the same time.
        options: of sbatch, such as partition, account, time (in minutes) and gpus_per_node. Only jobs that train get
            those about GPUs.
    Returns:
        One line for each array.
    Raises:
        UserError: there is no sbatch, it refuses the jobs, or `time` is not in minutes.
    """
    from submitit import SlurmExecutor
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    if not shutil.which("sbatch"):
        raise UserError("--on slurm: this machine has no sbatch: run it where jobs are submitted")
    minutes = options.get("time", 60)
    if not isinstance(minutes, int):
        raise UserError(f"--slurm time={minutes}: expected minutes, such as time=240")
    # A new cluster counts its jobs from 1 again, and submitit's files are named after them.
    files = folder / "slurm" / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    ids, busy = _ids(folder), queued(folder)
    before, lines = set[str](), []
    for wave in sorted({job.wave for job in todo}):
        members = [job for job in todo if job.wave == wave]
        stage = STAGES[members[0].kind]
        after = before | {_array(ids[need]) for job in members for need in job.needs if need in busy}
        # Options that these jobs do not get: `time` has a parameter of its own, and GPUs are for jobs that train.
        left_out = {"time"} if members[0].trains else {"time", "gres", *(key for key in options if "gpu" in key)}
        given = {key: value for key, value in options.items() if key not in left_out}
        executor = SlurmExecutor(files, max_num_timeout=MAX_TIMEOUTS)
        executor.update_parameters(
            job_name=f"{paper}-{stage}",
            time=minutes,
            array_parallelism=at_once,
            additional_parameters={"requeue": True, **given},
            **({"dependency": f"afterany:{':'.join(sorted(after))}"} if after else {}),
        )
        try:
            with executor.batch():
                submitted = [executor.submit(Work(folder, job.name)) for job in members]
        except (FailedJobError, FailedSubmissionError) as error:
            raise UserError(f"sbatch refuses the jobs: {_refusal(error)}") from None
        ids |= {job.name: one.job_id for job, one in zip(members, submitted, strict=True)}
        write_json(folder / "slurm" / "ids.json", ids)
        before = {_array(submitted[0].job_id)}
        lines.append(f"{len(members)} {stage}: job {_array(submitted[0].job_id)}")
    return lines


def _refusal(error: Exception) -> str:
    said = [line for line in str(error).splitlines() if line.strip()]
    return next((line for line in said if line.startswith("sbatch:")), said[-1] if said else "it does not say why")


def _array(job: str) -> str:
    return job.split("_")[0]


def _ids(folder: Path) -> dict[str, str]:
    path = folder / "slurm" / "ids.json"
    return read_json(path) if path.is_file() else {}


def queued(folder: Path) -> set[str]:
    """The names of the jobs that wait or run in SLURM's queue."""
    ids = _ids(folder)
    if not ids or not shutil.which("squeue"):
        return set()
    command = ["squeue", "--me", "--noheader", "--array", "--format=%i"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"squeue, which tells what is submitted already, fails: {done.stderr.strip()}")
    there = set(done.stdout.split())
    return {name for name, one in ids.items() if one in there}
