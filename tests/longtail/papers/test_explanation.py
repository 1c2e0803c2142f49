"""`python -m stages.methods NAME`: what it says of a preset is so. That its functions run: tests/test_methods.py."""

from __future__ import annotations

import inspect
import sys
from importlib import import_module

import pytest
from conftest import ROOT

from stages import methods as command
from stages.longtail.configuration.composition import compose
from stages.longtail.console.errors import UserError
from stages.longtail.papers import explanation, implementation, methods, preset

CONF = ROOT / "conf"
METHODS = methods.names(CONF)


def says(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["methods", *arguments])
    command.main()
    return capsys.readouterr().out


@pytest.mark.parametrize("method", METHODS)
def test_every_preset_is_explained(method: str, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    text = says(capsys, monkeypatch, method)
    heads = [line for line in text.splitlines() if line and not line.startswith(" ")]
    assert heads[0].startswith(f"{method}: ")
    assert heads[1:] == ["Difference from joint", "Made by", "Printed in", "Ledger", "Run it"]
    assert f"dvc exp run -S method={method}" in text


@pytest.mark.parametrize("method", [name for name in METHODS if name != "joint"])
def test_every_difference_from_joint_has_its_functions(method: str) -> None:
    settings = preset.settings(compose([f"method={method}"], CONF))
    found = explanation.differences(method, CONF)
    assert found
    for key in found:
        assert implementation.functions(settings, [key]), (
            f"{key} is {settings[key]}: add it to implementation.FUNCTIONS"
        )


@pytest.mark.parametrize(
    "name", sorted({n for axis in implementation.FUNCTIONS.values() for x in axis.values() for n in x})
)
def test_a_place_is_the_line_at_which_the_function_begins(name: str) -> None:
    place = implementation.locate(name)
    module, function = name.split(":")
    lines, line = inspect.getsourcelines(getattr(import_module(f"stages.longtail.{module}"), function))
    assert place.line == line + next(i for i, text in enumerate(lines) if text.startswith(("def ", "class ")))
    assert place.summary


def test_mfw_differs_from_joint_in_its_mixing_alone() -> None:
    found = explanation.differences("mfw", CONF)
    assert {key: value for key, (_, value) in found.items()} == {
        "representation.mixing.kind": "mfw",
        "representation.mixing.group": 2,
        "representation.mixing.alpha": 2.0,
        "representation.mixing.beta": 2.0,
        "representation.mixing.deviation": "arithmetic",
    }
    assert "training.mixing:mfw_class_weight" in {place.name for place in explanation.functions("mfw", CONF)}


def test_joint_differs_from_itself_in_nothing() -> None:
    assert explanation.differences("joint", CONF) == {}


def test_tables_and_ledger_of_a_method_are_its_own(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    text = " ".join(says(capsys, monkeypatch, "cb_then_cr").split())
    assert "switching table 7, 1 number in 'IB; CB for 5 epochs, then CR': cifar10-exp-50" in text
    assert '`switching` Table 7 | "CB for 5 epochs, then CR"' in text
    assert "`end_to_end`" not in text


def test_a_wrong_name_has_a_near_one(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    with pytest.raises(UserError, match="no method is called 'mwf': did you mean 'mfw'"):
        says(capsys, monkeypatch, "mwf")


def test_without_a_name_the_methods_are_listed(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    text = says(capsys, monkeypatch)
    assert all(f"| `{method}`" in text for method in METHODS)


def test_the_documented_lists_of_methods_are_current() -> None:
    text = (ROOT / "docs/methods.md").read_text()
    again = methods.page(text, CONF, ROOT / "reports/papers")
    assert text == again, "python -m stages.methods --page docs/methods.md"


def test_every_printed_row_has_the_command_of_its_run(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    text = says(capsys, monkeypatch, "--rows", "procrustean")
    assert "dvc exp run -S dataset=cifar10 -S protocol=procrustean -S method=mfw" in text
    with pytest.raises(UserError, match="did you mean 'procrustean'"):
        says(capsys, monkeypatch, "--rows", "procrustian")
