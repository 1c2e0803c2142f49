"""The command line that the stage scripts share: --params and a folder for each input and output."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stages.longtail.configuration import cells, parameters
from stages.longtail.console import errors

run = errors.run


def manifest(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--manifest", type=Path, help="file to tell how the result came about (OUT/manifest.json)")


def parse(doc: str | None, options: Callable[[argparse.ArgumentParser], None] | None = None, **folders: str) -> Any:
    """Read the command line; `doc` is the help, `options` adds to it. Each folder is an option with a default.

    Returns a namespace with `params`, already validated, and a Path for each folder.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="parameter file (params.yaml)")
    parser.add_argument("--cell", help="an entry of a grid, such as runs.NAME; --params is then the grid's params.yaml")
    parser.add_argument("--recipe", help="ignored: lets DVC see that the recipe of a cell changed")
    for name, default in folders.items():
        parser.add_argument(f"--{name}", type=Path, default=Path(default), help=f"folder ({default})")
    if options:
        options(parser)
    args = parser.parse_args()
    if args.cell:
        args.params = parameters.Params(cells.sections(args.params, args.cell), args.params)
    else:
        args.params = parameters.load(args.params)
    return args
