"""The published numbers: every file is sound, and an experiment finds its own number and no other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, composed
from ruamel.yaml import YAML

from stages.longtail.configuration import cells, parameters
from stages.longtail.console.errors import UserError
from stages.longtail.data import subsets
from stages.longtail.papers import current_table, preset, published
from stages.longtail.papers.experiment_params import Experiment

PAPERS, CONF = ROOT / "reports/papers", ROOT / "conf"
SWITCH = ("protocol=switching", "method=switching", "dataset=cifar10", "split.ratio=50")
# Numbers in each table, counted in the papers.
CELLS = {
    "decoupling": {1: 16, 2: 23, 3: 19, 4: 36, 5: 16, 7: 96},
    "switching": {1: 66, 2: 19, 3: 8, 4: 48, 5: 16, 6: 54, 7: 3, 8: 12, 9: 20, 10: 6, 11: 10, 12: 31},
    "procrustean": {0: 2, 1: 124, 2: 56, 3: 18, 4: 33, 5: 24},
    "balance": {1: 88, 2: 72, 3: 32, 4: 40, 5: 24},
    "end_to_end": {1: 63, 2: 58, 3: 69, 4: 8, 5: 8, 7: 20, 8: 20, 9: 24},
}
# What identifies a run of a preset in the tables, and where a paper prints two numbers for one: see the ledger.
RUN = ["method", "overrides", "protocol", "dataset", "backbone", "profile", "ratio", "epochs", "group", "measure"]
CONTRADICTIONS = {
    "decoupling": [(67.6, 68.2)],  # cRT on iNaturalist: Tables 3 and 7
    "switching": [(22.9, 32.1)],  # class-reversed alone: Tables 4 and 6
    "procrustean": [(65.3, 65.8)],  # ERM, step: Tables 1 and 5
    "end_to_end": [(2.2, 2.7), (22.4, 22.7), (32.3, 32.5), (55.1, 55.4)],  # 'CE' and 'Instance Balance' of Table 3
}


def settings(tmp_path: Path, *overrides: str) -> Experiment:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(composed(*overrides)))
    return Experiment.read(parameters.load(path))


@pytest.mark.parametrize(("paper", "count"), CELLS.items())
def test_every_file_is_sound(paper: str, count: dict[int, int]) -> None:
    frame = published.read(PAPERS / paper / "published.csv", CONF)
    assert frame.groupby("table").size().to_dict() == count
    accuracies = frame[frame.measure.isin(["top1", "top5"])].value
    assert accuracies.between(0, 100).all()
    presets = {path.stem for path in (ROOT / "conf/method").glob("*.yaml")}
    assert set(frame.method) <= presets | {""}


@pytest.mark.parametrize("paper", CELLS)
def test_tables_that_repeat_each_other_agree(paper: str) -> None:
    frame = published.read(PAPERS / paper / "published.csv", CONF)
    groups = [set(values) for _, values in frame[frame.method != ""].groupby(RUN, dropna=False).value]
    differing = sorted(tuple(sorted(values)) for values in groups if len(values) > 1)
    assert differing == CONTRADICTIONS.get(paper, [])
    assert sum(frame[frame.method != ""].duplicated(RUN)) > 5, "tables repeat each other"


@pytest.mark.parametrize(
    ("overrides", "value"),
    [
        (("protocol=switching", "method=switching", "dataset=cifar10"), 79.7),
        (("protocol=switching", "method=switching", "dataset=cifar100", "split.ratio=50"), 49.5),
        (("protocol=switching", "method=joint", "dataset=cifar10"), 73.1),
        (("protocol=switching", "method=crt", "dataset=cifar10"), 73.8),
        (("protocol=procrustean", "method=mfw", "dataset=cifar10"), 78.5),
        (("protocol=procrustean", "method=mfw_step", "dataset=cifar10", "split.profile=step"), 80.1),
        (("protocol=procrustean", "method=mfw_drw", "dataset=cifar10"), 79.8),
        (("protocol=procrustean_toy", "method=mfw_step", "dataset=cifar10_four"), 83.65),
        (("protocol=switching", "method=reversed", "dataset=cifar10"), 68.4),
        ((*SWITCH, "representation.branch.plus=5"), 82.9),
        ((*SWITCH, "representation.branch.plus=200", "classifier.epochs=100"), 82.2),
        (("protocol=end_to_end", "method=cw", "dataset=cifar10"), 75.9),
    ],
)
def test_an_experiment_finds_its_number(tmp_path: Path, overrides: tuple[str, ...], value: float) -> None:
    _, numbers = published.cell(settings(tmp_path, *overrides), PAPERS, CONF)
    assert numbers["all"] == value


def test_a_number_of_the_text_is_said_to_be_of_no_table(tmp_path: Path) -> None:
    overrides = ("protocol=procrustean_toy", "method=joint", "dataset=cifar10_four")
    where, _ = published.cell(settings(tmp_path, *overrides), PAPERS, CONF)
    assert where == "procrustean, text, row 'ERM (section 4)'"


def test_switching_on_cifar100_finds_its_shots_in_table_4(tmp_path: Path) -> None:
    overrides = ("protocol=switching", "method=switching", "dataset=cifar100")
    where, numbers = published.cell(settings(tmp_path, *overrides), PAPERS, CONF)
    assert numbers == {"all": 44.7, "many": 57.1, "medium": 48.1, "few": 26.5}
    assert "Ours (S = 1)" in where


def test_an_accuracy_that_is_printed_as_a_fraction_is_found_in_percent(tmp_path: Path) -> None:
    """`switching` Table 9."""
    overrides = ("protocol=switching", "method=bbn", "dataset=cifar10", "split.ratio=50")
    _, numbers = published.cell(settings(tmp_path, *overrides), PAPERS, CONF)
    assert numbers == {"all": pytest.approx(82.2)}


@pytest.mark.parametrize(
    "change",
    ["split.ratio=30", "protocol.epochs=150", "protocol.backbone=resnet20", "split.profile=step", "method=ncm"],
)
def test_another_cell_finds_none(tmp_path: Path, change: str) -> None:
    overrides = ["protocol=switching", "method=switching", "dataset=cifar10"]
    assert published.cell(settings(tmp_path, *overrides, change), PAPERS, CONF) == ("", {})


GOOD = "1,a,switching,joint,,cifar10,resnet32,exp,100,200,,all,top1,70.1,own,"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("70.1", "7o.1", "value is '7o.1', which is not a number"),
        ("70.1", "", "value is '', which is not a number"),
        ("exp,100", "exp,many", "ratio is 'many'"),
        ("200", "2oo", "epochs is '2oo'"),
        ("70.1", "70.2", "this cell stands in the file already"),
        ("joint", "jiont", "method 'jiont' is not a preset in .*: did you mean 'joint'"),
        (",switching", ",swiching", "protocol 'swiching' is not a preset in .*: did you mean 'switching'"),
    ],
)
def test_a_wrong_line_is_refused_with_file_and_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "test.csv"
    wrong = GOOD.replace(old, new) if "already" in message else GOOD.replace(",a,", ",b,").replace(old, new)
    path.write_text("\n".join([",".join(published.COLUMNS), GOOD, wrong]) + "\n")
    with pytest.raises(UserError, match=rf"test\.csv:3: {message}"):
        published.read(path, CONF)


def test_changed_presets_are_named(tmp_path: Path) -> None:
    base = ("protocol=switching", "method=switching", "dataset=cifar10")
    assert preset.deviations(settings(tmp_path, *base, "split.ratio=50", "seeds=[1]"), CONF) == []
    changed = preset.deviations(settings(tmp_path, *base, "classifier.sampler=balanced"), CONF)
    assert changed == ["classifier.sampler: reversed -> balanced"]
    row = ["classifier.sampler=balanced"]
    assert preset.deviations(settings(tmp_path, *base, *row), CONF, row) == []
    assert preset.deviations(settings(tmp_path, *base), CONF, row) == ["classifier.sampler: balanced -> reversed"]
    changed = preset.deviations(settings(tmp_path, *base, "protocol.name=mine"), CONF)
    assert changed == ["protocol 'mine' is not a preset"]


def test_table_shows_last_best_published_and_difference(tmp_path: Path) -> None:
    values = settings(tmp_path, "protocol=switching", "method=switching", "dataset=cifar100", "seeds=[0,1]")
    (tmp_path / "classes.csv").write_text("class,name,count,shot\n0,a,500,many\n1,b,50,medium\n2,c,5,few\n")
    metrics = {
        "acc": {"all": 44.0, "many": 57.1, "medium": 48.0, "few": 27.0},
        "best": {"all": 45.0, "many": 58.0, "medium": 49.0, "few": 28.0, "epoch": 107.0},
        "std": {"all": 0.5, "many": 0.1, "medium": 0.2, "few": 0.3},
        "best_std": {"all": 0.4, "many": 0.1, "medium": 0.2, "few": 0.3, "epoch": 1.0},
        "seeds": 2,
    }
    bounds = {group: {"low": 40.25, "high": 50.55} for group in ("all", "many", "medium", "few")}
    more = {"ci95_images": bounds, "ci95_seeds": bounds}
    where, numbers = published.cell(values, PAPERS, CONF)
    text = current_table.table(values, metrics, more, subsets.read_classes(tmp_path), where, numbers, [])
    cells = [cell.strip() for cell in text.splitlines()[4].split("|")[1:-1]]
    assert cells == ["all", "3", "44.0 ± 0.5", "40.3 to 50.6", "40.3 to 50.6", "45.0 ± 0.4", "44.7", "-0.7"]
    one = {name: value for name, value in metrics.items() if name != "std"}
    del more["ci95_seeds"]
    text = current_table.table(values, one, more, subsets.read_classes(tmp_path), where, numbers, [])
    assert "| 44.0         | 40.3 to 50.6       | 45.0 ± 0.4" in text and "One seed: how much another" in text
    assert "Published: switching, table 1, 4, row" in text
    assert "555 training images, 500 to 5 a class" in text


def test_metrics_of_the_current_experiment_are_those_in_its_table() -> None:
    metrics = json.loads((ROOT / "reports/metrics.json").read_text())
    assert f"| {metrics['acc']['all']:.1f} " in (ROOT / "reports/table.md").read_text()


def test_a_recipe_counts_what_it_observes_and_is_unchanged_where_that_is_nothing() -> None:
    before, none, some = {"mode": "fast"}, {"observe": []}, {"observe": ["loss"]}
    digests = [cells.digest({"runtime": runtime}, ["runtime"]) for runtime in (before, none, some)]
    assert digests[0] == digests[1] != digests[2]


def test_dvc_reads_no_recipe_as_a_number() -> None:
    """Its yaml is 1.2, where 893884e2 is one; PyYAML writes that without quotes."""
    assert cells.key_of({"a": 43}) == "x1412e843"
    for path in sorted(PAPERS.glob("**/params.yaml")):
        content = YAML(typ="safe").load(path)
        for kind in content.keys() - {"paper"}:
            assert all(isinstance(entry["recipe"], str) for entry in content[kind].values()), path
