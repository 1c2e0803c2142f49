"""What a person sees when something is wrong: one line on stderr and exit code 1, never a traceback."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType


class UserError(Exception):
    """A mistake or a condition that the person can mend. The message names the key, file or class and the remedy."""


class Interrupted(BaseException):
    """A signal asked to stop. Not an Exception, so that no handler swallows it on its way out."""


# Ctrl-C, `kill`, and what SLURM sends to the processes of a job before its time is up or another takes its place.
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise Interrupted(signal.Signals(signum).name)


def _one_line(error: OSError) -> str:
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


def run(main: Callable[[], None]) -> None:
    """Call `main` as a script: user errors become one line and exit code 1, a stop one line and 130 or 143."""
    for signum in STOPS:
        signal.signal(signum, _interrupt)
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    except BrokenPipeError:  # whoever read the output has gone, such as head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        sys.exit(f"error: {_one_line(error)}")
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(
            words in str(error) for words in ("out of memory", "can't allocate memory")
        ):
            raise
        sys.exit(
            "error: out of memory: lower protocol.batch_size or runtime.at_once, run fewer jobs at once, or use a "
            "larger machine"
        )
    except Interrupted as signal_name:
        print(
            f"stopped by {signal_name}: run the same command again to go on after the last finished epoch",
            file=sys.stderr,
        )
        sys.exit(130 if str(signal_name) == "SIGINT" else 143)
