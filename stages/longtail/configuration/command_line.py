"""The command line that the stage scripts share: --params or --cell, and a folder for each input and output."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stages.longtail.configuration import cells, parameters
from stages.longtail.console import errors
from stages.longtail.console.errors import UserError

run = errors.run


def manifest(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--manifest", type=Path, help="file to tell how the result came about (OUT/manifest.json)")


def parse(doc: str | None, options: Callable[[argparse.ArgumentParser], None] | None = None, **folders: str) -> Any:
    """Read the command line of a stage script.

    Args:
        doc: the help text.
        options: adds the script's own options to the parser.
        folders: one option per folder, such as raw="data/raw" for --raw, with the folder of the current experiment as
            default. With --cell the defaults are the cell's folders.

    Returns:
        A namespace with `params`, already validated, and a Path for each folder.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=Path, help="parameter file (params.yaml)")
    for name, default in folders.items():
        parser.add_argument(f"--{name}", type=Path, help=f"folder ({default})")
    out = folders.get("out")
    if out:
        parser.add_argument(
            "--cell", help="a run of a paper, such as switching/cifar10-exp-100-crt: its parameters and folders"
        )
        parser.add_argument("--recipe", help="ignored: lets DVC see that the recipe of a cell changed")
    if options:
        options(parser)
    args = parser.parse_args()
    cell = cells.find(args.cell, out) if out and args.cell else None
    if cell and args.params:
        raise UserError("--cell has parameters of its own: leave --params out")
    if cell:
        args.params = parameters.Params(cell.sections(), cell.path)
    else:
        args.params = parameters.load(args.params or Path("params.yaml"))
    for name, default in folders.items():
        if getattr(args, name) is None:
            setattr(args, name, cell.folder(default) if cell else Path(default))
    if cell and out in cells.MANIFESTS and args.manifest is None:
        args.manifest = cell.manifest(out)
    return args
