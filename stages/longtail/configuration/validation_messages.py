"""Turns pydantic's validation errors into one line that names the key and says what to do."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from stages.longtail.console.suggestions import suggest

EXPECTED = {"int_type": "int", "float_type": "float", "string_type": "str", "bool_type": "bool", "tuple_type": "a list"}
NO_KEYS = ("model_type", "model_attributes_type")
NO_KIND = ("union_tag_invalid", "union_tag_not_found")
UNKNOWN_KEY = ("extra_forbidden", "invalid_key")
BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("above", "gt"),
    "less_than_equal": ("at most", "le"),
}


def explain(error: ValidationError, form: Any, name: str) -> str:
    """One line about the first fault. An unknown key comes first: it may be a misspelt one that another fault misses.

    Args:
        error: what pydantic raised for a section.
        form: the section's type, as given to pydantic.
        name: the section's name, with which the message begins.
    """
    fault = min(error.errors(), key=lambda fault: fault["type"] not in UNKNOWN_KEY)
    kind, value, bounds = fault["type"], fault["input"], fault.get("ctx", {})
    if kind in UNKNOWN_KEY:
        *above, unknown = fault["loc"]
        key, models = _place(form, above)
        return f"{name}{key}.{unknown}: unknown key{suggest(str(unknown), models[0].model_fields)}"
    key, models = _place(form, fault["loc"])
    key = name + key
    if kind in NO_KIND or (kind in NO_KEYS and len(models) > 1):
        given = value.get("kind") if isinstance(value, dict) else value
        return f"{key}.kind: {_unknown(given, [name for model in models for name in _kinds(model)])}"
    if kind == "literal_error":
        options = re.findall("'([^']*)'", bounds["expected"])
        return f"{key}: {_unknown(value, options)}"
    if kind == "missing":
        return f"{key}: missing: add it, or compose the file from conf/ with dvc exp run"
    if kind in BOUNDS:
        words, bound = BOUNDS[kind]
        return f"{key}: must be {words} {bounds[bound]:.10g}, found {value!r}"
    if kind == "less_than":  # schema.LIMIT
        return f"{key}: the number has too many digits"
    if kind == "finite_number" or (kind == "float_type" and type(value) is int):
        return f"{key}: expected a finite number, found {value!r}"
    expected = "keys" if kind in NO_KEYS else EXPECTED.get(kind, fault["msg"])
    return f"{key}: expected {expected}, found {value!r}"


def _unknown(value: Any, known: list[str]) -> str:
    hint = suggest(value, known) if isinstance(value, str) else f" (known: {', '.join(known)})"
    return f"unknown value {value!r}{hint}"


def _place(form: Any, location: Iterable[int | str]) -> tuple[str, list[type[BaseModel]]]:
    """A fault's key below the section, such as .mixing.groups[0], and the models that may stand there.

    Inside a choice of models, pydantic's location has the kind of the chosen model as a step of its own, which is not
    part of the key.
    """
    key, models, chosen = "", list(_models(form)), False
    for step in location:
        if isinstance(step, int):
            key += f"[{step}]"
        elif not chosen and all("kind" in model.model_fields for model in models):
            models, chosen = [model for model in models if step in _kinds(model)], True
        else:
            key += f".{step}"
            field = models[0].model_fields.get(step)
            models, chosen = list(_models(field.annotation)) if field else [], False
    return key, models


def _models(form: Any) -> Iterator[type[BaseModel]]:
    """The models that a type may be: the type itself, or the members of a union, annotated or not."""
    if isinstance(form, type) and issubclass(form, BaseModel):
        yield form
    for part in typing.get_args(form):
        yield from _models(part)


def _kinds(model: type[BaseModel]) -> tuple[str, ...]:
    return typing.get_args(model.model_fields["kind"].annotation)
