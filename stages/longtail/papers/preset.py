"""Where the parameters of an experiment leave the presets that it names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from stages.longtail.configuration.composition import compose
from stages.longtail.configuration.parameters import SECTIONS, Params
from stages.longtail.configuration.schema import build

# What decides a result; the cell of the table itself (profile, ratio), the seeds and the machine do not count.
COMPARED = ("dataset", "split", "protocol", "representation", "classifier")
FREE = {"dataset.root", "dataset.watch", "split.profile", "split.ratio"}


def deviations(params: Params, conf: Path, overrides: Sequence[str] = ()) -> list[str]:
    """Keys whose values differ from the presets of this dataset, protocol and method, as 'key: preset -> value'.

    overrides: of the presets, such as representation.branch.plus=5, in hydra's words.
    """
    groups = [
        f"dataset={params.dataset.name}",
        f"protocol={params.protocol.name}",
        f"method={params.method}",
    ]
    for group_and_name in groups:
        group, name = group_and_name.split("=")
        if not (conf / group / f"{name}.yaml").is_file():
            return [f"{group} '{name}' is no preset"]
    preset = _flat(compose([*groups, *overrides], conf))
    actual = _flat({name: params.plain(name) for name in COMPARED})
    keys = [key for key in {**preset, **actual} if key.split(".")[0] in COMPARED and key not in FREE]
    return [
        f"{key}: {preset.get(key, 'absent')} -> {actual.get(key, 'absent')}"
        for key in keys
        if preset.get(key, "absent") != actual.get(key, "absent")
    ]


def settings(plain: dict[str, Any]) -> dict[str, Any]:
    """Every value of composed sections that decides a result, by its dotted key, with defaults filled in."""
    sections = {name: asdict(build(SECTIONS[name], plain[name], name)) for name in COMPARED}
    return {key: value for key, value in _flat(sections).items() if not key.startswith("protocol.")}


def shown(value: object) -> str:
    """A value as yaml has it."""
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("\n...\n").strip()


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    result: dict[str, Any] = {}
    for key, inner in value.items():
        result |= _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    return result
