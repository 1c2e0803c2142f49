"""The toy paper's runs by `launch --on`: several at once on this machine, and on a SLURM of this machine's own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import ROOT
from test_pipeline import ENV, call, ran
from toy_paper import FIRST, dvc, launch, make

from stages.longtail.cluster import attempts, launch_commands

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
JOBS = Path("reports/papers/toy/data/jobs")
DRY = ("repro", "-P", "--allow-missing", "--dry")


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("paper"))


def test_runs_on_this_machine_are_recorded_as_if_dvc_had_run_them(paper: Path) -> None:
    run = "digits-exp-20-crt-precisionfp32"
    output = launch(paper, "toy", FIRST, run, "--on", "local", "--at-once", "2")
    assert f"recorded toy/dvc.yaml:run@{run}" in output
    assert launch(paper, "toy", "--status").splitlines() == [f"done     {FIRST}", f"done     {run}"]
    assert (paper / f"reports/papers/toy/metrics/{run}/predictions.npz").is_file()
    table = (paper / "reports/papers/toy/table1.md").read_text()
    assert re.search(r"[2-6] of 6 cells", table), "the tables are written again"
    assert not ran(dvc(paper, *DRY))
    assert not ran(dvc(paper, "repro", "-P", "--dry")), "the networks are not in DVC's cache"
    again = launch(paper, "toy", FIRST, run, "--on", "local")
    assert "nothing new to record" in again and " done" not in again


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Calls SLURM's commands, and all else in its environment."""
    if not shutil.which("slurmctld"):
        pytest.skip("no SLURM here: `tests/slurm.sh install`, as root on Debian or Ubuntu, installs one")
    if os.geteuid():
        pytest.skip("SLURM's daemons must be started by root")
    script, folder = str(ROOT / "tests/slurm.sh"), str(tmp_path / "slurm")
    try:
        call(ROOT, script, "up", folder)
        ENV["SLURM_CONF"] = f"{folder}/slurm.conf"
        yield lambda *command: call(ROOT, *command)
    finally:
        call(ROOT, script, "down", folder, check=False)
        ENV.pop("SLURM_CONF", None)


def test_slurm_stops_jobs_and_goes_on_with_them(
    paper: Path, slurm: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is told that its time is up, one is put back into the queue, and one fails; the others are done."""
    monkeypatch.chdir(paper)
    joint, crt = "digits-exp-10-joint-precisionfp32", "digits-exp-10-crt-precisionfp32"
    long, broken = f"{joint}+epochs=100", f"{joint}+lr=1e9"
    options = ("--on", "slurm", "--at-once", "2", "--slurm", "time=60", "gpus_per_node=1")
    refused = launch(paper, "toy", joint, "--on", "slurm", "--slurm", "partition=none", check=False)
    assert refused.splitlines()[-1].startswith("error: sbatch refuses the jobs: ") and "partition" in refused

    def state(job: str) -> str:
        return attempts.read(JOBS, job).state

    def number(job: str) -> str:
        return json.loads((JOBS / "slurm/ids.json").read_text())[job]

    def wait(reached: Callable[[], bool]) -> None:
        """SLURM lets a job that it stopped wait for two minutes: not here."""
        while not reached():
            for line in slurm("squeue", "--noheader", "--array", "--format=%i %r").splitlines():
                if line.endswith("BeginTime"):
                    call(paper, "scontrol", "update", f"job={line.split()[0]}", "starttime=now", check=False)
            time.sleep(0.2)

    def line(run: str) -> str:
        return next(line for line in launch_commands.told(Path("reports/papers"), "toy") if line.split()[1] == run)

    def reach(job: str, wanted: str) -> None:
        """Wait until the job is in this state, which it must not miss."""
        wait(lambda: state(job) in (wanted, "done", "failed"))
        assert state(job) == wanted

    output = launch(paper, "toy", joint, "--set", "protocol.epochs=100", *options)
    assert "1 split: job " in output and "1 represent: job " in output and "1 run: job " in output
    wait(lambda: "epoch 10 of 100" in line(long) or state(f"represent-{long}") in ("done", "failed"))
    assert line(long).startswith("running") and "images/s, " in line(long)
    slurm("scancel", "--signal=USR2", number(f"represent-{long}"))
    reach(f"represent-{long}", "stopped")
    assert line(long).startswith("waiting")
    launch(paper, "toy", joint, "--set", "protocol.lr=1e9", *options)
    assert "2 run: job " in launch(paper, "toy", joint, crt, *options)
    assert "nothing to submit" in launch(paper, "toy", joint, crt, *options)
    reach(f"run-{crt}", "running")
    slurm("scontrol", "requeue", number(f"run-{crt}"))
    wait(lambda: not slurm("squeue", "--noheader"))

    told = attempts.log_of(JOBS, f"represent-{long}").read_text()
    assert "stopped by SIGUSR2" in told and "seed 0: from .scratch, epoch" in told
    assert [line(run).split(maxsplit=2)[::2] for run in (long, crt)] == [["done", "resumed 1 time"]] * 2
    assert line(joint).startswith("done")
    assert line(broken).startswith("failed") and "the loss of seed 0 is nan" in line(broken)

    output = launch(paper, "toy", "--record")
    assert all(f"recorded toy/dvc.yaml:run@{run}\n" in output for run in (long, joint, crt)) and broken not in output
    left = ran(dvc(paper, *DRY, check=False))
    assert f"toy/dvc.yaml:represent@{broken}" in left
    assert left <= {f"toy/dvc.yaml:represent@{broken}", f"toy/dvc.yaml:run@{broken}"}
    assert "nothing new to record" in launch(paper, "toy", "--record")
    assert "nothing to submit" in launch(paper, "toy", joint, crt, long, *options)
    subprocess.run(["git", "add", "-A"], check=True)
    assert "data/jobs" not in call(paper, "git", "status", "--short")
