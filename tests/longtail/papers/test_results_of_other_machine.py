"""What comes back from another machine: a run whose head is not trained, checked against its recipe."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import ROOT

from stages.longtail.configuration import cells
from stages.longtail.console.errors import UserError
from stages.longtail.papers import recording
from stages.longtail.papers.experiment_params import Experiment

PAPERS = ROOT / "reports/papers"
RUN = "cifar10-exp-100-joint+method=ncm"


def test_a_head_that_is_not_trained_adds_no_epoch(tmp_path: Path) -> None:
    folder = tmp_path / RUN
    shutil.copytree(PAPERS / "procrustean/metrics" / RUN, folder)
    cell = cells.find(f"procrustean/{RUN}", "data/classifier", PAPERS)
    params = Experiment.of(cell.sections(ROOT / "conf"))
    recording._results(folder, params)
    *rows, _, last = (folder / "history.csv").read_text().splitlines(keepends=True)
    (folder / "history.csv").write_text("".join([*rows, last]))
    with pytest.raises(UserError, match="199 epochs, its recipe 200"):
        recording._results(folder, params)
