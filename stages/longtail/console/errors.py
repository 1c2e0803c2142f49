"""Errors as users see them: one line on stderr and exit code 1, never a traceback.

For a misspelt option argparse prints the usage and one line, and exits with code 2.
"""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

ERROR_FILE = "TORCHELASTIC_ERROR_FILE"  # of the environment: where torch's elastic launch reads why a process failed


class UserError(Exception):
    """Something that the user can put right. The message names the key, file or class and says what to do."""


class Interrupted(BaseException):
    """A signal asked the program to stop. Not an Exception, so that no `except Exception` catches it on its way out."""


# Ctrl-C, `kill`, and the signals that SLURM sends to a job's processes before its time is up or it is preempted.
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """Stop the program, once: SLURM, torchrun and DVC may each send a signal, and what the first one began, such as
    writing a checkpoint, must not be interrupted by the second."""
    for stop in STOPS:
        signal.signal(stop, _told_already)
    raise Interrupted(signal.Signals(signum).name)


def _told_already(signum: int, frame: FrameType | None) -> None:
    """Do nothing. SIG_IGN would be inherited by programs that are started from now on."""


def _one_line(error: OSError) -> str:
    """What happened and what to do about it, followed by the notes that the code added to the error."""
    return "; ".join([_remedy(error), *getattr(error, "__notes__", [])])


def _remedy(error: OSError) -> str:
    where = error.filename or "a file"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space left on the disk while writing {where}: free some space and run again"
    if error.errno == errno.EFBIG:
        return f"{where} grows beyond what the file system or `ulimit -f` allows: raise the limit or write elsewhere"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"no permission for {where}: change its permissions or its owner and run again"
    if error.errno == errno.ENOENT:
        return f"{where} does not exist: run the stage that makes it (dvc repro), or name another path"
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return f"{where} or a part of its path is a file where a folder belongs: move it away and run again"
    return f"{where}: {error.strerror or error}"


class _Unread(io.FileIO):
    """Standard output that drops text once its reader, such as `head`, has closed: no reason to stop training."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return memoryview(data).nbytes


def _output() -> None:
    """Make printing never fail: characters that the terminal's encoding lacks are printed as escapes."""
    if sys.stdout is sys.__stdout__ and sys.stdout is not None:
        sys.stdout.flush()
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(_Unread(sys.stdout.fileno(), "w", closefd=False)),
            encoding=sys.stdout.encoding,
            errors="backslashreplace",
            line_buffering=sys.stdout.line_buffering,
        )


def _exit(line: str) -> NoReturn:
    """With the line on stderr; but one of several processes leaves it to what started them, which reads its file."""
    path = os.environ.get(ERROR_FILE)
    if path is None:
        sys.exit(line)
    said = {"message": line, "extraInfo": {"timestamp": str(int(time.time())), "py_callstack": line}}
    Path(path).write_text(json.dumps({"message": said}))
    sys.exit(1)


def run(main: Callable[[], None]) -> None:
    """Call `main` as a script. Errors that a user can put right become one line and exit code 1.

    A signal to stop becomes one line too, with exit code 130 (Ctrl-C) or 143 (all others).
    """
    for signum in STOPS:
        signal.signal(signum, _interrupt)
    _output()
    try:
        main()
    except UserError as error:
        _exit(f"error: {' '.join(str(error).split())}")
    except OSError as error:
        _exit(f"error: {_one_line(error)}")
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(
            words in str(error) for words in ("out of memory", "can't allocate memory")
        ):
            raise
        _exit(
            "error: out of memory: lower protocol.batch_size or runtime.at_once, run fewer jobs at once, or use a "
            "larger machine"
        )
    except Interrupted as signal_name:
        if ERROR_FILE not in os.environ:  # what started this process was told to stop as well
            print(
                f"stopped by {signal_name}: run the same command again to go on after the last finished epoch",
                file=sys.stderr,
            )
        sys.exit(130 if str(signal_name) == "SIGINT" else 143)
    finally:
        if ERROR_FILE in os.environ:  # all is said: what started this process may now tell it to end
            for signum in STOPS:
                signal.signal(signum, signal.SIG_IGN)
