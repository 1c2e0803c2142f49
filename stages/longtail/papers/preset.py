"""Compares the parameters of an experiment with the presets that it names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from stages.longtail.configuration.composition import compose
from stages.longtail.papers.experiment_params import FORMS, Experiment

# They may differ without a remark: they choose the cell of a table, or where files are. So may seeds and runtime.
FREE = {"dataset.root", "dataset.watch", "split.profile", "split.ratio"}


def deviations(params: Experiment, conf: Path, overrides: Sequence[str] = ()) -> list[str]:
    """Keys whose values differ from the presets of this dataset, protocol and method, as 'key: preset -> value'.

    overrides: changes of the presets that do not count, such as representation.branch.plus=5, as Hydra takes them.
    """
    groups = [
        f"dataset={params.dataset.name}",
        f"protocol={params.protocol.name}",
        f"method={params.method}",
    ]
    for group_and_name in groups:
        group, name = group_and_name.split("=")
        if not (conf / group / f"{name}.yaml").is_file():
            return [f"{group} '{name}' is not a preset"]
    preset, actual = (_flat(one) for one in (Experiment.of(compose([*groups, *overrides], conf)), params))
    keys = [key for key in {**preset, **actual} if key not in FREE]
    return [
        f"{key}: {preset.get(key, 'absent')} -> {actual.get(key, 'absent')}"
        for key in keys
        if preset.get(key, "absent") != actual.get(key, "absent")
    ]


def settings(plain: dict[str, Any]) -> dict[str, Any]:
    """Every value of composed sections that decides a result, by its dotted key, with defaults filled in."""
    experiment = Experiment.of(plain)
    return _leaves({name: getattr(experiment, name).model_dump() for name in FORMS if name != "protocol"})


def shown(value: object) -> str:
    """A value as YAML writes it."""
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("\n...\n").strip()


def _flat(experiment: Experiment) -> dict[str, Any]:
    """Every value that decides a result, by the key with which one overrides it: representation.loss for its kind."""
    leaves = _leaves({name: getattr(experiment, name).model_dump(mode="json") for name in FORMS})
    return {key.removesuffix(".kind") if key.count(".") > 1 else key: value for key, value in leaves.items()}


def _leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    """Every value by its dotted key."""
    if not isinstance(value, dict):
        return {prefix: value}
    result: dict[str, Any] = {}
    for key, inner in value.items():
        result |= _leaves(inner, f"{prefix}.{key}" if prefix else str(key))
    return result
