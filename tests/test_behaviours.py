"""What the axes of a recipe promise, seen in the reports and checkpoints of short runs on digits."""

from __future__ import annotations

import csv
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from inprocess import CLASSIFIER, REPRESENTATION, ok, refused, start

from stages.longtail.training import checkpoint
from stages.longtail.training.one_stream import OneStream

Run = Callable[..., Path]

BRANCH = 3  # of SHORT: one epoch after its milestone
FROZEN = [f"{sampler}_frozen{head}" for sampler in ("ib", "cb", "cr") for head in ("", "_new_head")]
NEW_HEAD = [f"{sampler}_{how}" for sampler in ("ib", "cb", "cr") for how in ("new_head", "frozen_new_head")]


def history(folder: Path, part: str = "") -> list[dict[str, str]]:
    """The rows of an experiment, of one part if it is named."""
    rows = csv.DictReader((folder / "reports/history.csv").open())
    return [row for row in rows if part in ("", row["part"])]


def column(rows: list[dict[str, str]], name: str) -> list[float]:
    return [float(row[name]) for row in rows]


def trained(rows: list[dict[str, str]]) -> list[tuple[float, ...]]:
    """What training itself gives: epoch, rate, loss and accuracy."""
    return [tuple(float(row[name]) for name in ("epoch", "lr", "loss", "train_acc")) for row in rows]


def metrics(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "reports/metrics.json").read_text())


def state(folder: Path, path: Path, seed: int = 0) -> dict[str, Any]:
    return checkpoint.load(folder / path)["seeds"][seed]


def differing(folder: Path) -> set[str]:
    """Names of the tensors that `classify` changed."""
    before, after = (state(folder, path)["network"] for path in (REPRESENTATION, CLASSIFIER))
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


# Switches.


def test_a_switch_beyond_the_schedule_goes_on_at_its_last_rate(carry_out: Run) -> None:
    folder = carry_out("method=switching", "representation.branch={at: last_milestone, plus: 9}", "classifier.epochs=4")
    rows = history(folder)
    assert column(rows, "epoch") == list(range(1, 16))
    assert column(rows, "lr") == [0.1] * 2 + [0.05] * 13
    assert [row["part"] for row in rows] == ["represent"] * 11 + ["continue"] * 4
    assert column(rows[-1:], "test_all") == [pytest.approx(metrics(folder)["acc"]["all"], abs=1e-3)]


def test_a_switch_of_few_epochs_is_the_beginning_of_the_longer_one(carry_out: Run) -> None:
    short, long = (carry_out("method=switching", f"classifier.epochs={epochs}") for epochs in (1, "null"))
    assert len(history(short)) == BRANCH + 1 and len(history(long)) == 9
    assert trained(history(short)) == trained(history(long))[: BRANCH + 1]


@pytest.mark.parametrize(("two_steps", "one_step"), [("cb_then_cr", "ib_cb"), ("cr_then_cb", "switching")])
def test_a_switch_in_two_steps_begins_as_the_switch_to_the_first(two_steps: str, one_step: str, carry_out: Run) -> None:
    both, first = (trained(history(carry_out(f"method={method}"))) for method in (two_steps, one_step))
    until = BRANCH + 5
    assert len(both) == len(first) == 9
    assert both[:until] == first[:until] and both[until] != first[until]


def test_a_re_training_after_a_switch_leaves_the_switch_as_it_was(carry_out: Run) -> None:
    switched, again = carry_out("method=switching"), carry_out("method=switching_crt")
    assert trained(history(switched)) == trained(history(again, "represent") + history(again, "continue"))
    assert column(history(again), "epoch") == list(range(1, 20)), "10 epochs of the new head after the 9 before it"
    before, after = (state(folder, CLASSIFIER)["network"] for folder in (switched, again))
    assert {name for name in before if not torch.equal(before[name], after[name])} == {"head.weight", "head.bias"}


# What is trained.


@pytest.mark.parametrize("method", FROZEN)
def test_a_frozen_trunk_stays_to_the_last_tensor(method: str, carry_out: Run) -> None:
    assert differing(carry_out(f"method={method}")) == {"head.weight", "head.bias"}


@pytest.mark.parametrize("method", ["switching", "ib_new_head"])
def test_a_trunk_that_is_not_frozen_changes(method: str, carry_out: Run) -> None:
    folder = carry_out(f"method={method}")
    assert differing(folder) == state(folder, CLASSIFIER)["network"].keys()


def test_the_last_block_and_the_head_are_trained_alone(carry_out: Run) -> None:
    assert {name.rpartition(".")[0].split(".")[0:2][-1] for name in differing(carry_out("method=lb_c"))} == {
        "3",
        "head",
    }


@pytest.mark.parametrize("method", NEW_HEAD)
def test_a_new_head_starts_from_a_draw_of_its_own(method: str, carry_out: Run) -> None:
    """At a rate of almost 0 after the branch, a head stays where it started."""
    heads = {}
    for new in (True, False):
        folder = carry_out(f"method={method}", "protocol.schedule.gamma=1e-12", f"classifier.new_head={new}".lower())
        heads[new] = [state(folder, path)["network"]["head.weight"] for path in (REPRESENTATION, CLASSIFIER)]
    assert torch.equal(heads[True][0], heads[False][0]) and torch.allclose(*heads[False])
    assert not torch.allclose(*heads[True], atol=0.1)


# Learned and forgotten events.


COUNTED = "runtime.regularity=true"


@pytest.mark.parametrize("method", ["switching", "crt", "tau_norm", "bbn"])
def test_counting_events_adds_to_the_reports_and_changes_nothing(method: str, carry_out: Run) -> None:
    plain, counted = carry_out(f"method={method}"), carry_out(f"method={method}", COUNTED)
    more, classes = metrics(counted), pd.read_csv(counted / "reports/per_class.csv")
    correlation = more.pop("pearson")
    assert more == metrics(plain) and history(counted) == history(plain)
    assert correlation == pytest.approx(np.corrcoef(classes["count"], classes["irregularity"])[0, 1], abs=1e-4)
    assert np.allclose(classes["irregularity"], classes["f_norm"] / classes["count"], rtol=1e-4)
    pd.testing.assert_frame_equal(
        classes.drop(columns=["f_norm", "irregularity"]), pd.read_csv(plain / "reports/per_class.csv")
    )


@pytest.mark.parametrize("method", ["joint", "switching", "switching_crt", "ncm"])
def test_an_image_is_learned_once_an_epoch_at_most_and_forgotten_no_more_often(method: str, carry_out: Run) -> None:
    folder = carry_out(f"method={method}", COUNTED)
    events = state(folder, CLASSIFIER)["regularity"]
    learned, forgotten, correct = (events[name].numpy() for name in ("learned", "forgotten", "correct"))
    assert 0 < learned.max() <= 9 and learned.min() < 9, "the representation's and the switch's epochs count"
    assert (forgotten + correct <= learned).all() and forgotten.any()
    assert np.array_equal(np.bincount(events["labels"]), pd.read_csv(folder / "data/splits/classes.csv")["count"])


def test_events_of_two_seeds_are_averaged_over_them(carry_out: Run) -> None:
    folder = carry_out("method=joint", COUNTED, "seeds=[0,1]")
    runs = [state(folder, CLASSIFIER, seed)["regularity"] for seed in (0, 1)]
    events = np.stack([np.mean([run[name].numpy() for run in runs], axis=0) for name in ("learned", "forgotten")])
    classes = pd.read_csv(folder / "reports/per_class.csv").set_index("class")
    for label in range(10):
        covariance = np.cov(events[:, runs[0]["labels"] == label], bias=True)
        assert classes["f_norm"][label] == pytest.approx(np.linalg.norm(covariance), rel=1e-4)


OBSERVED = "runtime.observe=[accuracy,loss,feature_gradient,head_gradient]"


@pytest.mark.parametrize("method", ["switching", "crt", "bbn", "cw_ldam", "mfw", "cbs_rrs_rotation"])
def test_observing_adds_to_the_checkpoint_and_changes_nothing(method: str, carry_out: Run) -> None:
    plain, observed = carry_out(f"method={method}"), carry_out(f"method={method}", OBSERVED)
    for path in (REPRESENTATION, CLASSIFIER):
        before, after = state(plain, path), state(observed, path)
        rows = after.pop("observed")
        assert before.keys() == after.keys() and before["history"] == after["history"]
        assert all(torch.equal(value, after["network"][name]) for name, value in before["network"].items())
        assert [row["epoch"] for row in rows] == [row["epoch"] for row in after["history"]]
        for name in ("accuracy", "classified", "loss", "feature_gradient", "head_gradient"):
            values = torch.stack([row[name] for row in rows])
            assert values.shape == (len(rows), 10) and torch.isfinite(values).all() and (values >= 0).all(), name
    assert metrics(plain) == metrics(observed) and history(plain) == history(observed)


def test_an_interrupted_run_observes_every_epoch_once(carry_out: Run) -> None:
    whole = state(carry_out("method=joint", OBSERVED), REPRESENTATION)["observed"]
    folder = carry_out("method=joint", OBSERVED)
    for path in (folder / "data/representation").iterdir():
        path.unlink()
    for path in (folder / ".scratch").rglob("*"):
        if path.is_file():
            path.unlink()
    interrupt("represent", 4)
    ok("represent")
    resumed = state(folder, REPRESENTATION)["observed"]
    assert len(resumed) == len(whole) == 9
    for first, second in zip(whole, resumed, strict=True):
        assert all(torch.equal(torch.as_tensor(first[name]), torch.as_tensor(second[name])) for name in first)


def test_a_representation_that_was_not_observed_is_refused(carry_out: Run) -> None:
    carry_out("method=switching")
    params = Path("params.yaml")
    params.write_text(params.read_text().replace("observe: []", "observe: [loss]"))
    refused("classify", "has nothing observed, which runtime.observe asks for")


def interrupt(stage: str, epoch: int) -> None:
    """Run a stage that is told to stop when `epoch` has just ended."""
    keep = checkpoint.Scratch.keep

    def stop(scratch: checkpoint.Scratch, kept: dict[str, Any], stage_ends: bool) -> None:
        keep(scratch, kept, stage_ends)
        if kept["epoch"] == epoch:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint.Scratch, "keep", stop)
        assert start(stage) == 143


@pytest.mark.parametrize(
    ("method", "in_represent", "in_classify"),
    [
        ("switching", 2, 6),
        ("cb_then_cr", 1, 5),
        ("cb_then_cr", 2, 8),
        ("switching_crt", 2, 9),
        ("crt", 2, 5),
        ("cbs_rrs_ss", 4, None),
    ],
)
def test_events_and_all_else_are_the_same_if_both_stages_are_interrupted(
    method: str, in_represent: int, in_classify: int | None, carry_out: Run
) -> None:
    folder = carry_out(f"method={method}", COUNTED)
    outputs = [REPRESENTATION, CLASSIFIER, *sorted(Path("reports").iterdir())]
    straight = {path: path.read_bytes() for path in outputs}
    for path in (*outputs, *folder.glob(".scratch/*/*/*")):
        path.unlink()
    interrupt("represent", in_represent)
    ok("represent")
    if in_classify:
        interrupt("classify", in_classify)
    ok("classify", "evaluate")
    assert {path: path.read_bytes() for path in outputs} == straight


# Repeated runs.


def test_bias_and_variance_of_two_seeds_sum_to_their_mean_error(carry_out: Run) -> None:
    errors = []
    for seed in (0, 1):
        alone = carry_out("method=joint", f"seeds=[{seed}]")
        assert metrics(alone).keys().isdisjoint({"bias2", "variance", "total_error"})
        confusion = pd.read_csv(alone / "reports/confusion.csv")
        wrong = confusion["actual"] != confusion["predicted"]
        errors.append(wrong.groupby(confusion["actual"]).mean().mean())  # over classes, as accuracies are
    both = metrics(carry_out("method=joint", "seeds=[0,1]"))
    assert both["total_error"] == pytest.approx(np.mean(errors), abs=1e-5)
    assert both["bias2"] + both["variance"] == pytest.approx(both["total_error"], abs=2e-5)
    assert 0 < both["bias2"] < 1 and 0 < both["variance"] <= 0.25  # of two runs that disagree on every image


# Batches between batches.


def test_embedded_batches_come_before_every_interval_th_batch_of_all_epochs(
    carry_out: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    draw = OneStream.draw

    def spy(*arguments: Any) -> Any:
        result = draw(*arguments)
        drawn.append(len(result.arrays[0]))
        return result

    monkeypatch.setattr(OneStream, "draw", spy)
    folder = carry_out("method=bet", "representation.embedded.interval=3", "representation.embedded.iterations=2")
    images = len(np.load(folder / "data/splits/kept.npy"))
    batches = -(-images // 64)
    visits = [sum(batch % 3 == 0 for batch in range(e * batches + 1, (e + 1) * batches + 1)) for e in range(9)]
    assert len(set(visits)) > 1, "3 divides the batches of an epoch: counting over all epochs is not seen"
    assert drawn == [images + count * 2 * 64 for count in visits]
