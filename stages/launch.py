"""Request runs of a paper, and run them.

    python -m stages.launch switching --list                       the names of all runs, and what is done
    python -m stages.launch switching cifar10-exp-50-crt           enter a run, run it, write the tables again
    python -m stages.launch switching 'cifar10-exp-50-*' --seeds 0 --only-enter
    python -m stages.launch procrustean cifar10-exp-100-mfw --set representation.mixing.beta=0.5
    python -m stages.launch --update                               after a change of conf/ or of a published.csv

A run is entered into reports/papers/<paper>/params.yaml, from which DVC makes its stages, and run by
`dvc --cd reports/papers repro`. --set requests a variant of a run: no table has it, but the paper's page shows it. With
runtime.precision alone, for a machine without bf16, it is the run itself, which the tables have, unless
that is recorded in another one already.

Many runs at once, on the GPUs of this machine or on a cluster (docs/scale.md):

    python -m stages.launch switching 'cifar10-*' --on local --gpus 0,1
    python -m stages.launch switching 'cifar10-*' --on slurm --at-once 16 --slurm partition=gpu time=240 gpus_per_node=1
    python -m stages.launch switching --status                     a line for each of these runs
    python -m stages.launch switching --record                     results and checksums of what is done by now
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from stages.longtail.cluster import launch_commands
from stages.longtail.configuration import cells
from stages.longtail.console import errors
from stages.longtail.console.errors import UserError
from stages.longtail.papers import launching, published, published_revision, requested_runs, tables_command


def numbers(text: str) -> list[int]:
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise argparse.ArgumentTypeError(f"{text}: expected numbers with commas between them, such as 0,1,2")
    return sorted({int(number) for number in text.split(",")})


def sbatch_option(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text}: expected key=value, such as partition=gpu; runs go before --slurm")
    return key.replace("-", "_"), int(value) if value.isdigit() else value


def job_count(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text}: expected a number of jobs, at least 1")
    return int(text)


def parse() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paper", nargs="?", help="such as switching")
    parser.add_argument("runs", nargs="*", metavar="RUN", help="names, or patterns with * and ?")
    parser.add_argument("--seeds", type=numbers, default=[], help="such as 0 or 0,1,2 (those of the plan)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="request a variant, with this parameter changed"
    )
    parser.add_argument("--only-enter", action="store_true", help="only write the runs into params.yaml, start nothing")
    parser.add_argument("--on", choices=("local", "slurm"), help="run several jobs at once, without DVC")
    parser.add_argument(
        "--at-once", type=job_count, help="jobs at once (local: one per GPU of --gpus, else 1; slurm: 256 per array)"
    )
    parser.add_argument("--gpus", type=numbers, default=[], help="GPUs of this machine to use, such as 0,1")
    parser.add_argument(
        "--slurm",
        type=sbatch_option,
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="options of sbatch",
    )
    parser.add_argument("--status", action="store_true", help="show how far the runs started with --on are")
    parser.add_argument("--record", action="store_true", help="record those of them that are finished")
    parser.add_argument("--list", action="store_true", help="list the paper's runs with their state")
    parser.add_argument("--update", action="store_true", help="write plans, lists and dvc.yaml of all papers again")
    parser.add_argument("--reports", type=Path, default=Path("reports"), help="folder (reports)")
    parser.add_argument("--conf", type=Path, default=Path("conf"), help="folder (conf)")
    args = parser.parse_intermixed_args()
    if args.update + args.list + args.status + args.record + bool(args.runs) != 1 or bool(args.paper) == args.update:
        raise UserError(
            "say what to do: PAPER RUN..., PAPER with one of --list, --status and --record, or --update (--help has "
            "examples)"
        )
    if not args.runs and (args.seeds or args.set or args.only_enter or args.on):
        raise UserError("--seeds, --set, --only-enter and --on go with PAPER RUN...")
    if (args.at_once and not args.on) or (args.gpus and args.on != "local") or (args.slurm and args.on != "slurm"):
        raise UserError("--at-once goes with --on, --gpus with --on local, --slurm with --on slurm")
    if args.only_enter and args.on:
        raise UserError("--only-enter runs nothing, --on does: one of them")
    return args


def main() -> None:
    args = parse()
    papers = args.reports / cells.PAPERS.name
    if args.update:
        for line in launching.update(papers, args.conf):
            print(line)
        return
    folder = published.folder_of(papers, args.paper)
    if args.list or args.status:
        print("\n".join(launching.listing(folder) if args.list else launch_commands.told(papers, args.paper)))
        return
    failed: list[str] = []
    if args.runs:
        requests = launching.wanted(folder, args.runs, args.seeds, args.set)
        for name in requested_runs.enter(folder, requests, args.conf):
            print(
                f"{name} was asked for in another precision: what was trained in that, and not recorded, counts no more"
            )
        names = [request.name for request in requests]
        print(f"{folder / 'params.yaml'} has {', '.join(names)}", flush=True)
        if args.only_enter:
            return
        if args.on == "slurm":
            at_once, options = args.at_once or 256, dict(args.slurm)
            lines = launch_commands.on_slurm(papers, args.paper, names, args.conf, at_once, options)
            print("\n".join(lines) or "nothing to submit: all of it is done or in the queue")
            return
        if args.on == "local":
            failed = launch_commands.on_this_machine(papers, args.paper, names, args.conf, args.at_once, args.gpus)
        else:
            failed = launching.run(papers, args.paper, names)
    if args.record or args.on:
        recorded, refused = launch_commands.record(papers, args.paper, args.conf)
        print("\n".join([*(f"recorded {stage}" for stage in recorded), *refused]) or "nothing new to record")
        if refused:
            failed = [*failed, f"{len(refused)} that could not be recorded"]
    tables_command.write(papers, [args.paper], args.conf)
    print("\n".join(published_revision.write("published", args.reports, args.conf, Path("params.yaml"))))
    if failed:
        raise UserError(f"not done, for what is said above: {', '.join(failed)}")


if __name__ == "__main__":
    errors.run(main)
