"""Requests runs of a paper, runs them, and brings plans and lists up to date: the work of stages/launch.py."""

from __future__ import annotations

import fnmatch
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import psutil

from stages.longtail.console.errors import Interrupted, UserError
from stages.longtail.console.suggestions import suggest
from stages.longtail.papers import plan, published, requested_runs
from stages.longtail.papers.requested_runs import Request


def update(papers: Path, conf: Path) -> list[str]:
    """Write plan.yaml, params.yaml and dvc.yaml of every paper, and the params.yaml of their data sets and subsets.

    Returns one line per requested run that no row needs any more. Its entry is gone, its results stay.
    """
    gone: list[str] = []
    splits: dict[str, str] = {}
    for path in published.files(papers):
        folder = path.parent
        planned = plan.build(published.read(path, conf).assign(paper=folder.name), conf, splits)
        plan.write(folder, planned)
        shutil.copyfile(papers / "template.yaml", folder / "dvc.yaml")
        requests = requested_runs.read(folder)
        left = [name for name, request in requests.items() if (request.varies or name) not in planned]
        gone += [f"{folder}: {name} was asked for, but no row needs it: its entry is gone" for name in left]
        requested_runs.write(folder, {name: requests[name] for name in requests if name not in left}, conf)
    if not splits:
        raise UserError(f"{papers} has no paper: a paper is a folder in it with published.csv and about.md")
    requested_runs.write_subsets(papers, conf)
    return gone


def listing(folder: Path) -> list[str]:
    """One line per run: whether it is recorded, asked for, or neither, its name and its seeds."""
    planned, requests = plan.read(folder), requested_runs.read(folder)
    lines = []
    for name in [*planned, *(name for name in requests if name not in planned)]:
        seeds = requests[name].seeds if name in requests else plan.seeds_of(planned[name]["compose"].split())
        recorded = (folder / "metrics" / name / "metrics.json").is_file()
        state = "not asked for" if name not in requests else "recorded" if recorded else "asked for"
        lines.append(f"{state:<13}  {name}  seeds {','.join(map(str, seeds))}")
    return lines


def wanted(folder: Path, names: Sequence[str], seeds: Sequence[int], changes: Sequence[str]) -> list[Request]:
    """The requests that names on the command line stand for: runs of the plan, earlier variants, or a new variant.

    Args:
        folder: the paper's.
        names: as on the command line; a name with * or ? stands for all that it matches, variants included
            only where nothing is to be changed.
        seeds: that the runs should have; if empty, those that they have or that the plan has.
        changes: parameters that a new variant changes, such as representation.mixing.beta=0.5. The precision alone
            makes no variant of a run that is not recorded yet: it is run in it.
    """
    planned, there = plan.read(folder), requested_runs.read(folder)
    known = [*planned, *(name for name in there if name not in planned)]
    found: dict[str, Request] = {}
    for name in names:
        matching = fnmatch.filter(planned if changes else known, name) if set(name) & set("*?") else [name]
        if not matching or matching[0] not in known:
            listing = f"python -m stages.launch {folder.name} --list"
            raise UserError(f"{folder.name} has no run '{name}'{suggest(name, known, listing)}")
        for run in matching:
            base = there.get(run) or Request(run, tuple(plan.seeds_of(planned[run]["compose"].split())))
            request = base
            if changes:
                if run not in planned:
                    raise UserError(f"{run} is a variant itself: change {base.varies} by all of its changes at once")
                other = tuple(change for change in changes if change not in planned[run]["compose"].split())
                if requested_runs.of_precision(changes) and (other == base.changes or not _is_recorded(folder, run)):
                    request = replace(base, changes=other)
                else:
                    varied = requested_runs.variant_name(run, changes)
                    request = there.get(varied) or Request(varied, base.seeds, run, tuple(changes))
            found[request.name] = Request(
                request.name, tuple(sorted(seeds)) or request.seeds, request.varies, request.changes, request.older
            )
    return list(found.values())


def _is_recorded(folder: Path, run: str) -> bool:
    return (folder / "metrics" / run / "metrics.json").is_file()


def run(papers: Path, paper: str, names: Sequence[str]) -> list[str]:
    """Run the requested runs that are not recorded yet.

    Returns the names of the runs that failed; the others run all the same. DVC's --keep-going is not used for it, as it
    would go on with the next run after Ctrl-C too.
    """
    there = requested_runs.read(papers / paper)
    targets = {name: f"{paper}/dvc.yaml:{'older' if there[name].older else 'run'}@{name}" for name in names}
    if _repro(papers, list(targets.values())):
        return []
    return [name for name, target in targets.items() if not _repro(papers, [target])]


def _repro(papers: Path, targets: list[str]) -> bool:
    # Several may run at once in one folder: each waits while another one writes down what it has done.
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "--cd", str(papers), "repro", *targets]
    with subprocess.Popen(command) as process:  # which waits for DVC's end, whatever happens
        try:
            return process.wait() == 0
        except Interrupted as stopped:
            if str(stopped) != "SIGINT":  # Ctrl-C comes to all of them by itself
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.send_signal(signal.SIGINT)
                process.send_signal(signal.SIGINT)
            raise
