"""What a script prints: nobody who stops reading stops the work, and no name is unprintable."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Workplace

from stages.longtail.console.suggestions import suggest


def test_a_stage_goes_on_when_nobody_reads_its_output(workplace: Workplace) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "stages.download"]
    done = subprocess.run(command, cwd=workplace.folder, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")
    assert (workplace.folder / "data/raw/meta.json").is_file()


@pytest.mark.parametrize("code", [0, 3])
def test_make_goes_on_when_nobody_reads_its_output(code: int, tmp_path: Path) -> None:
    """As in `make | head -1`, with a program in DVC's place that fails if it cannot print."""
    shutil.copy2(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements.txt").touch()
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/table.md").write_text("| all |\n")
    (tmp_path / ".venv/bin").mkdir(parents=True)
    dvc = tmp_path / ".venv/bin/dvc"
    dvc.write_text(
        "#!/bin/sh\nset -e\nfor i in $(seq 20000); do echo line $i; done\ntouch finished\n" + f"exit {code}\n"
    )
    dvc.chmod(0o755)
    (tmp_path / ".venv/ready").touch()
    command = "set -o pipefail; make repro 2> errors | head -1"
    # As a person's make, not as one that `make test` started, which names its folder first.
    env = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout == "line 1\n" and (tmp_path / "finished").exists()
    assert (done.returncode, "Error 3" in (tmp_path / "errors").read_text()) == ((2, True) if code else (0, False))


def test_a_name_that_the_terminal_cannot_show_is_printed_as_an_escape(workplace: Workplace) -> None:
    script = "from stages.longtail.console import errors\nerrors.run(lambda: print('Käfer'))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=workplace.folder,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "K\\xe4fer\n"), done.stderr


def test_a_second_signal_does_not_interrupt_the_end_that_the_first_one_began() -> None:
    """SLURM and torchrun both tell the same process to stop."""
    script = (
        "import signal\n"
        "from stages.longtail.console import errors\n"
        "def main():\n"
        "    try:\n"
        "        signal.raise_signal(signal.SIGUSR1)\n"
        "    finally:\n"
        "        signal.raise_signal(signal.SIGTERM)\n"
        "        print('kept')\n"
        "errors.run(main)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (143, "kept\n"), done.stderr
    assert done.stderr == "stopped by SIGUSR1: run the same command again to go on after the last finished epoch\n"


def test_a_word_that_is_near_to_none_of_many_gets_a_line_that_can_be_read() -> None:
    runs = [f"run-{number}" for number in range(100)]
    few = "run-0, run-1, run-2, run-3, run-4"
    listing = "python -m stages.launch switching --list"
    assert suggest("zebra", [*runs, *runs], listing) == f" (known: {few} and 95 more: {listing} lists them)"
    assert suggest("zebra", runs) == f" (known: {few} and 95 more)"
    assert suggest("zebra", runs[:5]) == f" (known: {few})"
    assert suggest("run_7", runs, listing) == ": did you mean 'run-7'?"
