"""Ask for runs of a paper, and run them.

    python -m stages.launch switching --list                       the names of all runs, and what is done
    python -m stages.launch switching cifar10-exp-50-crt           enter a run, run it, write the tables again
    python -m stages.launch switching 'cifar10-exp-50-*' --seeds 0 --only-enter
    python -m stages.launch procrustean cifar10-exp-100-mfw --set representation.mixing.beta=0.5
    python -m stages.launch --update                               after a change of conf/ or of a published.csv

A run is entered into reports/papers/<paper>/params.yaml, from which DVC makes its stages, and run by
`dvc --cd reports/papers repro`. --set asks for a variant of a run, which no table has but the paper's page shows.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from stages.longtail.configuration import cells
from stages.longtail.console import errors
from stages.longtail.console.errors import UserError
from stages.longtail.papers import launching, published_revision, requested_runs, tables_command


def seeds(text: str) -> list[int]:
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise argparse.ArgumentTypeError(f"{text}: expected numbers with commas between them, such as 0,1,2")
    return sorted({int(number) for number in text.split(",")})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paper", nargs="?", help="such as switching")
    parser.add_argument("runs", nargs="*", metavar="RUN", help="names, or patterns with * and ?")
    parser.add_argument("--seeds", type=seeds, default=[], help="such as 0 or 0,1,2 (those of the plan)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="ask for a variant")
    parser.add_argument("--only-enter", action="store_true", help="leave the running to others")
    parser.add_argument("--list", action="store_true", help="list the paper's runs with their state")
    parser.add_argument("--update", action="store_true", help="write plans, lists and dvc.yaml of all papers again")
    parser.add_argument("--reports", type=Path, default=Path("reports"), help="folder (reports)")
    parser.add_argument("--conf", type=Path, default=Path("conf"), help="folder (conf)")
    args = parser.parse_intermixed_args()
    papers = args.reports / cells.PAPERS.name
    if args.update + args.list + bool(args.runs) != 1 or bool(args.paper) == args.update:
        raise UserError("say what to do: PAPER RUN..., PAPER --list, or --update (--help has examples)")
    if not args.runs and (args.seeds or args.set or args.only_enter):
        raise UserError("--seeds, --set and --only-enter go with PAPER RUN...")
    if args.update:
        for line in launching.update(papers, args.conf):
            print(line)
        return
    folder = launching.folder_of(papers, args.paper)
    if args.list:
        print("\n".join(launching.listing(folder)))
        return
    requests = launching.wanted(folder, args.runs, args.seeds, args.set)
    requested_runs.enter(folder, requests, args.conf)
    names = [request.name for request in requests]
    print(f"{folder / 'params.yaml'} has {', '.join(names)}", flush=True)
    if args.only_enter:
        return
    failed = launching.run(papers, args.paper, names)
    tables_command.write(papers, [args.paper], args.conf)
    print("\n".join(published_revision.write("published", args.reports, args.conf, Path("params.yaml"))))
    if failed:
        raise UserError(f"not run, for what is said above: {', '.join(failed)}")


if __name__ == "__main__":
    errors.run(main)
