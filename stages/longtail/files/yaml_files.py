"""YAML as DVC reads it: version 1.2, in which 010 is ten and 5e-2 is a number."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from stages.longtail.console.errors import UserError


def read(path: Path) -> Any:
    """The file's plain values; None if it is empty. Raises UserError if it is not YAML."""
    return parse(path.read_bytes(), path)


def parse(text: bytes | str, path: Path) -> Any:
    """As `read`, from `text`; errors name `path` as where it comes from."""
    from ruamel.yaml import YAML, YAMLError

    try:
        return YAML(typ="safe").load(text)
    except (YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid yaml: {error}") from error


def dump(value: Any) -> str:
    """Plain values as YAML, one entry per line, keys in their order; `read` gives them back."""
    from ruamel.yaml import YAML

    buffer = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.width = 1000
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(value, buffer)
    return buffer.getvalue()
