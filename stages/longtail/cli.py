"""The command line that the stage scripts share: --params and a folder for each input and output."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from stages.longtail import errors, params

run = errors.run


def parse(doc: str | None, **folders: str) -> Any:
    """Read the command line; `doc` is the help. Each folder becomes an option with the given default.

    Returns a namespace with `params`, already validated, and a Path for each folder.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="parameter file (params.yaml)")
    for name, default in folders.items():
        parser.add_argument(f"--{name}", type=Path, default=Path(default), help=f"folder ({default})")
    args = parser.parse_args()
    args.params = params.load(args.params)
    return args
