"""Completion of papers and runs in bash."""

from __future__ import annotations

import shutil
import subprocess

import pytest
import yaml
from conftest import ROOT

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")

COMPLETE = 'source stages/completion.bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _stages_launch'


def completed(*words: str) -> list[str]:
    """What bash offers for the last of the words."""
    command = ["bash", "-c", COMPLETE + '; printf "%s\\n" "${COMPREPLY[@]}"', "bash", *words]
    return subprocess.check_output(command, cwd=ROOT, text=True).split()


def test_papers_and_their_runs_are_completed() -> None:
    assert completed("python", "-m", "stages.launch", "s") == ["switching"]
    plan = yaml.safe_load((ROOT / "reports/papers/switching/plan.yaml").read_text())
    assert completed("python", "-m", "stages.launch", "switching", "") == list(plan)
    wanted = [name for name in plan if name.startswith("cifar10-exp-50-")]
    assert completed("python", "-m", "stages.launch", "switching", "--only-enter", "cifar10-exp-50-") == wanted


def test_other_commands_keep_file_names() -> None:
    assert completed("python", "-m", "stages.tables", "s") == []
    assert completed("python", "-m", "stages.launch", "no-such-paper", "c") == []
