"""What git does to the files on the way to another machine."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conftest import ROOT


@pytest.mark.parametrize("setting", ["core.autocrlf=true", "core.eol=crlf"])
def test_a_clone_has_the_same_bytes_whatever_line_ends_git_prefers(setting: str, tmp_path: Path) -> None:
    """Line ends of Windows would make every recorded result stale."""
    clone = tmp_path / "clone"
    command = ["git", "clone", "--quiet", "--depth=1", "-c", setting, ROOT.as_uri(), str(clone)]
    subprocess.run(command, check=True, capture_output=True)
    listed = subprocess.run(["git", "ls-files", "--eol"], cwd=clone, check=True, capture_output=True, text=True).stdout
    lines = listed.splitlines()
    assert len(lines) > 100
    assert [line for line in lines if line.split()[0].removeprefix("i/") != line.split()[1].removeprefix("w/")] == []
    status = subprocess.run(["git", "status", "--porcelain"], cwd=clone, check=True, capture_output=True, text=True)
    assert status.stdout == ""
