"""docs/data.md: its commands, for a folder and for lists, with images made here."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from conftest import ROOT, Workplace, composed
from inprocess import ok
from PIL import Image

TEXT = (ROOT / "docs/data.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    dvc exp run (.*)$", TEXT, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_read_images(command: str, here: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    for division in ("train", "test"):
        for kind in ("ant", "cat"):
            Path(f"DIR/{division}/{kind}").mkdir(parents=True)
            Image.new("RGB", (8, 8), "red").save(f"DIR/{division}/{kind}/1.png")
        Path(f"{division}.txt").write_text(f"{division}/ant/1.png 0\n{division}/cat/1.png 1\n")
    here.write(composed(*(part for part in shlex.split(command) if part != "-S")))
    ok("download")
    assert "folder: 2 training and 2 test images" in capsys.readouterr().out


def test_there_is_a_command_for_a_folder_for_large_images_and_for_lists() -> None:
    assert len(COMMANDS) == 3 and "packed" in COMMANDS[1] and "lists" in COMMANDS[2]
