"""A paper's runs on another machine, without DVC and Hydra, and back: send, run.sh, take."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from test_pipeline import COLD, call, ran
from toy_paper import FIRST, dvc, launch, make, stage_runs, tables

pytestmark = pytest.mark.slow


OTHER = "digits-exp-10-joint-precisionfp32"  # with a representation of its own


def refused(here: Path, folder: str, path: Path, old: str, new: str, *words: str) -> None:
    """With `old` in the file replaced by `new`, take says why in a line, and changes nothing.

    What else it refuses is in longtail/papers/test_results_of_other_machine.py.
    """

    def kept() -> dict[Path, bytes]:
        files = [path for path in (here / "reports").rglob("*") if path.is_file() and ".dvc" not in path.parts]
        return {path: path.read_bytes() for path in files}

    text = path.read_text()
    assert old in text
    before = kept()
    try:
        path.write_text(text.replace(old, new))
        line = call(here, "python", "-m", "stages.other_machine", "take", folder, check=False)
        assert line.startswith("error: ") and line.count("\n") == 1 and all(word in line for word in words), line
        assert kept() == before
    finally:
        path.write_text(text)


@pytest.mark.timeout(900)  # a dozen processes that import torch
def test_runs_of_another_machine_are_recorded_as_done(tmp_path: Path) -> None:
    """send, run.sh without DVC and Hydra, take: the small results and the checksums of the large files."""
    (tmp_path / "here").mkdir()
    here, there = make(tmp_path / "here"), tmp_path / "there"
    run = "digits-exp-20-crt-precisionfp32"
    launch(here, "toy", FIRST, run, OTHER, "--only-enter")
    dvc(here, "repro", "download@digits")  # so that the data of the other machine can be told from those here
    folder = "a trip's $HOME"
    call(here, "python", "-m", "stages.other_machine", "send", folder, "--paper", "toy", FIRST, run, OTHER)
    assert "run `bash" in call(here, "python", "-m", "stages.other_machine", "take", folder, check=False)
    there.mkdir()
    shutil.copytree(here / "stages", there / "stages")
    shutil.copytree(here / folder, tmp_path / "elsewhere" / folder)
    trip = tmp_path / "elsewhere" / folder
    script = (trip / "run.sh").read_text()
    assert "dvc" not in script and script.count("stages.represent") == 2, "the representation is shared"
    (trip / f"params/represent-{OTHER}.yaml").write_text("")
    broken = trip / f"params/run-{FIRST}.yaml"
    whole = broken.read_text()
    broken.write_text("")
    assert f"failed: {FIRST} {OTHER}" in call(there, "bash", f"{trip}/run.sh", check=False), (
        "the other one is done all the same"
    )
    assert (trip / f"results/{run}/metrics.json").is_file()
    broken.write_text(whole)
    stopped = subprocess.Popen(["bash", f"{trip}/run.sh"], cwd=there, env=COLD, start_new_session=True)
    while not stage_runs(stopped.pid):
        assert stopped.poll() is None
        time.sleep(0.01)
    os.killpg(stopped.pid, signal.SIGINT)
    assert stopped.wait(timeout=60) == 130, "told to stop, it went on with the next run"
    assert f"failed: {OTHER}" in call(there, "bash", f"{trip}/run.sh", check=False)
    entered = yaml.safe_load((here / "reports/papers/toy/params.yaml").read_text())
    for kind, name, manifest in (("runs", run, "manifest.json"), ("represent", FIRST, "represent.json")):
        told = json.loads((trip / f"results/{name}/{manifest}").read_text())
        assert told["revision"] == call(here, "git", "rev-parse", "--short=12", "HEAD").strip()
        assert told["recipe"] == entered[kind][name]["recipe"]
    shutil.copytree(trip, here / folder, dirs_exist_ok=True)
    # As if the parameter file had been another one while it ran, and put back before it was packed.
    manifest_here = here / folder / f"results/{run}/manifest.json"
    refused(here, folder, manifest_here, '"recipe": "', '"recipe": "0', run, "trained by other parameters")
    taken = call(here, "python", "-m", "stages.other_machine", "take", folder)
    assert f"toy/dvc.yaml:run@{run}" in taken and f"run@{OTHER}" not in taken
    stages = [f"toy/dvc.yaml:{name}" for name in (f"represent@{FIRST}", f"run@{FIRST}", f"run@{run}")]
    assert not ran(dvc(here, "repro", "--single-item", "--allow-missing", "--dry", *stages))
    assert tables(here, "--paper", "toy", "--missing").startswith("toy: 4 runs missing")
