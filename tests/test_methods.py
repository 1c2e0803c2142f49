"""Every method preset, end to end on digits; and combinations of axes that make no sense."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml
from conftest import ROOT
from test_pipeline import composed

from stages.longtail import params
from stages.longtail.errors import UserError

METHODS = sorted(path.stem for path in (ROOT / "conf/method").glob("*.yaml"))
SHORT = ("protocol.epochs=5", "protocol.width=4", "protocol.schedule.milestones=[3]")


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> dict:
    """represent, classify and evaluate in this process; returns the metrics."""
    monkeypatch.chdir(folder)
    (folder / "params.yaml").write_text(yaml.safe_dump(composed(*overrides, *SHORT)))
    for stage in ("represent", "classify", "evaluate"):
        monkeypatch.setattr(sys, "argv", [stage])
        importlib.import_module(f"stages.{stage}").main()
    return json.loads((folder / "reports/metrics.json").read_text())


@pytest.mark.parametrize("method", METHODS)
def test_every_preset_runs_to_the_end_and_twice_the_same(
    method: str, split_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    results = []
    for again in ("one", "two"):
        folder = tmp_path / again
        shutil.copytree(split_digits / "data", folder / "data")
        results.append(run(folder, monkeypatch, f"method={method}"))
    assert results[0] == results[1]
    assert results[0]["acc"].keys() == {"all", "many", "medium", "few"}
    assert all(0 <= value <= 100 for value in results[0]["acc"].values())
    assert results[0]["acc"]["all"] > 15, "no better than guessing one of ten"


def test_deferred_reweighting_changes_the_weights_only_after_the_branch(
    split_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = {}
    for method in ("joint", "ce_drw"):
        folder = tmp_path / method
        shutil.copytree(split_digits / "data", folder / "data")
        run(folder, monkeypatch, f"method={method}", "representation.branch={at: deferred, plus: 0}")
        weights[method] = [
            torch.load(folder / f"data/{stage}/checkpoint.pt", weights_only=True)["seeds"][0]["network"]
            for stage in ("representation", "classifier")
        ]
    (joint, joint_end), (drw, drw_end) = weights["joint"], weights["ce_drw"]
    assert all(torch.equal(joint[name], drw[name]) for name in joint)
    assert not all(torch.equal(joint_end[name], drw_end[name]) for name in joint)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("representation.loss=ldam",), "representation.head to cosine"),
        (("representation.head=cosine",), "representation.head to linear"),
        (("method=ldam", "classifier=lws"), "classifier.kind retrain"),
        (("method=ldam", "classifier=tau"), "classifier.kind tau"),
        (("method=ldam", "classifier=logit_adjustment"), "classifier.kind logit_adjustment"),
        (("method=crt", "classifier.loss=ldam"), "a re-trained head is linear"),
        (("method=switching", "classifier.loss=ldam"), "representation.head to cosine"),
        (("representation.loss=ldma",), "did you mean 'ldam'"),
        (("representation.weighting=effective",), "did you mean 'effective_number'"),
    ],
)
def test_a_combination_that_makes_no_sense_is_refused(overrides: tuple[str, ...], words: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(composed(*overrides)))
    with pytest.raises(UserError, match=words):
        params.load(path)


def test_the_kind_alone_is_short_for_its_defaults(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(composed("representation.loss=ldam", "representation.head=cosine")))
    assert params.load(path).representation.loss == params.LDAM("ldam", 0.5, 30.0)


def test_the_readmes_table_of_methods_is_current() -> None:
    from stages.longtail.report.methods import table

    readme = (ROOT / "README.md").read_text()
    assert table(ROOT / "conf") in readme, "paste the output of python -m stages.longtail.report.methods"
