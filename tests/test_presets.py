"""What a preset's name and its file promise."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from conftest import ROOT, composed

PATHS = sorted((ROOT / "conf/method").glob("*.yaml"))


def kind(value: Any) -> str:
    return value["kind"] if isinstance(value, dict) else value


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_cb_is_a_sampler_and_rw_a_weighting(path: Any) -> None:
    """cb, cr, ib: class-balanced, class-reversed, instance-balanced sampling; rw: re-weighting; dr*: deferred."""
    preset = composed(f"method={path.stem}")
    representation, classifier = preset["representation"], preset["classifier"]
    parts = set(path.stem.split("_"))
    interlude, after = classifier.get("interlude") or {}, classifier.get("after") or {}
    samplers = [representation["sampler"], *(part.get("sampler") for part in (classifier, interlude, after))]
    for word, sampler in (("cb", "balanced"), ("cr", "reversed"), ("ib", "instance")):
        assert word not in parts or sampler in samplers
    assert (kind(representation["weighting"]) == "effective_number") == ("rw" in parts)
    assert (kind(classifier.get("weighting") or "none") == "effective_number") == ("drw" in parts)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_preset_that_changes_something_at_its_branch_says_when(path: Any) -> None:
    """Whatever the protocol's own branch: the file alone tells at which epoch the method does what it does."""
    preset = yaml.safe_load(path.read_text())
    joint, classifier = composed("method=joint")["classifier"], composed(f"method={path.stem}")["classifier"]
    branch = preset.get("representation", {}).get("branch")
    assert (branch is not None) == (classifier != joint)
    if branch:
        assert branch.keys() == {"at", "plus"}
