"""Where the parameters of an experiment leave the presets that it names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.longtail.errors import UserError
from stages.longtail.params import Params

# What decides a result; the cell of the table itself (profile, ratio), the seeds and the machine do not count.
COMPARED = ("dataset", "split", "protocol", "representation", "classifier")
FREE = {"dataset.root", "dataset.watch", "split.profile", "split.ratio"}


def deviations(params: Params, conf: Path, overrides: Sequence[str] = ()) -> list[str]:
    """Keys whose values differ from the presets of this dataset, protocol and method, as 'key: preset -> value'.

    overrides: of the presets, such as representation.branch.plus=5, in hydra's words.
    """
    try:
        from hydra import compose, initialize_config_dir
        from omegaconf import OmegaConf
    except ImportError:
        raise UserError(
            "the tables stage compares the parameters with conf/ by hydra, which is not installed: run it where "
            "requirements.txt is (the other stages do without)"
        ) from None

    groups = [
        f"dataset={params.dataset.name}",
        f"protocol={params.protocol.name}",
        f"method={params.method}",
    ]
    for group_and_name in groups:
        group, name = group_and_name.split("=")
        if not (conf / group / f"{name}.yaml").is_file():
            return [f"{group} '{name}' is no preset"]
    with initialize_config_dir(str(conf.resolve()), version_base=None):
        composed = compose("config", overrides=[*groups, *overrides])
    OmegaConf.resolve(composed)
    preset = _flat(OmegaConf.to_container(composed))
    actual = _flat({name: params.plain(name) for name in COMPARED})
    keys = [key for key in {**preset, **actual} if key.split(".")[0] in COMPARED and key not in FREE]
    return [
        f"{key}: {preset.get(key, 'absent')} -> {actual.get(key, 'absent')}"
        for key in keys
        if preset.get(key, "absent") != actual.get(key, "absent")
    ]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    result: dict[str, Any] = {}
    for key, inner in value.items():
        result |= _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    return result
