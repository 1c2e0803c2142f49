"""Maps settings to the functions that implement them, and finds these in the code."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIBRARY = Path(__file__).resolve().parents[1]
ANY = "*"  # whatever the value is, but for null and false

# axis -> value -> module:function, below stages/longtail/. Who adds a kind adds its line; tests/test_methods.py carries
# every preset out and fails where a function that is named for it does not run.
FUNCTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "sampler": {
        "instance": ("data.samplers:order",),
        **dict.fromkeys(
            ("sqrt", "balanced", "reversed", "progressive"),
            ("data.samplers:class_probabilities", "data.random_draws:deal"),
        ),
        "cbs": ("data.samplers:balanced_batches", "data.random_draws:deal"),
        "b3rs": ("data.b3rs:order", "data.b3rs:ratios"),
    },
    "embedded": {"bet": ("data.samplers:epoch",)},
    "loss": {
        "cross_entropy": ("training.losses:build",),
        "focal": ("training.losses:focal", "training.losses:build"),
        "ldam": ("training.losses:ldam", "training.losses:ldam_margins", "training.losses:adjustment"),
        "logit_adjusted": ("training.losses:log_prior", "training.losses:adjustment"),
        "cdt": ("training.losses:temperatures", "training.losses:adjustment"),
    },
    "weighting": {
        "none": ("training.losses:_average",),
        "effective_number": ("training.losses:effective_number_weights", "training.losses:_average"),
    },
    "head": {"cosine": ("models.heads:CosineHead",)},
    "whitening": {"zca": ("models.whitening:Whitening",)},
    "mixing": {
        "mfw": ("training.mixing:draw", "training.mixing:mfw_class_weight", "training.mixing:mix"),
        "mixup": ("training.mixing:draw", "training.mixing:mix"),
        "remix": ("training.mixing:draw", "training.mixing:remix_label_share", "training.mixing:mix"),
    },
    "auxiliary": {"tasks": ("training.two_streams:Tasks",), "bilateral": ("training.two_streams:Branches",)},
    "branch": {ANY: ("recipe.schedule:branch_epoch",)},
    "classifier": {
        "continue": ("classification.apply_classifier:go_on",),
        "retrain": ("classification.apply_classifier:retrain",),
        "tau": ("classification.apply_classifier:tau_normalise", "models.heads:tau_normalised"),
        "ncm": ("classification.apply_classifier:nearest_class_mean", "models.heads:NearestMeanHead"),
        "logit_adjustment": ("classification.apply_classifier:adjust_logits",),
    },
    "trained": {
        **dict.fromkeys(("all", "head", "last_block"), ("training.loop:trained_parameters", "training.loop:set_mode")),
        "scale": ("models.network:scale_head", "models.heads:ScaledHead"),
    },
    "new_head": {ANY: ("models.network:new_head",)},
    "interlude": {ANY: ("classification.apply_classifier:go_on",)},
    "after": {ANY: ("classification.apply_classifier:go_on",)},
    "holdout": {ANY: ("splits.imbalance:draw",)},
    "n_max": {"None": ("splits.imbalance:draw",)},
}


@dataclass(frozen=True)
class Place:
    """A function or class in the code."""

    name: str  # such as training.mixing:mix
    path: Path
    line: int
    summary: str  # the first line of its docstring


def functions(settings: Mapping[str, Any], keys: Iterable[str]) -> list[str]:
    """The functions behind these settings, each once.

    Args:
        settings: every setting of an experiment by its dotted key, see preset.settings.
        keys: the settings to explain. A key without functions of its own belongs to the nearest axis above it:
            `representation.mixing.beta` to `representation.mixing`.
    """
    found = dict.fromkeys(name for key in keys for name in _behind(settings, key))
    return list(found)


def _behind(settings: Mapping[str, Any], key: str) -> tuple[str, ...]:
    parts = key.split(".")
    while parts:
        values = FUNCTIONS.get(parts[-1], {})
        above = ".".join(parts)
        value = str(settings.get(f"{above}.kind", settings.get(above, ANY)))
        set_at_all = value not in ("None", "False")
        if names := values.get(value, values.get(ANY, ()) if set_at_all else ()):
            return names
        parts.pop()
    return ()


def locate(name: str) -> Place:
    """Where `name`, module:function below stages/longtail/, is defined. Raises KeyError if it is not."""
    module, function = name.split(":")
    path = LIBRARY.joinpath(*module.split(".")).with_suffix(".py")
    for node in ast.parse(path.read_text()).body if path.is_file() else ():
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == function:
            return Place(name, path, node.lineno, (ast.get_docstring(node) or "").split("\n")[0])
    raise KeyError(name)
