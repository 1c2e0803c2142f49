"""The README's table of methods, from conf/method/: python -m stages.longtail.report.methods"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import yaml


def table(conf: Path) -> str:
    """Markdown: each preset, its comment, and the axes that it sets."""
    rows = []
    for path in sorted((conf / "method").glob("*.yaml")):
        text = path.read_text()
        preset: dict[str, Any] = yaml.safe_load(text)
        chosen = {key.split("/")[1]: name for item in preset.get("defaults", []) for key, name in item.items()}
        rows.append(
            {
                "method": f"`{path.stem}`",
                "what": text.splitlines()[1].removeprefix("# "),
                "representation": _axes(chosen.get("representation", "plain"), preset.get("representation", {})),
                "classifier": _axes(chosen.get("classifier", "continue"), preset.get("classifier", {})),
            }
        )
    return pd.DataFrame(rows).to_markdown(index=False)


def _axes(group: str, changes: dict[str, Any]) -> str:
    """The group file's name and what the preset changes of it, but for the branch."""
    parts = [f"`{group}`"]
    for axis, value in changes.items():
        if axis != "branch":
            shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
            parts.append(f"{axis} {shown}")
    return ", ".join(parts)


if __name__ == "__main__":
    print(table(Path("conf")))
