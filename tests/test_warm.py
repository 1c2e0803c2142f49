"""A stage that `warm` starts ends as one that Python started: with its output, and by its exit code or signal."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import warm

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="no server here: stages start as a user's do"),
]


@pytest.fixture(scope="module", autouse=True)
def _server() -> None:
    warm.start()


def popen(folder: Path, code: str) -> subprocess.Popen[str]:
    """Start a stage of this code."""
    (folder / "stages").mkdir()
    (folder / "stages/some.py").write_text(code)
    environment = {**os.environ, "PATH": f"{warm.folder()}{os.pathsep}{Path(sys.executable).parent}"}
    command, pipe = ("python", "-m", "stages.some"), subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True)


def until_it_says_ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout and process.stdout.readline() == "ready\n"


@pytest.mark.parametrize(
    ("code", "status", "printed", "error"),
    [
        ("import sys\nprint('torch' in sys.modules)", 0, "True\n", ""),
        ("raise SystemExit('why')", 1, "", "why\n"),
        ("raise SystemExit(3)", 3, "", ""),
        ("import os\nos.kill(os.getpid(), 15)", -signal.SIGTERM, "", ""),
        ("import os\nos.kill(os.getpid(), 9)", -signal.SIGKILL, "", ""),
    ],
)
def test_a_stage_ends_as_it_would_by_itself(code: str, status: int, printed: str, error: str, tmp_path: Path) -> None:
    process = popen(tmp_path, code)
    assert (*process.communicate(timeout=60), process.returncode) == (printed, error, status)


def test_what_is_not_seeded_differs_from_stage_to_stage(tmp_path: Path) -> None:
    code = "import random, numpy\nprint(random.random(), numpy.random.rand())"
    drawn = []
    for name in ("one", "another"):
        (tmp_path / name).mkdir()
        drawn += popen(tmp_path / name, code).communicate(timeout=60)[0].split()
    assert len(set(drawn)) == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_reaches_the_stage(number: signal.Signals, tmp_path: Path) -> None:
    code = f"import signal, sys\nsignal.signal({number:d}, lambda *_: sys.exit(7))\n"
    process = popen(tmp_path, code + "print('ready', flush=True)\nsignal.pause()")
    until_it_says_ready(process)
    process.send_signal(number)
    assert process.wait(timeout=60) == 7


def test_a_stage_whose_end_nobody_saw_has_not_succeeded(tmp_path: Path) -> None:
    process = popen(tmp_path, "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)")
    assert "nobody knows how the stage ended" in process.communicate(timeout=60)[1]
    assert process.returncode == 1


def test_a_command_that_is_killed_early_leaves_nothing_behind() -> None:
    [server] = [one for one in psutil.Process().children() if "tests.warm" in one.cmdline()]
    before = {child.pid for child in server.children()}
    with socket.socket(socket.AF_UNIX) as command:
        command.connect(f"{warm.folder()}/server")
        socket.send_fds(command, [(100).to_bytes(8)], [0, 1, 2])
        command.sendall(b"half of what it was to s")
    deadline = time.monotonic() + 30
    time.sleep(0.2)
    while {child.pid for child in server.children()} - before:
        assert time.monotonic() < deadline, "what was to guard the stage runs on"
        time.sleep(0.1)
