"""docs/add-a-method.md, carried out as it stands: its blocks are applied, then its commands run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import warm
import yaml
from conftest import ROOT, copy_project

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs/add-a-method.md").read_text()
BLOCK = re.compile(r"^```diff\n(.*?)^```", re.M | re.S)
ENV = {
    # The page's own pytest is not a worker of this one, whose shared folders it would find.
    **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
    "PATH": os.pathsep.join(map(str, (warm.folder(), Path(sys.executable).parent, os.environ["PATH"]))),
    "PYTHONDONTWRITEBYTECODE": "1",
    **{f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


def call(folder: Path, *command: str, given: str | None = None) -> str:
    done = subprocess.run(command, cwd=folder, env=ENV, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{shlex.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the working tree, committed, with the page's blocks applied."""
    folder = tmp_path_factory.mktemp("project")
    warm.start()
    copy_project(folder)
    call(folder, "git", "add", "-A")
    call(folder, "git", "commit", "-qm", "before")
    for block in BLOCK.findall(PAGE):
        call(folder, "git", "apply", "-", given=block)
    return folder


@pytest.mark.timeout(900)
def test_the_page_works_as_it_stands(project: Path) -> None:
    listed = re.findall(r"^    (.+)$", BLOCK.sub("", PAGE), re.M)
    assert [line.split()[0] for line in listed] == ["python", "python", "pytest", "python", "dvc"]
    told = {line: call(project, *shlex.split(line)) for line in listed}
    passed = re.search(r"(\d+) passed", told[listed[2]])
    assert passed and int(passed[1]) >= 5
    assert "stages/longtail/training/losses.py:" in told["python -m stages.methods poly"]
    assert yaml.safe_load((project / "params.yaml").read_text())["representation"]["loss"]["kind"] == "poly"
    assert "# poly on digits" in (project / "reports/table.md").read_text()


def test_the_example_is_formatted_and_linted(project: Path) -> None:
    changed = call(project, "git", "ls-files", "--modified", "--others", "--exclude-standard", "*.py").splitlines()
    assert len(changed) == 4
    call(project, "ruff", "check", *changed)
    call(project, "ruff", "format", "--check", *changed)
