"""Parameters: what is unknown, missing, of a wrong type or out of range is refused with a line that names the key."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, composed, tiny
from dvc.utils.serialize import parse_yaml

from stages.longtail.configuration import parameters
from stages.longtail.console.errors import UserError
from stages.longtail.files import yaml_files
from stages.longtail.recipe.protocol import Protocol
from stages.longtail.splits.split import Split
from stages.longtail.validation.whole_file import SECTIONS

Keys = tuple[str | int, ...]

COMMITTED = yaml.safe_load((ROOT / "params.yaml").read_text())
INTEGERS = {
    *("dataset.size", "split.n_max", "split.seed", "split.holdout", "split.many", "split.few", "seeds[0]"),
    *("protocol.width", "protocol.epochs", "protocol.batch_size", "protocol.pad", "protocol.schedule.warmup"),
    *("protocol.schedule.milestones[0]", "representation.branch.plus", "runtime.test_every", "runtime.threads"),
}
FRACTIONS = {
    *("split.ratio", "protocol.lr", "protocol.momentum", "protocol.weight_decay", "protocol.schedule.gamma"),
}
NULLABLE = {
    *("dataset.root", "split.n_max", "runtime.threads", "classifier.sampler", "classifier.loss"),
    *("classifier.weighting", "classifier.interlude", "classifier.epochs", "runtime.at_once"),
}
SWITCHES = {"runtime.regularity", "classifier.new_head"}
OPTIONAL = (
    SWITCHES
    | {"runtime.mode", "runtime.at_once"}
    | {f"classifier.{key}" for key in ("sampler", "loss", "weighting", "interlude", "trained", "epochs")}
)
FREE_TEXT = {"method", "protocol.name", "dataset.root", "dataset.watch"}


def leaves(value: Any, keys: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Every value that is not a container, with the keys that lead to it."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*keys, key))
    else:
        yield keys, value


def dotted(keys: Keys) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")


def numbers(value: Any) -> list[Keys]:
    return [keys for keys, leaf in leaves(value) if type(leaf) in (int, float)]


def with_value(raw: dict[str, Any], keys: Keys, value: Any) -> dict[str, Any]:
    raw = copy.deepcopy(raw)
    at(raw, keys[:-1])[keys[-1]] = value
    return raw


def without(raw: dict[str, Any], keys: Keys) -> dict[str, Any]:
    raw = copy.deepcopy(raw)
    del at(raw, keys[:-1])[keys[-1]]
    return raw


def at(raw: Any, keys: Keys) -> Any:
    for key in keys:
        raw = raw[key]
    return raw


def merged(raw: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    both = {key: merged(raw[key], over[key]) for key in raw.keys() & over.keys() if isinstance(raw[key], dict)}
    return raw | over | both


# Without epochs after the branch there is nothing that these classifiers change: refused.
EARLIER = dict.fromkeys(
    ("reversed", "balanced", "drs", "drw"), ("representation.branch={at: last_milestone, plus: 0}",)
)


def with_preset(path: Path) -> tuple[dict[str, Any], list[Keys]]:
    """The default experiment with a file of conf/ chosen, and the numbers that this changed or added."""
    raw = composed(f"{path.parent.name}={path.stem}", *EARLIER.get(path.stem, ()))
    default = dict(leaves(COMMITTED))
    return raw, [keys for keys in numbers(raw) if default.get(keys) != at(raw, keys)]


def named(message: str, keys: Keys, what: str = "") -> bool:
    """Does the message name the key (or its .kind, which a text alone stands for), and then say `what`?"""
    return re.search(rf" {re.escape(dotted(keys))}(\.kind)?: {re.escape(what)}", message) is not None


def load(tmp_path: Path, raw: Any) -> parameters.Params:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(raw))
    return parameters.load(path)


def refused(tmp_path: Path, raw: Any, *words: str) -> str:
    """Load parameters that must be refused in a message that has every word."""
    with pytest.raises(UserError) as caught:
        load(tmp_path, raw)
    message = str(caught.value)
    for word in words:
        assert word in message, f"{word!r} is not in {message!r}"
    return message


PRESETS = sorted((ROOT / "conf").glob("*/*.yaml"))


def test_the_committed_parameters_are_accepted(tmp_path: Path) -> None:
    loaded = load(tmp_path, COMMITTED)
    assert loaded.section("protocol", Protocol).epochs == 30 and loaded.section("split", Split).ratio == 20.0
    assert loaded.seeds == (0,)


def test_numbers_are_read_as_dvc_reads_them(tmp_path: Path) -> None:
    """Yaml 1.2: a leading zero is not octal, an exponent needs no point, yes and off are words."""
    path, text = tmp_path / "params.yaml", yaml.safe_dump(COMMITTED)
    path.write_text(text.replace("  seed: 0\n", "  seed: 010\n").replace("lr: 0.1\n", "lr: 5e-2\n"))
    loaded = parameters.load(path)
    assert loaded.section("split", Split).seed == 10 and loaded.section("protocol", Protocol).lr == 0.05
    assert yaml_files.read(path) == parse_yaml(path.read_text(), path)
    path.write_text(text.replace("regularity: false", "regularity: off"))
    with pytest.raises(UserError, match=r"runtime\.regularity: expected bool, found 'off'"):
        parameters.load(path)


def test_what_is_written_is_read_back_by_dvc(tmp_path: Path) -> None:
    value = {"b": ["5e-2", "010", "893884e2", "yes", "", "null", "~", "1_000"], "a": {"x": 1e-05, "y": None, "z": True}}
    text = yaml_files.dump(value)
    assert parse_yaml(text, "") == value and list(parse_yaml(text, "")) == ["b", "a"]


def test_every_number_of_the_committed_parameters_is_walked() -> None:
    found = {dotted(keys) for keys in numbers(COMMITTED)}
    assert found == INTEGERS | FRACTIONS


@pytest.mark.parametrize("value", [-1, -0.5])
def test_a_negative_number_anywhere_in_the_committed_parameters_is_refused(tmp_path: Path, value: float) -> None:
    for keys in numbers(COMMITTED):
        wrong = "expected int" if value == -0.5 and dotted(keys) in INTEGERS else "must be a"
        refused(tmp_path, with_value(COMMITTED, keys, value), f" {dotted(keys)}: {wrong}", str(value))


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.relative_to(ROOT / "conf").as_posix())
def test_a_negative_number_anywhere_in_a_preset_is_refused(tmp_path: Path, path: Path) -> None:
    raw, found = with_preset(path)
    assert found or path.parent.name in ("method", "classifier", "representation") or path.stem in ("small", "digits")
    load(tmp_path, raw)
    for keys in found:
        refused(tmp_path, with_value(raw, keys, -1), f" {dotted(keys)}: must be a", "-1")


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), float("-inf"), 10**400], ids=["nan", "inf", "-inf", "huge"]
)
def test_a_number_that_is_not_finite_is_refused(tmp_path: Path, value: float) -> None:
    for key in FRACTIONS:
        refused(tmp_path, with_value(COMMITTED, tuple(key.split(".")), value), f" {key}: expected a finite number")
    if value != 10**400:
        refused(tmp_path, tiny(protocol__epochs=value), " protocol.epochs: expected int")


@pytest.mark.parametrize("value", ["1", "", True, [1], {"a": 1}, None], ids=repr)
def test_no_number_may_be_something_else(tmp_path: Path, value: Any) -> None:
    for keys in numbers(COMMITTED):
        if not (value is None and dotted(keys) in NULLABLE):
            refused(tmp_path, with_value(COMMITTED, keys, value), f" {dotted(keys)}: expected ", repr(value))


def test_an_integer_may_not_be_a_fraction(tmp_path: Path) -> None:
    for keys in numbers(COMMITTED):
        if dotted(keys) in INTEGERS:
            for value in (1.5, 1.0):
                refused(tmp_path, with_value(COMMITTED, keys, value), f" {dotted(keys)}: expected int, found {value}")


@pytest.mark.parametrize("value", [1, True, ["exp"], {"a": "exp"}, None], ids=repr)
def test_no_text_may_be_something_else(tmp_path: Path, value: Any) -> None:
    for keys, leaf in leaves(COMMITTED):
        if isinstance(leaf, str):
            message = refused(tmp_path, with_value(COMMITTED, keys, value))
            assert named(message, keys), message


def test_a_null_may_only_become_what_its_key_holds(tmp_path: Path) -> None:
    for keys, leaf in leaves(COMMITTED):
        if leaf is None:
            for value in ([], {}, 1.5):
                message = refused(tmp_path, with_value(COMMITTED, keys, value))
                missing = value == {} and f" {dotted(keys)}.sampler: missing" in message  # of an interlude
                assert named(message, keys) or missing, message


def test_null_is_refused_where_it_means_nothing(tmp_path: Path) -> None:
    for keys, _ in leaves(COMMITTED):
        if dotted(keys) in NULLABLE:
            load(tmp_path, with_value(COMMITTED, keys, None))
        else:
            message = refused(tmp_path, with_value(COMMITTED, keys, None))
            assert named(message, keys), message


@pytest.mark.parametrize("value", [0, 1, "true", "", [True], None], ids=repr)
def test_a_switch_is_true_or_false(tmp_path: Path, value: Any) -> None:
    assert {dotted(keys) for keys, leaf in leaves(COMMITTED) if isinstance(leaf, bool)} == SWITCHES
    for key in SWITCHES:
        refused(
            tmp_path, with_value(COMMITTED, tuple(key.split(".")), value), f" {key}: expected bool, found {value!r}"
        )


@pytest.mark.parametrize("keys", [("seeds",), ("protocol", "schedule", "milestones")], ids=dotted)
@pytest.mark.parametrize("value", [0, "0", {"0": 0}, None], ids=repr)
def test_a_list_may_not_be_something_else(tmp_path: Path, keys: Keys, value: Any) -> None:
    refused(tmp_path, with_value(COMMITTED, keys, value), f" {dotted(keys)}: expected a list, found {value!r}")


@pytest.mark.parametrize("section", [key for key, value in COMMITTED.items() if isinstance(value, dict)])
@pytest.mark.parametrize("value", [None, [], 1, "digits"], ids=repr)
def test_a_section_may_not_be_something_else(tmp_path: Path, section: str, value: Any) -> None:
    refused(tmp_path, {**COMMITTED, section: value}, f" {section}")


def test_every_missing_key_is_named_or_has_the_value_of_the_presets(tmp_path: Path) -> None:
    for keys, _ in leaves(COMMITTED):
        if dotted(keys) in OPTIONAL:
            whole, shorter = load(tmp_path, COMMITTED), load(tmp_path, without(COMMITTED, keys))
            name = str(keys[0])
            same = shorter.section(name, SECTIONS[name]) == whole.section(name, SECTIONS[name])
            assert same, f"{dotted(keys)} has another default"
        elif len(keys) > 1 and isinstance(keys[-1], str):
            message = refused(tmp_path, without(COMMITTED, keys), f" {dotted(keys)}: ")
            assert "missing" in message or keys[-1] == "kind", message


@pytest.mark.parametrize("section", COMMITTED)
def test_a_missing_section_is_named_when_a_stage_reads_it(tmp_path: Path, section: str) -> None:
    loaded = load(tmp_path, without(COMMITTED, (section,)))
    with pytest.raises(UserError, match=f"section '{section}' is missing"):
        loaded.section(section, SECTIONS[section])


@pytest.mark.parametrize(
    ("keys", "right"),
    [
        (("protocol", "epoch"), "epochs"),
        (("protocol", "schedule", "millestones"), "milestones"),
        (("split", "ration"), "ratio"),
        (("representation", "branch", "pluss"), "plus"),
        (("classifier", "samplr"), "sampler"),
        (("runtime", "thread"), "threads"),
        (("runtime", "regularty"), "regularity"),
        (("classifier", "newhead"), "new_head"),
        (("representation", "auxilary"), "auxiliary"),
    ],
)
def test_an_unknown_key_is_refused_with_the_key_that_may_be_meant(tmp_path: Path, keys: Keys, right: str) -> None:
    refused(tmp_path, with_value(COMMITTED, keys, 1), f"{dotted(keys)}: unknown key", f"did you mean '{right}'?")


def test_an_unknown_key_near_to_none_lists_all(tmp_path: Path) -> None:
    refused(tmp_path, tiny(runtime__xyz=1), "runtime.xyz", "device", "precision", "threads", "test_every")
    refused(tmp_path, {**COMMITTED, "runtime": {**COMMITTED["runtime"], 7: 1}}, "runtime.7: unknown key")


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, tiny(classifier__tau=0.5), "classifier.tau: unknown key")
    refused(tmp_path, tiny(representation__mixing={"kind": "none", "alpha": 1.0}), "representation.mixing.alpha")
    refused(tmp_path, tiny(representation__sampler={"kind": "cbs", "blocks": 2}), "representation.sampler.blocks")
    inner = {"kind": "bet", "sampler": {"kind": "sqrt", "images": 2}}
    refused(tmp_path, tiny(representation__embedded=inner), "representation.embedded.sampler.images: unknown key")


def test_an_unknown_section_is_refused_with_the_section_that_may_be_meant(tmp_path: Path) -> None:
    refused(tmp_path, {**COMMITTED, "protocl": {}}, "unknown section 'protocl'", "did you mean 'protocol'?")
    refused(tmp_path, {**COMMITTED, "xyz": {}}, "unknown section 'xyz'", "dataset", "classifier")
    refused(tmp_path, {**COMMITTED, 7: {}}, "unknown section '7'")


@pytest.mark.parametrize(
    ("key", "wrong", "right"),
    [
        ("dataset.name", "cifar-10", "cifar10"),
        ("split.profile", "epx", "exp"),
        ("protocol.backbone", "resnet33", "resnet32"),
        ("protocol.augment", "crop-flip", "crop_flip"),
        ("protocol.schedule.kind", "multi_step", "multistep"),
        ("representation.sampler", "balance", "balanced"),
        ("representation.loss", "crossentropy", "cross_entropy"),
        ("representation.sampler", {"kind": "csb"}, "cbs"),
        ("representation.embedded", "bte", "bet"),
        ("representation.whitening", "zac", "zca"),
        ("representation.auxiliary", {"kind": "bilaterl"}, "bilateral"),
        ("representation.mixing", "mixp", "mixup"),
        ("representation.mixing", "mwf", "mfw"),
        ("representation.mixing", {"kind": "mwf"}, "mfw"),
        ("representation.branch.at", "last_millestone", "last_milestone"),
        ("classifier.kind", "retrian", "retrain"),
        ("classifier.sampler", "reverse", "reversed"),
        ("runtime.device", "cude", "cuda"),
    ],
)
def test_an_unknown_name_is_refused_with_the_one_that_may_be_meant(
    tmp_path: Path, key: str, wrong: Any, right: str
) -> None:
    keys = tuple(key.split("."))
    message = refused(tmp_path, with_value(COMMITTED, keys, wrong), f"did you mean '{right}'?")
    assert named(message, keys, f"unknown value '{wrong if isinstance(wrong, str) else wrong['kind']}'"), message


def test_every_name_out_of_a_list_is_checked_and_the_list_is_shown(tmp_path: Path) -> None:
    for keys, leaf in leaves(COMMITTED):
        if isinstance(leaf, str) and dotted(keys) not in FREE_TEXT:
            message = refused(tmp_path, with_value(COMMITTED, keys, "?"), leaf)
            assert named(message, keys, "unknown value '?'"), message


@pytest.mark.parametrize("kind", [None, 1, ["tau"], {"tau": 1}], ids=repr)
def test_a_kind_that_is_no_name_is_refused(tmp_path: Path, kind: Any) -> None:
    refused(tmp_path, tiny(classifier={"kind": kind}), " classifier.kind: ", "continue, retrain, tau, ncm")
