"""Interrupted runs: killed at any moment and started again, a stage ends with the same weights, bit for bit."""

from __future__ import annotations

import json
import shutil
import signal
from contextlib import chdir
from pathlib import Path

import pytest
import torch
from conftest import Workplace, tiny
from inprocess import ok, refused

from stages.longtail.files.artifacts import digest

pytestmark = pytest.mark.slow

EPOCHS = 8


def long(**changes: object) -> dict:
    return tiny(**{"protocol__epochs": EPOCHS, "representation__mixing": {**MFW}, **changes})


CRT = {
    **{"kind": "retrain", "trained": "head", "sampler": "balanced", "loss": "cross_entropy", "weighting": "none"},
    **{"epochs": 2, "lr": 0.1, "weight_decay": 0.0, "schedule": {"kind": "cosine", "warmup": 0}},
}
MFW = {"kind": "mfw", "group": 2, "alpha": 2.0, "beta": 2.0, "deviation": "geometric"}


def weights(folder: Path = Path(), stage: str = "representation", seed: int = 0) -> dict[str, torch.Tensor]:
    return torch.load(folder / f"data/{stage}/checkpoint.pt", weights_only=True)["seeds"][seed]["network"]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, split_digits: Path) -> Path:
    """A run that nothing interrupted."""
    place = Workplace(tmp_path_factory.mktemp("straight"))
    shutil.copytree(split_digits / "data", place.folder / "data")
    place.write(long())
    with chdir(place.folder):
        ok("represent")
    return place.folder


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_killed_run_goes_on_and_ends_with_the_same_weights(digits: Workplace, straight: Path, kind: int) -> None:
    digits.write(long())
    process = digits.popen("represent")
    assert process.stdout and any("epoch 3 of" in line for line in process.stdout)
    process.send_signal(kind)
    _, err = process.communicate(timeout=20)
    assert not (digits.folder / "data/representation").exists()
    if kind == signal.SIGKILL:
        assert process.returncode == -kind
    else:
        assert process.returncode == (130 if kind == signal.SIGINT else 143)
        assert err.startswith("stopped by SIG") and err.count("\n") == 1 and "go on" in err
    done = max(int(path.stem.removeprefix("epoch-")) for path in digits.folder.glob(".scratch/*/seed-0/*/epoch-*.pt"))
    assert done < EPOCHS, "the run was over before it was killed: this test saw no interruption"
    assert done >= 3 or kind == signal.SIGKILL, "the last finished epoch was not kept"

    result = digits.run("represent")
    assert result.returncode == 0
    assert "epoch 1 of" not in result.stdout, "it started over"
    assert f"represent, seed 0: from .scratch, epoch {done}: it goes on to epoch {EPOCHS}" in result.stdout
    assert same(weights(digits.folder), weights(straight))
    for name in ("checkpoint.pt", "history.csv"):  # to the byte, or DVC would rerun what follows
        path = f"data/representation/{name}"
        assert (digits.folder / path).read_bytes() == (straight / path).read_bytes(), name
    # The manifest tells of the epochs before, too.
    whole, resumed = (
        json.loads((folder / "data/representation/manifest.json").read_text()) for folder in (straight, digits.folder)
    )
    assert whole["earlier"] == []
    (part,) = resumed["earlier"]
    assert part["epochs"] == [1, done] and part["seed"] == 0 and part["seconds"] >= 0
    assert part["threads"] == resumed["threads"] and part["revision"] == resumed["revision"]
    assert resumed["images"] * EPOCHS == whole["images"] * (EPOCHS - done)


def test_going_on_in_classify_is_never_having_stopped(ready: Workplace, straight: Path) -> None:
    ready.write(long(representation__branch={"at": "start", "plus": 3}))
    ok("represent")
    shutil.rmtree(".scratch")
    ok("classify")
    assert same(weights(stage="classifier"), weights(straight))


@pytest.fixture
def again(ready: Workplace, straight: Path) -> Workplace:
    """The digits, with the checkpoints of the run that nothing interrupted."""
    shutil.copytree(straight / ".scratch", ".scratch")
    ready.write(long())
    return ready


Said = pytest.CaptureFixture[str]


def said(stage: str, capsys: Said) -> str:
    """What a stage prints."""
    capsys.readouterr()
    ok(stage)
    return capsys.readouterr().out


def test_other_recipes_never_see_its_checkpoints(again: Workplace, straight: Path, capsys: Said) -> None:
    (before,) = Path(".scratch").iterdir()
    for changes in ({"protocol__lr": 0.05}, {"representation__sampler": "balanced"}, {"protocol__epochs": EPOCHS - 1}):
        again.write(long(**changes))
        assert "epoch 1 of" in said("represent", capsys), changes
        assert not same(weights(), weights(straight))
    assert len([path for path in Path(".scratch").iterdir() if path != before]) == 3


def test_a_representation_trained_to_the_end_leaves_joint_nothing_to_train(
    again: Workplace, straight: Path, capsys: Said
) -> None:
    """The path is the same, so `classify` of a method that branched early finds the later epochs in .scratch/."""
    again.write(long(representation__branch={"at": "start", "plus": EPOCHS - 1}))
    ok("represent")
    assert "classify, seed 0: epoch" not in said("classify", capsys)
    assert same(weights(stage="classifier"), weights(straight))


def test_what_was_trained_before_does_not_show_in_the_outputs(ready: Workplace) -> None:
    """crt after joint, whose later epochs its representation finds in .scratch/, is crt alone, to the byte."""
    outputs = {}
    for order in ("alone", "after joint"):
        shutil.rmtree(".scratch", ignore_errors=True)
        if order == "after joint":
            ready.write(long(representation__branch={"at": "start", "plus": 3}))
            ok("represent", "classify")
        ready.write(long(classifier=CRT))
        ok("represent", "classify")
        outputs[order] = [
            Path(f"data/{stage}/{name}").read_bytes()
            for stage in ("representation", "classifier")
            for name in ("checkpoint.pt", "history.csv")
        ]
    assert outputs["alone"] == outputs["after joint"]


def test_two_seeds_are_what_each_is_alone(ready: Workplace, straight: Path) -> None:
    ready.write(long(seeds=[1, 0]))
    ok("represent")
    assert same(weights(seed=0), weights(straight))
    assert not same(weights(seed=1), weights(straight))
    rows = Path("data/representation/history.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == ["1"] * EPOCHS + ["0"] * EPOCHS


def test_changed_data_is_refused_until_it_is_described_and_then_another_recipe(again: Workplace, capsys: Said) -> None:
    images = Path("data/raw/train_images.npy")
    content = bytearray(images.read_bytes())
    content[-1] ^= 1
    images.write_bytes(content)
    refused("represent", "train_images.npy", "run the download stage again")
    meta = Path("data/raw/meta.json")
    described = json.loads(meta.read_text())
    described["digest"]["train"][0] = digest(images)
    meta.write_text(json.dumps(described))
    assert "epoch 1 of" in said("represent", capsys)


def test_a_stage_with_nothing_left_to_train_says_so_and_how_to_start_afresh(again: Workplace, capsys: Said) -> None:
    lines = said("represent", capsys).splitlines()
    (line,) = [line for line in lines if "from .scratch, epoch 8: nothing is left to train" in line]
    folder = Path(line.partition("to start afresh: rm -r ")[2])
    assert folder in [*Path().glob(".scratch/*/seed-0")]
    shutil.rmtree(folder)
    assert "epoch 1 of" in said("represent", capsys)


def test_epochs_computed_with_other_threads_are_told_of_and_can_be_used(
    again: Workplace, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two real threads wait for each other: on cores that other tests use, for most of a minute.
    threads = [1]
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads[-1])
    for path in Path().glob(".scratch/*/seed-0/epoch-8.pt"):  # as if it had been stopped after the fifth
        content = torch.load(path, weights_only=True)
        state = content["state"]
        content["state"] = state | {"epoch": 5, "history": state["history"][:5]}
        torch.save(content, path.with_name("epoch-5.pt"))
        path.unlink()
    again.write(long(runtime__threads=2))
    told = said("represent", capsys)
    assert "epoch 5 of this recipe, computed otherwise, lies in .scratch/" in told and "epoch 1 of" in told
    assert "seed-0: set runtime.threads to 1 to use it" in told
    again.write(long(runtime__threads=1))
    told = said("represent", capsys)
    assert "from .scratch, epoch 5: it goes on to epoch 8" in told
    assert "epoch 1 of" not in told and "computed otherwise" not in told
