"""Jobs on one machine, with stages that are made up: which run when, and what is said of them."""

from __future__ import annotations

import hashlib
import itertools
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import ROOT

from stages import launch
from stages.longtail.cluster import attempts, local_pool, status
from stages.longtail.cluster.attempts import Attempt
from stages.longtail.cluster.local_pool import LocalPool
from stages.longtail.papers import jobs
from stages.longtail.papers.jobs import Job

STAGE = """
import os, signal, sys, time
from pathlib import Path
out = Path(sys.argv[2])
def stop(*_):
    print("stopped by a signal")
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
Path("began", out.name).write_text(f"{time.time()} {os.environ.get('CUDA_VISIBLE_DEVICES', 'all')}")
print(f"represent, seed 0: epoch 1 of 3, loss 1.0, train 50.0, 1234 images/s, 56 s left", flush=True)
if "broken" in out.name:
    Path("ended", out.name).write_text(str(time.time()))
    sys.exit("error: the loss is nan")
while "long" in out.name and not Path("enough").exists():
    time.sleep(0.01)
time.sleep(0.2)
out.write_text("made")
Path("ended", out.name).write_text(str(time.time()))
"""


def job(folder: Path, kind: str, name: str, *needs: Job) -> Job:
    (folder / "params").mkdir(parents=True, exist_ok=True)
    path = f"made-{kind}-{name}"
    (folder / f"params/{path}.yaml").write_text("")
    words = ["represent", "--out", path]
    reads, nothing = [one.writes[0] for one in needs], hashlib.sha256().hexdigest()
    return Job(path, kind, f"toy/{name}", "x", nothing, [words], [one.name for one in needs], reads, [path], [])


def ordered(folder: Path, *members: Job) -> list[Job]:
    jobs.write(folder, "toy", {one.name: one for one in members})
    return list(members)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in ("stages", "began", "ended"):
        Path(name).mkdir()
    Path("stages/represent.py").write_text(STAGE)
    return Path("jobs")


def test_each_slot_has_a_gpu_and_a_failure_holds_up_only_what_needs_it(folder: Path) -> None:
    one, two, broken = (job(folder, "represent", name) for name in ("one", "two", "broken"))
    after, never = job(folder, "runs", "after", one), job(folder, "runs", "never", broken)
    todo = ordered(folder, broken, one, two, never, after)
    assert LocalPool(folder, ["0", "1"]).run(todo) == [broken.name, never.name]
    began = {path.name: path.read_text().split() for path in Path("began").iterdir()}
    assert {gpu for _, gpu in began.values()} == {"0", "1"} and never.name not in began
    began_at = {name: float(at) for name, (at, _) in began.items()}
    ended_at = {path.name: float(path.read_text()) for path in Path("ended").iterdir()}
    assert began_at[after.name] > ended_at[one.name], "it began before what it needs had ended"
    steps = [(at, 1) for at in began_at.values()] + [(at, -1) for at in ended_at.values()]
    assert max(itertools.accumulate(step for _, step in sorted(steps))) == 2
    assert status.lines(folder) == [
        f"failed   never  {broken.name}: represent: the loss is nan",
        "done     after",
    ]
    assert jobs.finished(folder, after) == {
        one.name: jobs.checksum(Path(one.name)),
        after.name: jobs.checksum(Path(after.name)),
    }


def test_a_run_whose_turn_it_is_does_not_keep_a_slot_while_what_it_needs_is_running(folder: Path) -> None:
    long, short = job(folder, "represent", "long"), job(folder, "represent", "short")
    needs_long, ready = job(folder, "runs", "needs", long), job(folder, "runs", "ready", short)
    pool = LocalPool(folder, ["0", "1"])
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(pool.run, ordered(folder, long, short, needs_long, ready))
        end = time.monotonic() + 60
        while not Path("ended", ready.name).exists() and time.monotonic() < end:
            time.sleep(0.05)
        waited = Path("ended", long.name).exists() or not Path("ended", ready.name).exists()
        Path("enough").touch()
        assert done.result() == [] and not waited


def test_a_pool_that_is_told_to_stop_tells_its_stages_and_goes_on_later(folder: Path) -> None:
    todo = ordered(folder, job(folder, "represent", "long"), job(folder, "represent", "next"))
    runs = job(folder, "runs", "long", todo[0])
    ordered(folder, *todo, runs)
    script = folder / "pool.py"
    script.write_text(
        "from pathlib import Path\n"
        "from stages.longtail.cluster.local_pool import LocalPool\n"
        "from stages.longtail.console import errors\n"
        "from stages.longtail.papers import jobs\n"
        "ordered = jobs.read(Path('jobs'))[1]\n"
        "errors.run(lambda: LocalPool(Path('jobs'), ['']).run(list(ordered.values())))\n"
    )
    pool = subprocess.Popen([sys.executable, script], env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True)
    while status.lines(folder) != ["running  long  represent, seed 0: epoch 1 of 3, 1234 images/s, 56 s left"]:
        assert pool.poll() is None
        time.sleep(0.05)
    pool.send_signal(signal.SIGTERM)
    assert pool.wait(60) == 143
    assert not Path("began", todo[1].name).exists(), "it went on with the next job"
    assert status.lines(folder) == ["stopped  long  ask for it again, and it goes on"]
    Path("enough").touch()
    assert LocalPool(folder, [""]).run([*todo, runs]) == []
    assert status.lines(folder) == ["done     long  resumed 1 time"]


def test_a_job_whose_process_is_gone_is_not_running(folder: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for host, pid, state in (
        (attempts.host(), ended.pid, "stopped"),
        (attempts.host(), os.getpid(), "running"),
        ("another", 1, "running"),
    ):
        attempts.write(folder, "job", Attempt("running", "slurm 1", host, pid))
        assert attempts.read(folder, "job").state == state
    silent = time.time() - 2 * attempts.SILENT
    os.utime(attempts.path_of(folder, "job"), (silent, silent))
    assert attempts.read(folder, "job").state == "stopped", "of another machine, which gave no sign of life for long"
    attempts.write(folder, "job", Attempt("running", "local", attempts.host(), os.getpid()))
    os.utime(attempts.path_of(folder, "job"), (silent, silent))
    assert attempts.read(folder, "job").state == "stopped", "its number is another process's by now"


def test_an_error_of_the_disk_fails_one_job(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full, fine = ordered(folder, job(folder, "represent", "full"), job(folder, "represent", "fine"))

    def carry_out(folder: Path, name: str, *others: object) -> None:
        if name == full.name:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(local_pool, "carry_out", carry_out)
    assert LocalPool(folder, [""]).run([full, fine]) == [full.name]


def test_options_of_sbatch_may_come_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    command = "launch switching run --on slurm --slurm partition=gpu time=9 --slurm account=mine"
    monkeypatch.setattr(sys, "argv", command.split())
    assert dict(launch.parse().slurm) == {"partition": "gpu", "time": 9, "account": "mine"}
