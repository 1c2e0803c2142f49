"""Parameters of the right type that make no sense, alone or together, are refused with a line that names the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import composed, tiny
from test_params import COMMITTED, load, merged, refused, with_value

from stages.longtail.configuration import parameters
from stages.longtail.console.errors import UserError


@pytest.mark.parametrize("ratio", [0.99, 0, -100])
def test_a_ratio_below_1_is_refused(tmp_path: Path, ratio: float) -> None:
    refused(tmp_path, tiny(split__ratio=ratio), " split.ratio: must be at least 1", str(ratio))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("protocol.lr", 0),
        ("protocol.schedule.gamma", 0),
        ("protocol.epochs", 0),
        ("protocol.batch_size", 0),
        ("protocol.width", 0),
        ("protocol.momentum", 1.01),
        ("protocol.pad", 65),
        ("split.n_max", 0),
        ("split.seed", 2**32),
        ("dataset.size", 0),
        ("runtime.test_every", 0),
        ("runtime.threads", 0),
        ("classifier.epochs", 0),
    ],
)
def test_a_number_out_of_its_range_is_refused(tmp_path: Path, key: str, value: float) -> None:
    refused(tmp_path, with_value(COMMITTED, tuple(key.split(".")), value), f" {key}: must be a", repr(value))


@pytest.mark.parametrize(
    ("axis", "kind", "key", "value"),
    [
        ("sampler", "cbs", "images", 0),
        ("sampler", "b3rs", "blocks", 0),
        ("sampler", "b3rs", "ratio", 0),
        ("sampler", "b3rs", "ratio", 1.01),
        ("sampler", "b3rs", "alpha", 0),
        ("embedded", "bet", "interval", 0),
        ("embedded", "bet", "iterations", 0),
        ("loss", "cdt", "gamma", -0.1),
        ("weighting", "effective_number", "beta", 1),
        ("mixing", "mfw", "group", 5),
        ("mixing", "mixup", "alpha", 0),
        ("mixing", "mixup", "groups[0]", 5),
        ("mixing", "remix", "kappa", 0.99),
        ("mixing", "remix", "tau", 1.01),
        ("whitening", "zca", "epsilon", 0),
        ("whitening", "zca", "momentum", 0),
        ("whitening", "zca", "momentum", 1.01),
        ("auxiliary", "tasks", "lambda1", -0.1),
        ("auxiliary", "tasks", "lambda3", -0.1),
    ],
)
def test_a_number_of_a_kind_out_of_its_range_is_refused(
    tmp_path: Path, axis: str, kind: str, key: str, value: float
) -> None:
    section = {"kind": kind, key.removesuffix("[0]"): [value] if key.endswith("[0]") else value}
    raw = with_value(COMMITTED, ("representation", axis), section)
    refused(tmp_path, raw, f" representation.{axis}.{key}: must be a", repr(value))
    load(tmp_path, with_value(raw, ("representation", axis), {"kind": kind}))


def test_no_seed_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, tiny(seeds=[]), "seeds is empty")


def test_a_repeated_seed_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, tiny(seeds=[3, 1, 3]), "seeds repeats a seed", "[3, 1, 3]")


RETRAIN = composed("classifier=crt")["classifier"] | {
    "schedule": {"kind": "multistep", "warmup": 0, "milestones": [5], "gamma": 0.1}
}


@pytest.mark.parametrize("milestones", [[2, 1], [1, 1], [1, 3, 2]], ids=str)
def test_milestones_that_do_not_increase_are_refused(tmp_path: Path, milestones: list[int]) -> None:
    raw = tiny(protocol__schedule__milestones=milestones)
    refused(tmp_path, raw, "protocol.schedule.milestones must increase", str(milestones))
    raw = with_value(tiny(classifier=RETRAIN), ("classifier", "schedule", "milestones"), milestones)
    refused(tmp_path, raw, "classifier.schedule.milestones must increase", str(milestones))
    load(tmp_path, with_value(raw, ("classifier", "schedule", "milestones"), sorted(set(milestones))))


@pytest.mark.parametrize(("holdout", "grid"), [(0, [0.0, 1.0]), (5, [])])
def test_tau_null_without_images_or_candidates_to_choose_it_by_is_refused(
    tmp_path: Path, holdout: int, grid: list[float]
) -> None:
    raw = tiny(classifier={"kind": "tau", "tau": None, "grid": grid}, split__holdout=holdout)
    refused(tmp_path, raw, "classifier.tau is null", "split.holdout", "classifier.grid")
    load(tmp_path, with_value(raw, ("classifier", "tau"), 0.5))
    load(tmp_path, merged(raw, {"classifier": {"grid": [0.0, 1.0]}, "split": {"holdout": 5}}))


@pytest.mark.parametrize(
    ("branch", "epoch"),
    [
        ({"at": "end", "plus": 1}, 5),
        ({"at": "last_milestone", "plus": 3}, 5),
        ({"at": "start", "plus": 5}, 5),
        ({"at": "start", "plus": 0}, 0),
    ],
)
def test_a_branch_outside_the_schedule_is_refused(tmp_path: Path, branch: dict[str, Any], epoch: int) -> None:
    refused(
        tmp_path, tiny(representation__branch=branch), f"representation.branch ends at epoch {epoch}", "epochs is 4"
    )


def test_a_branch_at_the_last_epoch_of_the_schedule_is_accepted(tmp_path: Path) -> None:
    for branch in ({"at": "end", "plus": 0}, {"at": "last_milestone", "plus": 2}, {"at": "start", "plus": 1}):
        load(tmp_path, tiny(representation__branch=branch))


@pytest.mark.parametrize(
    "schedule",
    [
        {"kind": "cosine", "warmup": 0},
        {"kind": "constant", "warmup": 0},
        {"kind": "multistep", "warmup": 0, "milestones": [], "gamma": 0.1},
    ],
    ids=lambda schedule: schedule["kind"],
)
def test_a_branch_at_a_milestone_that_is_not_there_is_refused(tmp_path: Path, schedule: dict[str, Any]) -> None:
    raw = tiny(protocol__schedule=schedule, representation__branch={"at": "last_milestone", "plus": 1})
    refused(tmp_path, raw, "representation.branch.at is last_milestone", "has no milestones")


@pytest.mark.parametrize(
    "text",
    [b"", b"- a\n- b\n", b"text", b"a: [1\nb: 2\n", b"\xff\xfe\x00", b"a: \xe9\n", b"a: !!python/name:os.system\n"],
    ids=["empty", "list", "scalar", "unclosed", "binary", "latin1", "tag"],
)
def test_a_file_that_is_no_yaml_of_sections_is_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(text)
    with pytest.raises(UserError, match=r"params\.yaml"):
        parameters.load(path)
