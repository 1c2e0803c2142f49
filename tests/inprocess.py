"""Stages run in the tests' own process, as the scripts do (torch takes seconds to import), and ways to damage files."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from stages.longtail.console import errors
from stages.longtail.training import checkpoint

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
del STAGES["listing"]  # no script of its own: tests/longtail/sources/test_listing.py
REPRESENTATION, CLASSIFIER = Path("data/representation/checkpoint.pt"), Path("data/classifier/checkpoint.pt")
QUIET = DeprecationWarning | PendingDeprecationWarning | ImportWarning | ResourceWarning  # Python shows none by default

needs_dev_full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full: a full disk is not tested")


def outputs(stage: str) -> list[str]:
    listed = [*STAGES[stage].get("outs", []), *STAGES[stage].get("metrics", [])]
    return [name if isinstance(name, str) else next(iter(name)) for name in listed]


def start(stage: str, *arguments: str) -> int | str | None:
    """Run a stage's script here, in the working directory. Returns what it gave to sys.exit: a line, or a code.

    Nothing else may have come to stderr, no warning either.
    """
    handlers = {number: signal.getsignal(number) for number in errors.STOPS}
    code: int | str | None = None
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(record=True) as shown:
        patch.setattr(sys, "argv", [stage, *arguments])
        patch.setattr(checkpoint, "SCRATCH", Path(".scratch"))
        try:
            with contextlib.redirect_stderr(io.StringIO()) as stderr:
                errors.run(importlib.import_module(f"stages.{stage}").main)
        except SystemExit as stop:
            code = stop.code
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    assert not [warning for warning in shown if not issubclass(warning.category, QUIET)], shown
    assert not stderr.getvalue() or code in (130, 143), stderr.getvalue()
    return code


def ok(*stages: str) -> None:
    for stage in stages:
        assert start(stage) is None


def refused(stage: str, *words: str, arguments: Sequence[str] = ()) -> str:
    """Run a stage that must end in one line with every word in it, with every file as it was, and no new one."""
    before = files()
    line = start(stage, *arguments)
    assert isinstance(line, str) and line.startswith("error: ") and "\n" not in line, line
    for word in words:
        assert word in line, f"{word!r} is not in {line!r}"
    assert files() == before
    return line


def files() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}


def shorten(path: Path, length: int) -> None:
    """Cut a file: to `length` bytes, or by so many if it is negative."""
    path.write_bytes(path.read_bytes()[:length])


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


class Bomb:
    """Unpickled, it makes a folder."""

    def __init__(self, target: Path):
        self.target = str(target)

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (self.target,)
