"""Every command in README and docs parses: its program knows the options, and conf/ composes what it sets."""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from conftest import ROOT

from stages.longtail.configuration import cells, parameters
from stages.longtail.configuration.composition import compose
from stages.longtail.evaluation import intervals, rounding
from stages.longtail.papers import published

PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "stages/README.md", "tests/README.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
CARRIED_OUT = "add-a-method.md"  # by tests/test_add_a_method.py
PROGRAMS = ("dvc ", "make", "python -m ", "pytest")
# Words of a command that stand for a person's own, and what to try instead.
STANDS_FOR = {"PAPER": "switching", "NAME": "mfw", "METHOD": "mfw", "FOLDER": "sent", "DIR": "images", "REV": "HEAD"}
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))


def commands(page: Path) -> Iterator[str]:
    """Commands in indented and fenced blocks, and in backquotes, without prompts, comments and outputs."""
    text = page.read_text().replace("\\\n", " ")
    blocks = [line.strip().removeprefix("$ ") for line in text.splitlines() if line.startswith("    ")]
    for fenced in re.findall(r"^```(?:bash|console|sh)?\n(.*?)^```", text, re.M | re.S):
        blocks += [line.removeprefix("$ ") for line in fenced.splitlines()]
    quoted = [" ".join(code.split()) for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]
    for line in [*blocks, *quoted]:
        for part in re.split(r" && |, then |; ", line.split("  #")[0]):
            if part.startswith(PROGRAMS) and (part != "make" and "..." not in part):
                yield part.strip()


FOUND = sorted(
    {
        (page.relative_to(ROOT).as_posix(), command)
        for page in PAGES
        if page.name != CARRIED_OUT
        for command in commands(page)
    }
)


class Parsed(Exception):
    """The arguments were understood; nothing is to run."""


def words(command: str) -> list[str]:
    found = shlex.split(command)
    return [
        STANDS_FOR.get(word, re.sub(r"=([A-Z]+)$", lambda m: "=" + STANDS_FOR.get(m[1], m[1]), word)) for word in found
    ]


@pytest.mark.parametrize(("page", "command"), FOUND)
def test_a_documented_command_parses(page: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # whatever should run after all finds nothing here
    program, *rest = words(command)
    if program == "make":
        named = [word for word in rest if "=" not in word]
        assert set(named) <= TARGETS
    elif program == "pytest":
        assert all((ROOT / word.split("::")[0]).exists() for word in rest if "/" in word)
    elif program == "dvc":
        from dvc.cli import parse_args

        parse_args(rest)  # raises where an option is unknown
        if rest[:2] == ["exp", "run"]:
            composes([value for flag, value in itertools.pairwise(rest) if flag in ("-S", "--set-param")], tmp_path)
    else:
        module, *arguments = rest[1:]
        if module.startswith("stages"):
            understood(module, arguments, monkeypatch)
        else:
            assert ROOT.joinpath(*module.split(".")).with_suffix(".py").is_file()


def composes(settings: list[str], tmp_path: Path) -> None:
    """Each choice of a sweep gives parameters that are accepted."""
    sweeps = [
        (key, value.split(","))
        for key, value in (one.split("=", 1) for one in settings)
        if re.fullmatch(r"[\w,]+", value)
    ]
    longest = max((len(values) for _, values in sweeps), default=1)
    for number in range(longest):
        chosen = [one for one in settings if one.split("=", 1)[0] not in dict(sweeps)]
        chosen += [f"{key}={values[min(number, len(values) - 1)]}" for key, values in sweeps]
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump(compose(chosen, ROOT / "conf")))
        parameters.load(path)


def understood(module: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The module's own parser takes the arguments; what comes after it does not run."""
    for name in ("parse_args", "parse_intermixed_args"):
        parse = getattr(argparse.ArgumentParser, name)

        def only_parse(self: argparse.ArgumentParser, *args: Any, parse: Any = parse, **kwargs: Any) -> None:
            parse(self, *args, **kwargs)
            raise Parsed

        monkeypatch.setattr(argparse.ArgumentParser, name, only_parse)
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    with pytest.raises((Parsed, SystemExit)) as stop:
        importlib.import_module(module).main()
    assert isinstance(stop.value, Parsed) or (isinstance(stop.value, SystemExit) and stop.value.code == 0), "--help"


def test_commands_are_found() -> None:
    assert len(FOUND) > 20
    assert ("README.md", "dvc exp run -S method=tau_norm") in FOUND


def test_the_readme_is_short_and_its_numbers_are_those_recorded() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    rows = re.findall(
        r"^\| `(\w+)` 1(, CIFAR-100)? \| `(\w+)`(?:, `(\+.+?)`)?.* "
        r"\| ([\d.]+) \(([\d.]+) to ([\d.]+)\) \| ([\d.]+) \| ([-+][\d.]+) \|$",
        text,
        re.M,
    )
    assert len(rows) == 12
    for paper, cifar100, method, variant, *shown in rows:
        dataset = "cifar100" if cifar100 else "cifar10"
        folder = cells.PAPERS / paper / f"metrics/{dataset}-exp-100-{method}{variant}"
        accuracy = json.loads((ROOT / folder / "metrics.json").read_text())["acc"]["all"]
        classes = pd.read_csv(ROOT / folder / "per_class.csv").sort_values("class")
        sizes = [10_000 // len(classes)] * len(classes)
        interval = intervals.of_accuracies(classes.accuracy.tolist(), sizes, classes.shot.tolist())["all"]
        printed = published.read(ROOT / cells.PAPERS / paper / "published.csv", ROOT / "conf")
        printed = printed[(printed.table == 1) & (printed.method == method) & (printed.overrides == "")]
        printed = printed[(printed.dataset == dataset) & (printed.ratio == 100) & (printed.profile == "exp")]
        assert printed.value.tolist() == [float(shown[3])]
        found = [accuracy, interval.low, interval.high, float(shown[3])]
        signed = rounding.text(accuracy - float(shown[3]), 1, sign=True)
        assert [*(rounding.text(value, 1) for value in found), signed] == shown, method


def test_links_between_pages_hold() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_package_of_the_code_stands_in_its_table_in_the_order_of_imports() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", (ROOT / "stages/README.md").read_text(), re.M)
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [layers] = [one["layers"] for one in contracts if one.get("containers") == ["stages.longtail"]]
    assert listed == layers
