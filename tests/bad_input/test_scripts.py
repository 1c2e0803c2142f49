"""A loss that is not finite, the help of each script, and scripts without DVC and Hydra."""

from __future__ import annotations

import fnmatch
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import ROOT, Workplace, tiny
from inprocess import STAGES, outputs, refused, start

from stages.longtail.training import losses

# A loss that is not finite.


def test_nan_in_the_loss_names_epoch_and_step(ready: Workplace) -> None:
    ready.write(tiny(protocol__lr=1e30))
    line = start("represent")
    assert isinstance(line, str)
    match = re.fullmatch(r"error: the loss of seed 0 is (nan|inf) at epoch 1, step (\d+): lower protocol\.lr.*", line)
    assert match and int(match[2]) > 1, line  # the first step's loss is that of the fresh network
    assert not Path("data/representation").exists() and not list(Path(".scratch").rglob("*.pt"))


def test_nan_in_the_loss_of_classify_names_its_rate(trained: Workplace) -> None:
    crt = yaml.safe_load((ROOT / "conf/classifier/crt.yaml").read_text())
    trained.write(tiny(classifier=crt | {"epochs": 2, "lr": 1e38, "weight_decay": 0.0}))
    refused("classify", "at epoch 1, step ", "classifier.lr")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_the_epoch_and_step_are_those_of_the_first_loss_that_is_not_finite(
    ready: Workplace, monkeypatch: pytest.MonkeyPatch, bad: float
) -> None:
    steps = -(-len(np.load("data/splits/kept.npy")) // 64)
    calls = iter(range(10**6))

    def spoiled(logits: torch.Tensor, labels: torch.Tensor, whole: None) -> torch.Tensor:
        good = torch.nn.functional.cross_entropy(logits, labels)
        return good * bad if next(calls) == 2 * steps + 3 else good

    monkeypatch.setattr(losses, "build", lambda *_: spoiled)
    assert f"is {bad} at epoch 3, step 4" in str(start("represent"))
    assert not Path("data/representation").exists()
    kept = [path.name for path in Path(".scratch").rglob("*.pt")]
    assert kept == ["epoch-2.pt"], "what is kept must be the last finished epoch"


# The scripts themselves.


@pytest.mark.parametrize("stage", STAGES)
def test_help_names_inputs_and_outputs(stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert start(stage, "--help") == 0
    text = capsys.readouterr().out
    for title in ("Reads ", "Writes ", "--params"):
        assert title in text
    inputs, written = text.split("Writes ")
    declared = [name for name in STAGES[stage]["deps"] if name.startswith(("data/", "reports/"))]
    for part, names in ((inputs, declared), (written, outputs(stage))):
        patterns = [word.strip(",;:").rpartition("/")[2] for word in part.split()]
        patterns = [re.sub("<.*>", "*", pattern) for pattern in patterns if "." in pattern]
        for name in names:
            file = Path(name).name
            if "." in file:
                assert any(fnmatch.fnmatch(file, pattern) for pattern in patterns), f"{name} is not in {part}"
    for folder in {Path(name).parent.as_posix() for name in (*declared, *outputs(stage)) if Path(name).suffix}:
        above = [place.as_posix() for place in (Path(folder), *Path(folder).parents)]
        assert any(f"({place})" in text for place in above), f"the option for {folder} is not in the help"


def test_tables_and_launch_do_not_wait_for_imports_that_they_do_not_need() -> None:
    """Each of these takes longer to import than both scripts do together."""
    code = "import sys, stages.tables, stages.launch; print(*sys.modules)"
    modules = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).split()
    assert "stages.longtail.evaluation.intervals" in modules
    assert not {"torch", "scipy.stats", "sklearn", "torchvision", "torchmetrics", "dvc"} & {*modules}


WITHOUT = """
import importlib, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("dvc", "hydra", "omegaconf"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
for stage in ("split", "represent", "classify", "evaluate"):
    importlib.import_module("stages." + stage).main()
"""


def test_stages_run_without_dvc_and_hydra(digits: Workplace) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], cwd=digits.folder, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert (digits.folder / "reports/metrics.json").is_file()
