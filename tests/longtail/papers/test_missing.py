"""What is still to be run costs what it trains: its own epochs, and those of a representation with all its seeds."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import ROOT

from stages import launch
from stages.longtail.configuration.composition import compose
from stages.longtail.console.errors import UserError
from stages.longtail.papers import launching, missing, plan, requested_runs
from stages.longtail.papers.requested_runs import Request

IMAGES = 13_996  # CIFAR-10-LT at ratio 50
CRT, LWS = "cifar10-exp-50-crt", "cifar10-exp-50-lws"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A paper of two runs that share a representation; lws was asked for with four seeds, crt has the plan's ten."""
    folder = tmp_path / "papers/switching"
    folder.mkdir(parents=True)
    whole = plan.read(ROOT / "reports/papers/switching")
    plan.write(folder, {name: whole[name] for name in (CRT, LWS)})
    (folder / "published.csv").write_text("")
    requested_runs.write(folder, {LWS: Request(LWS, (0, 1, 2, 3))}, ROOT / "conf")
    return folder


def listed(folder: Path) -> pd.DataFrame:
    cells = pd.DataFrame({"run": [CRT, CRT, LWS], "seeds": 0})
    return missing.missing(cells, folder, ROOT / "conf").set_index("run")


def test_a_representation_counts_once_with_the_seeds_of_all_that_were_asked_for(folder: Path) -> None:
    frame = listed(folder)
    assert frame.index.tolist() == [LWS, CRT] and frame.cells.tolist() == [1, 2]
    # 200 epochs of the network and 10 of the head: four seeds for lws, then six more networks and ten heads for crt.
    images = [(4 * 200 + 4 * 10) * IMAGES, (6 * 200 + 10 * 10) * IMAGES]
    assert frame["images (millions)"].tolist() == [round(number / 1e6, 2) for number in images]
    assert frame.hours.isna().all(), "no run has recorded a speed"


def test_networks_that_are_here_are_not_trained_again(folder: Path) -> None:
    checkpoint = folder / "data/representation" / CRT / "checkpoint.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"")
    images = [4 * 10 * IMAGES, (6 * 200 + 10 * 10) * IMAGES]  # of the four seeds that were asked for
    assert listed(folder)["images (millions)"].tolist() == [round(number / 1e6, 2) for number in images]


def test_a_run_in_another_precision_shares_no_network_with_the_others(folder: Path) -> None:
    in_precision(folder, CRT, "fp32")
    requested_runs.enter(folder, [Request(LWS, (0,))], ROOT / "conf")
    images = [(200 + 10) * IMAGES] * 2  # of the only seed of either
    assert listed(folder)["images (millions)"].tolist() == [round(number / 1e6, 2) for number in images]
    checkpoint = folder / "data/representation" / f"{CRT}+precision=fp32" / "checkpoint.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"")
    images[0] = 10 * IMAGES
    assert listed(folder).loc[[CRT, LWS], "images (millions)"].tolist() == [round(number / 1e6, 2) for number in images]


def test_hours_are_by_the_speed_that_runs_of_the_same_network_recorded(folder: Path) -> None:
    told = folder / "metrics" / CRT / "represent.json"
    told.parent.mkdir(parents=True)
    told.write_text(json.dumps({"images": 3_600_000, "seconds": 3600.0}))
    assert listed(folder).hours.tolist() == [round(number * IMAGES / 3.6e6, 1) for number in (840, 1300)]


def test_variants_have_names_that_are_safe_and_tell_them_apart(folder: Path) -> None:
    name = requested_runs.variant_name(CRT, ["classifier.lr=0.05", "protocol.schedule.milestones=[50,90]"])
    assert name == f"{CRT}+lr=0.05+milestones=50.90"
    requested_runs.enter(folder, [Request(name, (0,), CRT, ("classifier.lr=0.05",))], ROOT / "conf")
    content = yaml.safe_load((folder / "params.yaml").read_text())
    assert content["runs"][name]["of"] == CRT, "the head alone differs, so the representation is shared"
    assert set(content["represent"]) == {CRT}
    assert requested_runs.read(folder)[name] == Request(name, (0,), CRT, ("classifier.lr=0.05",))
    other = requested_runs.variant_name(LWS, ["representation.mixing=mixup"])
    requested_runs.enter(folder, [Request(other, (0,), LWS, ("representation.mixing=mixup",))], ROOT / "conf")
    content = yaml.safe_load((folder / "params.yaml").read_text())
    assert content["runs"][other]["of"] == other and set(content["represent"]) == {CRT, other}


def in_precision(folder: Path, run: str, precision: str) -> str:
    """Ask for a run in this precision. Returns the name under which it is entered."""
    [request] = launching.wanted(folder, [run], [0], [f"runtime.precision={precision}"])
    requested_runs.enter(folder, [request], ROOT / "conf")
    return request.name


def test_a_run_in_fp32_is_the_run_itself_with_a_representation_of_its_own(folder: Path) -> None:
    """Where the processor has no bf16. The papers say nothing of it, so the tables have the run all the same."""
    requested_runs.enter(folder, [Request(LWS, (0,))], ROOT / "conf")  # in bf16; both go on from cross-entropy
    assert in_precision(folder, CRT, "fp32") == CRT
    content = yaml.safe_load((folder / "params.yaml").read_text())
    shared = yaml.safe_load((folder / "plan.yaml").read_text())[CRT]["of"]
    assert (content["runs"][CRT]["of"], content["runs"][LWS]["of"]) == (f"{shared}+precision=fp32", shared)
    for kind, name, precision in (
        ("runs", CRT, "fp32"),
        ("represent", f"{shared}+precision=fp32", "fp32"),
        ("runs", LWS, "bf16"),
        ("represent", shared, "bf16"),
    ):
        sections = compose(content[kind][name]["compose"].split(), ROOT / "conf")
        assert (sections["runtime"]["precision"], sections["seeds"]) == (precision, [0]), name
    assert requested_runs.read(folder)[CRT] == Request(CRT, (0,), "", ("runtime.precision=fp32",))
    # Asked for again, it stays as it is; in bf16 after all, it is the plan's, and replaces what was asked for.
    [again] = launching.wanted(folder, [CRT], [], [])
    assert again == requested_runs.read(folder)[CRT]
    assert requested_runs.enter(folder, [again], ROOT / "conf") == []
    assert requested_runs.enter(folder, [Request(CRT, (0,))], ROOT / "conf") == [CRT]
    assert in_precision(folder, CRT, "fp32") == CRT
    assert in_precision(folder, CRT, "bf16") == CRT
    assert requested_runs.read(folder)[CRT] == Request(CRT, (0,))


def test_launch_says_which_request_another_precision_replaces(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--reports", str(folder.parents[1]), "--conf", str(ROOT / "conf")]
    said = []
    for more in ([], ["--set", "runtime.precision=fp32"], []):
        monkeypatch.setattr(sys, "argv", ["launch", "switching", CRT, "--only-enter", *where, *more])
        launch.main()
        said.append(f"{CRT} was asked for in another precision" in capsys.readouterr().out)
    assert said == [False, True, False]


def test_a_recorded_run_stays_and_another_precision_is_a_variant_of_it(folder: Path) -> None:
    requested_runs.enter(folder, [Request(CRT, (0,))], ROOT / "conf")
    (folder / "metrics" / CRT).mkdir(parents=True)
    (folder / "metrics" / CRT / "metrics.json").touch()
    assert in_precision(folder, CRT, "bf16") == CRT, "that is the one it has"
    assert in_precision(folder, CRT, "fp32") == f"{CRT}+precision=fp32"
    content = yaml.safe_load((folder / "params.yaml").read_text())
    assert content["runs"][f"{CRT}+precision=fp32"]["varies"] == CRT
    assert requested_runs.read(folder)[CRT] == Request(CRT, (0,))


def test_representations_keep_their_names_when_more_is_asked_for(folder: Path) -> None:
    """Else the recorded runs that go on from them would run again."""
    (folder / "metrics" / LWS).mkdir(parents=True)
    (folder / "metrics" / LWS / "metrics.json").touch()
    requested_runs.write(folder, {LWS: Request(LWS, (0,), "", ("runtime.precision=fp32",))}, ROOT / "conf")
    assert in_precision(folder, LWS, "bf16") == f"{LWS}+precision=bf16"
    before = requested_runs.representations(folder)
    assert before == {LWS: f"{CRT}+precision=fp32", f"{LWS}+precision=bf16": CRT}
    requested_runs.enter(folder, [Request(CRT, (0,))], ROOT / "conf")
    assert requested_runs.representations(folder) == before | {CRT: CRT}
    requested_runs.write(folder, {LWS: Request(LWS, (0,))}, ROOT / "conf")
    assert in_precision(folder, LWS, "fp32") == f"{LWS}+precision=fp32"
    before = requested_runs.representations(folder)
    assert before == {LWS: CRT, f"{LWS}+precision=fp32": f"{CRT}+precision=fp32"}
    assert in_precision(folder, CRT, "fp32") == CRT
    assert requested_runs.representations(folder) == before | {CRT: f"{CRT}+precision=fp32"}


def test_a_pattern_with_changes_stands_for_the_runs_of_the_plan(folder: Path) -> None:
    """A variant cannot be changed further, so it would refuse every pattern that it matches."""
    requested_runs.enter(folder, launching.wanted(folder, [CRT], [0], ["classifier.lr=0.05"]), ROOT / "conf")
    assert [request.name for request in launching.wanted(folder, ["cifar10-*"], [0], [])][2:] == [f"{CRT}+lr=0.05"]
    found = launching.wanted(folder, ["cifar10-*"], [0], ["runtime.precision=fp32"])
    assert {request.name: request.changes for request in found} == dict.fromkeys(
        (CRT, LWS), ("runtime.precision=fp32",)
    )


@pytest.mark.parametrize(
    ("seeds", "changes", "words"),
    [
        ([0], ["representation.loss=nonsense"], "unknown value 'nonsense'"),
        ([0], ["split.ratio=0.5"], "split.ratio"),
        ([0], ["protocol.name=a b"], "without spaces"),
        ([0], ["seeds=[1]"], "seeds by --seeds"),
        ([2**31], [], "seeds"),
    ],
)
def test_what_its_stages_would_refuse_is_not_entered(
    seeds: list[int], changes: list[str], words: str, folder: Path
) -> None:
    """It would wait for hours behind other runs, or keep every later run from being entered."""
    before = (folder / "params.yaml").read_bytes()
    with pytest.raises(UserError) as raised:
        requested_runs.enter(folder, launching.wanted(folder, [CRT], seeds, changes), ROOT / "conf")
    assert words in str(raised.value)
    assert (folder / "params.yaml").read_bytes() == before
