"""Plain yaml values into typed, frozen dataclasses; whatever does not fit is refused with a line that names the key."""

from __future__ import annotations

import dataclasses
import difflib
import sys
import types
import typing
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal

from stages.longtail.console.errors import UserError


@dataclass(frozen=True)
class Range:
    """Bounds of a number: `low <= x <= high`, or `low < x` where `open_low`."""

    low: float = 0.0
    high: float = float("inf")
    open_low: bool = False


Count = Annotated[int, Range(1)]
NonNegative = Annotated[float, Range(0)]
Positive = Annotated[float, Range(0, open_low=True)]


def suggest(word: str, known: typing.Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(word, known, n=1)
    return f": did you mean '{near[0]}'?" if near else f" (known: {', '.join(known)})"


def build(hint: Any, value: Any, key: str) -> Any:
    """Turn plain yaml `value` into the type `hint`; `key` is the dotted name that an error shows."""
    origin = typing.get_origin(hint)
    if origin is Annotated:
        inner, bounds = typing.get_args(hint)
        return _in_range(build(inner, value, key), bounds, key)
    if origin is Literal:
        options = typing.get_args(hint)
        if value not in options:
            hinted = suggest(value, options) if isinstance(value, str) else f" (known: {', '.join(options)})"
            raise UserError(f"{key}: unknown value {value!r}{hinted}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise UserError(f"{key}: expected a list, found {value!r}")
        return tuple(build(typing.get_args(hint)[0], item, f"{key}[{i}]") for i, item in enumerate(value))
    if origin in (types.UnionType, typing.Union):
        return _build_union(typing.get_args(hint), value, key)
    if dataclasses.is_dataclass(hint):
        return _build_dataclass(typing.cast(type, hint), value, key)
    if hint is float and type(value) in (int, float):
        if value != value or abs(value) > sys.float_info.max:
            raise UserError(f"{key}: expected a finite number, found {value!r}")
        return float(value)
    if hint in (int, str, bool) and type(value) is hint:
        if hint is int and abs(value) >= 2**63:
            raise UserError(f"{key}: the number has too many digits")
        return value
    raise UserError(f"{key}: expected {hint.__name__}, found {value!r}")


def _build_union(options: tuple[Any, ...], value: Any, key: str) -> Any:
    if value is None and types.NoneType in options:
        return None
    options = tuple(option for option in options if option is not types.NoneType)
    if len(options) == 1:
        return build(options[0], value, key)
    kinds = {kind: option for option in options for kind in typing.get_args(_hints(option)["kind"])}
    if isinstance(value, str):  # the kind alone, its parameters as the dataclass has them
        value = {"kind": value}
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind not in kinds:
        known = suggest(kind, kinds) if isinstance(kind, str) else f" (known: {', '.join(kinds)})"
        shown = kind if isinstance(value, dict) else value
        raise UserError(f"{key}.kind: unknown value {shown!r}{known}")
    return _build_dataclass(kinds[kind], value, key)


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)


def _build_dataclass(cls: type, value: Any, key: str) -> Any:
    if not isinstance(value, dict):
        raise UserError(f"{key}: expected keys, found {value!r}")
    hints = _hints(cls)
    for name in value:
        if name not in hints:
            raise UserError(f"{key}.{name}: unknown key{suggest(str(name), hints)}")
    optional = {field.name for field in dataclasses.fields(cls) if field.default is not dataclasses.MISSING}
    for name in hints:
        if name not in value and name not in optional:
            raise UserError(f"{key}.{name}: missing: add it, or compose the file from conf/ with dvc exp run")
    return cls(**{name: build(hints[name], value[name], f"{key}.{name}") for name in hints if name in value})


def _in_range(value: Any, bounds: Range, key: str) -> Any:
    if value < bounds.low or value > bounds.high or (bounds.open_low and value == bounds.low):
        low = f"above {bounds.low:g}" if bounds.open_low else f"at least {bounds.low:g}"
        high = "" if bounds.high == float("inf") else f" and at most {bounds.high:g}"
        raise UserError(f"{key}: must be {low}{high}, found {value!r}")
    return value
