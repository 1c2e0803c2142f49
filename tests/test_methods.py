"""Every method preset, end to end on digits; and combinations of axes that make no sense."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import os
import re
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from conftest import ROOT, composed
from entered import entered
from golden import curves
from inprocess import CLASSIFIER, REPRESENTATION

from stages.longtail.configuration import parameters
from stages.longtail.console.errors import UserError
from stages.longtail.papers import explanation
from stages.longtail.recipe import representation as recipe
from stages.longtail.validation import combinations

METHODS = sorted(path.stem for path in (ROOT / "conf/method").glob("*.yaml"))
REPORTS = ("metrics.json", "history.csv", "per_class.csv", "confusion.csv", "shots.csv")

PLANE = ("+protocol.projection=2", "runtime.observe=[plane]")
BILATERAL = "representation.auxiliary=bilateral"
CBS = "{kind: cbs, images: 5}"  # no divisor of small's 64
CONTINUE = "{kind: continue, sampler: null, loss: null, weighting: null}"
AFTER = "method=switching_crt"
COSINE = ("protocol.schedule.kind=cosine", "~protocol.schedule.milestones", "~protocol.schedule.gamma")
BEYOND = "representation.branch={at: end, plus: 3}"
LAST = "representation.branch={at: end, plus: 0}"
LATER = ("method=joint", LAST)


@pytest.fixture(scope="session")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all the processes of a test run: a file for each outcome, with the method that gave it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "outcomes"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_preset_runs_to_the_end_twice_the_same_and_as_no_other(
    method: str, carry_out: Callable[..., Path], seen: Path
) -> None:
    with entered() as running:
        first = carry_out(f"method={method}")
    second = carry_out(f"method={method}")
    for name in (REPRESENTATION, CLASSIFIER, *(Path("reports", name) for name in REPORTS)):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    assert not curves.changed(method, curves.curve()), "training changed"
    metrics = json.loads((first / "reports/metrics.json").read_text())
    for which in ("acc", "best"):
        accuracies = {group: value for group, value in metrics[which].items() if group != "epoch"}
        assert accuracies.keys() == {"all", "many", "medium", "few"}
        assert all(0 <= value <= 100 for value in accuracies.values())
    assert metrics["acc"]["all"] > 11, "no better than one class for all images"
    assert metrics["acc"]["all"] < metrics["top5"]["all"] <= 100
    outcome = b"".join((first / "reports" / name).read_bytes() for name in ("history.csv", "confusion.csv"))
    named = {place.name for place in explanation.functions(method, ROOT / "conf")}
    assert named <= running, f"stages.methods {method} names what does not run"
    same = seen / hashlib.sha256(outcome).hexdigest()
    assert not same.exists(), f"as {same.read_text()}: some option is not read"
    same.write_text(method)


def test_deferred_reweighting_changes_the_weights_only_after_the_branch(carry_out: Callable[..., Path]) -> None:
    (joint, joint_end), (drw, drw_end) = (
        [
            torch.load(folder / path, weights_only=True)["seeds"][0]["network"]
            for folder in [carry_out(f"method={method}", "representation.branch={at: deferred, plus: 0}")]
            for path in (REPRESENTATION, CLASSIFIER)
        ]
        for method in ("joint", "ce_drw")
    )
    assert all(torch.equal(joint[name], drw[name]) for name in joint)
    assert not all(torch.equal(joint_end[name], drw_end[name]) for name in joint)


REFUSED = [
    # seeds, protocol and split
    (("seeds=[]",), "seeds is empty"),
    (("seeds=[3,3]",), "seeds repeats a seed: [3, 3]"),
    (("protocol.width=5",), "protocol.width must be even, found 5"),
    (("protocol.backbone=resnext50", "protocol.width=8"), "protocol.width is 8", "resnext50 need a multiple of 16"),
    (("protocol.augment=resized_crop_flip",), "protocol.pad is 1, but resized_crop_flip", "set it to 0"),
    (("+protocol.weights=imagenet",), "protocol.weights is imagenet", "protocol.weights to null"),
    (("+protocol.shards=1000",), "protocol.shards is 1000, but protocol.batch_size", "set protocol.shards lower"),
    (("method=bbn", "+protocol.trained=last_block"), "protocol.trained is last_block", "set protocol.trained to all"),
    (("protocol.schedule.milestones=[9,4]",), "protocol.schedule.milestones must increase: [9, 4]"),
    (
        ("classifier=ft_cbs", "classifier.schedule={kind: multistep, warmup: 0, milestones: [2, 2], gamma: 0.1}"),
        "classifier.schedule.milestones must increase: [2, 2]",
    ),
    (("classifier=tau", "classifier.tau=null"), "classifier.tau is null", "split.holdout is 0"),
    (("method=tau_heldout", "classifier.grid=[]"), "classifier.tau is null", "classifier.grid is empty"),
    # heads and losses
    (("representation.loss=ldam",), "representation.loss is ldam", "representation.head to cosine"),
    (("representation.head=cosine",), "representation.loss is cross_entropy", "representation.head to linear"),
    (("method=switching", "classifier.loss=ldam"), "classifier.loss is ldam", "representation.head to cosine"),
    (("method=ldam_drw", "classifier.loss=focal"), "classifier.loss is focal", "representation.head to linear"),
    (("method=ldam", "classifier=lws"), "classifier.kind retrain", "representation.head is cosine"),
    (("method=ldam", "classifier=tau"), "classifier.kind tau", "representation.head is cosine"),
    (("method=ldam", "classifier=logit_adjustment"), "classifier.kind logit_adjustment", "head is cosine"),
    (("method=crt", "classifier.loss=ldam"), "classifier.loss is ldam", "a re-trained head is linear"),
    (("method=b_c", "+classifier.frozen=batch"), "classifier.frozen is batch", "nothing is frozen"),
    (("method=switching", "+classifier.frozen=batch"), "classifier.frozen is batch, but classifier.trained is all"),
    (("method=crt", "+classifier.scale_bias=true"), "classifier.scale_bias is true", "trained is head, not scale"),
    (("method=lb_c", BILATERAL), "classifier.trained is last_block", "representation.auxiliary is bilateral"),
    # auxiliary tasks beside what mixes or embeds batches
    (("method=bbn", "representation.whitening=zca"), "representation.auxiliary is bilateral", "whitening is zca"),
    (
        ("method=cbs_rrs", "representation.mixing=mfw"),
        "representation.mixing is mfw",
        "representation.auxiliary is task",
    ),
    (("method=bbn", "+protocol.projection=8"), "protocol.projection is set", "representation.auxiliary is bilateral"),
    (("+protocol.projection_relu=false",), "protocol.projection_relu is false", "there is no projection"),
    (("runtime.observe=[plane]",), "runtime.observe has plane", "protocol.projection to 2"),
    ((*PLANE, "+protocol.shards=2"), "runtime.observe has plane", "protocol.shards to 1"),
    (("method=ldam", *PLANE), "runtime.observe has plane", "representation.head to linear"),
    (("method=mixup", BILATERAL), "representation.mixing is mixup", "representation.auxiliary is bilateral"),
    (("method=cbs_rrs", "representation.embedded=bet"), "representation.embedded is bet", "auxiliary is tasks"),
    (("method=bet", BILATERAL), "representation.embedded is bet", "representation.auxiliary is bilateral"),
    (("method=mixup", "representation.mixing.groups=[]"), "representation.mixing.groups is empty"),
    (("method=remix", "representation.mixing.groups=[]"), "representation.mixing.groups is empty"),
    # class-balanced batches that do not fill a batch, wherever a sampler stands
    ((f"representation.sampler={CBS}",), "representation.sampler.images is 5", "protocol.batch_size, 64"),
    (
        ("method=bet", "representation.embedded.sampler=cbs", "protocol.batch_size=6"),
        "representation.embedded.sampler.images is 4, which does not divide protocol.batch_size, 6",
    ),
    (("method=cbs_rrs", f"representation.auxiliary.sampler={CBS}"), "representation.auxiliary.sampler.images is 5"),
    (("method=bbn", f"representation.auxiliary.sampler={CBS}"), "representation.auxiliary.sampler.images is 5"),
    (("method=switching", f"classifier.sampler={CBS}"), "classifier.sampler.images is 5"),
    (("method=crt", f"classifier.sampler={CBS}"), "classifier.sampler.images is 5"),
    ((AFTER, f"classifier.after.sampler={CBS}"), "classifier.after.sampler.images is 5"),
    (("method=cb_then_cr", f"classifier.interlude.sampler={CBS}"), "classifier.interlude.sampler.images is 5"),
    # branches
    (("representation.branch={at: start, plus: 0}",), "representation.branch ends at epoch 0"),
    (("representation.branch={at: start, plus: 31}",), "representation.branch ends at epoch 31", "classifier.epochs"),
    (("method=switching", BEYOND), "representation.branch ends at epoch 33", "set classifier.epochs"),
    (("method=crt", BEYOND), "representation.branch ends at epoch 33", "protocol.epochs is 30"),
    ((AFTER, BEYOND), "representation.branch ends at epoch 33", "protocol.epochs is 30"),
    (
        ("method=switching", BEYOND, "classifier.epochs=2", *COSINE),
        "classifier.epochs goes on beyond protocol.epochs, 30, but the cosine of protocol.schedule",
    ),
    (
        ("method=switching", "representation.branch={at: end, plus: 0}", "classifier.epochs=1", *COSINE),
        "classifier.epochs goes on beyond protocol.epochs, 30, but the cosine of protocol.schedule",
    ),
    (("method=bbn", BEYOND, "classifier.epochs=2"), "beyond protocol.epochs, 30, but the alpha of representation.auxi"),
    (("method=progressive", BEYOND, "classifier.epochs=2"), "beyond protocol.epochs, 30, but the progressive sampler"),
    (
        ("method=cb_then_cr", BEYOND, "classifier.interlude.sampler=progressive", "classifier.epochs=7"),
        "beyond protocol.epochs, 30, but the progressive sampler",
    ),
    (
        ("method=switching", *COSINE),
        "representation.branch.at is last_milestone",
        "no milestones",
    ),
    (("method=lws", "representation.branch={at: start, plus: 0}"), "representation.branch ends at epoch 0"),
    (("method=cb_then_cr", "classifier.interlude.epochs=9"), "classifier.interlude.epochs is 9, but 9 epochs follow"),
    (("method=cb_then_cr", "classifier.epochs=5"), "classifier.interlude.epochs is 5, but 5 epochs follow"),
    (
        (AFTER, "+classifier.after.interlude={sampler: balanced, epochs: 9}"),
        "classifier.after.interlude.epochs is 9, but 9 epochs follow",
    ),
    # a change that no epoch sees
    (("method=switching", LAST), "classifier.sampler changes what is trained after the branch", "the last epoch"),
    (("method=ib_new_head", LAST), "classifier.new_head changes what is trained", "classifier.epochs to go on beyond"),
    (("method=ce_drw", LAST), "classifier.weighting changes what is trained after the branch"),
    (("method=cb_then_cr", "classifier.sampler=null", LAST), "classifier.interlude changes what is trained"),
    (("method=switching_crt", LAST), "classifier.after.sampler changes what is trained", "or classifier.after.epochs"),
    ((*LATER, "classifier.trained=head"), "classifier.trained changes what is trained after the branch"),
    # keys of another kind, and names
    (("method=ncm", "+classifier.scale=30"), "classifier.scale: unknown key"),
    (("method=ldam", "classifier=ncm", "+classifier.scale=30"), "classifier.scale: unknown key"),
    (("representation.sampler={kind: balanced, images: 4}",), "representation.sampler.images: unknown key"),
    (("representation.sampler={images: 4}",), "representation.sampler.kind: unknown value None", "cbs, b3rs"),
    (("representation.loss=ldma",), "did you mean 'ldam'"),
    (("representation.weighting=effective",), "did you mean 'effective_number'"),
    (("representation.embedded=bett",), "representation.embedded.kind: unknown value 'bett'", "did you mean 'bet'"),
    (("representation.whitening=zac",), "did you mean 'zca'"),
    (("representation.auxiliary=task",), "did you mean 'tasks'"),
    (("representation.mixing=mixip",), "did you mean 'mixup'"),
    (("method=crt", "classifier.trained=lastblock"), "classifier.trained: ", "did you mean 'last_block'"),
    (("classifier.trained=scale",), "classifier.trained: unknown value 'scale'", "all, head"),
]


def refusal(overrides: tuple[str, ...], path: Path) -> UserError:
    path.write_text(yaml.safe_dump(composed(*overrides)))
    with pytest.raises(UserError) as caught:
        parameters.load(path)
    return caught.value


@pytest.mark.parametrize(("overrides", "words"), [(overrides, words) for overrides, *words in REFUSED])
def test_a_combination_that_makes_no_sense_is_refused(
    overrides: tuple[str, ...], words: list[str], tmp_path: Path
) -> None:
    message = str(refusal(overrides, tmp_path / "params.yaml"))
    for word in words:
        assert word in message, f"{word!r} is not in {message!r}"


@pytest.mark.parametrize(
    ("overrides", "offered"),
    [
        ((), "{at: last_milestone, plus: 0}"),
        (COSINE, "{at: deferred, plus: 0}"),
        ((*COSINE, "protocol.epochs=2"), "{at: deferred, plus: 0}"),
        (("protocol.epochs=20",), "{at: deferred, plus: 0}"),
    ],
)
def test_a_combination_that_needs_a_branch_is_offered_one_that_works(
    overrides: tuple[str, ...], offered: str, tmp_path: Path
) -> None:
    combination = (*overrides, "method=mfw", "classifier.sampler=balanced")
    message = str(refusal(combination, tmp_path / "params.yaml"))
    line = re.search("-S '(.*?)'", message)
    assert line and line[1] == f"representation.branch={offered}"
    parameters.Params(composed(*combination, line[1]), tmp_path)


def test_with_a_single_epoch_there_is_no_branch_to_offer(tmp_path: Path) -> None:
    message = str(refusal(("protocol.epochs=1", "classifier.sampler=balanced"), tmp_path / "params.yaml"))
    assert "-S" not in message and "classifier.epochs to go on beyond" in message


def test_every_refusal_of_a_combination_is_among_these(tmp_path: Path) -> None:
    code = ast.parse(inspect.getsource(combinations))
    written = {node.lineno for node in ast.walk(code) if isinstance(node, ast.Raise)}
    reached = set()
    for overrides, *_ in REFUSED:
        error = refusal(overrides, tmp_path / "params.yaml").__context__
        last = traceback.extract_tb(error.__traceback__)[-1] if error else None
        if last and last.filename == combinations.__file__:
            reached.add(last.lineno)
    assert len(written) > 15 and reached == written


@pytest.mark.parametrize(
    "overrides",
    [
        ("method=ldam", "classifier=crt"),  # a new head, linear
        ("method=ldam", "classifier=ncm"),
        ("method=bbn", "classifier=crt", "representation.branch={at: end, plus: 0}"),
        ("method=bet", "representation.mixing=mfw", "representation.whitening=zca"),
        ("method=cbs_rrs_ss", "representation.whitening=zca", "representation.weighting=effective_number"),
        ("method=switching", "representation.branch={at: last_milestone, plus: 3}", "classifier.epochs=2"),
        ("method=switching_crt", "+classifier.after.epochs=2", "+classifier.after.trained=head"),
        ("method=lws", "+classifier.after=" + CONTINUE, "representation.branch={at: start, plus: 1}"),
        ("representation.sampler=progressive", "method=switching", "classifier.epochs=12"),
        ("method=cb_then_cr", "representation.loss=focal", "classifier.sampler={kind: b3rs, blocks: 2}"),
    ],
    ids=" ".join,
)
def test_a_combination_that_makes_sense_runs(overrides: tuple[str, ...], carry_out: Callable[..., Path]) -> None:
    carry_out(*overrides)


def test_the_kind_alone_is_short_for_its_defaults(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    kinds = ("loss=ldam", "head=cosine", "sampler=cbs", "embedded=bet", "whitening=zca", "mixing=mfw")
    path.write_text(yaml.safe_dump(composed(*(f"representation.{kind}" for kind in kinds))))
    representation = parameters.load(path).section("representation", recipe.Representation)
    assert representation.loss == recipe.LDAM(max_margin=0.5, scale=30.0)
    assert representation.sampler == recipe.ClassBalancedBatches(images=4)
    assert representation.embedded == recipe.BatchEmbedded(interval=60, iterations=5)
    assert representation.embedded.sampler == recipe.RelativelyBalancedBlocks()
    assert representation.whitening == recipe.ZCA(epsilon=1e-5, momentum=0.1)
    assert representation.mixing == recipe.MajorFeatureWeakening(group=2, alpha=2.0, beta=2.0, deviation="arithmetic")
