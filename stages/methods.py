"""Explain a method: its difference from `joint`, the functions that make it, where it is printed, how to run it.

python -m stages.methods              list the methods
python -m stages.methods mfw          explain one
python -m stages.methods --axes       the settings of each, as a table
python -m stages.methods --rows       the rows of the papers' tables with the command of each run
"""

from __future__ import annotations

import argparse
from pathlib import Path

from stages.longtail.console import errors
from stages.longtail.files.artifacts import write_text
from stages.longtail.papers import explanation, methods


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", nargs="?", help="name of a preset in conf/method/")
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--axes", action="store_true", help="list the settings of each method instead")
    other.add_argument("--rows", nargs="?", const="", metavar="PAPER", help="list the papers' rows instead")
    other.add_argument("--page", type=Path, metavar="FILE", help="write the lists in docs/methods.md again")
    for folder, default in (("conf", "conf"), ("papers", "reports/papers")):
        parser.add_argument(f"--{folder}", type=Path, default=Path(default), help=f"folder ({default})")
    args = parser.parse_args()
    if args.method and (args.axes or args.rows is not None or args.page):
        parser.error("a method's name goes with none of --axes, --rows and --page")
    if args.method:
        print(explanation.explain(args.method, args.conf, args.papers))
    elif args.page:
        write_text(args.page, methods.page(args.page.read_text(), args.conf, args.papers))
    elif args.axes:
        print(methods.axes(args.conf))
    elif args.rows is not None:
        print(methods.rows(args.papers, args.conf, args.rows).to_markdown(index=False))
    else:
        print(methods.table(args.conf, args.papers))


if __name__ == "__main__":
    errors.run(main)
