"""Stages started within milliseconds: `python` in `folder()` forks them off a process that has imported torch.

Importing torch takes seconds, most of the time of a test in which DVC runs five stages. So where a test only needs
stages to run, `python -m stages.NAME` finds this folder first in PATH: the command hands its arguments, environment and
streams to the process that `serve` waits in, passes signals on, and ends as the stage ends. Only other people's modules
are imported beforehand; the stage's own code is read from the working directory, as always. Everything else that
`python` is asked for, and everything where there is no server, goes to the real one.
"""

from __future__ import annotations

import ast
import atexit
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Runs without the packages of the environment, whose mere look-up would take longer than all the rest.
COMMAND = """#!{python} -IS
import json, os, signal, socket, sys
arguments = sys.argv[1:]
if len(arguments) > 1 and arguments[0] == "-m" and arguments[1].startswith("stages."):
    server = socket.socket(socket.AF_UNIX)
    try:
        server.connect({address!r})
    except OSError:
        pass  # no server: as if this command were the real one
    else:
        request = json.dumps([arguments[1:], os.getcwd(), dict(os.environ)]).encode()
        socket.send_fds(server, [len(request).to_bytes(8)], [0, 1, 2])
        server.sendall(request)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, lambda number, frame: server.send(bytes([number])))
        answer = server.recv(2)
        if not answer:
            sys.exit("what tests/warm.py started this stage with is gone, and nobody knows how the stage ended")
        code = int.from_bytes(answer, signed=True)
        if code < 0:
            if code != -signal.SIGKILL:  # whose effect nothing can change
                signal.signal(-code, signal.SIG_DFL)
            os.kill(os.getpid(), -code)
        os._exit(code)
os.execv({python!r}, [{python!r}, *arguments])
"""


@cache
def folder() -> Path:
    """The folder with `python` and `python3`, for the front of PATH. It goes when this process ends."""
    kept = tempfile.TemporaryDirectory(prefix="warm-")
    atexit.register(kept.cleanup)
    for name in ("python", "python3"):
        path = Path(kept.name, name)
        path.write_text(COMMAND.format(python=sys.executable, address=f"{kept.name}/server"))
        path.chmod(0o755)
    return Path(kept.name)


@cache
def start() -> None:
    """Start the server, for as long as this process lives.

    There is none without pidfd (Linux has it), or where its socket's path would be longer than one may be.
    """
    address = f"{folder()}/server"
    if not hasattr(os, "pidfd_open") or len(os.fsencode(address)) > 100:
        return
    command = [sys.executable, "-m", "tests.warm", address]
    server = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    assert server.stdout and server.stdout.readline() == b"ready\n"
    atexit.register(server.kill)


def serve(address: str) -> None:
    """Answer commands until standard input closes."""
    for name in imported():
        importlib.import_module(name)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen()
    print("ready", flush=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how those that guard a stage ended
    while True:
        readable, _, _ = select.select([listening.fileno(), sys.stdin.fileno()], [], [])
        if sys.stdin.fileno() in readable:
            return
        connection, _ = listening.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listening.close()
            guard(connection)
            os._exit(0)
        connection.close()


def imported() -> set[str]:
    """What the code of the stages imports that is not theirs."""
    found = set()
    for path in (ROOT / "stages").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module)
    return {name for name in found if name.split(".")[0] not in ("stages", "__future__")}


def guard(connection: socket.socket) -> None:
    """Run what one command asks for: hand signals on to it, kill it with the command, and report how it ended."""
    length, streams, _, _ = socket.recv_fds(connection, 8, 3)
    request = b""
    while len(request) < int.from_bytes(length):
        more = connection.recv(1 << 16)
        if not more:
            return  # the command was killed meanwhile
        request += more
    arguments, place, environment = json.loads(request)
    stage = os.fork()
    if stage == 0:
        connection.close()
        run(arguments, place, environment, streams)
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(stage)
    while True:
        readable, _, _ = select.select([connection.fileno(), ended], [], [])
        if ended in readable:
            break
        number = connection.recv(1)
        os.kill(stage, number[0] if number else signal.SIGKILL)
        if not number:
            break
    code = os.waitstatus_to_exitcode(os.waitpid(stage, 0)[1])
    connection.sendall(code.to_bytes(2, signed=True))


def run(arguments: list[str], place: str, environment: dict[str, str], streams: list[int]) -> None:
    """Become the stage. Does not return."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(place)
    os.environ.clear()
    os.environ.update(environment)
    import numpy  # there already

    numpy.random.seed()  # as when Python starts: each stage would go on from the server's state, and look reproducible
    sys.argv[:] = arguments
    sys.path[0] = place
    code: int | str | None = 0
    try:
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    except SystemExit as stop:
        code = stop.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    serve(sys.argv[1])
